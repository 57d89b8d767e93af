package validator

import "time"

// IfRange evaluates the If-Range of a request that has a Range: it reports
// whether the client holds a part of r, so that it is to get the range, and not
// the whole (RFC 9110, section 13.1.5). The lines are the field's; nil, for no
// such field, holds.
//
// One strong tag must match in a strong comparison, or one date be exactly that
// of the last modification, unless another change may share it (section
// 8.8.2.2). Whatever else the field may say doesn't hold. Neither does a tag
// that was marked, unless r has the mark, too: the client holds a part of another
// representation.
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
