package proxyhooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// slowly returns a next handler that writes pieces of content, a minute apart, and
// flushes each.
func slowly(status int, fields []string, pieces ...string) caddyhttp.Handler {
	return handler(func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		for _, piece := range pieces {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(time.Minute):
			case <-r.Context().Done():
				panic(http.ErrAbortHandler) // as the proxy does
			}
		}
	})
}

// clocked is a recorder that also records when something happens.
type clocked struct {
	*recorder
	begun time.Time
	at    []time.Duration
}

func newClocked() *clocked { return &clocked{recorder: newRecorder(), begun: time.Now()} }

func (c *clocked) tick() { c.at = append(c.at, time.Since(c.begun)) }

func (c *clocked) WriteHeader(status int)              { c.tick(); c.recorder.WriteHeader(status) }
func (c *clocked) Write(p []byte) (int, error)         { c.tick(); return c.recorder.Write(p) }
func (c *clocked) FlushError() error                   { c.tick(); return c.recorder.FlushError() }
func (c *clocked) Settle(a Answer, f Fate) (send bool) { c.tick(); return c.recorder.Settle(a, f) }
func (c *clocked) Label(status int, h http.Header, s Shown) bool {
	c.tick()
	return c.recorder.Label(status, h, s)
}

// TestCaptureLosesPatience: content that takes longer than the patience isn't held back
// any longer, although the handler doesn't write again. It is labelled as content that is
// too large, and the rest passes through.
func TestCaptureLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := newClocked()
		if err := NewCapture(rec, both, rec).Serve(slowly(200, nil, "1\n", "2\n", "3\n"), newRequest("GET", nil)); err != nil {
			t.Error(err)
		}
		rec.expect(t, "label 200", "header 200", "content", "flush", "content", "flush", "content", "flush", "late")
		p := DefaultPatience
		if want := []time.Duration{p, p, p, p, time.Minute, time.Minute, 2 * time.Minute, 2 * time.Minute}; !slices.Equal(rec.at, want) {
			t.Errorf("at %s, want %s", rec.at, want)
		}
		if s := rec.only(t); !s.Known || !s.Untagged || s.ETag.Valid || s.State != validator.Present || s.Content != nil {
			t.Errorf("%+v", s)
		}
		if want := tagOf("1\n2\n3\n", nil); rec.late[0].ETag != want || rec.content.String() != "1\n2\n3\n" {
			t.Errorf("late %v, content %q", rec.late, rec.content.String())
		}
	})
}

// TestCapturePatience: how long content may take.
func TestCapturePatience(t *testing.T) {
	for _, test := range []struct {
		patience, takes time.Duration
		tagged          bool
	}{
		{0, DefaultPatience - 1, true},
		{0, DefaultPatience + 1, false},
		{time.Second, time.Second - 1, true},
		{time.Second, time.Second + 1, false},
		{time.Hour, time.Minute, true},
	} {
		t.Run(fmt.Sprint(test.patience, test.takes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := newRecorder()
				c := NewCapture(rec, both, rec)
				c.Patience = test.patience
				if err := c.Serve(handler(func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(time.Hour) // patience begins with the header section
					_, _ = io.WriteString(w, "con")
					time.Sleep(test.takes)
					_, _ = io.WriteString(w, "tent")
				}), newRequest("GET", nil)); err != nil {
					t.Error(err)
				}
				if s := rec.only(t); s.ETag.Valid != test.tagged || s.Untagged == test.tagged || rec.content.String() != "content" {
					t.Errorf("%+v, content %q", s, rec.content.String())
				}
				time.Sleep(2 * time.Hour)
				if rec.only(t); len(rec.late) == 1 == test.tagged {
					t.Errorf("late %v", rec.late)
				}
			})
		})
	}
}

