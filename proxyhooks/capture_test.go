package proxyhooks

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// capture serves a request through a Capture with the default sources.
func capture(t *testing.T, rec *recorder, method string, next caddyhttp.Handler) error {
	t.Helper()
	return NewCapture(rec, both, rec).Serve(next, newRequest(method, nil))
}

// only returns what the response showed, and fails unless Label was called exactly
// once.
func (rec *recorder) only(t *testing.T) Shown {
	t.Helper()
	if len(rec.shown) != 1 {
		t.Fatalf("labelled %d times", len(rec.shown))
	}
	return rec.shown[0]
}

// tagOf returns the tag that the source Body makes.
func tagOf(content string, h http.Header) validator.ETag {
	c := both.newContentHash(Source{Kind: SourceBody}, h)
	c.Write([]byte(content))
	return c.tag()
}

// TestCaptureBuffersContent: content is sent only once its tag is known, although the
// handler flushes before.
func TestCaptureBuffersContent(t *testing.T) {
	rec := newRecorder()
	if err := capture(t, rec, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
		for _, piece := range []string{"01", "23", "45"} {
			_, _ = io.WriteString(w, piece)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
		rec.expect(t)
	})); err != nil {
		t.Error(err)
	}
	rec.expect(t, "label 200", "header 200", "content")
	s := rec.only(t)
	if want := tagOf("012345", nil); !s.Known || s.Untagged || s.State != validator.Present || s.Own || s.ETag != want {
		t.Errorf("%+v, want tag %s", s, want)
	}
	if got := rec.content.String(); got != "012345" {
		t.Errorf("got %q", got)
	}
}

// TestCaptureTellsLength: a response that is complete before it is sent has a Content-Length,
// unless the handler says something else about its length, or trailer fields follow.
func TestCaptureTellsLength(t *testing.T) {
	for name, tt := range map[string]struct {
		fields  []string // of the response
		trailer string   // set at the end
		content string
		want    string
	}{
		"complete":                  {content: "012345", want: "6"},
		"no content":                {},
		"too long for the buffer":   {content: strings.Repeat("x", testLimit+1)},
		"a length of its own":       {fields: []string{"Content-Length", "06"}, content: "012345", want: "06"},
		"announced trailer fields":  {fields: []string{"Trailer", "X-End"}, trailer: "X-End", content: "012345"},
		"unannounced trailer field": {trailer: http.TrailerPrefix + "X-End", content: "012345"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newRecorder()
			if err := capture(t, rec, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
				for i := 0; i < len(tt.fields); i += 2 {
					w.Header().Set(tt.fields[i], tt.fields[i+1])
				}
				_, _ = io.WriteString(w, tt.content)
				if tt.trailer != "" {
					w.Header()[tt.trailer] = []string{"x"}
				}
			})); err != nil {
				t.Error(err)
			}
			if got := rec.Header().Get("Content-Length"); got != tt.want {
				t.Errorf("Content-Length is %q, want %q", got, tt.want)
			}
		})
	}
}

// TestBackendTagIsShown: Label, Late and a probe all get the backend's own tag beside the
// one that is made from the content.
func TestBackendTagIsShown(t *testing.T) {
	weak := validator.ETag{Opaque: "1", Weak: true, Valid: true}
	for name, content := range map[string]string{"in time": "012345", "late": strings.Repeat("x", testLimit+1)} {
		next := responding(200, content, "ETag", weak.String())
		rec := newRecorder()
		if err := capture(t, rec, "GET", next); err != nil {
			t.Error(err)
		}
		probed := Probe(t.Context(), next, newRequest("GET", nil), both, 0).Observed
		for _, o := range append(rec.late, rec.shown[0].Observed, probed) {
			if o.Backend != weak {
				t.Errorf("%s: %+v", name, o)
			}
		}
		if name == "late" && len(rec.late) != 1 {
			t.Errorf("%d late", len(rec.late))
		}
	}
}

