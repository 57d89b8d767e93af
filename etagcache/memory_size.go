package etagcache

import (
	"time"
	"unsafe"
)

// What Go needs for an entry besides the bytes that the entry counts itself: for the
// element of the list and the slot of the map that lead to it, and for a map of leases or of
// spent states, which grow by doubling. Allocated sizes are rounded up.
const (
	entryOverhead  = 96 + 48
	mapOverhead    = 48
	textOverhead   = 8
	leastMapSlots  = 8
	slotsPerMember = 2
)

// sizeOf estimates how much memory an entry takes.
func sizeOf(e *entry) int64 {
	n := entryOverhead + int64(unsafe.Sizeof(*e)) + text(e.key) + text(e.epoch) + text(e.vary) + text(e.receipt)
	n += int64(cap(e.variants)) * int64(unsafe.Sizeof(variant{}))
	for i := range e.variants {
		v := &e.variants[i]
		n += text(v.key) + text(v.ETag.Opaque) + text(v.Backend.Opaque)
	}
	n += mapBytes(len(e.leases), unsafe.Sizeof(time.Time{}), e.leases != nil)
	for token := range e.leases {
		n += text(token)
	}
	n += mapBytes(len(e.spent), unsafe.Sizeof(spentState{}), e.spent != nil)
	for identity := range e.spent {
		n += text(identity)
	}
	return n
}

func text(s string) int64 {
	if s == "" {
		return 0
	}
	return int64(len(s)) + textOverhead
}

// mapBytes estimates how much memory a map takes that has texts as keys.
func mapBytes(members int, value uintptr, made bool) int64 {
	if !made {
		return 0
	}
	slots := leastMapSlots
	if members > slots {
		slots = slotsPerMember * members
	}
	return mapOverhead + int64(slots)*int64(unsafe.Sizeof("")+value)
}
