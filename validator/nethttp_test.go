package validator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// A quirk is a reason why net/http answers a field with a different status.
type quirk string

// The differences between net/http and this package. All but the last two are errors
// of net/http.
const (
	firstLine      quirk = "5.3: reads the first field line only"
	firstDate      quirk = "13.1.3, 13.1.4: takes the first of several dates"
	emptyIsAbsent  quirk = "5.6.1: treats an empty list as an absent field"
	wildcardPrefix quirk = "13.1.1, 13.1.2: treats * among other members as if it were alone"
	stopsScanning  quirk = "8.8.3: stops at a member that is not an entity tag"
	missingComma   quirk = "5.6.1: does not require commas between tags"
	otherZone      quirk = "5.6.7: reads other time zones as GMT"
	otherCentury   quirk = "5.6.7: splits two-digit years at 69, not 50 years from now"
	otherCase      quirk = "5.6.7: ignores the case of dates"
	failsClosed    quirk = "13.1.2: does not refuse a write with a malformed If-None-Match, which the RFC does not require"
	codingAlias    quirk = "8.8.3.3: does not recognize the tags of compressed responses, and neither does the RFC"
)

// A netHTTPField holds the lines of a field, and the quirk of net/http that they
// trigger, if any.
type netHTTPField struct {
	lines []string
	quirk quirk
}

func (f netHTTPField) String() string { return fmt.Sprintf("%q: %s", f.lines, f.quirk) }

func field(q quirk, lines ...string) netHTTPField { return netHTTPField{lines, q} }

var (
	ifMatchFields = []netHTTPField{
		{},
		field("", `"a"`), field("", `"b"`), field("", `W/"a"`), field("", `"b", "a"`), field("", `,"b",,`), field("", `*`), field("", `a`), field("", `w/"a"`),
		field(firstLine, `"b"`, `"a"`),
		field(emptyIsAbsent, ``),
		field(wildcardPrefix, `*, "b"`), field(wildcardPrefix, `*junk`), field(wildcardPrefix, `"b", *`),
		field(stopsScanning, `b, "a"`),
		field(missingComma, `"b" "a"`),
		field(codingAlias, `"a-gzip"`),
	}
	ifNoneMatchFields = []netHTTPField{
		{},
		field("", `"a"`), field("", `"b"`), field("", `W/"a"`), field("", `"b", "a"`), field("", `,"b",,`), field("", `*`),
		field(firstLine, `"b"`, `"a"`),
		field("", `,`), field(emptyIsAbsent, ``),
		field(wildcardPrefix, `*, "b"`),
		field(stopsScanning, `b, "a"`),
		field(missingComma, `"b" "a"`),
		field(failsClosed, `b`),
		field(codingAlias, `"a-gzip"`),
	}
	dateFields = []netHTTPField{
		{},
		field("", `Mon, 03 Nov 2025 11:59:59 GMT`), field("", `Mon, 03 Nov 2025 12:00:00 GMT`), field("", `Monday, 03-Nov-25 12:00:01 GMT`), field("", `Mon Nov  3 12:00:00 2036`), field("", `yesterday`), field("", ``),
		field("", `Mon, 03 Nov 2025 11:59:59 PST`),
		field(firstDate, `Mon, 03 Nov 2025 11:59:59 GMT`, `Mon, 03 Nov 2025 11:59:59 GMT`), field(firstDate, `Mon, 03 Nov 2025 12:00:00 GMT`, ``),
		field(otherZone, `Monday, 03-Nov-25 11:59:59 PST`), field(otherZone, `Monday, 03-Nov-25 12:00:01 PST`),
		field(otherCentury, `Monday, 03-Nov-70 12:00:00 GMT`),
		field(otherCase, `mon, 03 nov 2025 12:00:00 GMT`), field(otherCase, `mon, 03 nov 2025 11:59:59 GMT`),
	}
	// net/http has no notion of an unknown tag.
	netHTTPRepresentations = []Representation{representations["tagged"], representations["strong"], {State: Present, ETag: weak("a"), LastModified: lastModified}}
)

// TestNetHTTP compares Evaluate with http.ServeContent for all combinations of the
// values above. Every difference must be one of the quirks, and every value with a
// quirk must make a difference; otherwise net/http has lost the quirk.
func TestNetHTTP(t *testing.T) {
	differs := map[string]bool{}
	for _, im := range ifMatchFields {
		for _, inm := range ifNoneMatchFields {
			for _, ims := range dateFields {
				for _, ius := range dateFields {
					if q, ok := onlyQuirk(im, inm, ims, ius); ok {
						c := Conditions{IfMatch: im.lines, IfNoneMatch: inm.lines, IfModifiedSince: ims.lines, IfUnmodifiedSince: ius.lines}
						compareNetHTTP(t, c, q, differs)
					}
				}
			}
		}
	}
	for _, f := range slices.Concat(ifMatchFields, ifNoneMatchFields, dateFields) {
		if f.quirk != "" && !differs[f.String()] {
			t.Errorf("net/http no longer differs: %v", f)
		}
	}
}

// onlyQuirk returns the only field with a quirk, if there is one. It returns false if
// several fields have quirks, because then the cause of a difference is unclear.
func onlyQuirk(fields ...netHTTPField) (only netHTTPField, ok bool) {
	for _, f := range fields {
		if f.quirk != "" && only.quirk != "" {
			return netHTTPField{}, false
		}
		if f.quirk != "" {
			only = f
		}
	}
	return only, true
}

func compareNetHTTP(t *testing.T, c Conditions, f netHTTPField, differs map[string]bool) {
	t.Helper()
	for _, r := range netHTTPRepresentations {
		for _, method := range []string{"GET", "HEAD", "PUT"} {
			res := Evaluate(method, c, r, now)
			got, want := status(t, res), netHTTPStatus(method, c, r)
			switch {
			case got == want:
			case f.quirk != "":
				differs[f.String()] = true
			default:
				t.Fatalf("%s %+v of %v, %v: %s, net/http: %d", method, c, r.ETag, r.LastModified, describe(res), want)
			}
		}
	}
}

func status(t *testing.T, res Result) int {
	t.Helper()
	switch res.Verdict {
	case Unconditional, True:
		return http.StatusOK
	case False:
		return http.StatusPreconditionFailed
	case NotModified:
		return http.StatusNotModified
	default:
		t.Fatalf("unverifiable: %s", describe(res))
		return 0
	}
}

func netHTTPStatus(method string, c Conditions, r Representation) int {
	req := &http.Request{Method: method, Header: http.Header{}}
	for f, lines := range map[Field][]string{
		IfMatch: c.IfMatch, IfNoneMatch: c.IfNoneMatch, IfModifiedSince: c.IfModifiedSince, IfUnmodifiedSince: c.IfUnmodifiedSince,
	} {
		if lines != nil {
			req.Header[f.String()] = lines
		}
	}
	w := httptest.NewRecorder()
	w.Header().Set("ETag", r.ETag.String())
	w.Header().Set("Content-Type", "text/plain")
	http.ServeContent(w, req, "", r.LastModified, strings.NewReader(""))
	return w.Code
}