// TestCaptureLimit: content up to the limit is tagged before it is sent, longer content
// after, no matter how the handler writes it.
func TestCaptureLimit(t *testing.T) {
	ways := map[string]func(w http.ResponseWriter, content string){
		"Write": func(w http.ResponseWriter, content string) { _, _ = io.WriteString(w, content) },
		"Writes": func(w http.ResponseWriter, content string) {
			for i := range content {
				_, _ = io.WriteString(w, content[i:i+1])
			}
		},
		"ReadFrom": func(w http.ResponseWriter, content string) {
			n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(content))
			if n != int64(len(content)) || err != nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
		},
		"Write and ReadFrom": func(w http.ResponseWriter, content string) {
			_, _ = io.WriteString(w, content[:len(content)/2])
			_, _ = io.Copy(w, io.LimitReader(strings.NewReader(content[len(content)/2:]), 1<<20))
		},
	}
	for way, write := range ways {
		for size, fits := range map[int]bool{0: true, 1: true, 9: true, 10: true, 11: false, 100_000: false} {
			t.Run(way, func(t *testing.T) {
				content := strings.Repeat("x", size)
				rec := newRecorder()
				if err := capture(t, rec, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
					write(w, content)
				})); err != nil {
					t.Error(err)
				}
				s, want := rec.only(t), tagOf(content, nil)
				switch {
				case rec.content.String() != content:
					t.Errorf("%d bytes: got %d", size, rec.content.Len())
				case fits && (s.Untagged || s.ETag != want || len(rec.late) != 0):
					t.Errorf("%d bytes: %+v, late %v", size, s, rec.late)
				case !fits && (!s.Known || !s.Untagged || s.ETag.Valid || len(rec.late) != 1 || rec.late[0].ETag != want):
					t.Errorf("%d bytes: %+v, late %v", size, s, rec.late)
				}
			})
		}
	}
	t.Run("announced", func(t *testing.T) {
		rec := newRecorder()
		if err := capture(t, rec, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "11")
			_, _ = io.WriteString(w, "0")
			_ = http.NewResponseController(w).Flush()
			rec.expect(t, "label 200", "header 200", "content", "flush")
			_, _ = io.WriteString(w, "1234567890")
		})); err != nil {
			t.Error(err)
		}
		if want := tagOf("01234567890", nil); len(rec.late) != 1 || rec.late[0].ETag != want {
			t.Errorf("late %v", rec.late)
		}
	})
}

// TestCapturePassesThrough: responses whose tag is known from the header section, or
// can't be made before the end, are sent as they come.
func TestCapturePassesThrough(t *testing.T) {
	tests := []struct {
		name   string
		method string
		status int
		fields []string
		want   Shown
	}{
		{"own strong tag (8.8.3)", "GET", 200, []string{"ETag", `"own"`}, Shown{Known: true}},
		{"HEAD", "HEAD", 200, nil, Shown{Known: true, Untagged: true}},
		{"HEAD of 204", "HEAD", 204, nil, Shown{Known: true, Untagged: true}},
		{"event stream", "GET", 200, []string{"Content-Type", "text/event-stream; charset=utf-8"}, Shown{Known: true, Untagged: true}},
		{"gRPC", "GET", 200, []string{"Content-Type", "application/grpc+proto"}, Shown{Known: true, Untagged: true}},
		{"trailer fields (6.6.2)", "GET", 200, []string{"Trailer", "X-Checksum"}, Shown{Known: true, Untagged: true}},
		{"incremental (10036)", "GET", 200, []string{"Incremental", "?1"}, Shown{Known: true, Untagged: true}},
		{"404", "GET", 404, nil, Shown{Known: true}},
		{"410", "GET", 410, nil, Shown{Known: true}},
		{"206 (15.3.7)", "GET", 206, nil, Shown{}},
		{"304", "GET", 304, nil, Shown{}},
		{"302", "GET", 302, nil, Shown{}},
		{"403", "GET", 403, nil, Shown{}},
		{"500", "GET", 500, []string{"ETag", `"own"`}, Shown{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rec := newRecorder()
			if err := capture(t, rec, test.method, handler(func(w http.ResponseWriter, r *http.Request) {
				_ = responding(test.status, "content", test.fields...).ServeHTTP(w, r)
				if got := rec.content.String(); got != "content" {
					t.Errorf("got %q at once", got)
				}
				if rw, ok := w.(io.ReaderFrom); !ok {
					t.Error("no ReadFrom")
				} else if n, err := rw.ReadFrom(strings.NewReader("x")); n != 1 || err != nil {
					t.Error(n, err)
				}
			})); err != nil {
				t.Error(err)
			}
			s := rec.only(t)
			if s.Known != test.want.Known || s.Untagged != test.want.Untagged || len(rec.late) != 0 {
				t.Errorf("%+v, late %v", s, rec.late)
			}
		})
	}
}

