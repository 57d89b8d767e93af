package validator

import (
	"errors"
	"net/http"
	"time"
)

// Conditions holds the field lines of a request's preconditions, as received and
// in the same order. A nil slice means that the field is absent. A field that is
// present but empty is not nil: an empty If-Match is a condition that fails.
type Conditions struct {
	IfMatch           []string
	IfNoneMatch       []string
	IfModifiedSince   []string
	IfUnmodifiedSince []string

	// If is the If field of RFC 4918, if its conditions on entity tags count. The caller
	// parses it; ConditionsFrom doesn't.
	If *StateLists

	// Weak says which weak tags count in If-Match. RFC 9110, section 13.1.1, has none.
	Weak WeakTags
}

// WeakTags says where If-Match is compared as a weak comparison would, because somebody
// vouches for what RFC 9110 can't know.
type WeakTags struct {
	// Listed means that W/"x" in the list counts as "x": clients got it from an
	// intermediary that has weakened a strong tag on its way. It doesn't match a current
	// tag that is weak.
	Listed bool

	// Current means that a current tag that is weak changes whenever the representation
	// does, like a strong one. Any listed tag with the same octets matches it.
	Current bool
}

// count reports whether a weak tag in the list can match in some state.
func (w WeakTags) count() bool { return w.Listed || w.Current }

// comparison returns how listed tags are compared with the current one.
func (w WeakTags) comparison(current ETag) func(a, b ETag) bool {
	if current.Weak && w.Current || !current.Weak && w.Listed {
		return WeakMatch
	}
	return StrongMatch
}

// ConditionsFrom returns the preconditions in h. It doesn't copy the slices of h.
func ConditionsFrom(h http.Header) Conditions {
	return Conditions{
		IfMatch:           fieldLines(h, IfMatch),
		IfNoneMatch:       fieldLines(h, IfNoneMatch),
		IfModifiedSince:   fieldLines(h, IfModifiedSince),
		IfUnmodifiedSince: fieldLines(h, IfUnmodifiedSince),
	}
}

func fieldLines(h http.Header, f Field) []string {
	lines, ok := h[f.String()]
	if ok && lines == nil {
		return []string{}
	}
	return lines
}

// Lines returns the lines of a field.
func (c Conditions) Lines(f Field) []string {
	switch f {
	case IfMatch:
		return c.IfMatch
	case IfNoneMatch:
		return c.IfNoneMatch
	case IfModifiedSince:
		return c.IfModifiedSince
	case IfUnmodifiedSince:
		return c.IfUnmodifiedSince
	case If:
		if c.If != nil {
			return []string{c.If.Sent}
		}
		return nil
	default:
		return nil
	}
}

// HasDate reports whether a field is exactly one HTTP-date. Evaluate ignores a condition by
// date that isn't.
func (c Conditions) HasDate(f Field, now time.Time) bool {
	lines := c.Lines(f)
	if len(lines) != 1 {
		return false
	}
	_, ok := ParseDate(trimOWS(lines[0]), now)
	return ok
}

// Empty reports whether the request has no precondition field at all.
func (c Conditions) Empty() bool {
	return c.IfModifiedSince == nil && !c.GuardsWrite()
}

// GuardsWrite reports whether a field is present that can prevent a write. Only
// Evaluate can decide whether it does; it may have to ignore the field.
func (c Conditions) GuardsWrite() bool {
	return c.IfMatch != nil || c.IfNoneMatch != nil || c.IfUnmodifiedSince != nil || c.If.HasTags()
}

// The limits of CheckSize. A cache that lists every variant it has stored stays far
// below both.
const (
	// MaxBytes is the maximum number of octets in the values of all fields
	// together, with the lines of each field joined by ", ".
	MaxBytes = 16 << 10
	// MaxTags is the maximum number of members in If-Match and If-None-Match
	// together. Malformed members count, and empty elements don't.
	MaxTags = 256
)

// ErrTooLarge is the error of CheckSize. The status code for it is 431 (RFC 6585,
// section 5).
var ErrTooLarge = errors.New("preconditions too large")

// CheckSize returns ErrTooLarge if the conditions are more numerous or longer than
// any honest client's, as stated by MaxTags and MaxBytes (RFC 9110, section 5.6.1.2:
// "a reasonable number of empty list elements"). It never looks at more than
// MaxBytes octets.
func (c Conditions) CheckSize() error {
	size := 0
	for _, lines := range [...][]string{c.IfMatch, c.IfNoneMatch, c.IfModifiedSince, c.IfUnmodifiedSince} {
		for i, line := range lines {
			if i > 0 {
				size += len(", ")
			}
			size += len(line)
			if size > MaxBytes {
				return ErrTooLarge
			}
		}
	}
	tags := 0
	for _, lines := range [...][]string{c.IfMatch, c.IfNoneMatch} {
		members := list{lines: lines}
		for _, _, ok := members.next(); ok; _, _, ok = members.next() {
			tags++
		}
	}
	if tags > MaxTags {
		return ErrTooLarge
	}
	return nil
}
