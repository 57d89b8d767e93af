package preconditions

import (
	"container/list"
	"maps"
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// maxRecent is how many entries a node remembers.
const maxRecent = 4096

// recent remembers the entries that this node saw last, to spare a write a
// round trip: its claim tells whether the entry is still the same, as nothing
// but additions happens to it within an epoch. Nothing is refused because of
// what is only remembered.
type recent struct {
	mu    sync.Mutex
	byKey map[string]*list.Element
	order list.List // of remembered, most recently seen first
}

type remembered struct {
	key   string
	entry etagcache.Entry
	seen  time.Time
}

func newRecent() *recent {
	return &recent{byKey: make(map[string]*list.Element)}
}

// recall returns the entry as it was seen last, with the ages of now.
func (c *recent) recall(key string) (etagcache.Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.byKey[key]
	if !ok {
		return etagcache.Entry{}, false
	}
	m := element.Value.(remembered)
	e := m.entry
	e.Variants = make(map[string]etagcache.Stored, len(m.entry.Variants))
	for variant, stored := range m.entry.Variants {
		stored.Age += time.Since(m.seen)
		e.Variants[variant] = stored
	}
	return e, true
}

// remember takes in an entry that was just seen. One with a write in flight is
// not worth it.
func (c *recent) remember(key string, e etagcache.Entry) {
	if e.Busy > 0 || len(e.Variants) == 0 {
		c.forget(key)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := remembered{key, e, time.Now()}
	if element, ok := c.byKey[key]; ok {
		element.Value = m
		c.order.MoveToFront(element)
		return
	}
	c.byKey[key] = c.order.PushFront(m)
	if c.order.Len() > maxRecent {
		oldest := c.order.Remove(c.order.Back()).(remembered)
		delete(c.byKey, oldest.key)
	}
}

// add takes in an observation that was stored, of an entry that was before as
// given. If it was no addition, the epoch has moved to one that isn't known.
func (c *recent) add(key string, before etagcache.Entry, o etagcache.Observation) {
	known, ok := before.Variants[o.Variant]
	if ok && !known.SameValidators(o.Observed) || o.Vary != before.Vary && len(before.Variants) > 0 {
		c.forget(key)
		return
	}
	before.Vary = o.Vary
	before.Variants = maps.Clone(before.Variants)
	if before.Variants == nil {
		before.Variants = make(map[string]etagcache.Stored, 1)
	}
	before.Variants[o.Variant] = etagcache.Stored{Observed: o.Observed, Since: known.Since}
	c.remember(key, before)
}

func (c *recent) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.byKey[key]; ok {
		c.order.Remove(element)
		delete(c.byKey, key)
	}
}
