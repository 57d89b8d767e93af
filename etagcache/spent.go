package etagcache

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Spent lists states that writes have replaced. A state may be listed more than once; then the
// longest time counts. The zero value lists none. What a Spent lists never changes.
type Spent struct {
	list spentList // until when each is spent, after a moment
	now  int64     // what has passed since that moment, in ns
}

// SpentState says for how much longer a state is spent. While a write is in flight, that is the
// longest time that is possible if its holder doesn't renew it.
type SpentState struct {
	Identity string        // see validator.Observed.Identity
	Left     time.Duration // above zero
}

// NewSpent lists the given states.
func NewSpent(states ...SpentState) (s Spent) {
	for _, state := range states {
		s.list = s.list.append(state.Identity, int64(state.Left))
	}
	return s
}

// Left returns for how much longer a state is spent. Zero means that it isn't spent.
func (s Spent) Left(identity string) time.Duration {
	longest := s.now
	for at := 0; at < len(s.list); at = s.list.end(at) {
		if until := s.list.until(at); until > longest && string(s.list.identity(at)) == identity {
			longest = until
		}
	}
	return time.Duration(longest - s.now)
}

// All returns what is listed, in any order.
func (s Spent) All() iter.Seq[SpentState] {
	return func(yield func(SpentState) bool) {
		for at := 0; at < len(s.list); at = s.list.end(at) {
			until := s.list.until(at)
			if until > s.now && !yield(SpentState{string(s.list.identity(at)), time.Duration(until - s.now)}) {
				return
			}
		}
	}
}

// String says what is listed.
func (s Spent) String() string { return fmt.Sprint(slices.Collect(s.All())) }

// After returns what will be left after a while.
func (s Spent) After(d time.Duration) Spent {
	s.now += int64(d)
	return s
}

// spentList says until when states are spent, in ns since a moment that its owner knows. It is
// packed, because a resource that is saved often has many spent states, and a call rarely looks
// at more than one. For each, there are the time in 8 bytes, the length of the identity in 4, 1 if
// the state is held (see spentStates) or else 0, and the identity.
type spentList []byte

// spentHeader is the length of what comes before an identity.
const spentHeader = 8 + 4 + 1

// end returns where the state ends that begins at an index.
func (l spentList) end(at int) int {
	return at + spentHeader + int(binary.LittleEndian.Uint32(l[at+8:]))
}

func (l spentList) until(at int) int64 { return int64(binary.LittleEndian.Uint64(l[at:])) }

func (l spentList) held(at int) bool { return l[at+spentHeader-1] != 0 }

func (l spentList) identity(at int) []byte { return l[at+spentHeader : l.end(at)] }

// find returns where a state begins, or -1.
func (l spentList) find(identity string) int {
	for at := 0; at < len(l); at = l.end(at) {
		if string(l.identity(at)) == identity {
			return at
		}
	}
	return -1
}

// len returns the number of states.
func (l spentList) len() (n int) {
	for at := 0; at < len(l); at = l.end(at) {
		n++
	}
	return n
}

// append returns the list with one more state.
func (l spentList) append(identity string, until int64) spentList {
	l = binary.LittleEndian.AppendUint64(l, uint64(until))
	l = binary.LittleEndian.AppendUint32(l, uint32(len(identity)))
	return append(append(l, 0), identity...)
}

// add returns the list with a state spent until the given time at least. If held is true, the
// state is held from now on. It may write to the memory of the list.
func (l spentList) add(identity string, until int64, held bool) spentList {
	at := l.find(identity)
	if at < 0 {
		at, l = len(l), l.append(identity, until)
	}
	l.raise(at, until)
	if held {
		l[at+spentHeader-1] = 1
	}
	return l
}

func (l spentList) raise(at int, until int64) {
	binary.LittleEndian.PutUint64(l[at:], uint64(max(until, l.until(at))))
}

// letGo ends the holding: what was held is spent until the given time at least.
func (l spentList) letGo(until int64) {
	for at := 0; at < len(l); at = l.end(at) {
		if l.held(at) {
			l.raise(at, until)
			l[at+spentHeader-1] = 0
		}
	}
}

// without returns the list without one state, in the same memory.
func (l spentList) without(identity string) spentList {
	if at := l.find(identity); at >= 0 {
		return slices.Delete(l, at, l.end(at))
	}
	return l
}

// dropUntil returns the list without the states that aren't held and are spent until the given
// time or less, in the same memory.
func (l spentList) dropUntil(now int64) spentList {
	rest := l[:0]
	for at := 0; at < len(l); {
		end := l.end(at)
		switch {
		case l.until(at) <= now && !l.held(at):
		case at == len(rest): // none has gone yet
			rest = l[:end]
		default:
			rest = append(rest, l[at:end]...)
		}
		at = end
	}
	return rest
}
