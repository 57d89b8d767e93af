package validator

// Verdict is the outcome of a request's preconditions.
type Verdict uint8

const (
	// Unconditional means that no condition applies: none was sent, or all must
	// be ignored.
	Unconditional Verdict = iota
	// True means that all conditions that apply are true.
	True
	// False means that a condition is false: the method must not be performed,
	// and the response is 412.
	False
	// NotModified means that the client of a GET or HEAD already has the current
	// representation: the response is 304.
	NotModified
	// Unverifiable means that a condition applies, but too little is known about
	// the representation to decide it.
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

// Reason says why a condition has its verdict.
type Reason uint8

const (
	// NoCondition means that there was nothing to evaluate.
	NoCondition Reason = iota
	// Matched means that a listed tag is the current one.
	Matched
	// NoMatch means that no listed tag is the current one.
	NoMatch
	// Exists means that there is a current representation, which decides "*".
	Exists
	// DoesNotExist means that there is no current representation.
	DoesNotExist
	// EmptyList means that the field has no members.
	EmptyList
	// Malformed means that a member is not an entity tag.
	Malformed
	// WildcardInList means that "*" is not the only member.
	WildcardInList
	// WeakCurrent means that the current tag is weak, so no tag can match it in
	// a strong comparison.
	WeakCurrent
	// WeakListed means that all listed tags are weak, so none can match in a
	// strong comparison.
	WeakListed
	// Weakened means that the current tag is strong and a listed one is its weak form,
	// which doesn't match in a strong comparison.
	Weakened
	// NotKnown means that the validator is not known, or whether there is a
	// representation.
	NotKnown
	// Modified means that the representation was modified after the date.
	Modified
	// Unmodified means that the representation was not modified after the date.
	Unmodified
	// WeakDate means that there may have been a second change at the same date.
	WeakDate
	// InvalidDate means that the field is not exactly one HTTP-date.
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
	Weakened:       "weak form of the current tag",
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

	// Field is the field that decided. If all conditions are true, it is the
	// first one that applies. If none applies, it is None.
	Field Field

	// Reason says why Field led to Verdict. If no field applies, it says why the
	// first field that is present was ignored.
	Reason Reason

	// Matched is the listed tag that matched, as it was sent. It is not valid if
	// no tag matched, or if the field was "*".
	Matched ETag

	// Offset is where the first offending member starts, if Reason is Malformed
	// or WildcardInList: the number of octets before it when the field's lines are
	// joined by ", ". Otherwise it is 0.
	Offset int

	// Ignored holds the fields that are present but must be ignored. Fields that
	// come after the one that decided are not examined.
	Ignored Fields
}

// add combines res with the result of the next condition. The first condition that
// applies stays in res unless a later one is not true.
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
