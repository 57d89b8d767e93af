package validator

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// HTTP-dates and near misses (RFC 9110, section 5.6.7), parsed on 22 Nov 2025.
var dateTests = []struct {
	name string
	in   string
	want string // RFC 3339, or empty if in is not a date
}{
	{"IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"},
	{"RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37Z"},
	{"asctime", "Sun Nov  6 08:49:37 1994", "1994-11-06T08:49:37Z"},
	{"asctime with two digits", "Wed Nov 16 08:49:37 1994", "1994-11-16T08:49:37Z"},
	{"asctime with a zero", "Sun Nov 06 08:49:37 1994", "1994-11-06T08:49:37Z"},
	{"first second of the day", "Sun, 06 Nov 1994 00:00:00 GMT", "1994-11-06T00:00:00Z"},
	{"last second of the day", "Sun, 06 Nov 1994 23:59:59 GMT", "1994-11-06T23:59:59Z"},
	{"leap second", "Sat, 31 Dec 2016 23:59:60 GMT", "2017-01-01T00:00:00Z"},
	{"leap second in RFC 850", "Saturday, 31-Dec-16 23:59:60 GMT", "2017-01-01T00:00:00Z"},
	{"leap day", "Thu, 29 Feb 2024 00:00:00 GMT", "2024-02-29T00:00:00Z"},
	{"leap day of a century", "Tuesday, 29-Feb-00 00:00:00 GMT", "2000-02-29T00:00:00Z"},
	{"day name of a different date", "Mon, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"},
	{"last year", "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59Z"},
	{"50 years ahead", "Friday, 22-Nov-75 00:00:00 GMT", "2075-11-22T00:00:00Z"},
	{"more than 50 years ahead", "Friday, 22-Nov-75 00:00:01 GMT", "1975-11-22T00:00:01Z"},
	{"two digits that net/http reads as 1969", "Friday, 22-Nov-69 00:00:00 GMT", "2069-11-22T00:00:00Z"},

	{"nothing", "", ""},
	{"day name alone", "Sun", ""},
	{"other zone", "Sun, 06 Nov 1994 08:49:37 PST", ""},
	{"other zone in RFC 850", "Sunday, 06-Nov-94 08:49:37 PST", ""},
	{"UTC", "Sun, 06 Nov 1994 08:49:37 UTC", ""},
	{"numeric zone", "Sun, 06 Nov 1994 08:49:37 +0000", ""},
	{"no zone", "Sun, 06 Nov 1994 08:49:37", ""},
	{"zone in lower case", "Sun, 06 Nov 1994 08:49:37 gmt", ""},
	{"zone in asctime", "Sun Nov  6 08:49:37 1994 GMT", ""},
	{"day in lower case", "sun, 06 Nov 1994 08:49:37 GMT", ""},
	{"month in upper case", "Sun, 06 NOV 1994 08:49:37 GMT", ""},
	{"no such day name", "Sum, 06 Nov 1994 08:49:37 GMT", ""},
	{"no such long day name", "Sumday, 06-Nov-94 08:49:37 GMT", ""},
	{"no such month", "Sun, 06 Nob 1994 08:49:37 GMT", ""},
	{"long day name in IMF-fixdate", "Sunday, 06 Nov 1994 08:49:37 GMT", ""},
	{"short day name in RFC 850", "Sun, 06-Nov-94 08:49:37 GMT", ""},
	{"long year in RFC 850", "Sunday, 06-Nov-1994 08:49:37 GMT", ""},
	{"one digit", "Sun, 6 Nov 1994 08:49:37 GMT", ""},
	{"one digit in asctime", "Sun Nov 6 08:49:37 1994", ""},
	{"day 0", "Sun, 00 Nov 1994 08:49:37 GMT", ""},
	{"day 31 of 30", "Thu, 31 Nov 1994 08:49:37 GMT", ""},
	{"leap day in a common year", "Mon, 29 Feb 2100 08:49:37 GMT", ""},
	{"hour 24", "Sun, 06 Nov 1994 24:00:00 GMT", ""},
	{"minute 60", "Sun, 06 Nov 1994 08:60:37 GMT", ""},
	{"second 61", "Sun, 06 Nov 1994 08:49:61 GMT", ""},
	{"fraction", "Sun, 06 Nov 1994 08:49:37.5 GMT", ""},
	{"sign", "Sun, 06 Nov +994 08:49:37 GMT", ""},
	{"no digit", "Sun, 06 Nov 199: 08:49:37 GMT", ""},
	{"two spaces", "Sun, 06  Nov 1994 08:49:37 GMT", ""},
	{"space before", " Sun, 06 Nov 1994 08:49:37 GMT", ""},
	{"space after", "Sun, 06 Nov 1994 08:49:37 GMT ", ""},
	{"two dates", "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", ""},
	{"RFC 3339", "1994-11-06T08:49:37Z", ""},
	{"entity tag", `"xyzzy"`, ""},
}

