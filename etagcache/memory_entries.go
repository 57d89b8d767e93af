package etagcache

import (
	"hash/maphash"
	"iter"
	"time"
)

// entries are what a Memory holds. Its lock protects them. They are packed. A call unpacks
// the entry that it is about, and puts it back with save or keep if it has changed.
//
// No well-kept library keeps this little per entry and lets its user decide which entries
// may go, so the parts are here: an index, rows in lists, and an arena.
type entries struct {
	most      int   // entries; no limit if it is less than one
	mostBytes int64 // no limit if it is less than one
	bytes     int64 // of all entries

	base  time.Time
	hash  func(key string) uint32
	index map[uint32]uint32 // the first row for each hash of a key
	rows  rows
	arena arena

	// In brief are those whose retention is cut short. So in each list, those that end first
	// come first.
	long, brief recency

	waiters map[uint32]*waiters // by row

	found, looked entry // unpacked by find and by evict; their memory is used again
	packed        []byte
}

// waiters are those who wait for an entry to move.
type waiters struct {
	number uint32 // the row of the entry
	count  int
	moved  chan struct{} // closed when the epoch moves
}

func newEntries(most int) *entries {
	seed := maphash.MakeSeed()
	return &entries{
		most: most, base: time.Now(), index: make(map[uint32]uint32), waiters: make(map[uint32]*waiters),
		hash: func(key string) uint32 { return uint32(maphash.String(seed, key)) },
	}
}

// list returns the list that an entry is in.
func (all *entries) list(brief bool) *recency {
	if brief {
		return &all.brief
	}
	return &all.long
}

func (all *entries) len() int { return all.long.length + all.brief.length }

// beginningWith returns the rows of all entries whose keys begin with the prefix.
func (all *entries) beginningWith(prefix string) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, list := range []*recency{&all.long, &all.brief} {
			for number := list.newest; number != 0; number = all.rows.at(number).older {
				if hasPrefix(all.content(number), prefix) && !yield(number) {
					return
				}
			}
		}
	}
}

func (all *entries) content(number uint32) []byte {
	r := all.rows.at(number)
	return all.arena.bytes(r.block())[:r.length]
}

// lookUp returns the row of a key, or 0.
func (all *entries) lookUp(key string) uint32 {
	number := all.index[all.hash(key)]
	for number != 0 && !hasKey(all.content(number), key) {
		number = all.rows.at(number).same
	}
	return number
}

// unpack unpacks an entry into e.
func (all *entries) unpack(number uint32, e *entry) *entry {
	r := all.rows.at(number)
	unpackEntry(all.base, all.content(number), e)
	e.row, e.waiters = number, all.waiters[number]
	e.until, e.used, e.brief = after(all.base, r.until), after(all.base, r.used), r.brief
	return e
}

// save packs an entry.
func (all *entries) save(e *entry) {
	r := all.rows.at(e.row)
	p := packer{all.base, all.packed[:0]}
	packEntry(&p, e)
	all.packed = p.b
	all.bytes -= all.arena.size(r.block())
	r.setBlock(all.arena.store(r.block(), p.b), len(p.b))
	all.bytes += all.arena.size(r.block())
	all.saveUse(e)
}

// saveUse saves when an entry was used, and until when it is kept.
func (all *entries) saveUse(e *entry) {
	r := all.rows.at(e.row)
	r.until, r.used = since(all.base, e.until), since(all.base, e.used)
	if r.brief != e.brief {
		all.list(r.brief).remove(&all.rows, e.row)
		all.list(e.brief).add(&all.rows, e.row)
		r.brief = e.brief
	}
}

// find returns the entry of key as it is now, or nil if nothing is stored. It is valid until
// the next call.
func (all *entries) find(key string, now time.Time) *entry {
	number := all.lookUp(key)
	if number == 0 {
		return nil
	}
	e := all.unpack(number, &all.found)
	if e.lapse(now) {
		all.save(e)
	}
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
		all.evict(now, 1, lookedAt, 0)
		e = &all.found
		*e = entry{key: key, epoch: NewToken(), spent: spentStates{base: all.base}, row: all.rows.take()}
		hash := all.hash(key)
		all.rows.at(e.row).same = all.index[hash]
		all.index[hash] = e.row
		all.long.add(&all.rows, e.row)
		all.bytes += entrySize
		all.save(e)
	}
	if n := len(e.spent.list); n > 0 {
		if e.spent.tidy(now); len(e.spent.list) < n {
			all.save(e)
		}
	}
	return e
}

