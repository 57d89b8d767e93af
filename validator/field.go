package validator

// Field is a request field that contains a precondition (RFC 9110, section 13.1; RFC 4918,
// section 10.4).
type Field uint8

// The fields in the order of their evaluation (RFC 9110, section 13.2.2).
const (
	None Field = iota
	IfMatch
	IfUnmodifiedSince
	IfNoneMatch
	IfModifiedSince
	If // RFC 4918, section 10.4
)

var fieldNames = [...]string{
	None:              "",
	IfMatch:           "If-Match",
	IfUnmodifiedSince: "If-Unmodified-Since",
	IfNoneMatch:       "If-None-Match",
	IfModifiedSince:   "If-Modified-Since",
	If:                "If",
}

// String returns the field's canonical name, which is empty for None.
func (f Field) String() string {
	if int(f) >= len(fieldNames) {
		return ""
	}
	return fieldNames[f]
}

// Fields is a set of fields.
type Fields uint8

// Has reports whether f is in the set.
func (s Fields) Has(f Field) bool {
	return s&(1<<f) != 0
}

// With returns the set with f added.
func (s Fields) With(f Field) Fields {
	return s | 1<<f
}
