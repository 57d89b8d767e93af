package etagcache

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// An entry is packed into bytes while nobody works on it. First comes its key, so that it
// can be found, and last what is spent, which is packed all the time. Numbers are varints, and a
// text follows its length. Times count from the base, by the monotonic clock; dates are by the
// wall clock.

// Whether an entry has these parts.
const (
	hasWrites = 1 << iota // leases, what belongs to them, and a reservation
	isClaimed
	hasLatest
	hasReceipt
	hasVary
)

// What a packed variant has besides its state, which is in the lowest two bits.
const (
	isOwn = 4 << iota
	hasWeakDate
	hasDate
	hasTag
	hasWeakTag
	hasBackendTag
)

type packer struct {
	base time.Time
	b    []byte
}

func (p *packer) text(s string) {
	p.b = append(binary.AppendUvarint(p.b, uint64(len(s))), s...)
}

func (p *packer) number(n int64) { p.b = binary.AppendVarint(p.b, n) }

func (p *packer) count(n int) { p.b = binary.AppendUvarint(p.b, uint64(n)) }

// never stands for the zero time.
const never = math.MinInt64

// since returns how long after the base a time is.
func since(base, t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return int64(t.Sub(base))
}

// after is the inverse of since.
func after(base time.Time, d int64) time.Time {
	if d == never {
		return time.Time{}
	}
	return base.Add(time.Duration(d))
}

func (p *packer) time(t time.Time) { p.number(since(p.base, t)) }

func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}

// packEntry appends all of an entry but what is in its row.
func packEntry(p *packer, e *entry) {
	p.text(e.key)
	p.count(len(e.spent.list))
	p.text(e.epoch)
	writes := len(e.leases) > 0 || !e.reserved.IsZero()
	p.b = append(p.b, bit(writes, hasWrites)|bit(e.claimed, isClaimed)|bit(!e.latest.IsZero(), hasLatest)|
		bit(e.receipt != "", hasReceipt)|bit(e.vary != "", hasVary))
	if writes {
		p.time(e.reserved)
		p.number(int64(e.lag))
		p.text(e.quiet)
		p.count(len(e.leases))
		for _, l := range e.leases {
			p.text(l.token)
			p.time(l.ends)
		}
	}
	if !e.latest.IsZero() {
		p.number(e.latest.UnixNano())
	}
	if e.receipt != "" {
		p.text(e.receipt)
	}
	if e.vary != "" {
		p.text(e.vary)
	}
	p.count(len(e.variants))
	for i := range e.variants {
		packVariant(p, &e.variants[i])
	}
	p.b = append(p.b, e.spent.list...)
}

func packVariant(p *packer, v *variant) {
	p.text(v.key)
	p.b = append(p.b, byte(v.State)|bit(v.Own, isOwn)|bit(v.WeakDate, hasWeakDate)|bit(!v.LastModified.IsZero(), hasDate)|
		bit(v.ETag.Valid, hasTag)|bit(v.ETag.Weak, hasWeakTag)|bit(v.Backend.Valid, hasBackendTag))
	p.time(v.stored)
	// Mostly, both are the same moment, so the difference is short.
	p.number(v.since.UnixNano() - p.base.UnixNano() - int64(v.stored.Sub(p.base)))
	if !v.LastModified.IsZero() {
		p.number(v.LastModified.Unix())
	}
	if v.ETag.Valid {
		p.text(v.ETag.Opaque)
	}
	if v.Backend.Valid {
		p.b = append(p.b, bit(v.Backend.Weak, 1))
		p.text(v.Backend.Opaque)
	}
}

// unpacker reads what a packer has written. All texts share the memory of s.
type unpacker struct {
	base time.Time
	s    string
}

func (u *unpacker) byte() byte {
	b := u.s[0]
	u.s = u.s[1:]
	return b
}

func (u *unpacker) uvarint() (n uint64) {
	for shift := 0; ; shift += 7 {
		b := u.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
}

func (u *unpacker) count() int { return int(u.uvarint()) }

func (u *unpacker) number() int64 {
	n := u.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (u *unpacker) time() time.Time { return after(u.base, u.number()) }

func (u *unpacker) text() string {
	n := u.count()
	s := u.s[:n]
	u.s = u.s[n:]
	return s
}

// unpackEntry sets all of an entry but what is in its row. It uses the memory of the
// lists that the entry had before.
func unpackEntry(base time.Time, b []byte, e *entry) {
	*e = entry{leases: e.leases[:0], spent: spentStates{base, e.spent.list[:0]}, variants: e.variants[:0]}
	length, size := binary.Uvarint(b)
	spent, _ := binary.Uvarint(b[size+int(length):])
	last := len(b) - int(spent)
	e.spent.list = append(e.spent.list, b[last:]...)

	u := unpacker{base, string(b[:last])}
	e.key = u.text()
	_ = u.count() // of what is spent
	e.epoch = u.text()
	has := u.byte()
	e.claimed = has&isClaimed != 0
	if has&hasWrites != 0 {
		e.reserved, e.lag, e.quiet = u.time(), time.Duration(u.number()), u.text()
		for range u.count() {
			token := u.text()
			e.leases = append(e.leases, leaseEnd{token, u.time()})
		}
	}
	if has&hasLatest != 0 {
		e.latest = time.Unix(0, u.number())
	}
	if has&hasReceipt != 0 {
		e.receipt = u.text()
	}
	if has&hasVary != 0 {
		e.vary = u.text()
	}
	for range u.count() {
		e.variants = append(e.variants, unpackVariant(&u))
	}
}

func unpackVariant(u *unpacker) (v variant) {
	v.key = u.text()
	has := u.byte()
	v.State, v.Own, v.WeakDate = validator.State(has&3), has&isOwn != 0, has&hasWeakDate != 0
	stored := u.number()
	v.stored = after(u.base, stored)
	v.since = time.Unix(0, u.number()+u.base.UnixNano()+stored)
	if has&hasDate != 0 {
		v.LastModified = time.Unix(u.number(), 0).UTC()
	}
	if has&hasTag != 0 {
		v.ETag = validator.ETag{Opaque: u.text(), Weak: has&hasWeakTag != 0, Valid: true}
	}
	if has&hasBackendTag != 0 {
		weak := u.byte() != 0
		v.Backend = validator.ETag{Opaque: u.text(), Weak: weak, Valid: true}
	}
	return v
}

// packedKey returns the key of a packed entry.
func packedKey(b []byte) []byte {
	n, size := binary.Uvarint(b)
	return b[size:][:n]
}

// hasKey reports whether a packed entry has the key.
func hasKey(b []byte, key string) bool { return string(packedKey(b)) == key }

// hasPrefix reports whether the key of a packed entry begins with the prefix.
func hasPrefix(b []byte, prefix string) bool { return bytes.HasPrefix(packedKey(b), []byte(prefix)) }
