package gateway

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// What becomes of a request at once: it passes untouched, is refused for its form,
// or is served.
func TestServeHTTP(t *testing.T) {
	tooMany := "If-Match: " + strings.Repeat(`"x", `, validator.MaxTags) + `"x"`
	for _, tt := range []struct {
		name    string
		mode    answer.Mode
		line    string
		fields  []string
		outer   bool // whether an outer handler looks after the same resource
		events  []string
		outcome answer.Outcome
		status  int // of an error
	}{
		{name: "GET", mode: answer.Enforce, line: "GET /m", events: []string{"GET /m", "answer 200"}, outcome: answer.Read},
		{name: "OPTIONS", mode: answer.Enforce, line: "OPTIONS /m", fields: []string{"If-Match: *"}, events: []string{"OPTIONS /m", "answer 204"}, outcome: answer.Bypassed},
		{name: "an upgrade", mode: answer.Enforce, line: "GET /m", fields: []string{"Upgrade: websocket"}, events: []string{"GET /m", "answer 200"}, outcome: answer.Bypassed},
		{name: "an outer handler looks after it", mode: answer.Enforce, line: "PUT /m", outer: true, fields: []string{`If-Match: "stale"`}, events: []string{"PUT /m", "answer 204"}, outcome: answer.Bypassed},
		{name: "too many conditions", mode: answer.Enforce, line: "PUT /m", fields: []string{tooMany}, events: []string{"answer 431"}, outcome: answer.Unverifiable},
		{name: "too many conditions on a read", mode: answer.Enforce, line: "GET /m", fields: []string{tooMany}, events: []string{"answer 431"}, outcome: answer.Unverifiable},
		{name: "too many conditions on a read, in mode report", mode: answer.ReportOnly, line: "GET /m", fields: []string{tooMany}, events: []string{"GET /m", "answer 200"}, outcome: answer.Unverifiable},
		{name: "an override that names no method", mode: answer.Enforce, line: "POST /m", fields: []string{`X-HTTP-Method: "PUT"`}, events: []string{"answer 400"}, outcome: answer.Unverifiable},
		{name: "an override that names no method, with a condition", mode: answer.Enforce, line: "PUT /m", fields: []string{"X-HTTP-Method: PUT PATCH", "If-Match: *"}, events: []string{"answer 400"}, outcome: answer.Unverifiable},
		{name: "an override that names no method, on a read", mode: answer.Enforce, line: "GET /m", fields: []string{"X-HTTP-Method: PUT;"}, events: []string{"answer 400"}, outcome: answer.Unverifiable},
		{name: "an override that names no method, on a safe request", mode: answer.Enforce, line: "PROPFIND /m", fields: []string{"X-HTTP-Method: PUT;"}, events: []string{"answer 400"}, outcome: answer.Unverifiable},
		{name: "an override that names no method, in mode report", mode: answer.ReportOnly, line: "POST /m", fields: []string{"X-HTTP-Method: PUT;"}, events: []string{"pass /m", "POST /m", "invalidate /m", "settle /m", "answer 204"}, outcome: answer.Unverifiable},
		{name: "a Destination that isn't one URL", mode: answer.Enforce, line: "MOVE /m", fields: []string{"Destination: http://example.com:x/n"}, events: []string{"answer 400"}, outcome: answer.Unverifiable},
		{name: "two Destinations", mode: answer.Enforce, line: "COPY /m", fields: []string{"Destination: /n", "Destination: /o", "If-Match: *"}, events: []string{"answer 400"}, outcome: answer.Unverifiable},
		{name: "a Destination on another host", mode: answer.Enforce, line: "COPY /m", fields: []string{"Destination: http://example.org/n"}, events: []string{"pass /m", "pass /n", "COPY /m", "settle /n", "settle /m", "answer 204"}, outcome: answer.Unconditional},
		{name: "two Destinations, in mode report", mode: answer.ReportOnly, line: "COPY /m", fields: []string{"Destination: /n", "Destination: /o"}, events: []string{"invalidate /n", "invalidate /o", "pass /m", "COPY /m", "invalidate /m", "invalidate /n", "invalidate /o", "settle /m", "answer 204"}, outcome: answer.Unverifiable},
		{name: "a target without a path", mode: answer.Enforce, line: "PUT x:http://example.com/m", status: 400, outcome: "none"},
		{name: "a target without a path, in mode report", mode: answer.ReportOnly, line: "GET x:http://example.com/m", events: []string{"GET ", "answer 200"}, outcome: answer.Read},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite()
			s.Answers.Mode = tt.mode
			line, opaque, isOpaque := strings.Cut(tt.line, " x:")
			if isOpaque {
				line += " /"
			}
			r := requestOf(t.Context(), line, tt.fields...)
			if isOpaque {
				r.URL.Scheme, r.URL.Opaque, r.URL.Path = "x", opaque, ""
			}
			if tt.outer {
				p := s.protects("/m")
				p.evaluated, p.passed = true, true
				caddyhttp.SetVar(r.Context(), announcedVar, p)
			}
			_, err := s.serve(r)
			expectEvents(t, s.take(), tt.events)
			if he, _ := errors.AsType[caddyhttp.HandlerError](err); he.StatusCode != tt.status {
				t.Errorf("got %v", err)
			}
			if got := outcome(r); got != string(tt.outcome) {
				t.Errorf("the outcome is %s, want %s", got, tt.outcome)
			}
		})
	}
}