// TestCaptureStatus: which status is sent and labelled.
func TestCaptureStatus(t *testing.T) {
	t.Run("informational responses pass through (15.2)", func(t *testing.T) {
		rec := newRecorder()
		_ = capture(t, rec, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(103)
			w.WriteHeader(200)
			w.WriteHeader(500) // too late
		}))
		rec.expect(t, "header 103", "header 103", "label 200", "header 200")
	})
	t.Run("101 is not labelled (15.2.2)", func(t *testing.T) {
		rec := newRecorder()
		_ = capture(t, rec, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(101)
			_ = http.NewResponseController(w).Flush()
		}))
		rec.expect(t, "header 101", "flush")
	})
	t.Run("200 if the handler writes nothing", func(t *testing.T) {
		rec := newRecorder()
		_ = capture(t, rec, "GET", handler(func(http.ResponseWriter, *http.Request) {}))
		if s := rec.only(t); s.ETag != tagOf("", nil) {
			t.Errorf("%+v", s)
		}
		if rec.events[1] != "header 200" {
			t.Error(rec.events)
		}
	})
	t.Run("a date is weak during its second and the next (8.8.2.2)", func(t *testing.T) {
		for date, weak := range map[string]bool{
			"Sun, 06 Nov 1994 08:49:36 GMT": true, "Sun, 06 Nov 1994 08:49:37 GMT": true,
			"Sun, 06 Nov 1994 08:49:38 GMT": true, "Sun, 06 Nov 1994 08:49:39 GMT": false,
		} {
			rec := newRecorder()
			_ = capture(t, rec, "GET", responding(200, "", "Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT", "Date", date))
			if s := rec.only(t); s.WeakDate != weak || s.LastModified.IsZero() {
				t.Errorf("at %s: %+v", date, s)
			}
		}
	})
}

// TestCaptureErrors: an error of the next handler is returned and nothing is sent. Only
// an absent representation is observed.
func TestCaptureErrors(t *testing.T) {
	t.Run("before any response", func(t *testing.T) {
		for status, absent := range map[int]bool{404: true, 410: true, 403: false, 500: false, 0: false} {
			rec := newRecorder()
			sent := caddyhttp.HandlerError{Err: errLegacy, StatusCode: status}
			if err := capture(t, rec, "GET", failing(sent)); !errors.Is(err, errLegacy) {
				t.Error(err)
			}
			if got := len(rec.late) == 1 && rec.late[0].State == validator.Absent; got != absent || len(rec.shown) > 0 || rec.content.Len() > 0 {
				t.Errorf("%d: %q", status, rec.events)
			}
		}
	})
	t.Run("while content is buffered", func(t *testing.T) {
		rec := newRecorder()
		if err := capture(t, rec, "GET", caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			_, _ = io.WriteString(w, "half")
			return caddyhttp.Error(404, errLegacy)
		})); !errors.Is(err, errLegacy) {
			t.Error(err)
		}
		rec.expect(t)
	})
	t.Run("a panic while content is buffered", func(t *testing.T) {
		for _, value := range []any{http.ErrAbortHandler, "bug"} {
			rec := newRecorder()
			if p := recovered(func() {
				_ = capture(t, rec, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, "half")
					_ = http.NewResponseController(w).Flush() // as the proxy does
					panic(value)
				}))
			}); p != value {
				t.Errorf("got %v", p)
			}
			rec.expect(t)
		}
	})
	t.Run("a panic while content passes through shows no tag", func(t *testing.T) {
		rec := newRecorder()
		_ = recovered(func() {
			_ = capture(t, rec, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "more than ten bytes")
				panic(http.ErrAbortHandler)
			}))
		})
		if len(rec.late) > 0 {
			t.Error(rec.late)
		}
	})
}

