package clients

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// film is a large file that changes as a whole. Its backend sends parts of it.
type film struct {
	caddytest.Witness
	version atomic.Int64
	size    int

	tag         func(version int64) string // of the backend, or nil
	dated       bool                       // whether it has a date
	untagged206 bool                       // its parts have no tag
	obeys       bool                       // it obeys If-Range
	whole       bool                       // it ignores Range
	chunked     bool                       // its whole content has no length
}

func strongly(version int64) string { return fmt.Sprintf(`"v%d"`, version) }

func weakly(version int64) string { return "W/" + strongly(version) }

// start makes the film answer with its properties.
func (f *film) start() *film {
	f.version.Store(1)
	f.size = 1500 << 10 // more than the buffer
	f.Answer = f.answer
	return f
}

func (f *film) date() string {
	return time.Date(1994, 11, 6, 8, 49, int(f.version.Load()), 0, time.UTC).Format(http.TimeFormat)
}

// content returns bytes of the present version.
func (f *film) content(first, last int) string {
	return strings.Repeat(strconv.Itoa(int(f.version.Load()%10)), last-first+1)
}

func (f *film) answer(w http.ResponseWriter, r *http.Request) {
	h, tag := w.Header(), ""
	if f.tag != nil {
		tag = f.tag(f.version.Load())
		h.Set("ETag", tag)
	}
	if f.dated {
		h.Set("Last-Modified", f.date())
	}
	h.Set("X-Version", strconv.FormatInt(f.version.Load(), 10))
	h.Set("Content-Type", "video/x-legacy")
	h.Set("Accept-Ranges", "bytes")
	var first, last int
	ifRange := r.Header.Get("If-Range")
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); n < 2 || f.whole ||
		f.obeys && ifRange != "" && ifRange != tag && (!f.dated || ifRange != f.date()) {
		if f.chunked {
			_ = http.NewResponseController(w).Flush()
		} else {
			h.Set("Content-Length", strconv.Itoa(f.size))
		}
		if r.Method == "GET" {
			_, _ = io.WriteString(w, f.content(0, f.size-1))
		}
		return
	}
	if f.untagged206 {
		h.Del("ETag")
	}
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, f.size))
	h.Set("Content-Length", strconv.Itoa(last-first+1))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = io.WriteString(w, f.content(first, last))
}

// films are backends of all kinds.
func films() map[string]func() *film {
	return map[string]func() *film{
		"strong tag":                   func() *film { return &film{tag: strongly, dated: true, obeys: true} },
		"strong tag, If-Range ignored": func() *film { return &film{tag: strongly} },
		"strong tag, but not of parts": func() *film { return &film{tag: strongly, untagged206: true} },
		"strong tag, no parts":         func() *film { return &film{tag: strongly, whole: true} },
		"strong tag, chunked":          func() *film { return &film{tag: strongly, chunked: true, obeys: true} },
		"weak tag":                     func() *film { return &film{tag: weakly, dated: true, obeys: true} },
		"date":                         func() *film { return &film{dated: true, obeys: true} },
		"nothing":                      func() *film { return &film{} },
		"nothing, no parts, chunked":   func() *film { return &film{whole: true, chunked: true} },
	}
}

// TestPartsOfOneVersion: a client that reads a large file in parts, each with a condition
// that names the version, gets the parts whoever made the tag. Once the file has changed,
// it gets 412, or with If-Range the whole, and never a part of the new version (RFC 9110,
// sections 13.1.1, 13.1.4, 13.1.5, 13.2.2 and 14.2).
func TestPartsOfOneVersion(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", "etag body", "etag header X-Version", "etag modified\netag body", "etag json /version\netag body"} {
		for name, newFilm := range films() {
			t.Run(caddytest.Title(options)+", "+name, func(t *testing.T) {
				t.Parallel()
				for _, field := range []string{"If-Match", "If-Unmodified-Since", "If-Range", "If-Range date"} {
					f := newFilm().start()
					url := caddytest.Site(t, options, f) + "/film"
					readsInParts(t, f, url, field)
				}
			})
		}
	}
}

