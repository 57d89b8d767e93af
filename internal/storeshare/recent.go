package storeshare

import (
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// maxRecent is the number of entries that a node remembers.
const maxRecent = 4096

// recent holds the entries that this node saw last. They save a write a round trip:
// within an epoch entries only grow, so the claim tells whether a remembered entry
// is still true. No write is refused because of an entry that is only remembered. They save
// a read its round trips if its response shows what they say (Lately). A nil recent remembers
// nothing.
type recent struct {
	entries *lru.Cache[string, seenEntry]

	// outdated is when an entry last turned out to have been moved, or to be held, by somebody
	// else: another node, or a program beside the handlers.
	outdated atomic.Pointer[time.Time]
}

type seenEntry struct {
	etagcache.Entry
	at    time.Time
	whole bool // whether the store has given it, so that everything in it is known
}

func newRecent() *recent {
	entries, err := lru.New[string, seenEntry](maxRecent)
	if err != nil {
		panic(err) // only a size below one is refused
	}
	return &recent{entries: entries}
}

// get returns an entry as it was last seen, but for the time that has passed since.
func (c *recent) get(key string) (etagcache.Entry, bool) {
	if c == nil {
		return etagcache.Entry{}, false
	}
	seen, ok := c.entries.Get(key)
	if !ok {
		return etagcache.Entry{}, false
	}
	return seen.now(), true
}

// now returns the entry as it is now if nobody has changed it.
func (s seenEntry) now() etagcache.Entry {
	e, since := s.Entry, time.Since(s.at)
	e.Variants = slices.Clone(s.Variants)
	for i := range e.Variants {
		e.Variants[i].Age += since
	}
	e.Now = e.Now.Add(since)
	e.Doubt = max(0, e.Doubt-since)
	e.Spent = e.Spent.After(since)
	return e
}

// lately is how long reads may go by an entry that was seen before.
const lately = time.Second

// latelyAlone is how long reads may go by an entry that a write has left without variants, while
// nobody else seems to write. No response gets an outdated tag or date from such an entry. Reads
// use only its epoch, to store a tag, and the store refuses that if the epoch has moved.
const latelyAlone = 30 * time.Second

// lately returns an entry as the store gave it, if that was not long ago.
func (c *recent) lately(key string) (etagcache.Entry, bool) {
	if c == nil {
		return etagcache.Entry{}, false
	}
	seen, ok := c.entries.Get(key)
	if !ok || !seen.whole {
		return etagcache.Entry{}, false
	}
	switch age := time.Since(seen.at); {
	case age < lately:
		return seen.Entry, true // the usual case, which copies nothing
	case age < latelyAlone && len(seen.Variants) == 0 && c.alone():
		return seen.now(), true
	default:
		return etagcache.Entry{}, false
	}
}

// othersWrite notes that somebody else writes.
func (c *recent) othersWrite() {
	if c != nil {
		c.outdated.Store(new(time.Now()))
	}
}

// alone reports whether nobody else seems to write.
func (c *recent) alone() bool {
	if c == nil {
		return true
	}
	at := c.outdated.Load()
	return at == nil || time.Since(*at) > 2*latelyAlone
}

// removeOutdated forgets an entry after the store has said that its epoch moved. If this node
// still remembers the old epoch, somebody else moved it.
func (c *recent) removeOutdated(key, epoch string) {
	if c == nil {
		return
	}
	if seen, ok := c.entries.Peek(key); ok && seen.Epoch == epoch {
		c.othersWrite()
	}
	c.remove(key)
}

// putRead remembers an entry that a call of the store returned, which began at begun. If this
// node already remembered a different epoch by then, somebody else moved it.
func (c *recent) putRead(key string, e etagcache.Entry, begun time.Time) {
	if c == nil {
		return
	}
	if seen, ok := c.entries.Peek(key); ok && seen.Epoch != e.Epoch && seen.at.Before(begun) {
		c.othersWrite()
	}
	c.put(key, e)
}

// put remembers an entry that the store has just given. One without variants isn't worth it:
// clients may ask for anything.
func (c *recent) put(key string, e etagcache.Entry) {
	if len(e.Variants) == 0 {
		c.remove(key)
		return
	}
	c.remember(key, e, true)
}

// settled remembers an entry as a settlement has left it. The next read will need its epoch,
// even if it has no variants.
func (c *recent) settled(key string, e etagcache.Entry) { c.remember(key, e, true) }

// remember remembers an entry that was just seen, unless a write is in flight.
func (c *recent) remember(key string, e etagcache.Entry, whole bool) {
	if c == nil {
		return
	}
	if e.Busy > 0 {
		c.remove(key)
		return
	}
	c.entries.Add(key, seenEntry{e, time.Now(), whole})
}

// add remembers an observation that was stored under the epoch of before, which may have been
// read long ago. What this node has remembered since then knows how old the variants are.
// Without that, nothing is remembered. Nor is it if the observation replaced something: the
// epoch has moved to an unknown one then.
func (c *recent) add(key string, before etagcache.Entry, o etagcache.Observation) {
	if c == nil {
		return
	}
	e, whole := before, false
	if seen, ok := c.entries.Peek(key); ok && seen.Epoch == before.Epoch {
		e, whole = seen.now(), seen.whole
	} else if len(before.Variants) > 0 {
		c.remove(key)
		return
	}
	known, ok := e.Variants.Find(o.Variant)
	was, wasKnown := before.Variants.Find(o.Variant)
	if ok && !known.SameValidators(o.Observed) || wasKnown && !was.SameValidators(o.Observed) || o.Vary != e.Vary && len(e.Variants) > 0 {
		c.remove(key)
		return
	}
	e.Vary = o.Vary
	others := slices.DeleteFunc(slices.Clone(e.Variants), func(v etagcache.Variant) bool { return v.Key == o.Variant })
	e.Variants = append(others, etagcache.Variant{Key: o.Variant, Stored: etagcache.Stored{Observed: o.Observed, Since: known.Since}})
	c.remember(key, e, whole && !known.Since.IsZero())
}

func (c *recent) remove(key string) {
	if c != nil {
		c.entries.Remove(key)
	}
}

func (c *recent) removeAll() {
	if c != nil {
		c.entries.Purge()
	}
}