// closed is a store that can't be opened again.
type closed struct{ Store }

func (closed) Enter() (*storeshare.Share, func(), error) {
	return nil, nil, errors.New("closed")
}

// Without a share of the store, nothing is forwarded unguarded.
func TestNoShare(t *testing.T) {
	s := newSite()
	gateway := *s.Gateway
	gateway.Store = closed{}
	err := gateway.ServeHTTP(&client{events: s.events}, requestOf(t.Context(), "PUT /m", "If-Match: *"), s.next())
	if he, _ := errors.AsType[caddyhttp.HandlerError](err); he.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v", err)
	}
	expectEvents(t, s.take(), nil)
}

// A backend that may not know a tag gets no condition on it, and no Range that
// depends on one. With its own tags it may spare itself the content, and cuts the parts.
func TestForwardedFields(t *testing.T) {
	conditions := []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}
	for _, tt := range []struct {
		name   string
		line   string
		fields []string
		known  string   // whose tag is known: "own", "ours" or "none"
		gone   []string // besides Accept-Encoding, which is always identity
		use    rangeUse
	}{
		{"no condition", "GET /m", nil, "ours", []string{"If-Range"}, ordinary},
		{"If-Match", "GET /m", []string{`If-Match: "a"`}, "own", append(conditions, "If-Range"), ordinary},
		{"If-None-Match with a tag of the handler", "GET /m", []string{`If-None-Match: "a"`}, "ours", append(conditions, "If-Range"), ordinary},
		{"If-None-Match with a tag of the backend", "GET /m", []string{`If-None-Match: "a"`}, "own", []string{"If-Modified-Since", "If-Range"}, ordinary},
		{"If-Modified-Since", "GET /m", []string{"If-Modified-Since: x"}, "ours", []string{"If-Range"}, ordinary},
		{"Range", "GET /m", []string{"Range: bytes=0-1"}, "ours", []string{"If-Range"}, ordinary},
		{"Range with a condition, tag of the handler", "GET /m", []string{"Range: bytes=0-1", "If-Modified-Since: x"}, "ours", []string{"Range", "If-Range"}, withheld},
		{"Range with a condition, tag of the backend", "GET /m", []string{"Range: bytes=0-1", "If-Modified-Since: x"}, "own", nil, forwarded},
		{"Range with If-Match, tag of the backend", "GET /m", []string{"Range: bytes=0-1", `If-Match: "a"`}, "own", conditions, forwarded},
		{"Range with If-Match, nothing known", "GET /m", []string{"Range: bytes=0-1", `If-Match: "a"`}, "none", conditions, forwarded},
		{"If-Range with a tag of the handler", "GET /m", []string{"Range: bytes=0-1", `If-Range: "a"`}, "ours", []string{"Range", "If-Range"}, withheld},
		{"If-Range with a tag of the backend", "GET /m", []string{"Range: bytes=0-1", `If-Range: "a"`}, "own", nil, forwarded},
		{"If-Range, nothing known", "GET /m", []string{"Range: bytes=0-1", `If-Range: "a"`}, "none", nil, forwarded},
		{"If-Range with a marked tag of the backend", "GET /m", []string{"Range: bytes=0-1", `If-Range: "a-gzip"`}, "own", []string{"Range", "If-Range"}, withheld},
		{"HEAD with a Range", "HEAD /m", []string{"Range: bytes=0-1"}, "ours", []string{"Range", "If-Range"}, ordinary},
	} {
		s := newSite()
		x, _ := s.exchangeOf(requestOf(t.Context(), tt.line, tt.fields...))
		rd := &reading{exchange: x}
		if tt.known != "none" {
			rd.known = etagcache.Stored{Observed: present("a")}
			rd.known.Own = tt.known == "own"
		}
		rd.rangeUse = chooseRangeUse(x, rd.known)
		before := x.r.Header.Clone()
		for _, name := range append(conditions, "Range", "If-Range") {
			before[name] = append(before[name], "x") // whatever else the client sends
		}
		got, want := before.Clone(), before.Clone()
		want.Set("Accept-Encoding", "identity")
		for _, name := range tt.gone {
			delete(want, name)
		}
		edits := rd.forwardedFields(got)
		proxyhooks.Swap(got, edits)
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
		if proxyhooks.Swap(got, edits); !maps.EqualFunc(got, before, slices.Equal) {
			t.Errorf("%s: %v afterwards, was %v", tt.name, got, before)
		}
		if rd.rangeUse != tt.use {
			t.Errorf("%s: use %d of Range, want %d", tt.name, rd.rangeUse, tt.use)
		}
	}
	s := newSite()
	s.Signed = []resource.Scheme{resource.RFC9421}
	x, _ := s.exchangeOf(requestOf(t.Context(), "GET /m", `If-Match: "a"`, "Signature-Input: x"))
	if got := (&reading{exchange: x}).forwardedFields(x.r.Header); got != nil {
		t.Errorf("a signed request is changed: %v", got)
	}
}

