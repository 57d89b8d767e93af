package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// The backend gets a condition that it can evaluate: the client's, if that is about a
// date or a tag of the backend, or about nothing but existence. Otherwise it gets its own
// tag, weak or strong, if the write can be sent again should it refuse that.
func TestForwardedConditions(t *testing.T) {
	own := func(o validator.Observed) validator.Observed {
		o.Own = true
		return o
	}
	beside := func(o validator.Observed, tag string) validator.Observed {
		o.Backend, _ = validator.ParseETag(tag)
		return o
	}
	dated := func(o validator.Observed) validator.Observed {
		o.LastModified = time.Date(2025, 11, 3, 12, 0, 0, 0, time.UTC)
		return o
	}
	const date = "If-Unmodified-Since: Mon, 03 Nov 2025 12:00:00 GMT"
	absent := validator.Observed{Representation: validator.Representation{State: validator.Absent}}
	for _, tt := range []struct {
		name    string
		guarded bool
		fields  []string
		current validator.Observed
		want    string
	}{
		{"a tag of the handler", false, []string{`If-Match: "a"`}, present("a"), ""},
		{"a tag of the handler, and a weak one of the backend", false, []string{`If-Match: "a"`}, beside(present("a"), `W/"1"`), `If-Match: W/"1" (negotiable)`},
		{"a tag of the handler, and a strong one of the backend", false, []string{`If-Match: "a"`}, beside(present("a"), `"1"`), `If-Match: "1" (negotiable)`},
		{"a tag of the backend", false, []string{`If-Match: "a"`}, own(present("a")), `If-Match: "a"`},
		{"one of several tags of the backend", false, []string{`If-Match: "b", "a"`, `If-Match: "c"`}, own(present("a")), `If-Match: "a"`},
		{"a tag with a mark", false, []string{`If-Match: "a-gzip"`}, own(present("a")), `If-Match: "a"`},
		{"any tag", false, []string{"If-Match: *"}, own(present("a")), "If-Match: *"},
		{"any tag, made by the handler", false, []string{"If-Match: *"}, present("a"), "If-Match: *"},
		{"any tag, and the backend's is weak", false, []string{"If-Match: *"}, beside(present("a"), `W/"1"`), "If-Match: *"},
		{"If-None-Match with a tag of the backend", false, []string{`If-None-Match: "b"`}, own(present("a")), `If-None-Match: "b"`},
		{"If-None-Match with a tag of the handler", false, []string{`If-None-Match: "b"`}, present("a"), ""},
		{"If-None-Match, and nothing is there", false, []string{"If-None-Match: *"}, absent, "If-None-Match: *"},
		{"a date of the backend", false, []string{date}, dated(present("a")), date},
		{"a date of the handler", false, []string{date}, present("a"), ""},
		{"a date of the handler, and a tag of the backend", false, []string{date}, own(present("a")), `If-Match: "a" (negotiable)`},
		{"a tag of the handler, and a date of the backend", false, []string{`If-Match: "a"`, date}, dated(present("a")), ""},
		{"a guarded resource", true, []string{`If-Match: "a"`}, own(dated(present("a"))), ""},
		{"the date of a guarded resource", true, []string{date}, own(dated(present("a"))), ""},
		{"a signed request", false, []string{`If-Match: "a"`, "Signature-Input: x"}, present("a"), `If-Match: "a"`},
	} {
		s := newSite()
		s.Signed = []resource.Scheme{resource.RFC9421}
		if tt.guarded {
			s.guards(t, "/m", "/other")
		}
		r := requestOf(t.Context(), "PUT /m", tt.fields...)
		x, _ := s.exchangeOf(r)
		c := x.conditionFor(decision{outcome: answer.Passed, current: tt.current, confirmed: true}, !tt.guarded)
		proxyhooks.EditHeader(r.Header, c.fields)
		got := ""
		for _, field := range conditionFields {
			for _, line := range r.Header[field.String()] {
				got += field.String() + ": " + line
			}
		}
		if c.tag.Valid {
			got += " (negotiable)"
		}
		if got != tt.want || c.none != (got == "") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// In mode report, a backend that has tags of its own checks conditions on its own.
func TestReportLeavesConditions(t *testing.T) {
	s := newSite()
	s.Answers.Mode = answer.ReportOnly
	x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m", `If-Match: "stale"`, "If-Unmodified-Since: yesterday"))
	current := present("a")
	if c := x.conditionFor(decision{outcome: answer.Failed, current: current}, false); len(c.fields) != len(conditionFields) {
		t.Errorf("the backend has never heard of the tag: %v", c.fields)
	}
	current.Own = true
	if c := x.conditionFor(decision{outcome: answer.Failed, current: current}, false); c.fields != nil {
		t.Errorf("the tag is the backend's own: %v", c.fields)
	}
}

// The backend doesn't see what was taken from it, and afterwards the request is as
// it was: outer handlers share its header.
func TestForwardRestoresTheRequest(t *testing.T) {
	s := newSite()
	known := s.tagOf(t, "/m")
	var got http.Header
	inner := s.origin
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		got = r.Header.Clone()
		return inner(w, r)
	}
	r := requestOf(t.Context(), "PUT /m", "If-Match: "+known, "Expect: 100-continue", "X-Other: field")
	before := r.Header.Clone()
	if w, err := s.serve(r); err != nil || w.Code != 204 {
		t.Fatalf("%v, status %d", err, w.Code)
	}
	if delete(got, holderField); len(got) != 1 || got.Get("X-Other") != "field" {
		t.Errorf("the backend got %v", got)
	}
	if !maps.EqualFunc(r.Header, before, slices.Equal) {
		t.Errorf("the request has %v", r.Header)
	}
}

// An answer to a write is waited for without a limit of time if more can be found out once
// it is complete, and only if it says that the write is done.
func TestBufferLimit(t *testing.T) {
	s := newSite()
	s.WriteETag = WriteETagVerbatim
	x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m", "If-Match: *"))
	represents := http.Header{"Content-Location": {"/m"}}
	for _, tt := range []struct {
		name    string
		probes  bool
		status  int
		header  http.Header
		forever bool
	}{
		{"a probe follows", true, 200, nil, true},
		{"a probe follows a creation", true, 201, nil, true},
		{"it isn't done yet", true, 202, nil, false},
		{"it is done in part", true, 207, nil, false},
		{"it is refused", true, 409, nil, false},
		{"it leads elsewhere", true, 303, nil, false},
		{"no probe follows", false, 200, nil, false},
		{"the answer is the representation", false, 200, represents, true},
		{"the answer can't be the representation", false, 204, represents, false},
	} {
		w := x.newWriting()
		if tt.probes {
			w.result.probes = true
		}
		limit, patience := w.BufferLimit(tt.status, tt.header)
		if limit != s.Buffer || (patience == math.MaxInt64) != tt.forever {
			t.Errorf("%s: %d bytes, for %s", tt.name, limit, patience)
		}
	}
}

// The content of an answer is the new representation only if Content-Location says
// so (RFC 9110, section 8.7).
func TestRepresents(t *testing.T) {
	for _, tt := range []struct {
		name      string
		guarded   bool
		writeETag WriteETag
		status    int
		lines     []string
		want      bool
	}{
		{"200", false, WriteETagVerbatim, 200, []string{"/m?q"}, true},
		{"201", false, WriteETagAlways, 201, []string{"http://example.com/m?q"}, true},
		{"204", false, WriteETagVerbatim, 204, []string{"/m?q"}, false},
		{"206", false, WriteETagVerbatim, 206, []string{"/m?q"}, false},
		{"a different query", false, WriteETagVerbatim, 200, []string{"/m"}, false},
		{"a different host", false, WriteETagVerbatim, 200, []string{"http://example.org/m?q"}, false},
		{"no field", false, WriteETagVerbatim, 200, nil, false},
		{"an empty field", false, WriteETagVerbatim, 200, []string{""}, false},
		{"two lines", false, WriteETagVerbatim, 200, []string{"/m?q", "/m?q"}, false},
		{"write_etag off", false, WriteETagOff, 200, []string{"/m?q"}, false},
		{"a guarded resource", true, WriteETagVerbatim, 200, []string{"/m?q"}, false},
	} {
		s := newSite()
		s.WriteETag = tt.writeETag
		if tt.guarded {
			s.guards(t, "/m", "/other")
		}
		x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m?q", "If-Match: *"))
		h := http.Header{"Content-Location": tt.lines}
		if tt.lines == nil {
			h = nil
		}
		if got := (listener{&x.newWriting().result}).represents(tt.status, h); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if h != nil {
			h["Content-Encoding"] = []string{"gzip"}
			if (listener{&x.newWriting().result}).represents(tt.status, h) {
				t.Errorf("%s, with a content coding: true", tt.name)
			}
		}
	}
}

// The tag of an answer may describe its content only after a PUT of a whole
// representation that was stored as it was sent (RFC 9110, sections 9.3.4 and 14.5).
func TestMayBeVerbatim(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		writeETag  WriteETag
		fields     []string
		want       bool
	}{
		{"PUT", "PUT /m", WriteETagVerbatim, nil, true},
		{"POST", "POST /m", WriteETagVerbatim, nil, false},
		{"POST as PUT", "POST /m", WriteETagVerbatim, []string{"X-HTTP-Method-Override: PUT"}, false},
		{"PUT as PATCH", "PUT /m", WriteETagVerbatim, []string{"X-HTTP-Method-Override: PATCH"}, false},
		{"PUT of a part", "PUT /m", WriteETagVerbatim, []string{"Content-Range: bytes 0-1/2"}, false},
		{"PUT with a content coding", "PUT /m", WriteETagVerbatim, []string{"Content-Encoding: gzip"}, false},
		{"PUT to what is guarded", "PUT /guarded", WriteETagVerbatim, nil, false},
		{"write_etag off", "PUT /m", WriteETagOff, nil, false},
		{"write_etag always", "PUT /m", WriteETagAlways, nil, false},
	} {
		s := newSite()
		s.WriteETag = tt.writeETag
		s.guards(t, "/guarded", "/other")
		x, _ := s.exchangeOf(requestOf(t.Context(), tt.line, append(tt.fields, "If-Match: *")...))
		if got := x.newWriting().result.mayBeVerbatim(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// The validators of an answer to a write are removed. Only the tag of a resource
// that was created elsewhere stays, if the handler would give it the same (RFC
// 9110, section 15.3.2).
func TestRemoveValidators(t *testing.T) {
	upstream := []proxyhooks.Source{{Kind: proxyhooks.SourceUpstream}}
	body := []proxyhooks.Source{{Kind: proxyhooks.SourceBody}}
	for _, tt := range []struct {
		name     string
		sources  []proxyhooks.Source
		status   int
		location string
		stays    bool
	}{
		{"created elsewhere", upstream, 201, "/items/7", true},
		{"created elsewhere, with a tag that the handler replaces", body, 201, "/items/7", false},
		{"created here", upstream, 201, "/items", false},
		{"created", upstream, 201, "", false},
		{"leads elsewhere", upstream, 303, "/items/7", false},
		{"done", upstream, 200, "/items/7", false},
	} {
		s := newSite()
		s.Deriver.Sources = tt.sources
		x, _ := s.exchangeOf(requestOf(t.Context(), "POST /items", "If-Match: *"))
		h := http.Header{"Etag": {`"x"`}, "Last-Modified": {"Mon, 03 Nov 2025 12:00:00 GMT"}, "Location": {tt.location}}
		x.newWriting().result.removeValidators(proxyhooks.Answer{Status: tt.status, Header: h})
		if got := h["Etag"] != nil; got != tt.stays || h["Last-Modified"] != nil {
			t.Errorf("%s: %v", tt.name, h)
		}
	}
}

// Contents are equal only if they have the same bytes and the same length. Content that differs isn't read to its end unless somebody needs its tag.
func TestComparison(t *testing.T) {
	large := strings.Repeat("0123456789", 30<<10)
	sent := func(s string) *proxyhooks.Content {
		r := putOf(t.Context(), s)
		done, err := proxyhooks.ReadAhead(r, 100, true, nil)
		t.Cleanup(done)
		content, ok := proxyhooks.ContentOf(r)
		if err != nil || !ok {
			t.Fatal(err)
		}
		return &content
	}
	for _, tt := range []struct {
		name     string
		content  []string
		sent     *proxyhooks.Content
		limit    int64
		want     bool
		failed   bool
		consumed int64
	}{
		{"the same", []string{"one", "two"}, sent("onetwo"), 6, true, false, 6},
		{"the same, and nothing", nil, sent(""), 0, true, false, 0},
		{"the same, and large", []string{large, large[1:]}, sent(large + large[1:]), 1 << 20, true, false, int64(2*len(large)) - 1},
		{"large, with a different end", []string{large, large}, sent(large + large[1:] + "x"), 1 << 20, false, false, int64(2 * len(large))},
		{"different", []string{"one", "too"}, sent("onetwo"), 6, false, false, 6},
		{"different at first", []string{"the", "two"}, sent("onetwo"), 6, false, false, 6},
		{"shorter", []string{"one"}, sent("onetwo"), 6, false, false, 3},
		{"something, and nothing was sent", []string{"one"}, sent(""), 6, false, false, 3},
		{"longer", []string{"one", "twox"}, sent("onetwo"), 6, false, true, 7},
		{"longer, and read on", []string{"onetwo", "x"}, sent("onetwo"), 7, false, false, 7},
		{"longer, and more than is accepted", []string{"onetwo", "x", "y"}, sent("onetwo"), 7, false, true, 8},
		{"not known", []string{"one"}, nil, 9, false, false, 3},
		{"not known, and nothing", nil, nil, 9, false, false, 0},
	} {
		c := newComparison(tt.sent)
		c.limit = tt.limit
		failed := false
		for _, part := range tt.content {
			if n, err := io.WriteString(c, part); err != nil || n != len(part) {
				failed = true
			}
		}
		if got := c.equal(); got != tt.want || failed != tt.failed || c.read != tt.consumed {
			t.Errorf("%s: %v, failed: %v, %d bytes", tt.name, got, failed, c.read)
		}
	}
}

// The probe after a write has a limit of time and of content, however long the lease.
func TestProbeAfterEnds(t *testing.T) {
	for name, wait := range map[string]time.Duration{"slow content": time.Second, "fast content": time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				s.WriteETag, s.Terms.Lease, s.Terms.Retention = WriteETagAlways, time.Hour, 2*time.Hour
				known := s.tagOf(t, "/m")
				var written bool
				read := 0
				s.origin = func(w http.ResponseWriter, r *http.Request) error {
					if r.Method != http.MethodGet {
						written = true
						w.WriteHeader(http.StatusNoContent)
						return nil
					}
					if !written {
						_, err := io.WriteString(w, "content")
						return err
					}
					for piece := make([]byte, 32<<10); r.Context().Err() == nil; read += len(piece) {
						_, _ = w.Write(piece)
						time.Sleep(wait)
					}
					return r.Context().Err()
				}
				begun := time.Now()
				w, err := s.serve(requestOf(t.Context(), "PUT /m", "If-Match: "+known))
				if err != nil || w.Code != http.StatusNoContent || w.Header().Get("Etag") != "" {
					t.Errorf("%v, status %d, %v", err, w.Code, w.Header())
				}
				if took := time.Since(begun); took > 31*time.Second || read > 65<<20 {
					t.Errorf("the probe took %s and read %d bytes", took, read)
				}
			})
		})
	}
}