// TestCapturePatienceWithOtherSources: what a slow response shows doesn't depend on how
// slow it is, but for what is made from its content.
func TestCapturePatienceWithOtherSources(t *testing.T) {
	pointer, err := ParsePointer("/v")
	if err != nil {
		t.Fatal(err)
	}
	json := Source{Kind: SourceJSON, Pointers: []Pointer{pointer}}
	header := Source{Kind: SourceHeader, Field: "X-Version"}
	fields := []string{"Content-Type", "application/json", "X-Version", "7"}
	for _, test := range []struct {
		name      string
		sources   []Source
		parts     bool
		items     bool
		tagged    bool
		untagged  bool
		versioned bool
		late      bool
		atOnce    bool
	}{
		{name: "a value in the content", sources: []Source{json}, untagged: true},
		// If the value is in the rest, the tag is made from that and from nothing else.
		{name: "a value in the content, else the header", sources: []Source{json, header}, untagged: true},
		{name: "a value in the content, else the content", sources: []Source{json, {Kind: SourceBody}}, untagged: true},
		{name: "a value in the content, else the store's version", sources: []Source{json, {Kind: SourceVersion}}, untagged: true},
		{name: "the content", sources: []Source{{Kind: SourceBody}}, untagged: true, late: true},
		{name: "the header", sources: []Source{header}, tagged: true, atOnce: true},
		{name: "the header, for parts", sources: []Source{header}, parts: true, tagged: true},
		{name: "the header, for items", sources: []Source{header}, items: true, tagged: true},
		{name: "the store's version", sources: []Source{{Kind: SourceVersion}}, versioned: true, atOnce: true},
		{name: "the store's version, for items", sources: []Source{{Kind: SourceVersion}}, items: true, versioned: true},
		{name: "none, for items", sources: []Source{{Kind: SourceUpstream}}, items: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := newClocked()
				c := NewCapture(rec, Deriver{Sources: test.sources, Limit: testLimit}, rec)
				c.BufferParts, c.BufferItems = test.parts, test.items
				if err := c.Serve(slowly(200, fields, `{"v"`, `: 1}`), newRequest("GET", nil)); err != nil {
					t.Error(err)
				}
				s := rec.only(t)
				if !s.Known || s.ETag.Valid != test.tagged || s.Untagged != test.untagged || s.Versioned != test.versioned || s.Content != nil {
					t.Errorf("%+v", s)
				}
				if (len(rec.late) > 0) != test.late || rec.content.String() != `{"v": 1}` {
					t.Errorf("late %v, content %q", rec.late, rec.content.String())
				}
				if want := map[bool]time.Duration{true: 0, false: DefaultPatience}[test.atOnce]; rec.at[0] != want {
					t.Errorf("labelled after %s", rec.at[0])
				}
			})
		})
	}
}

// TestCapturePatienceDrops: a response that is dropped isn't sent, and its content isn't
// read for long.
func TestCapturePatienceDrops(t *testing.T) {
	for _, test := range []struct {
		name   string
		fields []string
		at     time.Duration // of Label
	}{
		{"at the end of patience", nil, DefaultPatience},
		{"at the header section", []string{"ETag", `"own"`}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := newClocked()
				rec.drop = true
				if err := NewCapture(rec, both, rec).Serve(slowly(200, test.fields, "1\n", "2\n"), newRequest("GET", nil)); err != nil {
					t.Error(err)
				}
				rec.expect(t, "label 200")
				if got := time.Since(rec.begun); got != DefaultPatience || rec.at[0] != test.at {
					t.Errorf("labelled after %s, returned after %s", rec.at[0], got)
				}
			})
		})
	}
}

// TestCapturePatiencePanics: a panic on the timer's goroutine comes out of Serve.
func TestCapturePatiencePanics(t *testing.T) {
	for _, value := range []any{"bug", http.ErrAbortHandler} {
		for _, where := range []string{"label", "header", "content", "flush"} {
			t.Run(fmt.Sprint(where, value), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rec := &panicking{recorder: newRecorder(), where: where, value: value}
					begun := time.Now()
					p := recovered(func() {
						_ = NewCapture(rec, both, rec).Serve(slowly(200, nil, "1\n", "2\n"), newRequest("GET", nil))
					})
					if p != value || time.Since(begun) != DefaultPatience {
						t.Errorf("panics with %v after %s", p, time.Since(begun))
					}
					rec.only(t)
				})
			})
		}
	}
}

// panicking panics when something happens.
type panicking struct {
	*recorder
	where string
	value any
}

func (p *panicking) at(where string) {
	if where == p.where {
		panic(p.value)
	}
}