func TestParseDate(t *testing.T) {
	for _, tc := range dateTests {
		t.Run(tc.name+" 5.6.7", func(t *testing.T) {
			got, ok := ParseDate(tc.in, now)
			if s := got.Format(time.RFC3339); ok && s != tc.want || ok != (tc.want != "") {
				t.Errorf("ParseDate(%q) = %s, %v, want %q", tc.in, s, ok, tc.want)
			}
			if !ok && !got.IsZero() {
				t.Errorf("ParseDate(%q) = %v, want the zero time", tc.in, got)
			}
		})
	}
}

// The year of an RFC 850 date depends on the current time in UTC.
func TestParseDateCentury(t *testing.T) {
	for _, tc := range []struct {
		now  string
		in   string
		year int
	}{
		{"1999-12-31T23:59:59Z", "Friday, 31-Dec-99 23:59:59 GMT", 1999},
		{"1999-12-31T23:59:59Z", "Saturday, 01-Jan-00 00:00:00 GMT", 2000},
		{"2000-01-01T00:00:00Z", "Saturday, 01-Jan-00 00:00:00 GMT", 2000},
		{"2000-01-01T00:00:00Z", "Friday, 31-Dec-99 23:59:59 GMT", 1999},
		{"2049-12-31T23:30:00-01:00", "Friday, 01-Jan-00 00:10:00 GMT", 2100},
		{"2050-01-01T00:30:00+01:00", "Friday, 01-Jan-00 00:10:00 GMT", 2000},
		{"2049-01-01T00:00:00Z", "Thursday, 01-Jan-99 00:00:00 GMT", 2099},
		{"2048-12-31T23:59:59Z", "Thursday, 01-Jan-99 00:00:00 GMT", 1999},
		{"2080-01-01T00:00:00Z", "Wednesday, 01-Jan-30 00:00:00 GMT", 2130},
		{"2080-01-01T00:00:00Z", "Wednesday, 01-Jan-30 00:00:01 GMT", 2030},
		{"2130-01-01T00:00:00Z", "Monday, 01-Mar-00 00:00:00 GMT", 2100},
	} {
		at, err := time.Parse(time.RFC3339, tc.now)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := ParseDate(tc.in, at); !ok || got.Year() != tc.year {
			t.Errorf("5.6.7: at %s: ParseDate(%q) = %v, %v, want %d", tc.now, tc.in, got, ok, tc.year)
		}
	}
}

func TestFormatDate(t *testing.T) {
	const want = "Sun, 06 Nov 1994 08:49:37 GMT"
	at := time.Date(1994, time.November, 6, 9, 49, 37, 999, time.FixedZone("CET", 3600))
	if got := FormatDate(at); got != want {
		t.Errorf("FormatDate = %q, want %q", got, want)
	}
	for seconds := int64(-62167219200); seconds < 253402300800; seconds += 86400*29 + 3601 { // the years 0 to 9999
		at := time.Unix(seconds, 0)
		if got, want := FormatDate(at), at.UTC().Format(http.TimeFormat); got != want {
			t.Fatalf("FormatDate = %q, want %q", got, want)
		}
	}
}

func TestParseDateDoesNotAllocate(t *testing.T) {
	for _, tc := range dateTests {
		if n := testing.AllocsPerRun(10, func() { ParseDate(tc.in, now) }); n != 0 {
			t.Errorf("%s: %v allocations", tc.name, n)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for i, tc := range dateTests {
		f.Add(tc.in, int64(i)*987654321)
	}
	f.Fuzz(func(t *testing.T, s string, seconds int64) {
		const years0To9999 = 315569520000
		at := time.Unix(seconds%years0To9999, 0).UTC()
		if at.Year() >= 0 && at.Year() <= 9999 {
			if back, ok := ParseDate(FormatDate(at), now); !ok || !back.Equal(at) {
				t.Errorf("%q is parsed as %v, %v", FormatDate(at), back, ok)
			}
		}
		got, ok := ParseDate(s, now)
		if !ok {
			return
		}
		if again, ok := ParseDate(FormatDate(got), now); got.Year() <= 9999 && (!ok || !again.Equal(got)) {
			t.Errorf("%q: %v is formatted and parsed as %v, %v", s, got, again, ok)
		}
		want, err := http.ParseTime(s)
		if err != nil {
			if !strings.Contains(s, ":60") { // http.ParseTime rejects leap seconds
				t.Errorf("ParseDate(%q) = %v, http.ParseTime: %v", s, got, err)
			}
			return
		}
		if s[3] != ',' && s[3] != ' ' && got.Year() == want.Year()+100 { // http.ParseTime splits centuries at 69
			want = want.AddDate(100, 0, 0)
		}
		if !got.Equal(want) {
			t.Errorf("ParseDate(%q) = %v, http.ParseTime = %v", s, got, want)
		}
	})
}

func BenchmarkParseDate(b *testing.B) {
	for _, tc := range dateTests[:3] {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ParseDate(tc.in, now)
			}
		})
	}
}
