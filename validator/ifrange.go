package validator

import "time"

// IfRange evaluates the If-Range field of a request with a Range (RFC 9110, section
// 13.1.5). It reports whether the client already has a part of r, and so must get
// the range rather than the whole. The argument lines holds the lines of the field;
// it is nil if there is no such field, and then the condition is true.
//
// The condition is also true if the field is one entity tag that matches in a strong
// comparison, or one date that is exactly the modification date, unless a second
// change may share that date (section 8.8.2.2). Otherwise it is false. A marked tag
// is false unless r has the same mark, because the client then has a part of a
// different representation. The time now is needed to interpret two-digit years.
func IfRange(lines []string, r Representation, now time.Time) bool {
	if lines == nil {
		return true
	}
	if len(lines) != 1 || r.State != Present {
		return false
	}
	value := trimOWS(lines[0])
	if tag, ok := ParseETag(value); ok {
		return StrongMatch(tag, r.ETag)
	}
	date, ok := ParseDate(value, now)
	return ok && !r.WeakDate && !r.LastModified.IsZero() && date.Unix() == r.LastModified.Unix()
}