// readsInParts reads the first parts of a film, changes it, and goes on.
func readsInParts(t *testing.T, f *film, url, field string) {
	t.Helper()
	caddytest.Send(t, "GET", url, "").Expect(t, 200)
	head := caddytest.Send(t, "HEAD", url, "").Expect(t, 200)
	if head.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("HEAD promises no parts: %v", head.Header)
	}
	condition := head.Tag(t)
	field, byDate := strings.CutSuffix(field, " date")
	if byDate || field == "If-Unmodified-Since" {
		if !f.dated {
			return
		}
		condition = head.Header.Get("Last-Modified")
	}
	const part = 250 << 10
	for first := 0; first < f.size; first += part {
		a := caddytest.Send(t, "GET", url, "", field, condition, "Range", fmt.Sprintf("bytes=%d-%d", first, min(first+part, f.size)-1))
		if f.chunked && f.whole && a.StatusCode == 200 && len(a.Content) == f.size {
			return // the backend announces no length and makes no parts
		}
		if a.StatusCode != 206 {
			t.Fatalf("%s: got %s with %d bytes", field, a.Status, len(a.Content))
		}
		if want := fmt.Sprintf("bytes %d-%d/%d", first, min(first+part, f.size)-1, f.size); a.Header.Get("Content-Range") != want {
			t.Fatalf("Content-Range: %s, want %s", a.Header.Get("Content-Range"), want)
		}
		if a.Content != f.content(first, min(first+part, f.size)-1) {
			t.Fatalf("got %d wrong bytes", len(a.Content))
		}
		if got := a.Header.Get("ETag"); got != "" && got != head.Tag(t) || got == "" && condition == head.Tag(t) {
			t.Fatalf("%s: the part has the tag %q, want %s", field, got, head.Tag(t))
		}
	}
	f.version.Add(1)
	a := caddytest.Send(t, "GET", url, "", field, condition, "Range", "bytes=0-9")
	if field != "If-Range" {
		a.Expect(t, 412)
	} else if a.Expect(t, 200); a.Content != f.content(0, f.size-1) {
		t.Errorf("got %d bytes, want the whole", len(a.Content))
	}
}

// TestPartsBeforeAnythingIsKnown: a part that shows the backend's own strong tag is enough
// to compare conditions with. Only a part without one costs a second request.
func TestPartsBeforeAnythingIsKnown(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]int{"strong tag": 1, "strong tag, If-Range ignored": 1, "strong tag, but not of parts": 2} {
		t.Run(name, func(t *testing.T) {
			for _, tt := range []struct {
				fields []string
				status int
			}{
				{[]string{"If-Match", `"v1"`}, 206},
				{[]string{"If-Match", `"x", "v1"`}, 206},
				{[]string{"If-Match", `"v1-gzip"`}, 200}, // the tag of other bytes
				{[]string{"If-Match", `"x"`}, 412},
				{[]string{"If-None-Match", `"x"`}, 206},
				{[]string{"If-None-Match", `W/"v1"`}, 304},
				{[]string{"If-Range", `"v1"`}, 206},
				{[]string{"If-Range", `"x"`}, 200},
				{[]string{"If-Match", `"v1"`, "If-Range", `"x"`}, 200},
				{[]string{"If-Match", `"x"`, "If-Range", `"v1"`}, 412},
			} {
				f := films()[name]().start()
				a := caddytest.Send(t, "GET", caddytest.Site(t, "", f)+"/film", "", append(tt.fields, "Range", "bytes=1-4")...)
				if a.Expect(t, tt.status); tt.status == 206 && a.Content != "1111" || tt.status == 200 && len(a.Content) != f.size {
					t.Errorf("%v: %d bytes", tt.fields, len(a.Content))
				}
				if got := a.Header.Get("ETag"); tt.status < 300 && got != `"v1"` {
					t.Errorf("%v: ETag %s", tt.fields, got)
				}
				if got := len(f.All("GET")); tt.status != 200 && got != asked {
					t.Errorf("%v: the backend heard %d requests, want %d", tt.fields, got, asked)
				}
			}
		})
	}
}