// A receipt identifies a write by its request, its content and its answer.
func TestReceipt(t *testing.T) {
	one, two := sha256.Sum256([]byte("one")), sha256.Sum256([]byte("two"))
	receipt := newReceipt("request", &one, 204)
	for name, other := range map[string]string{
		"the content": newReceipt("request", &two, 204),
		"the status":  newReceipt("request", &one, 200),
		"the request": newReceipt("other", &one, 204),
	} {
		if other == receipt {
			t.Errorf("%s doesn't count", name)
		}
	}
	if newReceipt("request", &one, 204) != receipt {
		t.Error("the same write has a different receipt")
	}
	if got := newReceipt("request", nil, 204); got != "" {
		t.Errorf("of content that isn't known: %s", got)
	}
	const room = 64 // Settlement.Receipt
	s := newSite()
	x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m", "If-Match: *"))
	if got := newReceipt(requestDigest(x), &one, 204); len(got) > room || strings.Count(got, ".") != 2 {
		t.Errorf("%s has %d bytes", got, len(got))
	}
}

// A repetition is the same request: from the same client, with the same conditions,
// for the same target and to the same end. Everything counts by which a backend may tell
// clients apart. What proxies and clients change from one try to the next doesn't.
func TestRequestDigest(t *testing.T) {
	digest := func(line string, fields ...string) string {
		x, _ := newSite().exchangeOf(requestOf(t.Context(), line, fields...))
		return requestDigest(x)
	}
	original := digest("PUT /m", `If-Match: "a"`)
	for _, fields := range [][]string{
		{"User-Agent: x"},
		{"Accept: */*"},
		{"Date: x"},
		{"Traceparent: x"},
		{"Expect: 100-continue"},
		{"If-Modified-Since: x"},
		{"Prefer: x"},
		{"Cache-Control: no-cache"},
		{"X-Request-Id: x", "X-B3-Spanid: x", "Via: 1.1 x"},
		{"Amz-Sdk-Request: attempt=2"},
		{"Sec-Fetch-Mode: cors"},
		{"X-Retry-Count: 1"},
		{"Preconditions-Holder: x"},
	} {
		if digest("PUT /m", append(fields, `If-Match: "a"`)...) != original {
			t.Errorf("%q counts", fields)
		}
	}
	r := requestOf(t.Context(), "PUT /api/m", `If-Match: "a"`)
	r.URL.Path = "/m"
	x, _ := newSite().exchangeOf(r)
	rewritten := requestDigest(x)
	seen := map[string]string{original: "the original"}
	for name, other := range map[string]string{
		"method":              digest("PATCH /m", `If-Match: "a"`),
		"override":            digest("PUT /m", `If-Match: "a"`, "X-HTTP-Method: PATCH"),
		"target":              digest("PUT /n", `If-Match: "a"`),
		"query":               digest("PUT /m?q", `If-Match: "a"`),
		"tag":                 digest("PUT /m", `If-Match: "b"`),
		"two lines":           digest("PUT /m", `If-Match: "a"`, `If-Match: "a"`),
		"If-None-Match":       digest("PUT /m", `If-None-Match: "a"`),
		"If-Unmodified-Since": digest("PUT /m", `If-Match: "a"`, "If-Unmodified-Since: x"),
		"Authorization":       digest("PUT /m", `If-Match: "a"`, "Authorization: x"),
		"Cookie":              digest("PUT /m", `If-Match: "a"`, "Cookie: x"),
		"Idempotency-Key":     digest("PUT /m", `If-Match: "a"`, "Idempotency-Key: x"),
		"Content-Type":        digest("PUT /m", `If-Match: "a"`, "Content-Type: x"),
		"Content-Encoding":    digest("PUT /m", `If-Match: "a"`, "Content-Encoding: x"),
		"Content-Language":    digest("PUT /m", `If-Match: "a"`, "Content-Language: x"),
		"Content-Range":       digest("PUT /m", `If-Match: "a"`, "Content-Range: x"),
		"Depth":               digest("PUT /m", `If-Match: "a"`, "Depth: x"),
		"Destination":         digest("PUT /m", `If-Match: "a"`, "Destination: x"),
		"Overwrite":           digest("PUT /m", `If-Match: "a"`, "Overwrite: x"),
		"an empty Cookie":     digest("PUT /m", `If-Match: "a"`, "Cookie:"),
		"an empty Depth":      digest("PUT /m", `If-Match: "a"`, "Depth:"),
		"the client's target": rewritten,
		"X-Api-Key":           digest("PUT /m", `If-Match: "a"`, "X-Api-Key: x"),
		"another X-Api-Key":   digest("PUT /m", `If-Match: "a"`, "X-Api-Key: y"),
		"two of them":         digest("PUT /m", `If-Match: "a"`, "X-Api-Key: x", "X-Api-Key: y"),
		"a list of them":      digest("PUT /m", `If-Match: "a"`, "X-Api-Key: x, y"),
		"X-Auth-Token":        digest("PUT /m", `If-Match: "a"`, "X-Auth-Token: x"),
		"Remote-User":         digest("PUT /m", `If-Match: "a"`, "Remote-User: x"),
		"X-Forwarded-User":    digest("PUT /m", `If-Match: "a"`, "X-Forwarded-User: x"),
		"Proxy-Authorization": digest("PUT /m", `If-Match: "a"`, "Proxy-Authorization: x"),
		"X-Forwarded-For":     digest("PUT /m", `If-Match: "a"`, "X-Forwarded-For: x"),
		"Forwarded":           digest("PUT /m", `If-Match: "a"`, "Forwarded: for=x"),
		"an unknown field":    digest("PUT /m", `If-Match: "a"`, "X-Whoever: x"),
		"an API key in a URL": digest("PUT /m?key=x", `If-Match: "a"`),
	} {
		if same, ok := seen[other]; ok {
			t.Errorf("%s is like %s", name, same)
		}
		seen[other] = name
	}
}

