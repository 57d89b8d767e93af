package clients

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A request target such as x:http://host/path is not an http URL. It has no path to
// identify the resource by, yet a backend that receives it could still find one.
func TestTargetWithoutAPath(t *testing.T) {
	for _, tt := range []struct {
		options, target string
		status          int
	}{
		{"", "x:http://h/docs/plan", 400},
		{"", "http:h/docs/plan", 400},
		{"", "http://h/docs/plan", 204},
		{"mode report", "x:http://h/docs/plan", 204},
	} {
		c := dialWire(t, caddytest.Site(t, tt.options, caddytest.Page("content")))
		host := c.RemoteAddr().String()
		c.send("PUT "+strings.Replace(tt.target, "//h/", "//"+host+"/", 1)+" HTTP/1.1", "Host: "+host, "Content-Length: 0", "If-Match: *", "")
		if got := c.answer("PUT"); got.StatusCode != tt.status {
			t.Errorf("%s: %s: got %s, want %d", tt.options, tt.target, got.Status, tt.status)
		}
	}
}

// scripted is a backend that answers with a status, fields and content.
func scripted(status int, content string, fields ...string) *caddytest.Witness {
	return &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header()[http.CanonicalHeaderKey(fields[i])] = append(w.Header()[http.CanonicalHeaderKey(fields[i])], fields[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, content)
	}}
}

// conditionFields are the request fields that hold preconditions.
var conditionFields = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"}

// A 304 has the fields that RFC 9110, section 15.4.5, asks for, and no content.
func TestNotModified(t *testing.T) {
	backend := caddytest.Page("content", append(slices.Clone(ofRepresentation), "Content-Security-Policy", "default-src 'none'")...)
	base := caddytest.Site(t, "", backend)
	full := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
	tag := full.Tag(t)

	for _, method := range []string{"GET", "HEAD"} {
		t.Run(method, func(t *testing.T) {
			a := caddytest.Send(t, method, base+"/page", "", "If-None-Match", tag).Expect(t, 304)
			for _, name := range []string{"Etag", "Vary", "Cache-Control", "Expires", "Content-Location", "X-Backend", "Content-Security-Policy"} {
				if got, want := a.Header[name], full.Header[name]; len(want) == 0 || !slices.Equal(got, want) {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if a.Header.Get("Date") == "" {
				t.Error("no Date")
			}
			for _, name := range []string{
				"Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Disposition", "Content-Digest",
				"Repr-Digest", "Digest", "X-Amz-Checksum-Crc32", "Last-Modified", "Accept-Ranges", "Transfer-Encoding", "Trailer",
			} {
				if got, ok := a.Header[name]; ok {
					t.Errorf("%s: %q", name, got)
				}
			}
			if a.Content != "" {
				t.Errorf("content: %q", a.Content)
			}
		})
	}

	t.Run("the connection stays usable", func(t *testing.T) {
		c := dialWire(t, base)
		for range 2 {
			c.send("GET /page HTTP/1.1", "Host: "+c.RemoteAddr().String(), "If-None-Match: "+tag, "")
			c.answer("GET").Expect(t, 304)
			c.send("GET /page HTTP/1.1", "Host: "+c.RemoteAddr().String(), "")
			c.answer("GET").Expect(t, 200)
		}
	})

	t.Run("Last-Modified if there is no tag (15.4.5)", func(t *testing.T) {
		base := caddytest.Site(t, "etag upstream", caddytest.Page("content", "Last-Modified", caddytest.LegacyDate))
		a := caddytest.Send(t, "GET", base+"/page", "", "If-Modified-Since", caddytest.LegacyDate).Expect(t, 304)
		if got := a.Header.Get("Last-Modified"); got != caddytest.LegacyDate {
			t.Errorf("Last-Modified: %s", got)
		}
	})

	t.Run("trailer fields of the content aren't sent (15.4.5)", func(t *testing.T) {
		for _, announced := range []string{"X-Checksum", ""} {
			base := caddytest.Site(t, "", &caddytest.Witness{Answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", `"own"`)
				name := http.TrailerPrefix + "X-Checksum"
				if announced != "" {
					w.Header().Set("Trailer", announced)
					name = announced
				}
				_, _ = io.WriteString(w, "content")
				w.(http.Flusher).Flush()
				w.Header().Set(name, "of the content")
			}})
			for status, fields := range map[int][]string{304: {"If-None-Match", `"own"`}, 412: {"If-Match", `"stale"`}} {
				a := caddytest.Send(t, "GET", base+"/page", "", fields...).Expect(t, status)
				if a.Header["X-Checksum"] != nil || len(a.Trailer) > 0 || a.Header["Trailer"] != nil {
					t.Errorf("announced %q: %v, trailer %v", announced, a.Header, a.Trailer)
				}
			}
		}
	})
}

// If-None-Match on reads follows RFC 9110, section 13.1.2.
func TestIfNoneMatchRead(t *testing.T) {
	base := caddytest.Site(t, "", caddytest.Page("content"))
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
	aliased := func(coding string) string { return strings.TrimSuffix(tag, `"`) + "-" + coding + `"` }
	tests := []struct {
		name   string
		lines  []string
		status int
		want   string // the ETag
	}{
		{"current tag", []string{tag}, 304, tag},
		{"list", []string{`"x", ` + tag + `, "y"`}, 304, tag},
		{"list without spaces", []string{`"x",` + tag}, 304, tag},
		{"two field lines (5.3)", []string{`"x"`, tag}, 304, tag},
		{"weak comparison (8.8.3.2)", []string{"W/" + tag}, 304, tag},
		{"*", []string{"*"}, 304, tag},
		{"other tags", []string{`"x", W/"y"`}, 200, tag},
		{"no quotes", []string{strings.Trim(tag, `"`)}, 200, tag},
		{"malformed member before the tag", []string{`x, ` + tag}, 304, tag},
		{"* in a list", []string{`"x", *`}, 200, tag},
		{"empty", []string{""}, 200, tag},
		{"tag of the compressed content (8.8.3.3)", []string{aliased("gzip")}, 304, aliased("gzip")},
		{"the same, weak", []string{"W/" + aliased("br")}, 304, tag},
		{"the same, in a list", []string{`"x", ` + aliased("zstd")}, 304, aliased("zstd")},
		{"the same, together with the current tag", []string{aliased("gzip") + ", " + tag}, 304, tag},
		{"no coding", []string{aliased("x")}, 200, tag},
	}
	for _, test := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(test.name+" in a "+method, func(t *testing.T) {
				var fields []string
				for _, line := range test.lines {
					fields = append(fields, "If-None-Match", line)
				}
				a := caddytest.Send(t, method, base+"/page", "", fields...).Expect(t, test.status)
				if method == "HEAD" && test.name == "*" {
					test.want = "" // the backend's HEAD decides, and nothing has confirmed the tag (9.3.2)
				}
				if got := a.Header.Get("ETag"); got != test.want {
					t.Errorf("ETag: got %s, want %s", got, test.want)
				}
			})
		}
	}
}

