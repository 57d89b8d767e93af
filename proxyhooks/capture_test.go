package proxyhooks

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// capture serves a request through a Capture that holds 10 bytes.
func capture(t *testing.T, d *diary, method string, next caddyhttp.Handler) error {
	t.Helper()
	return NewCapture(d, both, d).Serve(next, newRequest(method, nil))
}

// only returns what was shown, which must have been once.
func (d *diary) only(t *testing.T) Shown {
	t.Helper()
	if len(d.shown) != 1 {
		t.Fatalf("labelled %d times", len(d.shown))
	}
	return d.shown[0]
}

func tagOf(content string, h http.Header) validator.ETag {
	c := both.newContentHash(Source{Kind: Body}, h)
	c.Write([]byte(content))
	return c.tag()
}

func TestCaptureHolds(t *testing.T) {
	d := newDiary()
	if err := capture(t, d, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
		for _, piece := range []string{"01", "23", "45"} {
			_, _ = io.WriteString(w, piece)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
		d.expect(t)
	})); err != nil {
		t.Error(err)
	}
	d.expect(t, "label 200", "header 200", "content")
	s := d.only(t)
	if want := tagOf("012345", nil); !s.Known || s.Untagged || s.State != validator.Present || s.Own || s.ETag != want {
		t.Errorf("%+v, want tag %s", s, want)
	}
	if got := d.content.String(); got != "012345" {
		t.Errorf("got %q", got)
	}
}

// TestCaptureLimit is about content of about the limit, however it comes.
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
		for size, held := range map[int]bool{0: true, 1: true, 9: true, 10: true, 11: false, 100_000: false} {
			t.Run(way, func(t *testing.T) {
				content := strings.Repeat("x", size)
				d := newDiary()
				if err := capture(t, d, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
					write(w, content)
				})); err != nil {
					t.Error(err)
				}
				s, want := d.only(t), tagOf(content, nil)
				switch {
				case d.content.String() != content:
					t.Errorf("%d bytes: got %d", size, d.content.Len())
				case held && (s.Untagged || s.ETag != want || len(d.late) != 0):
					t.Errorf("%d bytes: %+v, late %v", size, s, d.late)
				case !held && (!s.Known || !s.Untagged || s.ETag.Valid || len(d.late) != 1 || d.late[0].ETag != want):
					t.Errorf("%d bytes: %+v, late %v", size, s, d.late)
				}
			})
		}
	}
	t.Run("announced", func(t *testing.T) {
		d := newDiary()
		if err := capture(t, d, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "11")
			_, _ = io.WriteString(w, "0")
			_ = http.NewResponseController(w).Flush()
			d.expect(t, "label 200", "header 200", "content", "flush")
			_, _ = io.WriteString(w, "1234567890")
		})); err != nil {
			t.Error(err)
		}
		if want := tagOf("01234567890", nil); len(d.late) != 1 || d.late[0].ETag != want {
			t.Errorf("late %v", d.late)
		}
	})
}

// TestCapturePasses is about responses that need not be held.
func TestCapturePasses(t *testing.T) {
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
			d := newDiary()
			if err := capture(t, d, test.method, handler(func(w http.ResponseWriter, r *http.Request) {
				responding(test.status, "content", test.fields...).ServeHTTP(w, r)
				if got := d.content.String(); got != "content" {
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
			s := d.only(t)
			if s.Known != test.want.Known || s.Untagged != test.want.Untagged || len(d.late) != 0 {
				t.Errorf("%+v, late %v", s, d.late)
			}
		})
	}
}

func TestCaptureStatus(t *testing.T) {
	t.Run("informational responses pass (15.2)", func(t *testing.T) {
		d := newDiary()
		_ = capture(t, d, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(103)
			w.WriteHeader(200)
			w.WriteHeader(500) // too late
		}))
		d.expect(t, "header 103", "header 103", "label 200", "header 200")
	})
	t.Run("101 isn't labelled (15.2.2)", func(t *testing.T) {
		d := newDiary()
		_ = capture(t, d, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(101)
			_ = http.NewResponseController(w).Flush()
		}))
		d.expect(t, "header 101", "flush")
	})
	t.Run("no answer is 200", func(t *testing.T) {
		d := newDiary()
		_ = capture(t, d, "GET", handler(func(http.ResponseWriter, *http.Request) {}))
		if s := d.only(t); s.ETag != tagOf("", nil) {
			t.Errorf("%+v", s)
		}
		if d.events[1] != "header 200" {
			t.Error(d.events)
		}
	})
	t.Run("a date is weak within its second and the next (8.8.2.2)", func(t *testing.T) {
		for date, weak := range map[string]bool{
			"Sun, 06 Nov 1994 08:49:36 GMT": true, "Sun, 06 Nov 1994 08:49:37 GMT": true,
			"Sun, 06 Nov 1994 08:49:38 GMT": true, "Sun, 06 Nov 1994 08:49:39 GMT": false,
		} {
			d := newDiary()
			_ = capture(t, d, "GET", responding(200, "", "Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT", "Date", date))
			if s := d.only(t); s.WeakDate != weak || s.LastModified.IsZero() {
				t.Errorf("at %s: %+v", date, s)
			}
		}
	})
}

