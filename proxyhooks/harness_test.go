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
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// testLimit is how many bytes of content the tests allow to be buffered.
const testLimit = 10

// both has the default sources.
var both = deriver(SourceUpstream, SourceBody)

// deriver returns a Deriver with sources of the given kinds.
func deriver(kinds ...SourceKind) Deriver {
	d := Deriver{Limit: testLimit}
	for _, k := range kinds {
		d.Sources = append(d.Sources, Source{Kind: k})
	}
	return d
}

var errLegacy = errors.New("the backend is out of order")

// newRequest returns a request as Caddy passes it to handlers. Fields are pairs of a
// name and a value.
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

// handler returns a next handler that returns no error.
func handler(f http.HandlerFunc) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		f(w, r)
		return nil
	})
}

// responding returns a next handler that sends a status, fields and content.
func responding(status int, content string, fields ...string) caddyhttp.Handler {
	return handler(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Add(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, content)
	})
}

// failing returns a next handler that only returns an error.
func failing(err error) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return err })
}

// recorder is the response writer, Reading and Writing of a test. It records what
// happens, in order.
type recorder struct {
	header  http.Header
	events  []string
	content strings.Builder
	drop    bool // what Label and Settle answer

	// of a Reading
	shown []Shown
	late  []validator.Observed

	// of a Writing
	bufferLimit int64 // what BufferLimit returns
	patience    time.Duration
	fates       []Fate
	lost        bool // the opposite of what Held returns
	whole       []string
}

func newRecorder() *recorder {
	return &recorder{header: make(http.Header), bufferLimit: 1000}
}

func (rec *recorder) note(format string, args ...any) {
	rec.events = append(rec.events, fmt.Sprintf(format, args...))
}

func (rec *recorder) Header() http.Header { return rec.header }

func (rec *recorder) WriteHeader(status int) { rec.note("header %d", status) }

func (rec *recorder) Write(p []byte) (int, error) {
	rec.note("content")
	return rec.content.Write(p)
}

func (rec *recorder) FlushError() error {
	rec.note("flush")
	return nil
}

func (rec *recorder) Label(status int, _ http.Header, s Shown) bool {
	rec.note("label %d", status)
	rec.shown = append(rec.shown, s)
	return !rec.drop
}

func (rec *recorder) Late(o validator.Observed) {
	rec.note("late")
	rec.late = append(rec.late, o)
}

func (rec *recorder) Held() bool { return !rec.lost }

func (rec *recorder) Pass(a Answer) { rec.note("pass %d", a.Status) }

func (rec *recorder) BufferLimit(int, http.Header) (int64, time.Duration) {
	return rec.bufferLimit, rec.patience
}

func (rec *recorder) Settle(a Answer, f Fate) bool {
	rec.note("settle %d", a.Status)
	rec.fates = append(rec.fates, f)
	if a.Complete {
		rec.whole = append(rec.whole, string(a.Content))
	}
	return !rec.drop
}

func (rec *recorder) expect(t *testing.T, events ...string) {
	t.Helper()
	if !slices.Equal(rec.events, events) {
		t.Errorf("got  %q\nwant %q", rec.events, events)
	}
}