// Preconditions apply only if the response without them would be a success (RFC 9110,
// section 13.2.1).
func TestOnlySuccessIsConditional(t *testing.T) {
	for _, status := range []int{301, 302, 307, 401, 403, 404, 405, 410, 415, 429, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			base := caddytest.Site(t, "", scripted(status, "why", "Location", "/elsewhere", "Last-Modified", caddytest.LegacyDate, "ETag", `"own"`))
			for _, fields := range [][]string{
				{"If-None-Match", `"own"`},
				{"If-None-Match", "*"},
				{"If-Match", `"x"`},
				{"If-Match", `*`},
				{"If-Modified-Since", caddytest.LegacyDate},
				{"If-Unmodified-Since", "Sat, 05 Nov 1994 08:49:37 GMT"},
			} {
				for range 2 { // the second time, the handler knows the state
					if a := caddytest.Send(t, "GET", base+"/page", "", fields...).Expect(t, status); a.Content != "why" {
						t.Errorf("%s: content %q", fields, a.Content)
					}
					caddytest.Send(t, "HEAD", base+"/page", "", fields...).Expect(t, status)
				}
			}
		})
	}
}

// If-Match on GET and HEAD follows RFC 9110, section 13.1.1.
func TestIfMatchRead(t *testing.T) {
	for _, tagged := range []string{"ours", "the backend's"} {
		var fields []string
		if tagged != "ours" {
			fields = []string{"ETag", `"own"`}
		}
		backend := caddytest.Page("content", fields...)
		base := caddytest.Site(t, "", backend)
		tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
		alias := strings.TrimSuffix(tag, `"`) + `-gzip"`
		for _, test := range []struct {
			line   string
			status int
		}{
			{tag, 200},
			{`"x", ` + tag, 200},
			{"*", 200},
			{alias, 200},
			{`"x"`, 412},
			{"W/" + tag, 412},
			{"", 412},
			{",", 412},
			{"junk", 412},
			{tag + "junk", 412},
			{`*, "x"`, 412},
		} {
			for _, method := range []string{"GET", "HEAD"} {
				t.Run(fmt.Sprintf("%s in a %s, tag is %s", test.line, method, tagged), func(t *testing.T) {
					caddytest.Send(t, method, base+"/page", "", "If-Match", test.line).Expect(t, test.status)
					for _, name := range conditionFields {
						if got := backend.Last(t, method).Header[name]; got != nil {
							t.Errorf("the backend got %s: %q", name, got)
						}
					}
				})
			}
		}
	}
}