// TestPartsWithWeakDate: a date that two versions may share proves nothing, so the client
// gets the whole (RFC 9110, section 8.8.2.2).
func TestPartsWithWeakDate(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Format(http.TimeFormat)
	for _, options := range []string{"", "etag upstream", "etag body"} {
		base := caddytest.Site(t, options, &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", now)
			w.Header().Set("Last-Modified", now)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
		}})
		for range 2 { // before and after the handler knows the file
			for _, field := range []string{"If-Unmodified-Since", "If-Range"} {
				a := caddytest.Send(t, "GET", base+"/film", "", field, now, "Range", "bytes=1-4").Expect(t, 200)
				if a.Content != "0123456789" {
					t.Errorf("%s, %s: got %q", options, field, a.Content)
				}
			}
			caddytest.Send(t, "GET", base+"/film", "").Expect(t, 200)
		}
	}
}

// TestPartsOfTheBackend: what the backend makes of several ranges, or of one that can't be
// satisfied, is passed on if the conditions hold.
func TestPartsOfTheBackend(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		base := caddytest.Site(t, "", &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Type", "text/plain")
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
		}}) + "/film"
		if known {
			caddytest.Send(t, "GET", base, "").Expect(t, 200)
		}
		a := caddytest.Send(t, "GET", base, "", "If-Match", `"v1"`, "Range", "bytes=0-1,8-9").Expect(t, 206)
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "multipart/byteranges") || a.Tag(t) != `"v1"` {
			t.Errorf("%v", a.Header)
		}
		caddytest.Send(t, "GET", base, "", "If-Match", `"x"`, "Range", "bytes=0-1,8-9").Expect(t, 412)
		// The backend's 416 has no tag.
		a = caddytest.Send(t, "GET", base, "", "If-Match", `"v1"`, "Range", "bytes=10-").Expect(t, 416)
		if a.Tag(t) != `"v1"` || a.Header.Get("Content-Range") != "bytes */10" {
			t.Errorf("%v", a.Header)
		}
		caddytest.Send(t, "GET", base, "", "If-Match", `"x"`, "Range", "bytes=10-").Expect(t, 412)
		caddytest.Send(t, "GET", base, "", "If-None-Match", `"v1"`, "Range", "bytes=10-").Expect(t, 304)
	}
}

// TestAcceptRanges: the handler doesn't promise parts that a client that compares tags
// never gets.
func TestAcceptRanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options string
		length  string
		promise bool
	}{
		{"", "10", true},
		{"etag body", "10", true},
		{"etag body", strconv.Itoa(65 << 20), false}, // too large to be read to its end first
		{"etag modified\netag body", strconv.Itoa(65 << 20), true},
		{"etag version", "10", false},
		{"etag json /version", "10", false},
	} {
		base := caddytest.Site(t, tt.options, caddytest.Page("", "Accept-Ranges", "bytes", "Content-Length", tt.length,
			"Content-Type", "application/json", "Last-Modified", caddytest.LegacyDate))
		a := caddytest.Send(t, "HEAD", base+"/film", "").Expect(t, 200)
		if got := a.Header.Get("Accept-Ranges") != ""; got != tt.promise {
			t.Errorf("%s, %s bytes: %v", tt.options, tt.length, a.Header)
		}
	}
}

// A condition on the tag of content over `buffer` is decided before any of it is sent. If
// that takes too much, nobody can tell, and a 412 would say that the condition is false
// (RFC 9110, section 13.1.1).
func TestIfMatchOverBuffer(t *testing.T) {
	content := strings.Repeat("content ", 1000)
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/huge" {
			for piece := make([]byte, 1<<20); ; {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		}
		_, _ = io.WriteString(w, content)
	}}
	base := caddytest.Site(t, "buffer 1KiB", backend)
	caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
	tag := caddytest.Send(t, "HEAD", base+"/page", "").Expect(t, 200).Tag(t)

	if a := caddytest.Send(t, "GET", base+"/page", "", "If-Match", tag).Expect(t, 200); a.Content != content || a.Header.Get("ETag") != tag {
		t.Errorf("%d bytes with the tag %s", len(a.Content), a.Header.Get("ETag"))
	}
	caddytest.Send(t, "GET", base+"/page", "", "If-Match", `"stale"`).Expect(t, 412)
	a := caddytest.Send(t, "GET", base+"/huge", "", "If-Match", tag).Expect(t, 503)
	if a.Header.Get("Retry-After") == "" {
		t.Errorf("header %v", a.Header)
	}
}
