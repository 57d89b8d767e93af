package etagcache

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// reply is what a script returns: a status and the values that follow it.
type reply []any

func (r reply) status() error {
	status, _ := r.text(0)
	switch status {
	case "OK":
		return nil
	case "BUSY":
		return ErrBusy
	case "STALE":
		return ErrStale
	case "LOST":
		return ErrLost
	case "SPENT":
		return ErrSpent
	case "FORMAT":
		found, _ := r.text(1)
		return fmt.Errorf("%w: its format is %s, and here it is %d", ErrIncompatible, found, Format)
	default:
		return r.malformed()
	}
}

// firstVariant is the index of the first variant in a reply with an entry.
const firstVariant = 15

// entry returns the entry that follows the status.
func (r reply) entry() (Entry, error) {
	epoch, ok1 := r.text(1)
	busy, ok2 := r.number(2)
	now, ok3 := r.number(3)
	vary, ok4 := r.text(4)
	_, ok5 := r.number(5)
	receipt, ok6 := r.text(6)
	last, ok7 := r.number(9)
	spent, ok8 := r.text(12)
	held, ok9 := r.text(13)
	heldLeft, ok10 := r.number(14)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || !ok7 || !ok8 || !ok9 || !ok10 {
		return Entry{}, r.malformed()
	}
	e := Entry{
		Epoch:    epoch,
		Busy:     time.Duration(busy) * time.Millisecond,
		Vary:     vary,
		Variants: make(Variants, 0, max(0, len(r)-firstVariant)/2),
		Receipt:  receipt,
		Now:      time.UnixMilli(now),
		Grace:    r.graceLeft(10),
	}
	if last > 0 {
		e.Latest = time.UnixMilli(last)
	}
	for i := firstVariant; i < len(r); i += 2 {
		name, _ := r.text(i)
		// An unreadable variant is unknown. The next observation replaces it.
		if s, err := r.variant(i+1, now); err == nil {
			e.Variants = append(e.Variants, Variant{name, s})
			e.Latest = laterOf(e.Latest, s.Since)
		}
	}
	if !e.setSpent(spent, now, math.MaxInt64) {
		return Entry{}, r.malformed()
	}
	e.setHeld(held, heldLeft)
	return e, nil
}

// variant returns the variant that a value describes: a string or, if the backend has a
// tag of its own, that string and the tag.
func (r reply) variant(i int, now int64) (Stored, error) {
	value, _ := r.text(i)
	if i < len(r) {
		if both, ok := r[i].([]any); ok {
			return variantWithTag(both, now)
		}
	}
	return stored(value, now)
}

func variantWithTag(both reply, now int64) (Stored, error) {
	value, _ := both.text(0)
	tag, _ := both.text(1)
	s, err := stored(value, now)
	if err != nil {
		return s, err
	}
	var ok bool
	if s.Backend, ok = unpackTag(tag); !ok {
		return s, errPacked
	}
	return s, nil
}

// unknownAge is the age of what was stored in the future: the clock was set back.
const unknownAge = math.MaxInt64

// stored parses what the scripts store for a variant.
func stored(value string, now int64) (s Stored, err error) {
	stored, value, _ := strings.Cut(value, " ")
	known, packed, _ := strings.Cut(value, " ")
	at, err := strconv.ParseInt(stored, 10, 64)
	if err != nil {
		return s, err
	}
	before, err := strconv.ParseInt(known, 10, 64)
	if err != nil {
		return s, err
	}
	s.Observed, err = unpack(packed)
	s.Age = time.Duration(now-at) * time.Millisecond
	if s.Age < 0 {
		s.Age = unknownAge
	}
	s.Since = time.UnixMilli(at - before)
	return s, err
}

// began reports whether the call began a generation. The reply must contain an
// entry, for this and the following functions.
func (r reply) began() bool {
	n, _ := r.number(5)
	return n == 1
}

// blind reports whether the server can't tell whether it has lost data.
func (r reply) blind() bool {
	n, _ := r.number(7)
	return n == 1
}

// grace returns the longest grace of all callers, in milliseconds.
func (r reply) grace() int64 {
	n, _ := r.number(8)
	return n
}

// graceLeft returns how much of a grace is left, and what has happened to the data.
func (r reply) graceLeft(i int) Grace {
	left, _ := r.number(i)
	why, _ := r.text(i + 1)
	return Grace{Left: time.Duration(left) * time.Millisecond, Loss: Loss(why)}
}

// wait returns the time that follows the status.
func (r reply) wait() (time.Duration, error) {
	left, ok := r.number(1)
	if !ok {
		return 0, r.malformed()
	}
	return time.Duration(left) * time.Millisecond, nil
}

func (r reply) text(i int) (string, bool) {
	if i >= len(r) {
		return "", false
	}
	s, ok := r[i].(string)
	return s, ok
}

func (r reply) number(i int) (int64, bool) {
	if i >= len(r) {
		return 0, false
	}
	n, ok := r[i].(int64)
	return n, ok
}

func (r reply) malformed() error {
	return fmt.Errorf("%w: unexpected reply: %q", ErrUnavailable, []any(r))
}