// Who asks is also told by what isn't in the header. The address counts only where nothing
// else says who asks: an answer is often lost because a client changes the network.
func TestRequestDigestOfClient(t *testing.T) {
	digest := func(edit func(*http.Request), fields ...string) string {
		r := requestOf(t.Context(), "PUT /m", append(fields, `If-Match: "a"`)...)
		r.RemoteAddr = "192.0.2.1:1000"
		if edit != nil {
			edit(r)
		}
		x, _ := newSite().exchangeOf(r)
		return requestDigest(x)
	}
	cert := func(raw string) func(*http.Request) {
		return func(r *http.Request) {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(raw)}}}
		}
	}
	user := func(id string) func(*http.Request) {
		return func(r *http.Request) {
			r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.auth.user.id", id)
		}
	}
	moved := func(edit func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			if edit != nil {
				edit(r)
			}
			r.RemoteAddr = "192.0.2.2:1000"
		}
	}
	port := func(r *http.Request) { r.RemoteAddr = "192.0.2.1:2000" }
	trusted := func(r *http.Request) { caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "192.0.2.3") }
	for _, tt := range []struct {
		name string
		a, b string
		same bool
	}{
		{"the port", digest(nil), digest(port), true},
		{"the address", digest(nil), digest(moved(nil)), false},
		{"the address that a trusted proxy names", digest(nil), digest(trusted), false},
		{"a proxy in between", digest(trusted), digest(moved(trusted)), true},
		{"the address, with an API key", digest(nil, "X-Api-Key: x"), digest(moved(nil), "X-Api-Key: x"), false},
		{"the address, with credentials", digest(nil, "Authorization: x"), digest(moved(nil), "Authorization: x"), true},
		{"the address, in a session", digest(nil, "Cookie: x"), digest(moved(nil), "Cookie: x", "X-Forwarded-For: x"), true},
		{"the address, with a key of the request", digest(nil, "Idempotency-Key: x"), digest(moved(nil), "Idempotency-Key: x"), true},
		{"the address, with a certificate", digest(cert("a")), digest(moved(cert("a"))), true},
		{"the address of a user", digest(user("a")), digest(moved(user("a"))), true},
		{"the certificate", digest(cert("a")), digest(cert("b")), false},
		{"no certificate", digest(cert("a"), "Cookie: x"), digest(nil, "Cookie: x"), false},
		{"the user", digest(user("a"), "Cookie: x"), digest(user("b"), "Cookie: x"), false},
		{"no user", digest(user("a"), "Cookie: x"), digest(nil, "Cookie: x"), false},
	} {
		if (tt.a == tt.b) != tt.same {
			t.Errorf("%s: the same request: %v", tt.name, !tt.same)
		}
	}
}