func (p *panicking) WriteHeader(status int)      { p.recorder.WriteHeader(status); p.at("header") }
func (p *panicking) FlushError() error           { p.at("flush"); return nil }
func (p *panicking) Write(b []byte) (int, error) { p.at("content"); return p.recorder.Write(b) }
func (p *panicking) Pass(a Answer)               { p.recorder.Pass(a); p.at("pass") }

func (p *panicking) Settle(a Answer, f Fate) bool {
	p.recorder.Settle(a, f)
	p.at("settle")
	return true
}

func (p *panicking) Label(s int, h http.Header, shown Shown) bool {
	p.recorder.Label(s, h, shown)
	p.at("label")
	return true
}

// TestCapturePatienceEnds: however next ends before or after its patience, nothing is sent
// when Serve has returned.
func TestCapturePatienceEnds(t *testing.T) {
	for _, takes := range []time.Duration{0, DefaultPatience - 1, DefaultPatience, DefaultPatience + 1} {
		for _, end := range []string{"return", "error", "panic", "abort"} {
			t.Run(fmt.Sprint(end, takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rec := newRecorder()
					var err error
					p := recovered(func() {
						err = NewCapture(rec, both, rec).Serve(caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
							_, _ = io.WriteString(w, "content")
							time.Sleep(takes)
							switch end {
							case "error":
								return errLegacy
							case "panic":
								panic("bug")
							case "abort":
								panic(http.ErrAbortHandler)
							}
							return nil
						}), newRequest("GET", nil))
					})
					if want := map[string]any{"panic": "bug", "abort": http.ErrAbortHandler}[end]; p != want {
						t.Errorf("panics with %v", p)
					}
					if want := map[string]error{"error": errLegacy}[end]; !errors.Is(err, want) {
						t.Errorf("returns %v", err)
					}
					happened := slices.Clone(rec.events)
					time.Sleep(time.Hour)
					rec.expect(t, happened...)
					if takes < DefaultPatience && end != "return" {
						rec.expect(t)
					}
					if sent := rec.content.String(); (takes > DefaultPatience || end == "return") && sent != "content" {
						t.Errorf("sent %q", sent)
					}
					if len(rec.shown) > 1 || len(rec.late) > 0 && end != "return" {
						t.Errorf("labelled %d times, late %v", len(rec.shown), rec.late)
					}
				})
			})
		}
	}
}

// TestCapturePatienceWriteFails: the handler learns from its next Write that the client is
// gone.
func TestCapturePatienceWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &broken{newRecorder()}
		if err := NewCapture(rec, both, rec).Serve(handler(func(w http.ResponseWriter, _ *http.Request) {
			if _, err := io.WriteString(w, "1"); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			if n, err := io.WriteString(w, "2"); n != 0 || !errors.Is(err, errLegacy) {
				t.Error(n, err)
			}
		}), newRequest("GET", nil)); !errors.Is(err, errLegacy) {
			t.Errorf("returns %v", err)
		}
	})
}

// broken is the response writer of a client that is gone.
type broken struct{ *recorder }

func (*broken) Write([]byte) (int, error) { return 0, errLegacy }