// TestCaptureDrops: nothing of a dropped response is sent, and a long one is cut off.
func TestCaptureDrops(t *testing.T) {
	tests := []struct {
		name   string
		fields []string
		size   int
		cut    bool
	}{
		{name: "buffered content", size: 10},
		{name: "content over the limit", size: 11},
		{name: "known by its header", fields: []string{"ETag", `"own"`}, size: 256 << 10},
		{name: "large content is cut", fields: []string{"ETag", `"own"`}, size: 300 << 10, cut: true},
		{name: "large content that was buffered is cut", size: 300 << 10, cut: true},
		{name: "a stream is cut at once", fields: []string{"Content-Type", "text/event-stream"}, cut: true},
		{name: "a stream with a tag is cut at once", fields: []string{"Content-Type", "text/event-stream", "ETag", `"own"`}, cut: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rec := newRecorder()
			rec.drop = true
			err := capture(t, rec, "GET", caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				for i := 0; i < len(test.fields); i += 2 {
					w.Header().Set(test.fields[i], test.fields[i+1])
				}
				w.WriteHeader(200)
				piece := make([]byte, 1000)
				for left := test.size; left > 0; left -= len(piece) {
					piece = piece[:min(left, len(piece))]
					if n, err := w.Write(piece); n != len(piece) || err != nil {
						t.Errorf("wrote %d, %v", n, err)
					}
				}
				_ = http.NewResponseController(w).Flush()
				if cut := r.Context().Err() != nil; cut != test.cut {
					t.Errorf("cut: %t", cut)
				}
				if len(rec.shown) > 0 {
					w.Header().Set("X-Checksum", "a trailer field")
				}
				if test.cut {
					panic(http.ErrAbortHandler) // as the proxy does
				}
				return errLegacy
			}))
			if err != nil && len(rec.events) > 0 {
				t.Error(err)
			}
			if len(rec.events) > 0 {
				rec.expect(t, "label 200")
			}
			if rec.header["X-Checksum"] != nil {
				t.Error("the trailer field is in the header")
			}
		})
	}
	t.Run("any other panic is passed on", func(t *testing.T) {
		rec := newRecorder()
		rec.drop = true
		if p := recovered(func() {
			_ = capture(t, rec, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("ETag", `"own"`)
				w.WriteHeader(200)
				panic("bug")
			}))
		}); p != "bug" {
			t.Errorf("got %v", p)
		}
	})
	t.Run("dropped at the end", func(t *testing.T) {
		rec := newRecorder()
		rec.drop = true
		if err := capture(t, rec, "GET", responding(200, "content")); err != nil {
			t.Error(err)
		}
		rec.expect(t, "label 200")
	})
}

// TestCaptureBuffersForParts: with BufferParts, content is buffered if its tag is one of
// ours that no other content has, so that parts of it can be sent (RFC 9110, section
// 15.3.7).
func TestCaptureBuffersForParts(t *testing.T) {
	header := []Source{{Kind: SourceHeader, Field: "X-Version"}, {Kind: SourceUpstream}}
	pointer, err := ParsePointer("/v")
	if err != nil {
		t.Fatal(err)
	}
	json, asJSON := Source{Kind: SourceJSON, Pointers: []Pointer{pointer}}, []string{"Content-Type", "application/json"}
	for _, test := range []struct {
		name     string
		sources  []Source
		method   string
		status   int
		content  string
		fields   []string
		buffered bool
		tagged   bool
	}{
		{"the tag is in the header", header, "GET", 200, "0123456789", []string{"X-Version", "7"}, true, true},
		{"content over the limit", header, "GET", 200, "0123456789x", []string{"X-Version", "7"}, false, true},
		{"announced content over the limit", header, "GET", 200, "0123456789x", []string{"X-Version", "7", "Content-Length", "11"}, false, true},
		{"a stream", header, "GET", 200, "0123", []string{"X-Version", "7", "Content-Type", "text/event-stream"}, false, true},
		{"the backend's own tag", header, "GET", 200, "0123", []string{"ETag", `"own"`}, false, true},
		{"no tag", header, "GET", 200, "0123", nil, false, false},
		{"no content", header, "GET", 204, "", []string{"X-Version", "7"}, false, true},
		{"HEAD", header, "HEAD", 200, "", []string{"X-Version", "7", "Content-Type", "text/plain"}, false, true},
		{"a part", header, "GET", 206, "0123", []string{"X-Version", "7"}, false, false},
		{"absent", header, "GET", 404, "0123", []string{"X-Version", "7"}, false, false},
		{"the store's version", []Source{{Kind: SourceVersion}}, "GET", 200, "0123", nil, false, false},
		{"the store's version, because the value is missing", []Source{json, {Kind: SourceVersion}}, "GET", 200, "0123", asJSON, false, false},
		{"a value in the content", []Source{json}, "GET", 200, `{"v": 1}`, asJSON, false, true},
		{"a hash of the content", []Source{{Kind: SourceBody}}, "GET", 200, "0123", nil, true, true},
		{"a hash of the content, because the value is missing", []Source{json, {Kind: SourceBody}}, "GET", 200, "0123", asJSON, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, hold := range []bool{true, false} {
				rec := newRecorder()
				c := NewCapture(rec, Deriver{Sources: test.sources, Limit: testLimit}, rec)
				c.BufferParts = hold
				if err := c.Serve(responding(test.status, test.content, test.fields...), newRequest(test.method, nil)); err != nil {
					t.Error(err)
				}
				s := rec.only(t)
				want := ""
				if test.buffered && hold {
					want = test.content
				}
				if string(s.Content) != want || rec.content.String() != test.content || len(rec.late) > 0 {
					t.Errorf("hold %t: %+v, sent %q, late %v", hold, s, rec.content.String(), rec.late)
				}
				if s.ETag.Valid != test.tagged {
					t.Errorf("hold %t: tag %s", hold, s.ETag)
				}
			}
		})
	}
}

