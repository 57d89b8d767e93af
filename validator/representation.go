package validator

import "time"

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
}

// Equal reports whether a and b are the same in every respect.
func (a Observed) Equal(b Observed) bool {
	return a.Own == b.Own && a.Representation.Equal(b.Representation)
}

// SameValidators reports whether a and b are equal except for WeakDate: a date that
// has become strong is still the same date.
func (a Observed) SameValidators(b Observed) bool {
	a.WeakDate, b.WeakDate = false, false
	return a.Equal(b)
}