// Conditions on dates follow RFC 9110, sections 13.1.3, 13.1.4 and 8.8.2.
func TestDates(t *testing.T) {
	const before, after = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
	base := caddytest.Site(t, "", caddytest.Page("content", "Last-Modified", caddytest.LegacyDate))
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
	tests := []struct {
		name   string
		fields []string
		status int
	}{
		{"If-Modified-Since the date", []string{"If-Modified-Since", caddytest.LegacyDate}, 304},
		{"If-Modified-Since a later date", []string{"If-Modified-Since", after}, 304},
		{"If-Modified-Since an earlier date", []string{"If-Modified-Since", before}, 200},
		{"If-Modified-Since in another format (5.6.7)", []string{"If-Modified-Since", "Sun Nov  6 08:49:37 1994"}, 304},
		{"If-Modified-Since that isn't a date", []string{"If-Modified-Since", "yesterday"}, 200},
		{"If-Modified-Since twice", []string{"If-Modified-Since", caddytest.LegacyDate, "If-Modified-Since", caddytest.LegacyDate}, 200},
		{"If-Unmodified-Since the date", []string{"If-Unmodified-Since", caddytest.LegacyDate}, 200},
		{"If-Unmodified-Since a later date", []string{"If-Unmodified-Since", after}, 200},
		{"If-Unmodified-Since an earlier date", []string{"If-Unmodified-Since", before}, 412},
		{"If-Unmodified-Since that isn't a date", []string{"If-Unmodified-Since", "yesterday"}, 200},

		// precedence (13.2.2)
		{"If-None-Match comes before If-Modified-Since", []string{"If-None-Match", `"x"`, "If-Modified-Since", after}, 200},
		{"true If-None-Match, other date", []string{"If-None-Match", tag, "If-Modified-Since", before}, 304},
		{"If-Match comes before If-Unmodified-Since", []string{"If-Match", tag, "If-Unmodified-Since", before}, 200},
		{"false If-Match, true If-Unmodified-Since", []string{"If-Match", `"x"`, "If-Unmodified-Since", after}, 412},
		{"If-Match comes before If-None-Match", []string{"If-Match", `"x"`, "If-None-Match", tag}, 412},
		{"true If-Match, then If-None-Match", []string{"If-Match", tag, "If-None-Match", tag}, 304},
		{"true If-Match, then If-Modified-Since", []string{"If-Match", tag, "If-Modified-Since", caddytest.LegacyDate}, 304},
	}
	for _, test := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(test.name+" in a "+method, func(t *testing.T) {
				caddytest.Send(t, method, base+"/page", "", test.fields...).Expect(t, test.status)
			})
		}
	}

	t.Run("If-Unmodified-Since on writes (13.1.4)", func(t *testing.T) {
		for _, method := range []string{"PUT", "PATCH", "DELETE", "POST"} {
			caddytest.Send(t, method, base+"/page", "", "If-Unmodified-Since", before).Expect(t, 412)
			caddytest.Send(t, method, base+"/page", "", "If-Unmodified-Since", caddytest.LegacyDate).Expect(t, 204)
			caddytest.Send(t, method, base+"/page", "", "If-Modified-Since", after).Expect(t, 204) // ignored (13.1.3)
		}
	})
	t.Run("a Last-Modified in the second of the Date is withheld (8.8.2.2)", func(t *testing.T) {
		now := time.Now().UTC().Format(http.TimeFormat)
		base := caddytest.Site(t, "", caddytest.Page("content", "Date", now, "Last-Modified", now))
		a := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
		if got, ok := a.Header["Last-Modified"]; ok {
			t.Errorf("Last-Modified: %s", got)
		}
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Unmodified-Since", now).Expect(t, 412)
	})
	t.Run("it is withheld from a 206 and from the backend's 304, too", func(t *testing.T) {
		modified := time.Now().UTC().Truncate(time.Second)
		date := modified
		base := caddytest.Site(t, "", &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", date.Format(http.TimeFormat))
			http.ServeContent(w, r, "page.txt", modified, strings.NewReader("content"))
		}})
		for status, fields := range map[int][]string{
			206: {"Range", "bytes=0-"}, // the whole content
			304: {"If-Modified-Since", modified.Format(http.TimeFormat)},
		} {
			if got, ok := caddytest.Send(t, "GET", base+"/page", "", fields...).Expect(t, status).Header["Last-Modified"]; ok {
				t.Errorf("%d: Last-Modified: %s", status, got)
			}
		}
		date = modified.Add(2 * time.Second)
		if got := caddytest.Send(t, "GET", base+"/page", "", "Range", "bytes=0-").Expect(t, 206).Header.Get("Last-Modified"); got != modified.Format(http.TimeFormat) {
			t.Errorf("later: Last-Modified: %s", got)
		}
	})
	t.Run("a Last-Modified two seconds before the Date is sent", func(t *testing.T) {
		now := time.Now().UTC()
		modified := now.Add(-2 * time.Second).Format(http.TimeFormat)
		backend := caddytest.Page("content", "Date", now.Format(http.TimeFormat), "Last-Modified", modified)
		base := caddytest.Site(t, "", backend)
		a := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
		if got := a.Header.Get("Last-Modified"); got != modified {
			t.Errorf("Last-Modified: %s", got)
		}
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Unmodified-Since", modified).Expect(t, 204)
		if got := backend.Last(t, "PUT").Header["If-Unmodified-Since"]; !slices.Equal(got, []string{modified}) {
			t.Errorf("the backend got %q", got) // the date came from the backend
		}
	})
	t.Run("the handler's own date is the end of the second in which it first saw the content", func(t *testing.T) {
		backend := caddytest.Page("content")
		base := caddytest.Site(t, "", backend)
		if got, ok := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200).Header["Last-Modified"]; ok {
			t.Fatalf("Last-Modified: %s", got)
		}
		seen := time.Now()
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Unmodified-Since", seen.UTC().Format(http.TimeFormat)).Expect(t, 412)
		var a caddytest.Answer
		caddytest.Eventually(t, "there is a date", func() bool {
			a = caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
			return a.Header["Last-Modified"] != nil
		})
		date := a.Header.Get("Last-Modified")
		at, err := http.ParseTime(date)
		if err != nil || at.Before(seen.Add(-time.Second)) || at.After(seen.Add(time.Second)) || at.After(time.Now()) {
			t.Errorf("Last-Modified: %s, seen at %v", date, seen)
		}
		if got := a.Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("Cache-Control: %s", got)
		}
		if again := caddytest.Send(t, "HEAD", base+"/page", "").Header.Get("Last-Modified"); again != date {
			t.Errorf("a read has changed it to %s", again)
		}
		caddytest.Send(t, "GET", base+"/page", "", "If-Modified-Since", date).Expect(t, 304)
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Unmodified-Since", at.Add(-time.Second).Format(http.TimeFormat)).Expect(t, 412)
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Unmodified-Since", date).Expect(t, 204)
		if got := backend.Last(t, "PUT").Header["If-Unmodified-Since"]; got != nil {
			t.Errorf("the backend got %q", got) // the backend doesn't know this date
		}
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Unmodified-Since", date).Expect(t, 412)
	})
	t.Run("the handler's own date leaves the backend's Cache-Control alone", func(t *testing.T) {
		base := caddytest.Site(t, "", caddytest.Page("content", "Cache-Control", "max-age=60"))
		var a caddytest.Answer
		caddytest.Eventually(t, "there is a date", func() bool {
			a = caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
			return a.Header["Last-Modified"] != nil
		})
		if got := a.Header.Get("Cache-Control"); got != "max-age=60" {
			t.Errorf("Cache-Control: %s", got)
		}
	})
	t.Run("a value that isn't a date is ignored (13.1.4)", func(t *testing.T) {
		for option, status := range map[string]int{"etag upstream": 204, "etag upstream\nrequire": 428} {
			backend := caddytest.Page("content") // without a tag, the handler sends no date of its own
			base := caddytest.Site(t, option, backend)
			for range 2 {
				caddytest.Send(t, "PUT", base+"/page", "x", "If-Unmodified-Since", caddytest.LegacyDate).Expect(t, status)
			}
			if got := len(backend.All("PUT")); (got > 0) != (status == 204) {
				t.Errorf("the backend heard %d PUT", got)
			}
		}
	})
}