// TestCaptureBuffersForItems: with BufferItems, JSON into which members may be inserted
// is buffered although its tag is known. Nothing else is.
func TestCaptureBuffersForItems(t *testing.T) {
	for _, test := range []struct {
		name     string
		fields   []string
		content  string
		buffered bool
	}{
		{"JSON", []string{"Content-Type", "application/json"}, "[]", true},
		{"not JSON", []string{"Content-Type", "text/plain"}, "[]", false},
		{"no-transform (RFC 9111, 5.2.2.6)", []string{"Content-Type", "application/json", "Cache-Control", "no-transform"}, "[]", false},
		{"too long", []string{"Content-Type", "application/json"}, "[         ]", false},
		{"announced as too long", []string{"Content-Type", "application/json", "Content-Length", "11"}, "[         ]", false},
		{"a stream", []string{"Content-Type", "application/json", "Incremental", "?1"}, "[]", false},
		{"trailer fields", []string{"Content-Type", "application/json", "Trailer", "X-Last"}, "[]", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, hold := range []bool{false, true} {
				rd := &labelled{}
				c := NewCapture(&discardWriter{header: make(http.Header)}, Deriver{Sources: []Source{{Kind: SourceUpstream}, {Kind: SourceBody}}, Limit: 10}, rd)
				c.BufferItems = hold
				c.Header()["Etag"] = []string{`"own"`}
				for i := 0; i < len(test.fields); i += 2 {
					c.Header().Set(test.fields[i], test.fields[i+1])
				}
				if _, err := c.Write([]byte(test.content)); err != nil {
					t.Fatal(err)
				}
				if err := c.finish(); err != nil {
					t.Fatal(err)
				}
				if got := string(rd.shown.Content); (got == test.content) != (test.buffered && hold) || got != "" && got != test.content {
					t.Errorf("hold %t: buffered %q", hold, got)
				}
				if rd.shown.ETag.Opaque != "own" || rd.late || !rd.shown.Known || rd.shown.Untagged {
					t.Errorf("hold %t: %+v", hold, rd.shown)
				}
			}
		})
	}
}

// labelled records what was shown.
type labelled struct {
	shown Shown
	late  bool
}

func (l *labelled) Label(_ int, _ http.Header, s Shown) bool { l.shown = s; return true }
func (l *labelled) Late(validator.Observed)                  { l.late = true }

type discardWriter struct{ header http.Header }

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) WriteHeader(int)             {}
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }

// A date is weak by the time at which the origin looked: it may take long to answer, and
// the resource may have changed again meanwhile (RFC 9110, section 8.8.2.2).
func TestDateOfASlowResponse(t *testing.T) {
	for _, test := range []struct {
		after, takes time.Duration // since the change, and to answer
		dated, weak  bool
	}{
		{0, 3 * time.Second, false, true},
		{0, 3 * time.Second, true, true},
		{1500 * time.Millisecond, time.Second, false, true},
		{2 * time.Second, 0, false, false},
		{2 * time.Second, 0, true, false},
		{2 * time.Second, 400 * time.Millisecond, true, false}, // promptly
		{3 * time.Second, time.Second, true, false},
		{4 * time.Second, 20 * time.Second, false, false},
	} {
		slow := func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(test.takes)
			w.Header().Set("Last-Modified", r.Header.Get("X-Changed"))
			if test.dated {
				w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
			}
		}
		for name, shows := range map[string]func(*http.Request) validator.Observed{
			"GET": func(r *http.Request) validator.Observed {
				rec := newRecorder()
				_ = NewCapture(rec, both, rec).Serve(handler(slow), r)
				return rec.only(t).Observed
			},
			"probe": func(r *http.Request) validator.Observed {
				return Probe(r.Context(), handler(slow), r, both, 0).Observed
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				r := newRequest("GET", nil, "X-Changed", time.Now().UTC().Format(http.TimeFormat))
				time.Sleep(test.after)
				if o := shows(r); o.WeakDate != test.weak || o.LastModified.IsZero() {
					t.Errorf("%+v: a %s shows %+v", test, name, o)
				}
			})
		}
	}
}
