package storeshare

import (
	"maps"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// maxRecent is the number of entries that a node remembers.
const maxRecent = 4096

// recent holds the entries that this node saw last. They save a write a round trip:
// within an epoch entries only grow, so the claim tells whether a remembered entry
// is still true. No write is refused because of an entry that is only remembered. A nil
// recent remembers nothing.
type recent struct {
	entries *lru.Cache[string, seenEntry]
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
	return &recent{entries}
}

// get returns an entry as it was last seen, except that the ages of its variants
// have grown.
func (c *recent) get(key string) (etagcache.Entry, bool) {
	if c == nil {
		return etagcache.Entry{}, false
	}
	seen, ok := c.entries.Get(key)
	if !ok {
		return etagcache.Entry{}, false
	}
	e := seen.Entry
	e.Variants = make(map[string]etagcache.Stored, len(seen.Variants))
	for variant, stored := range seen.Variants {
		stored.Age += time.Since(seen.at)
		e.Variants[variant] = stored
	}
	return e, true
}

// getWhole returns an entry as the store gave it, if that was less than d ago.
func (c *recent) getWhole(key string, d time.Duration) (etagcache.Entry, bool) {
	if c == nil {
		return etagcache.Entry{}, false
	}
	seen, ok := c.entries.Get(key)
	if !ok || !seen.whole || time.Since(seen.at) >= d {
		return etagcache.Entry{}, false
	}
	return seen.Entry, true
}

// put remembers an entry that the store has just given.
func (c *recent) put(key string, e etagcache.Entry) { c.remember(key, e, true) }

// remember remembers an entry that was just seen. An entry with a write in flight, or
// without variants, isn't worth it.
func (c *recent) remember(key string, e etagcache.Entry, whole bool) {
	if c == nil {
		return
	}
	if e.Busy > 0 || len(e.Variants) == 0 {
		c.remove(key)
		return
	}
	c.entries.Add(key, seenEntry{e, time.Now(), whole})
}

// add remembers an observation that was stored, with the entry as it was before. If
// the observation replaced something, the epoch has moved to an unknown one, so the
// entry is forgotten.
func (c *recent) add(key string, before etagcache.Entry, o etagcache.Observation) {
	if c == nil {
		return
	}
	known, ok := before.Variants[o.Variant]
	if ok && !known.SameValidators(o.Observed) || o.Vary != before.Vary && len(before.Variants) > 0 {
		c.remove(key)
		return
	}
	before.Vary = o.Vary
	before.Variants = maps.Clone(before.Variants)
	if before.Variants == nil {
		before.Variants = make(map[string]etagcache.Stored, 1)
	}
	before.Variants[o.Variant] = etagcache.Stored{Observed: o.Observed, Since: known.Since}
	c.remember(key, before, !known.Since.IsZero())
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