func TestCaptureErrors(t *testing.T) {
	t.Run("of the next handler", func(t *testing.T) {
		for status, absent := range map[int]bool{404: true, 410: true, 403: false, 500: false, 0: false} {
			d := newDiary()
			sent := caddyhttp.HandlerError{Err: errLegacy, StatusCode: status}
			if err := capture(t, d, "GET", failing(sent)); !errors.Is(err, errLegacy) {
				t.Error(err)
			}
			if got := len(d.late) == 1 && d.late[0].State == validator.Absent; got != absent || len(d.shown) > 0 || d.content.Len() > 0 {
				t.Errorf("%d: %q", status, d.events)
			}
		}
	})
	t.Run("while content is held", func(t *testing.T) {
		d := newDiary()
		if err := capture(t, d, "GET", caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			_, _ = io.WriteString(w, "half")
			return caddyhttp.Error(404, errLegacy)
		})); !errors.Is(err, errLegacy) {
			t.Error(err)
		}
		d.expect(t)
	})
	t.Run("a panic while content is held", func(t *testing.T) {
		for _, value := range []any{http.ErrAbortHandler, "bug"} {
			d := newDiary()
			if p := recovered(func() {
				_ = capture(t, d, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, "half")
					_ = http.NewResponseController(w).Flush() // as the proxy does
					panic(value)
				}))
			}); p != value {
				t.Errorf("got %v", p)
			}
			d.expect(t)
		}
	})
	t.Run("a panic while content passes shows no tag", func(t *testing.T) {
		d := newDiary()
		_ = recovered(func() {
			_ = capture(t, d, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "more than ten bytes")
				panic(http.ErrAbortHandler)
			}))
		})
		if len(d.late) > 0 {
			t.Error(d.late)
		}
	})
}

// TestCaptureDrops is about responses in whose place another one goes out.
func TestCaptureDrops(t *testing.T) {
	tests := []struct {
		name   string
		fields []string
		size   int
		cut    bool
	}{
		{name: "held content", size: 10},
		{name: "content over the limit", size: 11},
		{name: "known by its header", fields: []string{"ETag", `"own"`}, size: 256 << 10},
		{name: "large content is cut", fields: []string{"ETag", `"own"`}, size: 300 << 10, cut: true},
		{name: "large content that was held is cut", size: 300 << 10, cut: true},
		{name: "a stream is cut at once", fields: []string{"Content-Type", "text/event-stream"}, cut: true},
		{name: "also one with a tag", fields: []string{"Content-Type", "text/event-stream", "ETag", `"own"`}, cut: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDiary()
			d.refuse = true
			err := capture(t, d, "GET", caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
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
				if len(d.shown) > 0 {
					w.Header().Set("X-Checksum", "a trailer field")
				}
				if test.cut {
					panic(http.ErrAbortHandler) // as the proxy does
				}
				return errLegacy
			}))
			if err != nil && len(d.events) > 0 {
				t.Error(err)
			}
			if len(d.events) > 0 {
				d.expect(t, "label 200")
			}
			if d.header["X-Checksum"] != nil {
				t.Error("the trailer field is in the header")
			}
		})
	}
	t.Run("any other panic goes on", func(t *testing.T) {
		d := newDiary()
		d.refuse = true
		if p := recovered(func() {
			_ = capture(t, d, "GET", handler(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("ETag", `"own"`)
				w.WriteHeader(200)
				panic("bug")
			}))
		}); p != "bug" {
			t.Errorf("got %v", p)
		}
	})
	t.Run("at the end", func(t *testing.T) {
		d := newDiary()
		d.refuse = true
		if err := capture(t, d, "GET", responding(200, "content")); err != nil {
			t.Error(err)
		}
		d.expect(t, "label 200")
	})
}
