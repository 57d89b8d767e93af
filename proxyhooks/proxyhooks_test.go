package proxyhooks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/validator"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// both is the default derivation; it holds 10 bytes.
var both = deriver(Upstream, Body)

// deriver derives by sources of the given kinds, from content of at most 10
// bytes.
func deriver(kinds ...Kind) Deriver {
	d := Deriver{Limit: 10}
	for _, k := range kinds {
		d.Sources = append(d.Sources, Source{Kind: k})
	}
	return d
}

var errLegacy = errors.New("the backend is out of order")

// newRequest returns a request as handlers of Caddy get it.
func newRequest(method string, body io.Reader, fields ...string) *http.Request {
	r := httptest.NewRequest(method, "http://legacy.example/page?q=1", body)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, nil)
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// handler is a next handler that returns no error.
func handler(f http.HandlerFunc) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		f(w, r)
		return nil
	})
}

// responding is a next handler that sends status, fields and content.
func responding(status int, content string, fields ...string) caddyhttp.Handler {
	return handler(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Add(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, content)
	})
}

// failing is a next handler that only returns an error.
func failing(err error) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return err })
}

// diary is a response writer, and whatever else, that remembers what happened,
// in order.
type diary struct {
	header  http.Header
	events  []string
	content strings.Builder

	// of a Reading
	refuse bool
	shown  []Shown
	late   []validator.Observed

	// of a Writing
	fates []Fate
	hold  int64 // as Hold returns
	whole []string
}

func newDiary() *diary { return &diary{header: make(http.Header), hold: -1} }

func (d *diary) note(format string, args ...any) {
	d.events = append(d.events, fmt.Sprintf(format, args...))
}

func (d *diary) Header() http.Header { return d.header }

func (d *diary) WriteHeader(status int) { d.note("header %d", status) }

func (d *diary) Write(p []byte) (int, error) {
	d.note("content")
	return d.content.Write(p)
}

func (d *diary) FlushError() error {
	d.note("flush")
	return nil
}

func (d *diary) Label(status int, _ http.Header, s Shown) bool {
	d.note("label %d", status)
	d.shown = append(d.shown, s)
	return !d.refuse
}

func (d *diary) Late(o validator.Observed) {
	d.note("late")
	d.late = append(d.late, o)
}

func (d *diary) Hold(int, http.Header) int64 { return d.hold }

func (d *diary) Settle(a Answer, f Fate) bool {
	d.note("settle %d", a.Status)
	d.fates = append(d.fates, f)
	if a.Whole {
		d.whole = append(d.whole, string(a.Content))
	}
	return !d.refuse
}

func (d *diary) expect(t *testing.T, events ...string) {
	t.Helper()
	if !slices.Equal(d.events, events) {
		t.Errorf("got  %q\nwant %q", d.events, events)
	}
}

// recovered runs f and returns what it panics with.
func recovered(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}
