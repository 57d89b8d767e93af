package preconditions

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Affects tells which other resources a write changes.
type Affects struct {
	// The path of the write, in which `*` stands for any one segment.
	Path string `json:"path"`

	// The paths of what it changes besides. The first `*` is what the first one
	// of the path stands for, and so on.
	Resources []string `json:"resources"`
}

// Guards tells which resource the conditions of a write are about.
type Guards struct {
	// The path of the write, in which `*` stands for any one segment.
	Path string `json:"path"`

	// The path of the resource that its conditions are about. The first `*` is
	// what the first one of the path stands for, and so on.
	Resource string `json:"resource"`
}

// affectsRules returns what the option means.
func affectsRules(options []Affects) ([]pathRule, error) {
	var rules []pathRule
	for _, o := range options {
		r, err := parseRule(o.Path, o.Resources...)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// guardsRules returns what the option means.
func guardsRules(options []Guards) ([]pathRule, error) {
	var rules []pathRule
	for _, o := range options {
		r, err := parseRule(o.Path, o.Resource)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// guard has the conditions of a write be about the resource that it guards. The
// target of the write is then one of those that it affects.
func (x *exchange) guard() {
	for _, rule := range x.h.guards {
		to, ok := rule.lead(x.r.URL.Path)
		if !ok {
			continue
		}
		subject := &url.URL{Path: to[0]}
		if key := x.keyAt(subject); key != x.key {
			x.others = append(x.others, x.key)
			x.key, x.target, x.guarded = key, subject.RequestURI(), true
			x.subject = x.r.Clone(x.r.Context())
			x.subject.URL.Path, x.subject.URL.RawPath, x.subject.URL.RawQuery = subject.Path, "", ""
			x.subject.RequestURI = x.target
		}
		return
	}
}

// affect finds out which resources the write changes besides its own.
func (x *exchange) affect() {
	for _, rule := range x.h.affects {
		to, _ := rule.lead(x.r.URL.Path)
		for _, p := range to {
			x.others = append(x.others, x.keyAt(&url.URL{Path: p}))
		}
	}
	if x.r.Method == "MOVE" || x.r.Method == "COPY" { // RFC 4918, section 10.3
		if to, err := url.Parse(x.r.Header.Get("Destination")); err == nil && to.Path != "" &&
			(to.Host == "" || strings.EqualFold(to.Host, x.r.Host)) {
			x.others = append(x.others, x.keyAt(to))
		}
	}
	slices.Sort(x.others)
	x.others = slices.Compact(x.others)
	x.others = slices.DeleteFunc(x.others, func(key string) bool { return key == x.key })
}

// othersBefore and othersAfter are those to take before the write's own resource
// and after it: whoever takes more than one takes them in the order of their
// keys, so that no two wait for each other.
func (x *exchange) othersBefore() []string { return x.others[:x.turn()] }
func (x *exchange) othersAfter() []string  { return x.others[x.turn():] }

func (x *exchange) turn() int {
	n, _ := slices.BinarySearch(x.others, x.key)
	return n
}

// held is a claim or pass that is kept alive.
type held struct {
	grant etagcache.Grant
	lease *proxyhooks.Lease
}

// keepAlive keeps a claim or pass, which was taken no earlier than at taken, alive.
func (x *exchange) keepAlive(grant etagcache.Grant, taken time.Time) held {
	renew := func(ctx context.Context) error { return x.h.store.Renew(ctx, grant, x.h.terms) }
	lost := func(err error) bool { return errors.Is(err, etagcache.ErrLost) }
	return held{grant, proxyhooks.KeepLease(taken, x.h.terms.Lease, renew, lost)}
}

// take takes a pass on other resources, so that nobody checks a condition on one
// of them while the write is in flight.
func (wr *writing) take(waiting context.Context, keys []string) error {
	for _, key := range keys {
		grant, _, taken, err := wr.pass(waiting, key)
		if err != nil {
			return err
		}
		wr.further = append(wr.further, wr.keepAlive(grant, taken))
	}
	return nil
}

// end ends what is held on a resource, or has it run out where the write may
// still land.
func (wr *writing) end(h held, fate proxyhooks.Fate, s etagcache.Settlement) {
	ctx, store, terms := wr.detached(), wr.h.store, wr.h.terms
	var err error
	if fate == proxyhooks.Unanswered {
		// Others stay out until the lease is over.
		h.lease.RunOut(func(left time.Duration) error {
			terms := terms
			terms.Lease = left
			return store.Renew(context.Background(), h.grant, terms)
		})
		err = store.note(store.Renew(ctx, h.grant, terms))
	} else {
		h.lease.Stop()
		err = store.note(store.Settle(ctx, h.grant, s, terms))
	}
	if err != nil {
		wr.h.logger.Warn("the end of a write could not be stored",
			zap.String("resource", h.grant.Key), zap.Error(err))
	}
}

// touch marks resources as changed, now or as soon as the store can be asked.
func (x *exchange) touch(keys []string) {
	for _, key := range keys {
		if err := x.h.store.Touch(x.detached(), key, x.h.terms); err != nil {
			x.h.store.journal.once(key)
		}
	}
}

// journalAll has the node remember a write until the function that it returns is
// called, and then until the store has heard of it.
func (x *exchange) journalAll() (end func()) {
	var under []string
	for _, key := range append([]string{x.key}, x.others...) {
		under = append(under, x.h.store.journal.begin(key))
	}
	return func() {
		for _, key := range under {
			x.h.store.journal.end(key)
		}
	}
}