// Conditions on methods that modify follow RFC 9110, sections 13.1.1, 13.1.2 and
// 13.2.1, whether the state is already known or the origin must be asked.
func TestWrites(t *testing.T) {
	for _, known := range []bool{false, true} {
		for _, exists := range []bool{false, true} {
			backend := scripted(404, "nothing here")
			if exists {
				backend = caddytest.Page("content", "Last-Modified", caddytest.LegacyDate)
			}
			answer := backend.Answer
			backend.Answer = func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "GET" || r.Method == "HEAD" {
					answer(w, r)
				}
			}
			base := caddytest.Site(t, "", backend)
			tag := `"x"`
			if exists {
				tag = caddytest.Send(t, "GET", base+"/page", "").Tag(t)
			}
			// whether the condition holds if the resource exists, and if it doesn't
			conditions := []struct {
				fields               []string
				whenExists, whenNone bool
			}{
				{[]string{"If-Match", tag}, true, false},
				{[]string{"If-Match", `"a", ` + tag + ", b"}, true, false},
				{[]string{"If-Match", `"a"`, "If-Match", tag}, true, false},
				{[]string{"If-Match", "*"}, true, false},
				{[]string{"If-Match", `"stale"`}, false, false},
				{[]string{"If-Match", "W/" + tag}, false, false},
				{[]string{"If-None-Match", "*"}, false, true},
				{[]string{"If-None-Match", tag}, false, true},
				{[]string{"If-None-Match", "W/" + tag}, false, true},
				{[]string{"If-None-Match", `"stale"`}, true, true},
				{[]string{"If-Match", tag, "If-None-Match", "*"}, false, false},
				{[]string{"If-Match", "*", "If-None-Match", `"stale"`}, true, false},
			}
			for _, method := range []string{"PUT", "PATCH", "DELETE", "POST", "UNHEARD-OF"} {
				for _, condition := range conditions {
					t.Run(fmt.Sprintf("%s %s exists %t known %t", method, condition.fields, exists, known), func(t *testing.T) {
						if known {
							caddytest.Send(t, "GET", base+"/page", "")
						} else {
							caddytest.Send(t, "POST", base+"/page", "whatever").Expect(t, 200) // now no state is known
						}
						heard := len(backend.All())
						status, holds := 412, condition.whenNone
						if exists {
							holds = condition.whenExists
						}
						switch {
						case holds:
							status = 200
						case !exists && method == "DELETE" && condition.fields[1] != "W/"+tag:
							status = 404 // as without the condition; the origin isn't asked if the condition can never hold
						}
						caddytest.Send(t, method, base+"/page", "x", condition.fields...).Expect(t, status)
						var written []string
						for _, h := range backend.All()[heard:] {
							if h.Method != "GET" {
								written = append(written, h.Method)
							}
						}
						if holds && !slices.Equal(written, []string{method}) || !holds && written != nil {
							t.Errorf("the backend heard %q", written)
						}
					})
				}
			}
		}
	}
}

// An If-Match without a single well-formed strong tag is false, whatever the current tag
// is (RFC 9110, section 13.1.1).
func TestConditionThatNeverHolds(t *testing.T) {
	backend := caddytest.Page("content")
	base := caddytest.Site(t, "", backend)
	for _, fields := range [][]string{
		{"If-Match", ""},
		{"If-Match", " ,, ,"},
		{"If-Match", "", "If-Match", ""},
		{"If-Match", "unquoted"},
		{"If-Match", `"a b"`},
		{"If-Match", `"open`},
		{"If-Match", `w/"x"`},
		{"If-Match", `"a"x`},
		{"If-Match", `"a" "b"`},
		{"If-Match", "*, *"},
		{"If-Match", "*", "If-Match", "*"},
		{"If-Match", `W/"weak"`},
	} {
		for _, method := range []string{"PUT", "DELETE", "POST"} {
			a := caddytest.Send(t, method, base+"/page", "x", fields...).Expect(t, 412)
			if p := problemOf(t, a); p["condition"] != "If-Match" {
				t.Error(p)
			}
		}
	}
	for _, fields := range [][]string{
		{"If-None-Match", "unquoted"},
		{"If-None-Match", `"x", *`},
		{"If-None-Match", "*", "If-None-Match", "*"},
	} {
		caddytest.Send(t, "PUT", base+"/page", "x", fields...).Expect(t, 412)
	}
	backend.Unwritten(t)
}

func TestMethodOverride(t *testing.T) {
	backend := caddytest.Page("content")
	base := caddytest.Site(t, "require", backend)
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
	for _, name := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"} {
		for _, method := range []string{"POST", "GET"} {
			t.Run(name+" on "+method, func(t *testing.T) {
				caddytest.Send(t, method, base+"/page", "", name, "DELETE").Expect(t, 428)
				caddytest.Send(t, method, base+"/page", "", name, "delete", "If-Match", `"stale"`).Expect(t, 412)
			})
		}
	}
	if all := backend.All(); len(all) != 1 {
		t.Errorf("the backend heard %d requests", len(all))
	}
	t.Run("in every spelling that a backend may obey", func(t *testing.T) { testOverrideSpellings(t, backend, base+"/page") })
	caddytest.Send(t, "POST", base+"/page", "", "X-HTTP-Method-Override", "DELETE", "If-Match", tag).Expect(t, 204)
	if got := backend.Last(t, "POST").Header.Get("X-HTTP-Method-Override"); got != "DELETE" {
		t.Errorf("the backend got %q", got)
	}
	caddytest.Send(t, "POST", base+"/page", "").Expect(t, 204) // a plain POST needs no condition
}

// A method that the query names counts, too. The handler never sends a GET with it: some
// backends would take that for the write.
func TestMethodInQuery(t *testing.T) {
	backend := caddytest.Page("content")
	base := caddytest.Site(t, "require PUT DELETE", backend)
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
	before := len(backend.All())
	for _, query := range []string{"?_method=DELETE", "?a=b&_method=delete", "?a=b;%5Fmethod=%50ut", "?_METHOD=PUT&_method=GET"} {
		for _, method := range []string{"GET", "HEAD", "POST", "QUERY"} {
			caddytest.Send(t, method, base+"/page"+query, "").Expect(t, 428)
			caddytest.Send(t, method, base+"/page"+query, "", "Prefer", "return=representation", "Origin", "https://a.example").Expect(t, 428)
			caddytest.Send(t, method, base+"/page"+query, "", "If-Match", tag).Expect(t, 400)
			caddytest.Send(t, method, base+"/page"+query, "", "If-None-Match", "*").Expect(t, 400)
		}
	}
	if all := backend.All()[before:]; len(all) != 0 {
		t.Errorf("the backend heard %s %s", all[0].Method, all[0].URL)
	}
	caddytest.Send(t, "POST", base+"/page?_method=PATCH", "").Expect(t, 204)
	caddytest.Send(t, "GET", base+"/page?_method=GET", "").Expect(t, 200).Tag(t)
}