// The repetition of a write that led to the present state gets the status of the
// first answer (RFC 9110, section 13.1.1). Every other write is refused.
func TestReplay(t *testing.T) {
	for _, tt := range []struct {
		name    string
		again   func(*site) (content string, fields []string)
		between func(*testing.T, *site)
		status  int
		outcome answer.Outcome
	}{
		{"the same", nil, nil, 201, answer.Passed},
		{"with different content", func(*site) (string, []string) { return "other", nil }, nil, 412, answer.Failed},
		{"by a different client", func(*site) (string, []string) { return "new", []string{"Authorization: x"} }, nil, 412, answer.Failed},
		{"after a different write", nil, func(t *testing.T, s *site) {
			if _, err := s.serve(requestOf(t.Context(), "PUT /m")); err != nil {
				t.Fatal(err)
			}
		}, 412, answer.Failed},
		{"without replay", func(s *site) (string, []string) { s.Replay = false; return "new", nil }, nil, 412, answer.Failed},
	} {
		s := newSite()
		s.Replay = true
		stored := "old"
		s.origin = func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodGet {
				_, _ = io.WriteString(w, stored)
				return nil
			}
			content, err := io.ReadAll(r.Body)
			stored = string(content)
			w.WriteHeader(http.StatusCreated)
			return err
		}
		known := s.tagOf(t, "/m")
		put := func(content string, fields ...string) (*client, *http.Request) {
			r := requestOf(t.Context(), "PUT /m", append(fields, "If-Match: "+known)...)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(content)), int64(len(content))
			w, err := s.serve(r)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			return w, r
		}
		if w, _ := put("new"); w.Code != 201 {
			t.Fatalf("%s: status %d", tt.name, w.Code)
		}
		if tt.between != nil {
			tt.between(t, s)
		}
		content, fields := "new", []string(nil)
		if tt.again != nil {
			content, fields = tt.again(s)
		}
		s.take()
		w, r := put(content, fields...)
		if w.Code != tt.status || outcome(r) != string(tt.outcome) {
			t.Errorf("%s: status %d, outcome %s", tt.name, w.Code, outcome(r))
		}
		list := s.take()
		releasedBeforeAnswered(t, list)
		if slices.Contains(list, "PUT /m") {
			t.Errorf("%s: forwarded again", tt.name)
		}
		if tt.status == 201 && (w.Header().Get("Etag") == known || w.Header().Get("Etag") == "" || w.Header().Get("Content-Length") != "0") {
			t.Errorf("%s: %v", tt.name, w.Header())
		}
	}
}