// A mark that was added to a tag on its way to the client shows in If-Range.
func TestMarked(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  bool
	}{
		{[]string{`"a"`}, false},
		{[]string{`"a-gzip"`}, true},
		{[]string{`"a-items01234567"`}, true},
		{[]string{`"a-items01234567-br"`}, true},
		{[]string{`"b-gzip"`}, false},
		{[]string{`W/"a-gzip"`}, false},
		{[]string{`"a-gzip"`, `"a-gzip"`}, false},
		{[]string{"Mon, 03 Nov 2025 12:00:00 GMT"}, false},
	} {
		if got := marked(tt.lines, tag("a")); got != tt.want {
			t.Errorf("%q: %v", tt.lines, got)
		}
	}
}

// A 304 carries the tag by which the client knows the representation. A weak tag
// stays only for a list without the tags of its items, while the client has the
// list with them.
func TestTagToConfirm(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		matched, current, want validator.ETag
	}{
		{"the current tag", tag("a"), tag("a"), tag("a")},
		{"with the mark of a coding", tag("a-gzip"), tag("a"), tag("a-gzip")},
		{"with the mark of items", tag("a-items01234567"), tag("a"), tag("a-items01234567")},
		{"weakened on its way", weak("a"), tag("a"), tag("a")},
		{"weakened, with the mark of a coding", weak("a-gzip"), tag("a"), tag("a")},
		{"weakened, with the mark of items", weak("a-items01234567"), tag("a"), weak("a-items01234567")},
		{"weakened, with both marks", weak("a-items01234567-gzip"), tag("a"), weak("a-items01234567-gzip")},
		{"any tag", validator.ETag{}, tag("a"), tag("a")},
		{"no tag", validator.ETag{}, validator.ETag{}, validator.ETag{}},
	} {
		if got := tagToConfirm(tt.matched, tt.current); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Parts are cut out of a whole representation only, with a tag that the client may
// combine them under (RFC 9110, sections 13.1.1, 13.2.2 and 14.2).
func TestCut(t *testing.T) {
	const content = "0123456789"
	dated := validator.Representation{State: validator.Present, LastModified: time.Unix(1e9, 0)}
	date := validator.FormatDate(dated.LastModified)
	weakly := dated
	weakly.WeakDate = true
	matching := func(tag validator.ETag) validator.Result {
		return validator.Result{Verdict: validator.True, Field: validator.IfMatch, Matched: tag}
	}
	unmodified := validator.Result{Verdict: validator.True, Field: validator.IfUnmodifiedSince}
	for _, tt := range []struct {
		name    string
		status  int
		fields  []string
		content string
		r       validator.Representation
		res     validator.Result
		parts   int // below zero if the response stays whole
	}{
		{"one part", 200, []string{"Range: bytes=0-1"}, content, present("a").Representation, matching(tag("a")), 1},
		{"two parts", 200, []string{"Range: bytes=0-1,8-"}, content, present("a").Representation, matching(tag("a")), 2},
		{"none that can be satisfied", 200, []string{"Range: bytes=10-"}, content, present("a").Representation, matching(tag("a")), 0},
		{"malformed", 200, []string{"Range: bytes=x"}, content, present("a").Representation, matching(tag("a")), -1},
		{"none asked for", 200, nil, content, present("a").Representation, matching(tag("a")), -1},
		{"not a whole", 206, []string{"Range: bytes=0-1"}, content, present("a").Representation, matching(tag("a")), -1},
		{"an error", 404, []string{"Range: bytes=0-1"}, content, present("a").Representation, matching(tag("a")), -1},
		{"the content streams by, without a length", 200, []string{"Range: bytes=0-1"}, "", present("a").Representation, matching(tag("a")), -1},
		{"no tag", 200, []string{"Range: bytes=0-1", `If-Match: "a"`}, content, validator.Representation{State: validator.Present}, validator.Result{}, -1},
		{"If-Match with a marked tag", 200, []string{"Range: bytes=0-1"}, content, present("a").Representation, matching(tag("a-gzip")), -1},
		{"If-Range with the tag", 200, []string{"Range: bytes=0-1", `If-Range: "a"`}, content, present("a").Representation, validator.Result{}, 1},
		{"If-Range with a different tag", 200, []string{"Range: bytes=0-1", `If-Range: "b"`}, content, present("a").Representation, validator.Result{}, -1},
		{"If-Range with the date", 200, []string{"Range: bytes=0-1", "If-Range: " + date}, content, dated, validator.Result{}, 1},
		{"If-Range with a weak date", 200, []string{"Range: bytes=0-1", "If-Range: " + date}, content, weakly, validator.Result{}, -1},
		{"If-Unmodified-Since", 200, []string{"Range: bytes=0-1", "If-Unmodified-Since: " + date}, content, dated, unmodified, 1},
		{"If-Unmodified-Since with a weak date", 200, []string{"Range: bytes=0-1", "If-Unmodified-Since: " + date}, content, weakly, unmodified, -1},
	} {
		fields := tt.fields
		if len(fields) == 1 {
			fields = append(fields, `If-Match: "a"`)
		}
		x, _ := newSite().exchangeOf(requestOf(t.Context(), "GET /m", fields...))
		rd := &reading{exchange: x, known: etagcache.Stored{Observed: present("a")}}
		rd.rangeUse = chooseRangeUse(x, rd.known)
		shown := proxyhooks.Shown{Exact: true}
		if tt.content != "" {
			shown.Content = []byte(tt.content)
		}
		r := rd.contentReply(tt.status, make(http.Header), tt.r, tt.res, shown)
		if (r.kind == partial) != (tt.parts >= 0) || r.kind == partial && len(r.parts) != tt.parts {
			t.Errorf("%s: %v", tt.name, r)
		}
		shown.Exact = false
		if r := rd.contentReply(tt.status, make(http.Header), tt.r, tt.res, shown); r.kind != asIs {
			t.Errorf("%s: %v, although different bytes may share the tag", tt.name, r)
		}
	}
}

// A read is answered for what its response shows: as it is, with 304, or with 412
// (RFC 9110, section 13.2.2). In mode report it never gets a 412.
func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    answer.Mode
		field   string
		status  int
		outcome answer.Outcome
	}{
		{"no condition", answer.Enforce, "X-None: x", 200, answer.Read},
		{"If-None-Match with the tag", answer.Enforce, "If-None-Match: CURRENT", 304, answer.Unmodified},
		{"If-None-Match with a different tag", answer.Enforce, `If-None-Match: "b"`, 200, answer.Read},
		{"If-Match with the tag", answer.Enforce, "If-Match: CURRENT", 200, answer.Read},
		{"If-Match with a different tag", answer.Enforce, `If-Match: "b"`, 412, answer.Failed},
		{"If-Match with a different tag, in mode report", answer.ReportOnly, `If-Match: "b"`, 200, answer.Failed},
		{"If-None-Match with the tag, in mode report", answer.ReportOnly, "If-None-Match: CURRENT", 304, answer.Unmodified},
	} {
		s := newSite()
		s.Answers.Mode = tt.mode
		known := s.tagOf(t, "/m")
		r := requestOf(t.Context(), "GET /m", strings.Replace(tt.field, "CURRENT", known, 1))
		w, err := s.serve(r)
		if err != nil || w.Code != tt.status || outcome(r) != string(tt.outcome) {
			t.Errorf("%s: %v, status %d, outcome %s", tt.name, err, w.Code, outcome(r))
		}
		if tt.status < 400 && w.Header().Get("Etag") != known {
			t.Errorf("%s: the tag is %s, want %s", tt.name, w.Header().Get("Etag"), known)
		}
		if (tt.status == 200) != (w.Body.String() == "content") {
			t.Errorf("%s: the content is %q", tt.name, w.Body)
		}
		expectEvents(t, s.take(), []string{"GET /m", "answer " + strconv.Itoa(tt.status)})
	}
}