// testOverrideSpellings: require means every method that a backend may read in an override
// field. What some backend may read as another is refused.
func testOverrideSpellings(t *testing.T, backend *caddytest.Witness, url string) {
	const field = "X-HTTP-Method-Override"
	before := len(backend.All())
	for status, spellings := range map[int][][]string{
		428: {
			{field, "PUT,"},
			{field, " ,PUT"},
			{field, "GET, put"},
			{field, "Delete\t,GET"},
			{field, "POST", field, "PATCH"},
			{field, "GET", "X-HTTP-Method", "PUT"},
			{"X-HTTP-Method", "PUT", "X-Method-Override", "GET"},
		},
		400: {
			{field, `"PUT"`},
			{field, "PUT;"},
			{field, "PUT DELETE"},
			{field, "\u00a0PUT"},
			{field, "PUT/1.1"},
			{field, "po\u017ft"},
			{field, "GET", "X-HTTP-Method", "'PUT'"},
			{field, strings.Repeat("GET,", 20) + "PUT"},
		},
	} {
		for _, fields := range spellings {
			for _, method := range []string{"POST", "GET", "PROPFIND"} {
				a := caddytest.Send(t, method, url, "", fields...)
				if a.StatusCode != status {
					t.Errorf("%s with %q: got %d, want %d: %s", method, fields, a.StatusCode, status, a.Content)
				}
			}
		}
	}
	if n := len(backend.All()) - before; n > 0 {
		t.Errorf("the backend heard %d requests", n)
	}
	caddytest.Send(t, "POST", url, "", field, ",").Expect(t, 204) // names none
}

// Preconditions don't apply to methods that neither select nor modify a
// representation (RFC 9110, section 13.2.1).
func TestUntouchedMethods(t *testing.T) {
	backend := scripted(207, "content", "ETag", `W/"weak"`, "Last-Modified", caddytest.LegacyDate)
	base := caddytest.Site(t, "require PUT PATCH DELETE POST", backend)
	fields := []string{
		"If-Match", `"x"`, "If-Match", "junk", "If-None-Match", `*`, "If-None-Match", `W/"weak"`, "If-Range", `"r"`,
		"If-Modified-Since", caddytest.LegacyDate, "If-Unmodified-Since", "never", "Range", "bytes=0-1", "Accept-Encoding", "br",
		"If-Match", strings.Repeat(`"x", `, 300),
	}
	for _, method := range []string{"OPTIONS", "PROPFIND", "REPORT", "SEARCH", "TRACE", "QUERY"} {
		t.Run(method, func(t *testing.T) {
			a := caddytest.Send(t, method, base+"/page", "", fields...).Expect(t, 207)
			if a.Header.Get("ETag") != `W/"weak"` || a.Header.Get("Last-Modified") != caddytest.LegacyDate || a.Content != "content" {
				t.Errorf("%v %q", a.Header, a.Content)
			}
			got := backend.Last(t, method).Header
			for i := 0; i < len(fields); i += 2 {
				if !slices.Contains(got[fields[i]], strings.TrimSpace(fields[i+1])) && !slices.Contains(got[fields[i]], fields[i+1]) {
					t.Errorf("the backend got %s: %q", fields[i], got[fields[i]])
				}
			}
			if len(got["If-Match"]) != 3 {
				t.Errorf("the backend got If-Match: %q", got["If-Match"])
			}
		})
	}
}

// The backend's own strong tag reaches the client, and conditions with it reach the
// backend.
func TestOwnTags(t *testing.T) {
	backend := caddytest.Page("content", "ETag", `"own"`)
	base := caddytest.Site(t, "", backend)
	full := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
	if got := full.Tag(t); got != `"own"` {
		t.Errorf("ETag: %s", got)
	}
	t.Run("a conditional read lets the backend leave out the content", func(t *testing.T) {
		caddytest.Send(t, "GET", base+"/page", "", "If-None-Match", `"a", "own-gzip"`).Expect(t, 304)
		if got := backend.Last(t, "GET").Header["If-None-Match"]; !slices.Equal(got, []string{`"a", "own-gzip"`}) {
			t.Errorf("the backend got %q", got)
		}
	})
	for _, test := range []struct{ sent, forwarded string }{
		{`"own"`, `"own"`},
		{`"a", "own"`, `"own"`},
		{`"own-gzip"`, `"own"`},
		{`W/"b", "own-br", c`, `"own"`},
		{"*", "*"},
	} {
		t.Run("If-Match "+test.sent+" in the backend's spelling", func(t *testing.T) {
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", test.sent).Expect(t, 204)
			if got := backend.Last(t, "PUT").Header["If-Match"]; !slices.Equal(got, []string{test.forwarded}) {
				t.Errorf("the backend got %q", got)
			}
		})
	}
	t.Run("If-None-Match passes", func(t *testing.T) {
		caddytest.Send(t, "PUT", base+"/page", "x", "If-None-Match", `"a"`).Expect(t, 204)
		if got := backend.Last(t, "PUT").Header["If-None-Match"]; !slices.Equal(got, []string{`"a"`}) {
			t.Errorf("the backend got %q", got)
		}
	})
	t.Run("If-Modified-Since is ignored if there is an If-None-Match (13.1.3)", func(t *testing.T) {
		// This backend evaluates If-Modified-Since regardless.
		base := caddytest.Site(t, "", &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"own"`)
			w.Header().Set("Last-Modified", caddytest.LegacyDate)
			if r.Header.Get("If-Modified-Since") == caddytest.LegacyDate {
				w.WriteHeader(304)
			}
		}})
		for range 2 { // before and after the handler knows that the tag is the backend's
			caddytest.Send(t, "GET", base+"/page", "", "If-None-Match", `"old"`, "If-Modified-Since", caddytest.LegacyDate).Expect(t, 200)
		}
		caddytest.Send(t, "GET", base+"/page", "", "If-Modified-Since", caddytest.LegacyDate).Expect(t, 304)
	})
	t.Run("the backend's 304 passes", func(t *testing.T) {
		backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"own"`)
			if r.Header.Get("If-None-Match") == `"own"` {
				w.WriteHeader(304)
			}
		}}
		base := caddytest.Site(t, "", backend)
		for range 3 {
			caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
			if got := caddytest.Send(t, "GET", base+"/page", "", "If-None-Match", `"own"`).Expect(t, 304).Tag(t); got != `"own"` {
				t.Errorf("ETag: %s", got)
			}
		}
	})
	t.Run("the backend's own 412 passes", func(t *testing.T) {
		backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"own"`)
			if r.Method == "PUT" {
				w.WriteHeader(412)
				_, _ = io.WriteString(w, "somebody was faster")
			}
		}}
		base := caddytest.Site(t, "", backend)
		if a := caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"own"`).Expect(t, 412); a.Content != "somebody was faster" {
			t.Errorf("got %q", a.Content)
		}
	})
}

