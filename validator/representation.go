package validator

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"time"
)

// State is what is known about the selected representation of a resource (RFC
// 9110, section 3.2).
type State uint8

const (
	// Unknown means that nothing is known: only the origin knows the state.
	Unknown State = iota
	// Absent means that the target has no current representation: the origin
	// answers 404 or 410.
	Absent
	// Present means that a current representation exists, with or without
	// validators.
	Present
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case Absent:
		return "absent"
	case Present:
		return "present"
	default:
		return "unknown"
	}
}

// Representation is what preconditions are evaluated against: the state of the
// selected representation and its validators.
type Representation struct {
	State State

	// ETag is the current entity tag. The zero value means that none is known.
	ETag ETag

	// LastModified is the modification date, to the second. The zero value
	// means that none is known.
	LastModified time.Time

	// WeakDate means that two changes may share the date LastModified. The date
	// then can't prove that nothing changed (RFC 9110, section 8.8.2.2).
	WeakDate bool
}

// Equal reports whether a and b have the same state and the same validators.
func (a Representation) Equal(b Representation) bool {
	return a.State == b.State && a.ETag == b.ETag &&
		a.LastModified.Equal(b.LastModified) && a.WeakDate == b.WeakDate
}

// Observed is a representation as a response showed it, with the origin of its tag.
type Observed struct {
	Representation

	// Own means that the backend itself sent the entity tag, rather than a gateway
	// deriving it on the backend's behalf.
	Own bool

	// Backend is the entity tag that the backend itself sent for this
	// representation, if that isn't ETag. It may be weak. It is not valid if the
	// backend sent none, or if Own.
	//
	// It is what the backend compares conditions with. It takes no part in the
	// conditions of clients, who have never seen it, nor in what a state is.
	Backend ETag
}

// Equal reports whether a and b are the same in every respect.
func (a Observed) Equal(b Observed) bool {
	return a.Backend == b.Backend && a.SameState(b)
}

// SameState reports whether a and b are equal except for Backend. Servers that share
// their content may each have a tag of their own for it.
func (a Observed) SameState(b Observed) bool {
	return a.Own == b.Own && a.Representation.Equal(b.Representation)
}

// SameValidators reports whether a and b have the same state, except for WeakDate: a
// date that has become strong is still the same date.
func (a Observed) SameValidators(b Observed) bool {
	a.WeakDate, b.WeakDate = false, false
	return a.SameState(b)
}

// Identity returns a short text that identifies the observed state, whichever
// variant of the resource showed it: at most 16 printable ASCII characters, none of
// which is a space or a semicolon. It depends on the entity tag if there is one,
// and otherwise on the modification date. All absent states have the same identity.
// It is empty if there is nothing to identify the state by.
//
// Tags that match in the weak comparison (RFC 9110, section 8.8.3.2) have the same
// identity, whoever made them: servers and intermediaries weaken the tag of a state
// that has not changed.
func (a Observed) Identity() string {
	var onStack [128]byte
	switch {
	case a.State == Absent:
		return "absent"
	case a.State != Present:
		return ""
	case a.ETag.Valid:
		return identity('t', ETag{Opaque: a.ETag.Opaque, Valid: true}.AppendTo(onStack[:0]))
	case !a.LastModified.IsZero():
		return identity('d', strconv.AppendInt(onStack[:0], a.LastModified.Unix(), 10))
	default:
		return ""
	}
}

// identity returns a letter and 60 bits of the SHA-1 of a text, a hash that Redis scripts
// can compute, too. Nothing has to be secret or unforgeable: if two states had the same
// digest, one would be distrusted for as long as the other.
func identity(kind byte, text []byte) string {
	sum := sha1.Sum(text)
	var id [1 + 2*sha1.Size]byte
	id[0] = kind
	hex.Encode(id[1:], sum[:])
	return string(id[:16])
}