// What the answer to a write names is invalidated before the client sees it, unless
// the answer is an error (RFC 9111, section 4.4).
func TestInvalidate(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   []string
	}{
		{200, []string{"claim /m", "POST /m", "invalidate /other", "settle /m", "answer 200"}},
		{303, []string{"claim /m", "POST /m", "invalidate /other", "settle /m", "answer 303"}},
		{404, []string{"claim /m", "POST /m", "settle /m", "answer 404"}},
		{500, []string{"claim /m", "POST /m", "settle /m", "answer 500"}},
	} {
		s := newSite()
		known := s.tagOf(t, "/m")
		s.origin = func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Location", "/other")
			w.WriteHeader(tt.status)
			return nil
		}
		if _, err := s.serve(requestOf(t.Context(), "POST /m", "If-Match: "+known)); err != nil {
			t.Error(err)
		}
		expectEvents(t, s.take(), tt.want)
	}
}

// A refused write leaves what is known; any other drops it, or brings what it led
// to.
func TestSettlement(t *testing.T) {
	before, after := &etagcache.Observation{Variant: "before"}, &etagcache.Observation{Variant: "after"}
	newWriting := func() *writing {
		r := requestOf(t.Context(), "PUT /m")
		return &writing{exchange: &exchange{r: r, request: resource.NewRequest(r)}, before: before, result: aftermath{after: after, receipt: "receipt"}}
	}
	w := newWriting()
	for fate, want := range map[proxyhooks.Fate]etagcache.Settlement{
		proxyhooks.Refused:    {Unchanged: true, Observation: before},
		proxyhooks.Applied:    {Observation: after, Receipt: "receipt"},
		proxyhooks.Unanswered: {Observation: after, Receipt: "receipt"},
	} {
		if got := w.settlement(204, fate); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: %+v", fate, got)
		}
	}

	// What was there before is spent. It has certainly been replaced only if the write was
	// done, and done as a whole.
	w = newWriting()
	w.decision.current = validator.Observed{Representation: validator.Representation{State: validator.Present, ETag: validator.ETag{Opaque: "1", Valid: true}}}
	id := w.decision.current.Identity()
	for status, certain := range map[int]bool{200: true, 201: true, 204: true, 205: true, 207: false, 302: false, 404: false, 408: false, 500: false, 503: false, 0: false} {
		want := []string{id}
		if certain {
			want = knowledge.Replaces(id)
		}
		if got := w.settlement(status, proxyhooks.Applied).Replaced; !slices.Equal(got, want) {
			t.Errorf("status %d: replaced %q, want %q", status, got, want)
		}
	}
}