// The handler's own tags never reach the backend. What does reach it is the backend's own
// tag, and a * that says no more than the client's.
func TestOurTags(t *testing.T) {
	for _, weak := range []string{"", `W/"weak"`, `unquoted`} {
		t.Run("backend's tag "+weak, func(t *testing.T) {
			var fields []string
			if weak != "" {
				fields = []string{"ETag", weak}
			}
			backend := caddytest.Page("content", fields...)
			base := caddytest.Site(t, "", backend)
			tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
			if strings.HasPrefix(tag, "W/") || tag == weak {
				t.Errorf("ETag: %s", tag) // If-Match can't use a weak tag (8.8.3.2)
			}
			if got := caddytest.Send(t, "HEAD", base+"/page", "").Tag(t); got != tag {
				t.Errorf("HEAD has ETag %s, GET has %s", got, tag)
			}
			caddytest.Send(t, "GET", base+"/page", "", "If-None-Match", tag).Expect(t, 304)
			caddytest.Send(t, "GET", base+"/page", "", "If-None-Match", `"x"`, "If-Range", tag, "Range", "bytes=0-1").Expect(t, 206)
			caddytest.Send(t, "GET", base+"/page", "", "If-Match", tag).Expect(t, 200)
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag, "If-Unmodified-Since", caddytest.LegacyDate).Expect(t, 204)
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", "*").Expect(t, 204)
			caddytest.Send(t, "PUT", base+"/page", "x", "If-None-Match", `"x", `+`"y"`).Expect(t, 204)
			for _, h := range backend.All() {
				for _, name := range conditionFields {
					got := h.Header.Get(name)
					own := name == "If-Match" && h.Method == "PUT" && (got == "*" || got == weak && got != "unquoted")
					if got != "" && !own {
						t.Errorf("the backend got %s with %s: %q", h.Method, name, got)
					}
				}
			}
		})
	}
	t.Run("the client's fields are put back for outer handlers", func(t *testing.T) {
		address := caddytest.Address(t)
		caddytest.Start(t, fmt.Sprintf(`http://%s {
			header +X-Saw "{http.request.header.If-None-Match} {http.request.header.Accept-Encoding}"
			header >X-Later "{http.request.header.If-None-Match} {http.request.header.Accept-Encoding}"
			preconditions
			reverse_proxy %s
		}
		`, address, caddytest.Serve(t, caddytest.Page("content"))))
		a := caddytest.Send(t, "GET", "http://"+address+"/page", "", "If-None-Match", "*", "Accept-Encoding", "br").Expect(t, 304)
		if got := a.Header.Get("X-Later"); got != "* br" {
			t.Errorf("got %q", got)
		}
	})
}

// The origin's answer to the probe's GET decides how the handler answers a
// conditional write.
func TestProbeAnswers(t *testing.T) {
	for _, test := range []struct {
		origin, status int
		relayed        bool
	}{
		{401, 401, true},
		{403, 403, true},
		{407, 407, true},
		{500, 503, false},
		{502, 503, false},
		{503, 503, false},
		{504, 503, false},
		{301, 301, true},
		{302, 302, true},
		{303, 503, false},
		{308, 308, true},
		{405, 405, true},
		{400, 400, true},
		{206, 503, false},
		{429, 429, true},
		{404, 412, false},
		{410, 412, false},
		{200, 412, false},
		{204, 412, false},
	} {
		t.Run(fmt.Sprint(test.origin), func(t *testing.T) {
			content := "the origin's own words"
			if test.origin == 204 {
				content = ""
			}
			backend := scripted(test.origin, content, "WWW-Authenticate", `Basic realm="legacy"`, "WWW-Authenticate", "Negotiate",
				"Location", "/elsewhere", "X-Backend", "legacy", "Content-Type", "text/x-legacy", "Last-Modified", caddytest.LegacyDate)
			base := caddytest.Site(t, "", backend)
			for _, fields := range [][]string{{"If-Match", `"x"`}, {"If-Match", `"x"`, "Expect", "100-continue"}} {
				a := caddytest.Send(t, "PUT", base+"/page", "content", fields...).Expect(t, test.status)
				if test.relayed {
					if a.Content != content || !slices.Equal(a.Header["Www-Authenticate"], []string{`Basic realm="legacy"`, "Negotiate"}) ||
						a.Header.Get("Content-Type") != "text/x-legacy" || a.Header.Get("X-Backend") != "legacy" || a.Header["Etag"] != nil {
						t.Errorf("%v %q", a.Header, a.Content)
					}
					continue
				}
				problemOf(t, a)
				for _, name := range []string{"Www-Authenticate", "Location", "X-Backend"} {
					if got, ok := a.Header[name]; ok {
						t.Errorf("field of the probe's answer: %s: %q", name, got)
					}
				}
				if test.status == 503 && a.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
			backend.Unwritten(t)
		})
	}
	t.Run("a backend that can't be reached", func(t *testing.T) {
		address := caddytest.Address(t)
		caddytest.Start(t, fmt.Sprintf("http://%s {\n\tpreconditions\n\treverse_proxy %s\n}\n", address, caddytest.Address(t)))
		caddytest.Send(t, "PUT", "http://"+address+"/page", "x", "If-Match", `"x"`).Expect(t, 503)
		caddytest.Send(t, "PUT", "http://"+address+"/page", "x").Expect(t, 502)
	})
	t.Run("a backend that breaks off its response", func(t *testing.T) {
		base := caddytest.Site(t, "", &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}})
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"x"`).Expect(t, 503)
	})
	t.Run("the probe doesn't read the content if the header is enough", func(t *testing.T) {
		var sent atomic.Int64
		backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"own"`)
			if r.Method == "GET" {
				chunk := make([]byte, 64<<10)
				for range 16 << 10 { // 1 GiB
					n, err := w.Write(chunk)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			}
		}}
		base := caddytest.Site(t, "", backend)
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"own"`).Expect(t, 200)
		if n := sent.Load(); n > 64<<20 {
			t.Errorf("the probe took %d bytes", n)
		}
	})
	t.Run("a stream that never ends", func(t *testing.T) {
		for _, tag := range []string{"", `"own"`} {
			backend := endless(tag)
			base := caddytest.Site(t, "", backend)
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", "*").Expect(t, 204)
			if tag != "" {
				caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 204)
			}
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"stale"`).Expect(t, 412)
		}
	})
}