// TestCaptureHeaderIsHandlers: a handler may keep its header and set trailer fields in it
// while the timer sends the response. The client's header has the fields of the header
// section, and in the end the trailer fields.
func TestCaptureHeaderIsHandlers(t *testing.T) {
	for _, slow := range []bool{false, true} {
		t.Run(fmt.Sprintf("slow %t", slow), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := newRecorder()
				rec.header.Set("Server", "ours")
				rec.header.Set("Via", "ours")
				if err := NewCapture(rec, both, rec).Serve(handler(func(w http.ResponseWriter, _ *http.Request) {
					header := w.Header()
					if header.Get("Via") != "ours" {
						t.Errorf("%v", header)
					}
					header.Del("Server")
					header.Set("X-Field", "of the header section")
					_, _ = io.WriteString(w, "1")
					if slow {
						time.Sleep(DefaultPatience) // the timer runs now
					}
					header.Set("X-Field", "too late")
					header.Set(http.TrailerPrefix+"X-Checksum", "of the content")
				}), newRequest("GET", nil)); err != nil {
					t.Error(err)
				}
				for name, want := range map[string]string{
					"Server": "", "Via": "ours", "X-Field": "of the header section", http.TrailerPrefix + "X-Checksum": "of the content",
				} {
					if got := rec.header[name]; strings.Join(got, ",") != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
			})
		})
	}
	t.Run("announced trailer fields", func(t *testing.T) {
		rec := newRecorder()
		_ = capture(t, rec, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "x-first, X-Second")
			_, _ = io.WriteString(w, "1")
			w.Header().Set("X-First", "1")
			w.Header().Set("X-Second", "2")
			w.Header().Set("X-Third", "3")
		}))
		if rec.header.Get("X-First") != "1" || rec.header.Get("X-Second") != "2" || rec.header.Get("X-Third") != "" {
			t.Errorf("%v", rec.header)
		}
	})
	t.Run("fields of an informational response (15.2)", func(t *testing.T) {
		rec := newRecorder()
		_ = capture(t, rec, "GET", handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(103)
			if rec.header.Get("Link") != "</style.css>" {
				t.Errorf("%v", rec.header)
			}
			w.Header().Del("Link")
		}))
		if rec.header.Get("Link") != "" {
			t.Errorf("%v", rec.header)
		}
	})
	t.Run("fields that come with an error", func(t *testing.T) {
		rec := newRecorder()
		_ = capture(t, rec, "GET", caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("WWW-Authenticate", "Basic") // as Caddy's authentication does
			return caddyhttp.Error(401, errLegacy)
		}))
		if rec.header.Get("WWW-Authenticate") != "Basic" {
			t.Errorf("%v", rec.header)
		}
	})
}

// TestCapturePatienceRaces: whenever the timer fires, the response is labelled once, and all
// of its content arrives in order. Run it with the race detector.
func TestCapturePatienceRaces(t *testing.T) {
	const content = "0123456789abcdefghijklmnopqrstuvwxyz"
	for i := range 2000 {
		rec, l := newRecorder(), &labels{}
		c := NewCapture(rec, Deriver{Sources: both.Sources, Limit: 1000}, l)
		c.Patience = time.Duration(1 + i*20)
		if err := c.Serve(handler(func(w http.ResponseWriter, _ *http.Request) {
			header := w.Header()
			w.WriteHeader(200)
			var flushes sync.WaitGroup
			for j := range content {
				header.Set("X-Progress", content[:j])
				_, _ = io.WriteString(w, content[j:j+1])
				if j%8 == 0 { // the proxy flushes on a different goroutine, but not while it writes
					flushes.Go(func() { _ = http.NewResponseController(w).Flush() })
					flushes.Wait()
				}
			}
		}), newRequest("GET", nil)); err != nil {
			t.Fatal(err)
		}
		shown, late := l.take()
		if len(shown) != 1 || rec.content.String() != content {
			t.Fatalf("labelled %d times, sent %q", len(shown), rec.content.String())
		}
		tag := shown[0].ETag
		if shown[0].Untagged {
			tag = late[0].ETag
		}
		if tag != tagOf(content, nil) {
			t.Fatalf("%+v, late %v", shown, late)
		}
	}
}

// sleepy takes a minute to label a response or to settle a write.
type sleepy struct{ *recorder }

func (s sleepy) Label(status int, h http.Header, shown Shown) bool {
	time.Sleep(time.Minute)
	return s.recorder.Label(status, h, shown)
}

func (s sleepy) Settle(a Answer, f Fate) bool {
	time.Sleep(time.Minute)
	return s.recorder.Settle(a, f)
}

// TestPatienceStopsInTime: once the response is complete, the timer is off. Label and
// Settle may call a store that takes longer than the patience, and a timer that fired
// would block on the lock. (A blocked lock would also stop the time of this test.)
func TestPatienceStopsInTime(t *testing.T) {
	atOnce := handler(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "content") })
	for name, serve := range map[string]func(rec *recorder, slow sleepy) error{
		"read": func(rec *recorder, slow sleepy) error {
			return NewCapture(rec, both, slow).Serve(atOnce, newRequest("GET", nil))
		},
		"write": func(rec *recorder, slow sleepy) error {
			rec.bufferLimit = 1000
			return Forward(context.Background(), atOnce, rec, newRequest("PUT", nil), usual, slow)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := newRecorder()
				begun := time.Now()
				if err := serve(rec, sleepy{rec}); err != nil {
					t.Error(err)
				}
				if rec.content.String() != "content" || time.Since(begun) != time.Minute {
					t.Errorf("sent %q after %s", rec.content.String(), time.Since(begun))
				}
			})
		})
	}
}

