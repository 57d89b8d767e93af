package gateway

import (
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// heads is what is known of the origin's answers to HEAD, by kind of resource. HEAD proves
// itself for a kind by showing, of one resource, what GET shows, in two different states.
// Whoever answers HEAD from something old, or says the same for ever, fails. Once somebody has
// written past the handler, HEAD must also have shown such a change before anything else did:
// what answers HEAD may know only of what comes through here. The zero value knows nothing.
type heads struct {
	mu       sync.Mutex
	kinds    map[string]*headKind
	resume   time.Time // if it is to come: a HEAD has contradicted a GET
	bypassed bool      // somebody has written past the handler
	useless  bool      // HEAD does harm
}

// headKind is what is known of one kind.
type headKind struct {
	proved bool
	showed bool      // a change by somebody who wrote past the handler
	agreed time.Time // when HEAD and GET last agreed
	resume time.Time // if it is to come: a HEAD lacked something

	// Until proved: by resource, what HEAD and GET have both shown; and how many HEADs were
	// sent to compare since a time.
	shown map[string]validator.ETag
	tries int
	since time.Time
}

// headUse says what a HEAD is good for.
type headUse uint8

const (
	headUnused headUse = iota
	headOnTrial
	headProved
)

const (
	// maxHeadKinds is how many kinds are remembered.
	maxHeadKinds = 1024
	// maxTrials is how many HEADs are sent in each period in order to compare.
	maxTrials   = 16
	trialPeriod = time.Minute
	// maxTried is of how many resources HEAD and GET are compared at a time.
	maxTried = 4
	// proofLasts is how long HEAD takes the place of GET before both are sent again.
	proofLasts = time.Minute
	// minSpared is how much content makes a HEAD worth it.
	minSpared = 16 << 10
)

// use says what a HEAD is good for now. It counts trials.
func (h *heads) use(kind, target string, now time.Time) headUse {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.kinds[kind]
	switch {
	case k == nil, h.useless, now.Before(h.resume), now.Before(k.resume):
		return headUnused
	case k.proved && (k.showed || !h.bypassed) && now.Sub(k.agreed) < proofLasts:
		return headProved
	case now.Sub(k.since) >= trialPeriod:
		k.since, k.tries = now, 0
		if _, begun := k.shown[target]; !begun && len(k.shown) >= maxTried {
			k.shown = nil // these seem to stay as they are
		}
	}
	if _, begun := k.shown[target]; k.tries == maxTrials || !begun && !k.proved && len(k.shown) >= maxTried {
		return headUnused
	}
	k.tries++
	return headOnTrial
}

// any reports whether there is a kind for which HEAD may be of use.
func (h *heads) any() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.kinds) > 0 && !h.useless
}

// add takes up a kind whose GETs have much content that is of no use.
func (h *heads) add(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kinds[kind] != nil || time.Now().Before(h.resume) {
		return
	}
	if h.kinds == nil {
		h.kinds = make(map[string]*headKind)
	}
	if len(h.kinds) == maxHeadKinds {
		for other := range h.kinds {
			delete(h.kinds, other)
			break
		}
	}
	h.kinds[kind] = new(headKind)
}

// agree notes that HEAD and GET have both shown a tag of a resource. If changed is true, the
// HEAD was the first to show it.
func (h *heads) agree(kind, target string, tag validator.ETag, changed bool, now time.Time) {
	h.change(kind, func(k *headKind) {
		k.agreed, k.showed = now, k.showed || changed
		if k.proved {
			return
		}
		before, known := k.shown[target]
		if known && before != tag {
			k.proved, k.shown = true, nil
			return
		}
		if k.shown == nil {
			k.shown = make(map[string]validator.ETag)
		}
		k.shown[target] = tag
	})
}

// forget notes that HEAD must prove itself anew.
func (h *heads) forget(kind string) {
	h.change(kind, func(k *headKind) { *k = headKind{since: k.since, tries: k.tries} })
}

// lack notes that HEAD is of no use for a while.
func (h *heads) lack(kind string, now time.Time) {
	h.change(kind, func(k *headKind) { *k = headKind{resume: now.Add(disbeliefLasts)} })
}

// contradict notes that HEAD and GET differ, so that HEAD is believed nowhere for a while.
func (h *heads) contradict(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.resume = now.Add(disbeliefLasts)
	clear(h.kinds)
}

// giveUp notes that HEAD gets an error that a proxy may take for a failure of the backend, which
// then gets no requests for a while. No other HEAD is sent under this config.
func (h *heads) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.useless = true
}

// bypass notes that somebody has written past the handler.
func (h *heads) bypass() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bypassed = true
}

// change changes what is known of a kind, if anything is.
func (h *heads) change(kind string, f func(*headKind)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.kinds[kind]; k != nil {
		f(k)
	}
}