// endless is an event stream that ends only when the client leaves.
func endless(tag string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if tag != "" {
			w.Header().Set("ETag", tag)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: x\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
}

// Range and If-Range follow RFC 9110, sections 13.1.5 and 14.2.
func TestRange(t *testing.T) {
	for _, own := range []string{"", `W/"weak"`, `"own"`} {
		t.Run("backend's tag "+own, func(t *testing.T) {
			backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
				if own != "" {
					w.Header().Set("ETag", own)
				}
				// This backend supports ranges but no conditions.
				if r.Header.Get("Range") == "bytes=0-2" && (r.Header.Get("If-Range") == "" || r.Header.Get("If-Range") == own) {
					w.Header().Set("Content-Range", "bytes 0-2/7")
					w.WriteHeader(206)
					_, _ = io.WriteString(w, "con")
					return
				}
				_, _ = io.WriteString(w, "content")
			}}
			base := caddytest.Site(t, "", backend)
			get := func(fields ...string) caddytest.Answer {
				t.Helper()
				return caddytest.Send(t, "GET", base+"/page", "", append(fields, "Range", "bytes=0-2")...)
			}
			part := func(a caddytest.Answer) {
				t.Helper()
				a.Expect(t, 206)
				want := ""
				if strings.HasPrefix(own, `"`) {
					want = own
				}
				if got := a.Header.Get("ETag"); got != want || a.Content != "con" {
					t.Errorf("ETag %q, content %q", got, a.Content)
				}
			}
			part(get()) // before the handler knows any state
			tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
			part(get())

			for range 2 {
				if a := get("If-Match", `"stale"`); a.StatusCode != 412 {
					t.Errorf("false If-Match: %s", a.Status)
				}
				if a := get("If-None-Match", tag); a.StatusCode != 304 {
					t.Errorf("false If-None-Match: %s", a.Status)
				}
				for _, condition := range [][]string{{"If-Match", tag}, {"If-None-Match", `"stale"`}} {
					if a := get(condition...).Expect(t, 206); a.Content != "con" || a.Tag(t) != tag {
						t.Errorf("true %s: %q", condition[0], a.Content)
					}
				}
			}
			if a := get("If-Range", `"stale"`).Expect(t, 200); a.Content != "content" {
				t.Errorf("stale If-Range: %q", a.Content)
			}
			if a := get("If-Range", tag); strings.HasPrefix(own, `"`) {
				part(a)
			} else if a.Expect(t, 206); a.Content != "con" || a.Tag(t) != tag {
				t.Errorf("If-Range: %q", a.Content)
			}
		})
	}
}

// HEAD has the tag that GET has, once somebody has read the content (RFC 9110, section
// 9.3.2). Until then it has none, and the handler sends no GET to find out.
func TestHead(t *testing.T) {
	for size, tagged := range map[int]bool{0: true, 1: true, 999: true, 1000: true, 1001: false, 100_000: false} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, chunked %t", size, chunked), func(t *testing.T) {
				backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
					if !chunked {
						w.Header().Set("Content-Length", fmt.Sprint(size))
					} else {
						w.(http.Flusher).Flush()
					}
					_, _ = io.WriteString(w, strings.Repeat("x", size))
				}}
				base := caddytest.Site(t, "buffer 1000", backend)
				for _, fields := range [][]string{nil, {"If-None-Match", `"x"`}, {"If-Match", `"x"`}} {
					head := caddytest.Send(t, "HEAD", base+"/page", "", fields...).Expect(t, 200)
					if got := head.Header.Get("ETag"); got != "" {
						t.Errorf("HEAD has %q before anybody has read the content", got)
					}
				}
				expectGets(t, backend, 0)
				get := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
				if got := get.Header.Get("ETag"); (got != "") != tagged {
					t.Errorf("GET has %q", got)
				}
				if len(get.Content) != size {
					t.Errorf("%d bytes", len(get.Content))
				}
				gets := 1
				if !tagged {
					gets++ // the first HEAD asks for the tag
				}
				for range 2 {
					tag := caddytest.Send(t, "HEAD", base+"/page", "").Expect(t, 200).Tag(t)
					if got := get.Header.Get("ETag"); tagged && got != tag {
						t.Errorf("then HEAD has %s, GET has %s", tag, got)
					}
					expectGets(t, backend, gets)
				}
				tag := get.Header.Get("ETag")
				if tagged {
					caddytest.Send(t, "HEAD", base+"/page", "", "If-None-Match", tag).Expect(t, 304)
					caddytest.Send(t, "HEAD", base+"/page", "", "If-Match", `"x"`).Expect(t, 412)
				}
			})
		}
	}
}

// expectGets expects that the backend has answered n requests with GET.
func expectGets(t *testing.T, b *caddytest.Witness, n int) {
	t.Helper()
	if got := len(b.All("GET")); got != n {
		t.Errorf("the backend answered %d requests with GET, want %d", got, n)
	}
}