// keep is called at the end of a call that uses an entry. It makes room for what the call
// has added.
func (all *entries) keep(e *entry, now time.Time, t Terms) {
	e.spent.tidy(now)
	if !e.reserved.After(now) {
		e.reserved = time.Time{}
	}
	prolong(e, now, t)
	all.save(e)
	all.touch(e.row)
	all.evict(now, 0, lookedAt, e.row)
}

// keepRead is keep for a call that has changed nothing.
func (all *entries) keepRead(e *entry, now time.Time, t Terms) {
	if !e.reserved.IsZero() {
		all.keep(e, now, t)
		return
	}
	prolong(e, now, t)
	all.saveUse(e)
	all.touch(e.row)
	all.evict(now, 0, lookedAt, e.row)
}

// invalidate reports that an entry was changed elsewhere. That isn't a use of it.
func (all *entries) invalidate(number uint32, now time.Time, t Terms) {
	e := all.unpack(number, &all.found)
	e.lapse(now)
	e.invalidate(now, t)
	all.save(e)
}

// join adds somebody who waits for the entry to move.
func (all *entries) join(e *entry) *waiters {
	w := e.waiters
	if w == nil {
		w = &waiters{number: e.row, moved: make(chan struct{})}
		all.waiters[e.row] = w
	}
	w.count++
	return w
}

func (all *entries) leave(w *waiters) {
	if w.count--; w.count == 0 {
		delete(all.waiters, w.number)
	}
}

// touch makes an entry the most recently used one of its list.
func (all *entries) touch(number uint32) {
	list := all.list(all.rows.at(number).brief)
	list.remove(&all.rows, number)
	list.add(&all.rows, number)
}

// remove forgets an entry.
func (all *entries) remove(e *entry) {
	r := all.rows.at(e.row)
	hash := all.hash(e.key)
	if first := all.index[hash]; first != e.row {
		before := all.rows.at(first)
		for before.same != e.row {
			before = all.rows.at(before.same)
		}
		before.same = r.same
	} else if r.same != 0 {
		all.index[hash] = r.same
	} else {
		delete(all.index, hash)
	}
	all.list(r.brief).remove(&all.rows, e.row)
	all.bytes -= entrySize + all.arena.size(r.block())
	all.arena.release(r.block())
	all.rows.giveBack(e.row)
}

// lookedAt is how many entries a call looks at to make room. Entries in use can't make
// any; the next call continues.
const lookedAt = 8

// evict makes room for more entries. It looks at the n least recently used ones
// and removes those that are too many or too old, except the one given.
func (all *entries) evict(now time.Time, room, n int, except uint32) {
	for ; n > 0; n-- {
		number := all.oldest(now)
		if number == 0 || number == except {
			return
		}
		r := all.rows.at(number)
		tooMany := all.most > 0 && all.len()+room > all.most || all.mostBytes > 0 && all.bytes > all.mostBytes
		if !tooMany && r.until > since(all.base, now) {
			return
		}
		e := all.unpack(number, &all.looked)
		if e.lapse(now) {
			all.save(e)
		}
		switch {
		case e.expired(now) || tooMany && e.idle(now):
			all.remove(e)
		case tooMany: // in use: it becomes the most recently used one
			r.used = since(all.base, now)
			all.touch(number)
		default:
			return
		}
	}
}

// oldest returns the least recently used entry, or one whose retention is over. It returns
// 0 if there are no entries.
func (all *entries) oldest(now time.Time) uint32 {
	brief, long := all.brief.oldest, all.long.oldest
	if brief == 0 || long == 0 {
		return max(brief, long)
	}
	r := all.rows.at(brief)
	if r.used < all.rows.at(long).used || r.until <= since(all.base, now) && all.unpack(brief, &all.looked).expired(now) {
		return brief
	}
	return long
}
