package etagcache

import (
	"math"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// entries are those of a Memory, whose lock protects them.
type entries struct {
	most      int   // entries; no limit if it is less than one
	mostBytes int64 // no limit if it is less than one
	bytes     int64 // of all entries, as estimated

	// The lists have no limit of their own: evict decides which entries may go. In brief are
	// those whose retention is cut short. So in each list, those that end first come first.
	long, brief *simplelru.LRU[string, *entry]
}

func newEntries(most int) *entries {
	long, _ := simplelru.NewLRU[string, *entry](math.MaxInt, nil) // only a size below one is an error
	brief, _ := simplelru.NewLRU[string, *entry](math.MaxInt, nil)
	return &entries{most: most, long: long, brief: brief}
}

// list returns the list that an entry is in.
func (all *entries) list(e *entry) *simplelru.LRU[string, *entry] {
	if e.brief {
		return all.brief
	}
	return all.long
}

func (all *entries) len() int { return all.long.Len() + all.brief.Len() }

// all returns all entries.
func (all *entries) all() []*entry { return append(all.long.Values(), all.brief.Values()...) }

// find returns the entry of key as it is now, or nil if nothing is stored.
func (all *entries) find(key string, now time.Time) *entry {
	e, ok := all.long.Peek(key)
	if !ok {
		if e, ok = all.brief.Peek(key); !ok {
			return nil
		}
	}
	e.lapse(now)
	if e.expired(now) {
		all.remove(e)
		return nil
	}
	return e
}

// findOrCreate also creates the entry. A call of keep must follow.
func (all *entries) findOrCreate(key string, now time.Time) *entry {
	e := all.find(key, now)
	if e == nil {
		all.evict(now, 1, lookedAt, nil)
		key = strings.Clone(key) // it may be a part of something longer
		e = &entry{key: key, epoch: NewToken()}
		all.long.Add(key, e)
	}
	e.spent.tidy(now)
	return e
}

// keep is called at the end of a call that uses an entry. It makes room for what the call
// has added.
func (all *entries) keep(e *entry, now time.Time, t Terms) {
	e.spent.tidy(now)
	before := all.list(e)
	prolong(e, now, t)
	if after := all.list(e); after == before {
		after.Get(e.key) // the most recently used one
	} else {
		before.Remove(e.key)
		after.Add(e.key, e)
	}
	all.measure(e)
	all.evict(now, 0, lookedAt, e)
}

// measure notes how much memory an entry takes now.
func (all *entries) measure(e *entry) {
	size := sizeOf(e)
	all.bytes += size - e.size
	e.size = size
}

// remove forgets an entry.
func (all *entries) remove(e *entry) {
	all.list(e).Remove(e.key)
	all.bytes -= e.size
}

// lookedAt is how many entries a call looks at to make room. Entries in use can't make
// any; the next call continues.
const lookedAt = 8

// evict makes room for more entries. It looks at the n least recently used ones
// and removes those that are too many or too old, except the one given.
func (all *entries) evict(now time.Time, room, n int, except *entry) {
	for ; n > 0; n-- {
		e := all.oldest(now)
		if e == nil || e == except {
			return
		}
		e.lapse(now)
		tooMany := all.most > 0 && all.len()+room > all.most || all.mostBytes > 0 && all.bytes > all.mostBytes
		switch {
		case e.expired(now) || tooMany && e.idle(now):
			all.remove(e)
		case tooMany:
			all.measure(e)
			e.used = now
			all.list(e).Get(e.key) // in use: it becomes the most recently used one
		default:
			return
		}
	}
}

// oldest returns the least recently used entry, or one whose retention is over. It returns
// nil if there are no entries.
func (all *entries) oldest(now time.Time) *entry {
	_, brief, ok := all.brief.GetOldest()
	_, long, found := all.long.GetOldest()
	if ok && (!found || brief.used.Before(long.used) || brief.expired(now)) {
		return brief
	}
	return long
}