// TestForwardLosesPatience: an answer that takes longer than the patience isn't held back any
// longer. The write is settled when the answer is complete, as for one that is too large.
func TestForwardLosesPatience(t *testing.T) {
	for _, patience := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			rec := newClocked()
			rec.bufferLimit, rec.patience = 1000, patience
			if err := Forward(context.Background(), slowly(201, nil, "1\n", "2\n"), rec, newRequest("PUT", nil), usual, rec); err != nil {
				t.Error(err)
			}
			rec.expect(t, "pass 201", "header 201", "content", "flush", "content", "flush", "settle 201")
			p := max(patience, DefaultPatience)
			if want := []time.Duration{p, p, p, time.Minute, time.Minute, 2 * time.Minute}; !slices.Equal(rec.at, want) {
				t.Errorf("at %s, want %s", rec.at, want)
			}
			if rec.fate(t) != Applied || len(rec.whole) != 0 || rec.content.String() != "1\n2\n" {
				t.Errorf("fate %d, whole %q, sent %q", rec.fates[0], rec.whole, rec.content.String())
			}
		})
	}
}

// TestForwardPatiencePanics: a panic on the timer's goroutine comes out of Forward, and the
// write is settled once.
func TestForwardPatiencePanics(t *testing.T) {
	for _, where := range []string{"pass", "header", "content", "flush"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &panicking{recorder: newRecorder(), where: where, value: "bug"}
				rec.bufferLimit = 1000
				if p := recovered(func() {
					_ = Forward(context.Background(), slowly(201, nil, "1\n", "2\n"), rec, newRequest("PUT", nil), usual, rec)
				}); p != "bug" {
					t.Errorf("panics with %v", p)
				}
				rec.fate(t)
			})
		})
	}
}

// TestForwardPatienceEnds: however next ends before or after its patience, the write is
// settled once, and nothing is sent when Forward has returned.
func TestForwardPatienceEnds(t *testing.T) {
	for _, takes := range []time.Duration{0, DefaultPatience - 1, DefaultPatience, DefaultPatience + 1} {
		for _, end := range []string{"return", "error", "abort"} {
			t.Run(fmt.Sprint(end, takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rec := newRecorder()
					rec.bufferLimit = 1000
					_ = recovered(func() {
						_ = forward(rec, newRequest("PUT", nil), caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
							_, _ = io.WriteString(w, "content")
							time.Sleep(takes)
							switch end {
							case "error":
								return errLegacy
							case "abort":
								panic(http.ErrAbortHandler)
							}
							return nil
						}))
					})
					happened := slices.Clone(rec.events)
					time.Sleep(time.Hour)
					rec.expect(t, happened...)
					want := Applied
					if end != "return" {
						want = Unanswered
					}
					if rec.fate(t) != want {
						t.Errorf("%q", rec.events)
					}
					if whole := len(rec.whole) == 1; takes != DefaultPatience && whole != (end == "return" && takes < DefaultPatience) {
						t.Errorf("whole %q", rec.whole)
					}
				})
			})
		}
	}
}

// TestForwardHeaderIsHandlers: as for a Capture.
func TestForwardHeaderIsHandlers(t *testing.T) {
	for _, patience := range []time.Duration{time.Nanosecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			rec := newRecorder()
			rec.bufferLimit, rec.patience = 1000, patience
			if err := forward(rec, newRequest("PUT", nil), handler(func(w http.ResponseWriter, _ *http.Request) {
				header := w.Header()
				header.Set("X-Field", "of the header section")
				_, _ = io.WriteString(w, "1")
				time.Sleep(time.Nanosecond)
				header.Set("X-Field", "too late")
				header.Set(http.TrailerPrefix+"X-Checksum", "of the content")
			})); err != nil {
				t.Error(err)
			}
			if rec.header.Get("X-Field") != "of the header section" || rec.header[http.TrailerPrefix+"X-Checksum"] == nil {
				t.Errorf("%v", rec.header)
			}
		})
	}
}