// A tag of the backend's own is known with the one that the client gets, and is stored
// again once it has changed.
func TestReadRemembersBackendTag(t *testing.T) {
	s := newSite()
	var sent string
	s.origin = func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Etag", sent)
		_, err := w.Write([]byte("content"))
		return err
	}
	var first string
	for i, want := range []string{"a", "a", "b"} {
		sent = `W/"` + want + `"`
		if got := s.tagOf(t, "/m"); i > 0 && got != first {
			t.Errorf("the client got %s, want %s", got, first)
		} else {
			first = got
		}
		x, _ := s.exchangeOf(requestOf(t.Context(), "PUT /m", "If-Match: "+first))
		view, err := x.reader.Read()
		if stored := view.Stored(); err != nil || stored.Backend != weak(want) || stored.Own || stored.ETag.String() != first {
			t.Errorf("%v, %+v, want %s", err, stored, want)
		}
	}
}

// What a read saw isn't stored if it may be over: while a write is in flight, or
// once the epoch has moved.
func TestReadDuringWrite(t *testing.T) {
	s := newSite()
	known := func() validator.State {
		x, _ := s.exchangeOf(requestOf(t.Context(), "GET /m"))
		view, err := x.reader.Read()
		if err != nil {
			t.Fatal(err)
		}
		return view.Stored().State
	}
	inner := s.origin
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		if err := s.share.Invalidate(t.Context(), "/m", s.Terms); err != nil {
			t.Error(err)
		}
		return inner(w, r)
	}
	s.tagOf(t, "/m")
	if got := known(); got != validator.Unknown {
		t.Errorf("the epoch has moved: %s", got)
	}
	s.origin = inner
	grant, _, err := s.share.Pass(t.Context(), "/m", s.Terms)
	if err != nil {
		t.Fatal(err)
	}
	s.tagOf(t, "/m")
	if err := s.share.Settle(t.Context(), grant, etagcache.Settlement{}, s.Terms); err != nil {
		t.Fatal(err)
	}
	if got := known(); got != validator.Unknown {
		t.Errorf("a write was in flight: %s", got)
	}
	s.tagOf(t, "/m")
	if got := known(); got != validator.Present {
		t.Errorf("nothing was in the way: %s", got)
	}
}

// A response without a strong tag keeps a weak one, and a read may be compared with
// that (RFC 9110, section 13.1.2).
func TestWithWeakTag(t *testing.T) {
	none := validator.Representation{State: validator.Present}
	for _, tt := range []struct {
		name string
		r    validator.Representation
		etag string
		want validator.ETag
	}{
		{"weak", none, `W/"a"`, weak("a")},
		{"strong", none, `"a"`, validator.ETag{}},
		{"none", none, "", validator.ETag{}},
		{"malformed", none, "W/a", validator.ETag{}},
		{"weak beside a strong one", present("b").Representation, `W/"a"`, tag("b")},
	} {
		h := http.Header{}
		if tt.etag != "" {
			h.Set("ETag", tt.etag)
		}
		if got := withWeakTag(tt.r, h); got.ETag != tt.want {
			t.Errorf("%s: %s", tt.name, got.ETag)
		}
	}
}
