package validator

import (
	"net/http"
	"strings"
	"time"
)

var (
	dayNames  = [...]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
	longNames = [...]string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
	months    = [...]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
)

// ParseDate parses s as an HTTP-date in any of its three formats (RFC 9110,
// section 5.6.7):
//
//	Sun, 06 Nov 1994 08:49:37 GMT   IMF-fixdate
//	Sunday, 06-Nov-94 08:49:37 GMT  RFC 850
//	Sun Nov  6 08:49:37 1994        asctime
//
// The formats are exact, case-sensitive and always in UTC. A two-digit year of an
// RFC 850 date means the latest such year that leaves the date at most 50 years
// after now. Second 60, a leap second, is read as the second after it. The day name
// need not agree with the date.
//
// http.ParseTime is not enough here: it accepts other time zones, assigns two-digit
// years to fixed centuries, ignores case and rejects leap seconds.
func ParseDate(s string, now time.Time) (time.Time, bool) {
	switch {
	case len(s) < 4:
		return time.Time{}, false
	case s[3] == ',':
		return parseIMFFixdate(s)
	case s[3] == ' ':
		return parseASCTime(s)
	default:
		return parseRFC850(s, now.UTC())
	}
}

func parseIMFFixdate(s string) (time.Time, bool) {
	p := dateParser{rest: s}
	p.name(dayNames[:])
	p.literal(", ")
	p.day = p.digits(2)
	p.literal(" ")
	p.month = p.name(months[:])
	p.literal(" ")
	p.year = p.digits(4)
	p.literal(" ")
	p.timeOfDay()
	p.literal(" GMT")
	return p.end()
}

func parseRFC850(s string, now time.Time) (time.Time, bool) {
	p := dateParser{rest: s}
	p.name(longNames[:])
	p.literal(", ")
	p.day = p.digits(2)
	p.literal("-")
	p.month = p.name(months[:])
	p.literal("-")
	limit := now.AddDate(50, 0, 0)
	p.year = limit.Year() - limit.Year()%100 + p.digits(2)
	p.literal(" ")
	p.timeOfDay()
	p.literal(" GMT")
	if p.time().After(limit) {
		p.year -= 100
	}
	return p.end()
}

func parseASCTime(s string) (time.Time, bool) {
	p := dateParser{rest: s}
	p.name(dayNames[:])
	p.literal(" ")
	p.month = p.name(months[:])
	p.literal(" ")
	if strings.HasPrefix(p.rest, " ") {
		p.literal(" ")
		p.day = p.digits(1)
	} else {
		p.day = p.digits(2)
	}
	p.literal(" ")
	p.timeOfDay()
	p.literal(" ")
	p.year = p.digits(4)
	return p.end()
}

// A dateParser reads a date from left to right. Once it has failed, it stays failed.
type dateParser struct {
	rest                 string
	failed               bool
	year, month, day     int
	hour, minute, second int
}

func (p *dateParser) literal(s string) {
	rest, ok := strings.CutPrefix(p.rest, s)
	p.rest, p.failed = rest, p.failed || !ok
}

// name reads one of the names and returns its number, counting from 1.
func (p *dateParser) name(names []string) int {
	for i, name := range names {
		if rest, ok := strings.CutPrefix(p.rest, name); ok {
			p.rest = rest
			return i + 1
		}
	}
	p.failed = true
	return 0
}

func (p *dateParser) digits(n int) int {
	if len(p.rest) < n {
		p.failed = true
		return 0
	}
	value := 0
	for i := range n {
		c := p.rest[i]
		p.failed = p.failed || c < '0' || c > '9'
		value = 10*value + int(c-'0')
	}
	p.rest = p.rest[n:]
	return value
}

func (p *dateParser) timeOfDay() {
	p.hour = p.digits(2)
	p.literal(":")
	p.minute = p.digits(2)
	p.literal(":")
	p.second = p.digits(2)
}

func (p *dateParser) time() time.Time {
	return time.Date(p.year, time.Month(p.month), p.day, p.hour, p.minute, p.second, 0, time.UTC)
}

// end returns the date if all input was read and the date exists in the calendar.
func (p *dateParser) end() (time.Time, bool) {
	if p.failed || p.rest != "" || p.hour > 23 || p.minute > 59 || p.second > 60 {
		return time.Time{}, false
	}
	noon := time.Date(p.year, time.Month(p.month), p.day, 12, 0, 0, 0, time.UTC)
	if noon.Day() != p.day {
		return time.Time{}, false
	}
	return p.time(), true
}

// FormatDate returns t as an IMF-fixdate, the only format that may be generated
// (RFC 9110, section 5.6.7). It truncates fractions of a second. The year must have
// four digits.
func FormatDate(t time.Time) string {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if year < 0 || year > 9999 {
		return t.Format(http.TimeFormat)
	}
	var b [len(http.TimeFormat)]byte
	copy(b[:], "Mon, 02 Jan 2006 15:04:05 GMT")
	copy(b[0:], t.Weekday().String()[:3])
	copy(b[8:], month.String()[:3])
	putTwoDigits(b[5:], day)
	putTwoDigits(b[12:], year/100)
	putTwoDigits(b[14:], year%100)
	putTwoDigits(b[17:], hour)
	putTwoDigits(b[20:], minute)
	putTwoDigits(b[23:], second)
	return string(b[:])
}

func putTwoDigits(b []byte, n int) { b[0], b[1] = byte('0'+n/10), byte('0'+n%10) }
