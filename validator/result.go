package validator

// Verdict is what a request's preconditions come to.
type Verdict uint8

const (
	// Unconditional means that no condition applies: none was sent, or every
	// one has to be ignored.
	Unconditional Verdict = iota
	// True means that every condition that applies holds.
	True
	// False means that a condition doesn't hold: the method must not be
	// performed, and the response is 412.
	False
	// NotModified means that GET or HEAD found the client's copy to be current:
	// the response is 304.
	NotModified
	// Unverifiable means that a condition applies, but what is known about the
	// representation doesn't decide it.
	Unverifiable
)

var verdictNames = [...]string{
	Unconditional: "unconditional",
	True:          "true",
	False:         "false",
	NotModified:   "not modified",
	Unverifiable:  "unverifiable",
}

// String returns the verdict in lower-case words.
func (v Verdict) String() string {
	if int(v) >= len(verdictNames) {
		return ""
	}
	return verdictNames[v]
}

// Reason says why a condition came to its verdict.
type Reason uint8

const (
	// NoCondition means that there was nothing to evaluate.
	NoCondition Reason = iota
	// Matched means that a listed tag is the current one.
	Matched
	// NoMatch means that no listed tag is the current one.
	NoMatch
	// Exists decides "*": there is a current representation.
	Exists
	// DoesNotExist means that there is no current representation.
	DoesNotExist
	// EmptyList means that the field has no members.
	EmptyList
	// Malformed means that a member is no entity tag.
	Malformed
	// WildcardInList means that "*" isn't alone.
	WildcardInList
	// WeakCurrent means that the current tag is weak, so that no tag can match
	// it in a strong comparison.
	WeakCurrent
	// WeakListed means that all listed tags are weak, so that none can match in
	// a strong comparison.
	WeakListed
	// NotKnown means that the validator, or whether there is a representation,
	// isn't known.
	NotKnown
	// Modified means that the representation was modified after the date.
	Modified
	// Unmodified means that it was not.
	Unmodified
	// WeakDate means that the date can't rule out a second change.
	WeakDate
	// InvalidDate means that the field isn't exactly one HTTP-date.
	InvalidDate
	// NoDate means that the representation has no modification date.
	NoDate
	// ReadsOnly means that If-Modified-Since came with a method that is neither
	// GET nor HEAD.
	ReadsOnly
)

var reasonNames = [...]string{
	NoCondition:    "no condition",
	Matched:        "matched",
	NoMatch:        "no match",
	Exists:         "exists",
	DoesNotExist:   "does not exist",
	EmptyList:      "empty list",
	Malformed:      "malformed",
	WildcardInList: "wildcard in list",
	WeakCurrent:    "weak current tag",
	WeakListed:     "weak listed tags",
	NotKnown:       "not known",
	Modified:       "modified",
	Unmodified:     "unmodified",
	WeakDate:       "weak date",
	InvalidDate:    "invalid date",
	NoDate:         "no date",
	ReadsOnly:      "reads only",
}

// String returns the reason in lower-case words.
func (r Reason) String() string {
	if int(r) >= len(reasonNames) {
		return ""
	}
	return reasonNames[r]
}

// Result is the outcome of Evaluate.
type Result struct {
	Verdict Verdict

	// Field is the field that decided. If all conditions hold it is the first
	// one that applied; it is None if none applies.
	Field Field

	// Reason says why Field came to Verdict. If none applies it says why the
	// first field that is present was ignored.
	Reason Reason

	// Matched is the listed tag that matched, as it was sent. It is no tag if
	// none did, or if the field was "*".
	Matched ETag

	// Offset is where the first offending member starts if Reason is Malformed
	// or WildcardInList: the number of octets before it in the field's lines
	// joined with ", ". Otherwise it is 0.
	Offset int

	// Ignored holds the fields that are present but must be ignored. Those that
	// would have come after the field that decided are not looked at.
	Ignored Fields
}

// add takes in what the next condition came to. The first one that applies
// stays, unless a later one doesn't hold.
func (res *Result) add(f Field, next Result) {
	switch {
	case next.Verdict == Unconditional:
		res.ignore(f)
		if res.Reason == NoCondition {
			res.Reason = next.Reason
		}
	case next.Verdict != True || res.Verdict == Unconditional:
		next.Field, next.Ignored = f, res.Ignored
		*res = next
	}
}

func (res *Result) ignore(f Field) {
	res.Ignored = res.Ignored.With(f)
}
