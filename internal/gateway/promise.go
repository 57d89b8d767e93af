package gateway

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/validator"
)

// promises are the tags that were made from answers to writes on the operator's word, until
// the origin has shown what is there. If it shows something else under the same epoch, the
// answers aren't what write_etag says.
type promises struct {
	mu      sync.Mutex
	tags    map[string]validator.ETag // by key and variant
	brokeAt time.Time
}

// maxPromises is how many promises are remembered. Of those that give way, nobody will know
// whether they were kept.
const maxPromises = 1024

// disbeliefLasts is how long the origin is asked after each write once a promise was broken.
const disbeliefLasts = 10 * time.Minute

// believesAnswers reports whether answers to writes may be taken for representations.
func (l *Learned) believesAnswers(now time.Time) bool {
	if l == nil {
		return true
	}
	l.promises.mu.Lock()
	defer l.promises.mu.Unlock()
	return l.promises.brokeAt.IsZero() || now.Sub(l.promises.brokeAt) >= disbeliefLasts
}

// promise remembers that the answer to a write, which the store will know as the variant
// of a resource, was taken for the representation.
func (w *aftermath) promise(s said) {
	if w.after == nil || !s.onOperatorsWord || w.Learned == nil {
		return
	}
	p := &w.Learned.promises
	p.mu.Lock()
	defer p.mu.Unlock()
	id := promiseOf(w.plan.Subject.Key, w.after.Variant)
	if _, ok := p.tags[id]; !ok && len(p.tags) >= maxPromises {
		for other := range p.tags {
			delete(p.tags, other)
			break
		}
	}
	if p.tags == nil {
		p.tags = make(map[string]validator.ETag)
	}
	p.tags[id] = w.after.ETag
}

func promiseOf(key, variant string) string { return key + "\n" + variant }

// checkPromise compares what the origin shows, under the epoch of a view, with what the answer
// to the last write showed. If they differ, it warns, and answers aren't believed for a while.
func checkPromise(x *exchange, view knowledge.View, shown *etagcache.Observation) {
	if x.WriteETag != WriteETagAnswer || x.Learned == nil {
		return
	}
	known, ok := view.Variant(shown.Variant)
	if !ok || !x.Learned.promises.broken(promiseOf(x.plan.Subject.Key, shown.Variant), known.ETag, shown.ETag, time.Now()) {
		return
	}
	x.Logger.Warn("the answer to a write was taken for the new representation of its resource, but a GET shows a different one, "+
		"so the tag in the answer is good for no write; for ten minutes the origin is asked after each write. "+
		"If nobody writes past this handler, choose write_etag always instead of answer", zap.String("resource", x.plan.Subject.Key))
}

// broken reports whether a promise is the first one in a while that wasn't kept. In any case
// the promise is over.
func (p *promises) broken(id string, known, shown validator.ETag, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	promised, ok := p.tags[id]
	delete(p.tags, id)
	if !ok || promised != known || shown == promised {
		return false
	}
	first := p.brokeAt.IsZero() || now.Sub(p.brokeAt) >= disbeliefLasts
	p.brokeAt = now
	return first
}
