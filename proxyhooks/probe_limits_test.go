package proxyhooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// endless returns a next handler whose content never ends. It waits between two pieces of
// 1000 bytes.
func endless(status int, wait time.Duration, fields ...string) caddyhttp.Handler {
	return handler(func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		for {
			_, _ = w.Write(make([]byte, 1000))
			select {
			case <-time.After(wait):
			case <-r.Context().Done():
				panic(http.ErrAbortHandler) // as the proxy does
			}
		}
	})
}

// TestProbeEnds: no probe goes on for ever.
func TestProbeEnds(t *testing.T) {
	pointer, err := ParsePointer("/v")
	if err != nil {
		t.Fatal(err)
	}
	json := Deriver{Sources: []Source{{Kind: SourceJSON, Pointers: []Pointer{pointer}}}, Limit: testLimit}
	silent := handler(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		w.WriteHeader(499) // as the proxy does
	})
	for _, test := range []struct {
		name    string
		deriver Deriver
		next    caddyhttp.Handler
		takes   time.Duration
		err     error
		known   bool
		tag     string
		body    int
	}{
		{name: "no answer", next: silent, takes: DefaultProbeTimeout, err: ErrProbeTimeout},
		{name: "content that never ends", next: endless(200, time.Second), takes: DefaultProbeTimeout, err: ErrProbeTimeout},
		{
			name: "content that isn't needed, slow", next: endless(200, time.Second, "ETag", `"own"`),
			takes: DefaultPatience, known: true, tag: `"own"`,
		},
		{
			name: "content that isn't needed, fast", next: endless(200, time.Microsecond, "ETag", `"own"`),
			takes: 262 * time.Microsecond, known: true, tag: `"own"`,
		},
		{name: "content of what is absent", next: endless(404, time.Second), takes: DefaultPatience, known: true},
		{
			name: "content that is too large for its source", deriver: json,
			next: endless(200, time.Microsecond, "Content-Type", "application/json"), takes: 262 * time.Microsecond, known: true,
		},
		{name: "the version of the store", deriver: deriver(SourceVersion), next: endless(200, time.Second), takes: DefaultPatience, known: true},
		{name: "content to relay, fast", next: endless(403, time.Microsecond), takes: 262 * time.Microsecond, body: 64 << 10},
		{name: "content to relay, slow", next: endless(403, time.Second), takes: DefaultProbeTimeout, err: ErrProbeTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := test.deriver
				if d.Sources == nil {
					d = both
				}
				r, begun := newRequest("PUT", nil), time.Now()
				p := Probe(r.Context(), test.next, r, d, 0)
				if got := time.Since(begun); got != test.takes {
					t.Errorf("took %s, want %s", got, test.takes)
				}
				if !errors.Is(p.Err, test.err) || p.Known != test.known || p.Observed.ETag.String() != test.tag || len(p.Body) != test.body {
					t.Errorf("%+v", p)
				}
				time.Sleep(time.Hour) // no timer is left
			})
		})
	}
	if !errors.Is(ErrProbeTimeout, context.Canceled) {
		t.Error("the proxy would count a timeout as a failure of its backend")
	}
}

// TestProbeDeadline: a deadline of the caller replaces the default.
func TestProbeDeadline(t *testing.T) {
	for _, limit := range []time.Duration{time.Second, time.Hour} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRequest("PUT", nil)
				ctx, cancel := context.WithTimeout(r.Context(), limit)
				defer cancel()
				begun := time.Now()
				p := Probe(ctx, endless(200, time.Second), r, both, 0)
				if got := time.Since(begun); got != limit || !errors.Is(p.Err, context.DeadlineExceeded) {
					t.Errorf("took %s, %+v", got, p)
				}
			})
		})
	}
}

// TestProbeContentSlow: content that somebody reads may be slow, even if the tag is known
// without it.
func TestProbeContentSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, content := newRequest("PUT", nil), new(bytes.Buffer)
		p := ProbeContent(r.Context(), handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"own"`)
			for range 10 {
				_, _ = io.WriteString(w, strings.Repeat("x", 64<<10))
				time.Sleep(time.Second)
			}
		}), r, both, content)
		if p.Err != nil || p.Observed.State != validator.Present || content.Len() != 640<<10 {
			t.Errorf("%d bytes, %+v", content.Len(), p)
		}
	})
}
