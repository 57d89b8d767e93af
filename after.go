package preconditions

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// lookAfter prepares for another look at the origin if the write succeeds, where
// somebody wants to know. Only the holder of a claim can be sure that what it
// sees is its own doing.
func (wr *writing) lookAfter() {
	verbatim, replay, always := wr.verbatim(), wr.h.Replay, wr.h.WriteETag == writeETagAlways && !wr.guarded
	if wr.lease == nil || wr.grant.Pass || wr.signed || !verbatim && !replay && !always {
		return
	}
	wr.base = wr.subject.Clone(context.WithoutCancel(wr.subject.Context()))
	if sum, ok := proxyhooks.Digest(wr.r); ok {
		wr.content, wr.size = &sum, wr.r.ContentLength
	}
	if replay {
		wr.request = wr.requestDigest()
	}
}

// verbatim reports whether the content may be stored as it was sent, which only
// a PUT of a whole representation asks for (RFC 9110, sections 9.3.4 and 14.5),
// and whether the client is to be told.
func (wr *writing) verbatim() bool {
	return wr.h.WriteETag == writeETagVerbatim && !wr.guarded && wr.method == http.MethodPut && wr.r.Method == http.MethodPut &&
		wr.r.Header["Content-Range"] == nil && wr.r.Header["Content-Encoding"] == nil
}

// observeAnswer finds out what the write has led to, if that can be, and has the
// answer tell no more than that.
func (wr *writing) observeAnswer(a proxyhooks.Answer, fate proxyhooks.Fate) {
	if wr.h.Mode == modeReport || wr.signed || a.Status == 0 {
		return
	}
	represents := a.Whole && fate == proxyhooks.Applied && wr.represents(a.Status, a.Header)
	var shown proxyhooks.Derivation
	if represents {
		shown = wr.h.deriver.FromContent(a.Header, a.Content, time.Now())
	}
	wr.removeValidators(a)
	switch {
	case represents && shown.ETag.Valid:
		wr.keep(shown.Observed, a)
		wr.tell(shown.Observed, a)
	case a.Whole && fate == proxyhooks.Applied && wr.base != nil:
		wr.look(a)
	}
}

// represents reports whether the content of an answer is the new representation
// of the target (RFC 9110, section 8.7), in no coding that a read wouldn't have.
func (wr *writing) represents(status int, h http.Header) bool {
	location := h["Content-Location"]
	return !wr.guarded && (status == http.StatusOK || status == http.StatusCreated) && len(location) == 1 && location[0] != "" &&
		wr.resolve(location[0]) == wr.original() && h["Content-Encoding"] == nil && wr.h.WriteETag != writeETagOff
}

// look asks the origin, under the claim, what the write has led to. It keeps
// that for the settlement, and puts the tag on the answer, if it may be there.
func (wr *writing) look(a proxyhooks.Answer) {
	if wr.readGroups() != nil { // which the write itself may have invalidated
		return
	}
	ctx, cancel := context.WithTimeout(wr.detached(), wr.h.terms.Lease)
	defer cancel()
	defer context.AfterFunc(wr.lease.Context(), cancel)()
	same := &comparison{Hash: sha256.New(), size: wr.size, on: wr.h.Replay || !wr.verbatim()}
	p := proxyhooks.ProbeContent(ctx, wr.next, wr.base, wr.h.deriver, same)
	if !p.Known || wr.lease.Lost() {
		return
	}
	led := p.Observed
	if p.Versioned {
		led = wr.versioned(led, p.Header, validator.Observed{}, wr.grant.Token+" settled")
	}
	wr.keep(led, proxyhooks.Answer{Status: a.Status, Header: p.Header})
	if wr.h.WriteETag == writeETagAlways && !wr.guarded && !wr.elsewhere(a) || wr.verbatim() && same.with(wr.content) {
		wr.tell(led, a)
	}
}

// keep has what the write has led to stored by its settlement.
func (wr *writing) keep(led validator.Observed, a proxyhooks.Answer) {
	o, ok := wr.observation(led, a.Header)
	if !ok || o.State == validator.Present && !o.ETag.Valid {
		return
	}
	wr.led = &o
	if wr.h.Replay {
		wr.receipt = newReceipt(wr.request, wr.content, a.Status)
	}
}

// tell puts the tag of what the write has led to on its answer.
func (wr *writing) tell(led validator.Observed, a proxyhooks.Answer) {
	if led.ETag.Valid {
		a.Header["Etag"] = []string{led.ETag.String()}
	}
}

// comparison compares content that is written to it with another one.
type comparison struct {
	hash.Hash
	size int64 // of the other one; below zero if it isn't known
	on   bool  // whether to go on when they differ
	read int64
}

var errDiffers = errors.New("the content is another one")

func (c *comparison) Write(p []byte) (int, error) {
	c.read += int64(len(p))
	if c.read <= c.size {
		return c.Hash.Write(p)
	}
	if c.on {
		return len(p), nil
	}
	return 0, errDiffers
}

// with reports whether it is the content of that digest.
func (c *comparison) with(digest *[sha256.Size]byte) bool {
	return digest != nil && c.read == c.size && [sha256.Size]byte(c.Sum(nil)) == *digest
}

// removeValidators removes what the backend put on its answer to a write: it
// may describe the content of the answer, or nothing. The tag of what was
// created elsewhere is about that (RFC 9110, section 15.3.2).
func (wr *writing) removeValidators(a proxyhooks.Answer) {
	if !wr.elsewhere(a) || wr.h.deriver.Replaces(a.Header) {
		delete(a.Header, "Etag")
	}
	delete(a.Header, "Last-Modified")
}

// elsewhere reports whether the write created another resource than its target.
func (wr *writing) elsewhere(a proxyhooks.Answer) bool {
	location := a.Header.Get("Location")
	return a.Status == http.StatusCreated && location != "" && wr.resolve(location) != wr.original()
}

// resolve returns the path and query of a reference in an answer, or "" if it
// leads to another host.
func (x *exchange) resolve(reference string) string {
	target, err := url.ParseRequestURI(x.original())
	if err != nil {
		return ""
	}
	u, err := target.Parse(reference)
	if err != nil || u.Host != "" && !strings.EqualFold(u.Host, x.r.Host) {
		return ""
	}
	return u.RequestURI()
}

// settlement is what the store is told at the end of a write.
func (wr *writing) settlement(fate proxyhooks.Fate) etagcache.Settlement {
	if fate == proxyhooks.Refused {
		return etagcache.Settlement{Unchanged: true, Observation: wr.seen}
	}
	return etagcache.Settlement{Observation: wr.led, Receipt: wr.receipt}
}