// HEAD gets the tag that the GET had, whatever its source. A condition on it is decided
// by a GET.
func TestHeadLikeGet(t *testing.T) {
	for _, options := range []string{"", "etag json /version\netag version", "etag modified\netag version"} {
		t.Run(options, func(t *testing.T) {
			base := caddytest.Site(t, options, &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Last-Modified", caddytest.LegacyDate)
				if r.Method == "GET" {
					w.Header().Set("ETag", `"own"`)
					w.(http.Flusher).Flush() // leaves no Content-Length
					_, _ = io.WriteString(w, "[]")
				}
			}})
			tag := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200).Tag(t)
			if head := caddytest.Send(t, "HEAD", base+"/page", "").Expect(t, 200).Tag(t); tag != head {
				t.Errorf("HEAD has %s, GET has %s", head, tag)
			}
			caddytest.Send(t, "HEAD", base+"/page", "", "If-Match", tag).Expect(t, 200)
			caddytest.Send(t, "HEAD", base+"/page", "", "If-Match", `"x"`).Expect(t, 412)
			caddytest.Send(t, "HEAD", base+"/page", "", "If-None-Match", tag).Expect(t, 304)
		})
	}
}

// A backend that doesn't support HEAD may still answer a GET with content.
func TestHeadNotFound(t *testing.T) {
	for _, options := range []string{"", "verify never"} {
		backend := caddytest.Page("content")
		get := backend.Answer
		backend.Answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "HEAD" {
				w.WriteHeader(404)
				return
			}
			get(w, r)
		}
		base := caddytest.Site(t, options, backend)
		caddytest.Send(t, "HEAD", base+"/new", "").Expect(t, 404)
		caddytest.Send(t, "PUT", base+"/new", "x", "If-None-Match", "*").Expect(t, 412)
		backend.Unwritten(t)
		tag := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200).Tag(t)
		caddytest.Send(t, "HEAD", base+"/page", "", "If-None-Match", tag).Expect(t, 404)
		caddytest.Send(t, "PUT", base+"/page", "x", "If-None-Match", "*").Expect(t, 412)
		backend.Unwritten(t)
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 204)
	}
}

// Every representation of a resource has its own current tag (RFC 9110, sections
// 8.8.3 and 12.5.5).
func TestVary(t *testing.T) {
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			return
		}
		w.Header().Add("Vary", "accept-language")
		w.Header().Add("Vary", "Accept-Encoding")
		_, _ = io.WriteString(w, "in "+r.Header.Get("Accept-Language"))
	}}
	base := caddytest.Site(t, "verify never\nwrite_etag off", backend)
	german := caddytest.Send(t, "GET", base+"/page", "", "Accept-Language", "de").Tag(t)
	english := caddytest.Send(t, "GET", base+"/page", "", "Accept-Language", "en").Tag(t)
	german2 := caddytest.Send(t, "GET", base+"/page", "", "Accept-Language", "de").Tag(t)
	if german == english || german != german2 {
		t.Errorf("%s, %s and %s", german, english, german2)
	}
	heard := len(backend.All())
	caddytest.Send(t, "PUT", base+"/page", "x", "Accept-Language", "de", "If-Match", `"x"`).Expect(t, 412)
	caddytest.Send(t, "PUT", base+"/page", "x", "Accept-Language", "en", "If-None-Match", english).Expect(t, 412)
	if n := len(backend.All()) - heard; n != 0 {
		t.Errorf("the backend heard %d requests", n)
	}
	caddytest.Send(t, "PUT", base+"/page", "x", "Accept-Language", "de", "If-Match", english).Expect(t, 200)
	if n := len(backend.All()) - heard; n != 1 {
		t.Errorf("the backend heard %d requests", n)
	}
	// That write changed all representations.
	caddytest.Send(t, "PUT", base+"/page", "x", "Accept-Language", "en", "If-Match", german).Expect(t, 412)
	if got := backend.Last(t, "GET").Header.Get("Accept-Language"); got != "en" {
		t.Errorf("the probe asked the backend for %q instead of the English page", got)
	}

	t.Run("* is never stored (12.5.5)", func(t *testing.T) {
		backend := caddytest.Page("content", "Vary", "*")
		base := caddytest.Site(t, "verify never", backend)
		tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
		for range 2 {
			before := len(backend.All("GET"))
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"stale"`).Expect(t, 412)
			if got := len(backend.All("GET")) - before; got != 1 {
				t.Errorf("the backend was asked %d times", got)
			}
		}
		caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 204)
	})
}

// Probes before and after a write take the same route to the backend as the write, and
// leave no trace in the client's answer.
func TestProbeUnseen(t *testing.T) {
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Original") != "/api/page" {
			http.Error(w, "not routed as the client's request", http.StatusTeapot)
			return
		}
		w.Header().Add("Set-Cookie", "method="+r.Method)
		w.Header().Set("X-"+r.Method, "seen")
		_, _ = io.WriteString(w, r.Method)
	}}
	address := caddytest.Address(t)
	caddytest.Start(t, fmt.Sprintf(`http://%s {
		preconditions {
			lag 0s
		}
		handle /other/* {
			respond "other" 418
		}
		handle_path /api/* {
			reverse_proxy %s {
				header_up X-Original {http.request.orig_uri.path}
			}
		}
		handle {
			respond "the end of the chain" 418
		}
	}
	`, address, caddytest.Serve(t, backend)))
	base := "http://" + address
	tag := caddytest.Send(t, "GET", base+"/api/page", "").Expect(t, 200).Tag(t)
	for _, condition := range []string{tag, "*"} {
		heard := len(backend.All())
		a := caddytest.Send(t, "PUT", base+"/api/page", "x", "If-Match", condition).Expect(t, 200)
		var methods []string
		for _, h := range backend.All()[heard:] {
			methods = append(methods, h.Method+" "+h.URL.Path)
		}
		if want := []string{"GET /page", "PUT /page", "GET /page"}; !slices.Equal(methods, want) {
			t.Errorf("the backend heard %q", methods)
		}
		if a.Content != "PUT" || !slices.Equal(a.Header["Set-Cookie"], []string{"method=PUT"}) || len(a.Header["Via"]) != 1 ||
			a.Header["X-Get"] != nil || a.Header["Etag"] != nil {
			t.Errorf("%v %q", a.Header, a.Content)
		}
	}
}