// In mode report, a write is forwarded whatever its condition says, and nobody
// waits for anybody. The outcome is the one that it would have had.
func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(*testing.T, *site)
		fields  []string
		events  []string
		outcome answer.Outcome
	}{
		{"the condition holds", nil, []string{"If-Match: CURRENT"}, []string{"pass /m", "PUT /m", "invalidate /m", "settle /m", "answer 204"}, answer.Passed},
		{"the condition is false", nil, []string{`If-Match: "stale"`}, []string{"pass /m", "PUT /m", "invalidate /m", "settle /m", "answer 204"}, answer.Failed},
		{"there is no condition", nil, nil, []string{"pass /m", "PUT /m", "invalidate /m", "settle /m", "answer 204"}, answer.Unconditional},
		{"a condition is required", func(_ *testing.T, s *site) { s.Require = []string{"PUT"} }, nil, []string{"pass /m", "PUT /m", "invalidate /m", "settle /m", "answer 204"}, answer.Required},
		{"there are too many conditions", nil, []string{"If-Match: " + strings.Repeat(`"x", `, 300) + `"x"`}, []string{"pass /m", "PUT /m", "invalidate /m", "settle /m", "answer 204"}, answer.Unverifiable},
		{"a different write is in flight", occupy, []string{"If-Match: CURRENT"}, []string{"GET /m", "PUT /m", "invalidate /m", "answer 204"}, answer.Passed},
		{"others are changed", func(t *testing.T, s *site) { s.affects(t, "/m", "/a") }, []string{"If-Match: CURRENT"}, []string{"invalidate /a", "pass /m", "PUT /m", "invalidate /m", "invalidate /a", "settle /m", "answer 204"}, answer.Passed},
		{"the store is away", func(_ *testing.T, s *site) { s.store.fail = unavailable("") }, []string{"If-Match: CURRENT"}, []string{"PUT /m", "answer 204"}, answer.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				known := s.tagOf(t, "/m")
				s.Answers.Mode = answer.ReportOnly
				if tt.prepare != nil {
					tt.prepare(t, s)
				}
				var fields []string
				for _, field := range tt.fields {
					fields = append(fields, strings.Replace(field, "CURRENT", known, 1))
				}
				begun := time.Now()
				r := requestOf(t.Context(), "PUT /m", fields...)
				if _, err := s.serve(r); err != nil {
					t.Error(err)
				}
				list := s.take()
				expectEvents(t, list, tt.events)
				releasedBeforeAnswered(t, list)
				if got := outcome(r); got != string(tt.outcome) {
					t.Errorf("the outcome is %s, want %s", got, tt.outcome)
				}
				if took := time.Since(begun); took != 0 {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// A write is over when its answer is complete: a backend that has sent the header section
// may still be at work, and nobody else may write until it is done.
func TestClaimLastsAsLongAsTheAnswer(t *testing.T) {
	for _, method := range []string{"PUT", "PATCH", "DELETE", "POST"} {
		for _, condition := range []bool{true, false} {
			t.Run(fmt.Sprint(method, condition), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite()
					fields := []string{"If-Match: " + s.tagOf(t, "/m")}
					if !condition {
						fields = nil
					}
					s.origin = func(w http.ResponseWriter, _ *http.Request) error {
						_, _ = io.WriteString(w, "working")
						time.Sleep(5 * time.Second)
						s.add("done")
						return nil
					}
					if _, err := s.serve(requestOf(t.Context(), method+" /m", fields...)); err != nil {
						t.Error(err)
					}
					taken := "claim /m"
					if !condition {
						taken = "pass /m"
					}
					expectEvents(t, s.take(), []string{taken, method + " /m", "answer 200", "done", "settle /m"})
				})
			})
		}
	}
}

// A tag is handed out only under a claim that is still held afterwards: whoever took it
// since may have written something else.
func TestNoTagWithoutAClaim(t *testing.T) {
	s := newSite()
	s.WriteETag = WriteETagAlways
	tag := s.tagOf(t, "/m")
	probes := 0
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		if probes++; probes == 1 {
			if err := s.share.InvalidateAll(t.Context(), s.Terms); err != nil {
				t.Error(err)
			}
			s.store.fail = func(call string) error {
				if call == "settle /m" {
					return etagcache.ErrLost
				}
				return nil
			}
		}
		_, err := w.Write([]byte("somebody else's"))
		return err
	}
	w, err := s.serve(putOf(t.Context(), "mine", "If-Match: "+tag))
	if err != nil || w.Code != 204 || w.Header().Get("ETag") != "" || probes != 1 {
		t.Errorf("status %d, %v, header %v after %d probes", w.Code, err, w.Header(), probes)
	}
}
