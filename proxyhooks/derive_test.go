package proxyhooks

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// TestFromHeader: what a status and an ETag field say about the representation (RFC
// 9110, sections 8.8.3 and 15).
func TestFromHeader(t *testing.T) {
	upstream, body := deriver(SourceUpstream), deriver(SourceBody)
	tests := []struct {
		name     string
		deriver  Deriver
		status   int
		tags     []string
		state    validator.State
		needBody bool
		tag      string
		replaced bool
	}{
		{"strong tag", both, 200, []string{`"own"`}, validator.Present, false, `"own"`, false},
		{"strong tag of 204", both, 204, []string{`"own"`}, validator.Present, false, `"own"`, false},
		{"weak tag", both, 200, []string{`W/"own"`}, validator.Present, true, "", true},
		{"malformed tag", both, 200, []string{`own`}, validator.Present, true, "", true},
		{"two tags", both, 200, []string{`"a"`, `"b"`}, validator.Present, true, "", true},
		{"no tag", both, 200, nil, validator.Present, true, "", true},
		{"strong tag, but no source uses it", body, 200, []string{`"own"`}, validator.Present, true, "", true},
		{"weak tag and nothing else", upstream, 200, []string{`W/"own"`}, validator.Present, false, "", false},
		{"absent", both, 404, []string{`"own"`}, validator.Absent, false, "", false},
		{"gone", both, 410, nil, validator.Absent, false, "", true},
		{"part", both, 206, []string{`"own"`}, validator.Unknown, false, "", false},
		{"error", both, 500, nil, validator.Unknown, false, "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Etag": test.tags}
			o, ok := test.deriver.FromHeader(test.status, h, time.Now())
			if o.State != test.state || (o.Need == NeedContent) != test.needBody || ok != (test.state != validator.Unknown) ||
				o.ETag.String() != test.tag || o.Own != (test.tag != "") {
				t.Errorf("%+v %t", o, ok)
			}
			if got := test.deriver.MayReplaceTag(h); got != test.replaced {
				t.Errorf("replaced: %t", got)
			}
		})
	}
}

// TestBackendTag: the backend's own tag is remembered beside a tag of the handler's, if
// it is valid and describes the representation.
func TestBackendTag(t *testing.T) {
	body, version := deriver(SourceBody), deriver(SourceVersion)
	long := `"` + strings.Repeat("x", maxTagLength) + `"`
	for name, tt := range map[string]struct {
		deriver Deriver
		status  int
		tags    []string
		own     bool
		backend string
	}{
		"weak":                                    {both, 200, []string{`W/"1"`}, false, `W/"1"`},
		"weak, of 204":                            {both, 204, []string{`W/"1"`}, false, `W/"1"`},
		"strong and used":                         {both, 200, []string{`"1"`}, true, ""},
		"strong, but no source uses it":           {body, 200, []string{`"1"`}, false, `"1"`},
		"strong, but the version is the tag":      {version, 200, []string{`"1"`}, false, `"1"`},
		"strong, but a different source is first": {deriver(SourceBody, SourceUpstream), 200, []string{`"1"`}, false, `"1"`},
		"weak and nothing else":                   {deriver(SourceUpstream), 200, []string{`W/"1"`}, false, `W/"1"`},
		"none":                                    {both, 200, nil, false, ""},
		"two":                                     {both, 200, []string{`W/"1"`, `W/"2"`}, false, ""},
		"a list":                                  {both, 200, []string{`W/"1", W/"2"`}, false, ""},
		"malformed":                               {both, 200, []string{`w/"1"`}, false, ""},
		"too long":                                {both, 200, []string{long}, false, ""},
		"of a part":                               {both, 206, []string{`W/"1"`}, false, ""},
		"of a redirect":                           {both, 302, []string{`W/"1"`}, false, ""},
		"of a 304":                                {both, 304, []string{`W/"1"`}, false, ""},
		"of a 404":                                {both, 404, []string{`W/"1"`}, false, ""},
		"of an error":                             {both, 500, []string{`W/"1"`}, false, ""},
	} {
		h := http.Header{"Etag": tt.tags}
		o, _ := tt.deriver.FromHeader(tt.status, h, time.Now())
		o.write([]byte("content"))
		o.finish([]byte("content"))
		if o.Own != tt.own || o.Backend.String() != tt.backend || o.Backend.Valid != (tt.backend != "") {
			t.Errorf("%s: %s, own: %v, want %s", name, o.Backend, o.Own, tt.backend)
		}
		if tt.status == 200 {
			if o := tt.deriver.FromContent(h, []byte("content"), time.Now()); o.Backend.String() != tt.backend {
				t.Errorf("%s, with content: %s, want %s", name, o.Backend, tt.backend)
			}
		}
	}
}

// TestScheme pins down a name that stores keep.
func TestScheme(t *testing.T) {
	if got := both.Scheme(); got != "upstream,body" {
		t.Errorf("got %q", got)
	}
}

// TestSchemesDiffer: the scheme differs if the tags may, and doesn't reveal the secret.
func TestSchemesDiffer(t *testing.T) {
	field := func(name string) Source { return Source{Kind: SourceHeader, Field: name} }
	seen := make(map[string]int)
	for i, d := range []Deriver{
		both,
		deriver(SourceBody, SourceUpstream),
		deriver(SourceBody),
		deriver(SourceModified, SourceVersion),
		{Sources: []Source{field("X-Version")}},
		{Sources: []Source{field("X-Revision")}},
		{Sources: []Source{jsonSource(t, "/a")}},
		{Sources: []Source{jsonSource(t, "/a", "/b")}},
		{Sources: []Source{jsonSource(t, "/a /b")}},
		{Sources: []Source{jsonSource(t, `/a" "/b`)}},
		{Sources: []Source{jsonSource(t, "/a"), jsonSource(t, "/b")}},
		{Sources: both.Sources, Secret: []byte("one")},
		{Sources: both.Sources, Secret: []byte("two")},
	} {
		scheme := d.Scheme()
		if other, ok := seen[scheme]; ok {
			t.Errorf("%d and %d have the scheme %s", i, other, scheme)
		}
		seen[scheme] = i
		if len(d.Secret) > 0 && strings.Contains(scheme, string(d.Secret)) {
			t.Errorf("the scheme %s tells the secret", scheme)
		}
	}
	if a, b := (Deriver{Sources: []Source{field("x-version")}}), (Deriver{Sources: []Source{field("X-Version")}}); a.Scheme() != b.Scheme() {
		t.Error("field names are case-sensitive, against RFC 9110, section 5.1")
	}
}

func jsonSource(t testing.TB, pointers ...string) Source {
	t.Helper()
	s := Source{Kind: SourceJSON}
	for _, text := range pointers {
		p, err := ParsePointer(text)
		if err != nil {
			t.Fatal(err)
		}
		s.Pointers = append(s.Pointers, p)
	}
	return s
}

// response is what a backend answers to GET.
type response struct {
	status  int
	content string
	fields  []string
}

func (r response) header() http.Header {
	h := make(http.Header)
	for i := 0; i < len(r.fields); i += 2 {
		h.Add(r.fields[i], r.fields[i+1])
	}
	return h
}

const (
	changedAt = "Sun, 06 Nov 1994 08:49:37 GMT"
	provenAt  = "Sun, 06 Nov 1994 08:49:39 GMT"
)

// derived returns the tag that a Capture finds, in time or late, and whether the tag is
// the store's version. It fails unless a Probe finds the same.
func (r response) derived(t *testing.T, d Deriver) (tag validator.ETag, versioned bool) {
	t.Helper()
	status := r.status
	if status == 0 {
		status = 200
	}
	next := responding(status, r.content, r.fields...)
	seen := newRecorder()
	if err := NewCapture(seen, d, seen).Serve(next, newRequest("GET", nil)); err != nil {
		t.Fatal(err)
	}
	if got := seen.content.String(); got != r.content {
		t.Errorf("%d bytes went out, of %d", len(got), len(r.content))
	}
	s := seen.only(t)
	tag = s.ETag
	if len(seen.late) > 0 {
		if !s.Untagged || tag.Valid {
			t.Errorf("late, after %+v", s)
		}
		tag = seen.late[0].ETag
	}
	p := Probe(t.Context(), next, newRequest("PUT", nil), d, 0)
	if p.Err != nil || p.Observed.ETag != tag || p.Versioned != s.Versioned || p.Known != s.Known || p.Observed.Own != s.Own {
		t.Errorf("a probe finds %+v, a read %+v and %s", p, s, tag)
	}
	return tag, s.Versioned
}

// TestSourceTags: a source makes the same tag if everything that it uses is the same, a
// different one if anything is different, and none if anything is missing (RFC 9110,
// section 8.8.1).
func TestSourceTags(t *testing.T) {
	version := Source{Kind: SourceHeader, Field: "x-version"}
	dated := func(more ...string) []string {
		return append([]string{"Last-Modified", changedAt, "Date", provenAt, "Content-Length", "1"}, more...)
	}
	typed := func(content string, fields ...string) response {
		return response{content: content, fields: append([]string{"Content-Type", "application/json"}, fields...)}
	}
	tests := []struct {
		name   string
		source Source
		same   []response
		other  []response
		none   []response
	}{
		{
			"header", version,
			[]response{
				{content: "a", fields: []string{"X-Version", "7"}},
				{content: "b", fields: []string{"X-Version", "7", "Date", provenAt, "ETag", `W/"x"`}},
				{content: strings.Repeat("x", 100), fields: []string{"X-Version", "7"}},
			},
			[]response{
				{fields: []string{"X-Version", "8"}},
				{fields: []string{"X-Version", "7", "X-Version", ""}},
				{fields: []string{"X-Version", "7", "X-Version", "8"}},
				{fields: []string{"X-Version", "7, 8"}},
				{fields: []string{"X-Version", "7", "Content-Type", "text/html"}},
				{fields: []string{"X-Version", "7", "Content-Encoding", "gzip"}},
				{fields: []string{"X-Version", "7", "Content-Language", "de"}},
			},
			[]response{{content: "a"}, {fields: []string{"X-Version", ""}}, {fields: []string{"X-Version", " ", "X-Version", ""}}},
		},
		{
			"json", jsonSource(t, "/v", "/w"),
			[]response{
				typed(`{"v":1,"w":2}`),
				typed(` {"w":2, "v":1}`),
				typed(`{"v":1,"w":2}`, "Date", provenAt, "X-Version", "7", "Last-Modified", changedAt),
				typed(`{"x":[],"v":1,"w":2}`),
			},
			[]response{
				typed(`{"v":2,"w":2}`), typed(`{"v":1,"w":3}`), typed(`{"v":2,"w":1}`), typed(`{"v":"1","w":2}`), typed(`{"v":1.0,"w":2}`),
				typed(`{"v":null,"w":2}`), typed(`{"v":[1],"w":2}`),
				typed(`{"v":1,"w":2}`, "Content-Language", "de"),
				{content: `{"v":1,"w":2}`, fields: []string{"Content-Type", "application/vnd.doc+json; charset=utf-8"}},
			},
			[]response{
				typed(`{"v":0,"v":1,"w":2}`), typed(`{"v":1,"w":2,"w":2}`), typed(`{"v":1,"w":2,"\u0077":2}`),
				typed(`{"v":1}`), typed(`{"w":1}`), typed(`[{"v":1,"w":2}]`), typed(`{"v":1,"w":2`), typed(`{"v":1,"w":2}}`), typed(`{"v":1,"w":2} {}`),
				typed(``), typed("\ufeff" + `{"v":1,"w":2}`), typed(`{"v":1,"w":"` + "\xff" + `"}`),
				typed(`{"v":1,"w":2}` + strings.Repeat(" ", 20)),
				typed(`{"v":1,"w":2}`, "Content-Length", "33"),
				typed(`{"v":1,"w":2}`, "Content-Type", "application/json"),
				{content: `{"v":1,"w":2}`},
				{content: `{"v":1,"w":2}`, fields: []string{"Content-Type", "text/plain"}},
				{content: `{"v":1,"w":2}`, fields: []string{"Content-Type", "application/json-seq"}},
				{status: 204, fields: []string{"Content-Type", "application/json"}},
			},
		},
		{
			"modified",
			Source{Kind: SourceModified},
			[]response{
				{content: "a", fields: dated()},
				{content: "b", fields: dated("X-Version", "7")},
				{content: "a", fields: []string{"Last-Modified", "Sunday, 06-Nov-94 08:49:37 GMT", "Date", "Sun, 06 Nov 1994 09:49:37 GMT", "Content-Length", "1"}},
			},
			[]response{
				{content: "aa", fields: []string{"Last-Modified", changedAt, "Date", provenAt, "Content-Length", "2"}},
				{content: "a", fields: []string{"Last-Modified", "Sun, 06 Nov 1994 08:49:36 GMT", "Date", provenAt, "Content-Length", "1"}},
				{content: "a", fields: dated("Content-Type", "text/html")},
				{content: "a", fields: dated("Content-Encoding", "gzip")},
				{content: "a", fields: dated("Content-Language", "de")},
			},
			[]response{
				{content: "a", fields: []string{"Last-Modified", changedAt, "Date", provenAt}},
				{content: "a", fields: []string{"Last-Modified", changedAt, "Date", provenAt, "Content-Length", "-1"}},
				{content: "a", fields: []string{"Last-Modified", changedAt, "Date", changedAt, "Content-Length", "1"}}, // 8.8.2.2
				{content: "a", fields: []string{"Last-Modified", changedAt, "Date", "Sun, 06 Nov 1994 08:49:38 GMT", "Content-Length", "1"}},
				{content: "a", fields: []string{"Date", provenAt, "Content-Length", "1"}},
				{content: "a", fields: []string{"Last-Modified", "yesterday", "Date", provenAt, "Content-Length", "1"}},
				{content: "a", fields: dated("Last-Modified", changedAt)},
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := Deriver{Sources: []Source{test.source}, Limit: 32}
			keyed := Deriver{Sources: d.Sources, Limit: 32, Secret: []byte("secret")}
			want, _ := test.same[0].derived(t, d)
			if !want.Valid || want.Weak || len(want.Opaque) != 26 {
				t.Fatalf("tag %s", want)
			}
			for i, r := range test.same {
				if got, _ := r.derived(t, d); got != want {
					t.Errorf("same %d: %s, want %s", i, got, want)
				}
			}
			seen := map[validator.ETag]int{want: -1}
			for i, r := range test.other {
				got, _ := r.derived(t, d)
				if other, ok := seen[got]; ok || !got.Valid {
					t.Errorf("other %d has the tag %s of %d", i, got, other)
				}
				seen[got] = i
				if again, _ := r.derived(t, keyed); again == got || !again.Valid {
					t.Errorf("other %d: the tag is the same with a secret", i)
				}
			}
			for i, r := range test.none {
				if got, versioned := r.derived(t, d); got.Valid || versioned {
					t.Errorf("none %d has the tag %s", i, got)
				}
				next := Deriver{Sources: append(slices.Clone(d.Sources), Source{Kind: SourceBody}), Limit: 32}
				if got, _ := r.derived(t, next); got != tagOf(r.content, r.header()) {
					t.Errorf("none %d has the tag %s, not the tag of its content", i, got)
				}
				next.Sources[1].Kind = SourceVersion
				if got, versioned := r.derived(t, next); got.Valid || !versioned {
					t.Errorf("none %d has the tag %s, not the version", i, got)
				}
			}
		})
	}
}

// TestSourceOrder: the first source that yields wins, at any place in the list.
func TestSourceOrder(t *testing.T) {
	field := Source{Kind: SourceHeader, Field: "X-Version"}
	pointer := jsonSource(t, "/v")
	full := response{content: `{"v":1}`, fields: []string{
		"Content-Type", "application/json", "X-Version", "7", "ETag", `"own"`,
		"Last-Modified", changedAt, "Date", provenAt, "Content-Length", "7",
	}}
	all := []Source{field, pointer, {Kind: SourceModified}, {Kind: SourceUpstream}}
	for _, first := range all {
		want, _ := full.derived(t, Deriver{Sources: []Source{first}, Limit: 32})
		if !want.Valid {
			t.Fatalf("%s doesn't yield", first.Kind)
		}
		for _, last := range []SourceKind{SourceBody, SourceVersion} {
			d := Deriver{Sources: append(append([]Source{first}, all...), Source{Kind: last}), Limit: 32}
			if got, versioned := full.derived(t, d); got != want || versioned {
				t.Errorf("%s, if it is first: got %s, want %s", first.Kind, got, want)
			}
		}
		// It yields if the ones before it don't.
		d := Deriver{Sources: []Source{{Kind: SourceHeader, Field: "X-None"}, jsonSource(t, "/none"), first, {Kind: SourceBody}}, Limit: 32}
		if got, _ := full.derived(t, d); got != want {
			t.Errorf("%s, if it is third: got %s, want %s", first.Kind, got, want)
		}
	}
	t.Run("two pointers", func(t *testing.T) {
		d := Deriver{Sources: []Source{jsonSource(t, "/none"), pointer}, Limit: 32}
		want, _ := full.derived(t, Deriver{Sources: d.Sources[1:], Limit: 32})
		if got, _ := full.derived(t, d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("over the limit", func(t *testing.T) {
		r := response{content: `{"v":1}` + strings.Repeat(" ", 100), fields: []string{"Content-Type", "application/json", "X-Version", "7"}}
		d := Deriver{Sources: []Source{pointer, field}, Limit: 32}
		want, _ := r.derived(t, Deriver{Sources: []Source{field}})
		if got, _ := r.derived(t, d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// Readers of JSON take the first or the last of two members with the same name. So a value
// that one of them is on the way to makes no tag, and a value that they are in has all of
// them in its tag.
func TestDuplicateNames(t *testing.T) {
	fields := []string{"Content-Type", "application/json"}
	for _, tt := range []struct {
		pointer, one, other string
		yields              bool
	}{
		{"", `{"amount":1,"amount":2}`, `{"amount":100,"amount":2}`, true},
		{"", `{"amount":1,"amount":2}`, `{"amount":2,"amount":1}`, true},
		{"", `[{"a":{"b":1,"b":2}}]`, `[{"a":{"b":3,"b":2}}]`, true},
		{"/a", `{"a":{"b":1,"b":2}}`, `{"a":{"b":3,"b":2}}`, true},
		{"/amount", `{"amount":1,"amount":2}`, `{"amount":100,"amount":2}`, false},
		{"/amount", `{"amount":1,"amoun\u0074":2}`, `{"amount":100,"amoun\u0074":2}`, false},
		{"/a/b", `{"a":{"b":1},"a":{"b":2}}`, `{"a":{"b":3},"a":{"b":2}}`, false},
		{"/a/b", `{"a":{"b":1,"b":2}}`, `{"a":{"b":3,"b":2}}`, false},
		{"/a/b", `{"a":1,"a":{"b":2}}`, `{"a":{"b":1},"a":{"b":2}}`, false},
		{"/0/b", `[{"b":1,"b":2}]`, `[{"b":3,"b":2}]`, false},
	} {
		d := Deriver{Sources: []Source{jsonSource(t, tt.pointer)}, Limit: 64}
		one, _ := response{content: tt.one, fields: fields}.derived(t, d)
		other, _ := response{content: tt.other, fields: fields}.derived(t, d)
		if one.Valid != tt.yields || other.Valid != tt.yields || tt.yields && one == other {
			t.Errorf("%q: %s has the tag %s, and %s has %s", tt.pointer, tt.one, one, tt.other, other)
		}
		d.Sources = append(d.Sources, Source{Kind: SourceBody})
		one, _ = response{content: tt.one, fields: fields}.derived(t, d)
		other, _ = response{content: tt.other, fields: fields}.derived(t, d)
		if one == other {
			t.Errorf("%q, body: %s and %s have the tag %s", tt.pointer, tt.one, tt.other, one)
		}
	}
}

// TestSourcesDiffer: two sources never make the same tag from the same bytes.
func TestSourcesDiffer(t *testing.T) {
	seen := make(map[validator.ETag]string)
	add := func(name string, d Deriver, r response) {
		t.Helper()
		r.fields = append(r.fields, "Content-Type", "application/json")
		tag, _ := r.derived(t, d)
		if other, ok := seen[tag]; ok || !tag.Valid {
			t.Errorf("%s and %s have the tag %s", name, other, tag)
		}
		seen[tag] = name
	}
	one := func(s Source) Deriver { return Deriver{Sources: []Source{s}, Limit: 32} }
	add("body", one(Source{Kind: SourceBody}), response{content: `{"v":"7","w":"7"}`})
	add("json", one(jsonSource(t, "")), response{content: `{"v":"7","w":"7"}`})
	add("v", one(jsonSource(t, "/v")), response{content: `{"v":"7","w":"7"}`})
	add("w", one(jsonSource(t, "/w")), response{content: `{"v":"7","w":"7"}`})
	add("v and w", one(jsonSource(t, "/v", "/w")), response{content: `{"v":"7","w":"7"}`})
	add("w and v", one(jsonSource(t, "/w", "/v")), response{content: `{"v":"7","w":"7"}`})
	add("one field", one(Source{Kind: SourceHeader, Field: "X-Version"}), response{fields: []string{"X-Version", `"7"`}})
	add("another field", one(Source{Kind: SourceHeader, Field: "X-Revision"}), response{fields: []string{"X-Revision", `"7"`}})
}

// TestHeadShowsTagOfGet: a response to HEAD shows the tag that GET would, or is
// untagged (RFC 9110, section 9.3.2).
func TestHeadShowsTagOfGet(t *testing.T) {
	typed := func(fields ...string) []string { return append(fields, "Content-Type", "text/plain") }
	tests := []struct {
		name     string
		sources  []Source
		fields   []string
		untagged bool
		tagged   bool
	}{
		{"upstream", []Source{{Kind: SourceUpstream}, {Kind: SourceBody}}, []string{"ETag", `"own"`}, false, true},
		{"header", []Source{{Kind: SourceHeader, Field: "X-Version"}}, typed("X-Version", "7"), false, true},
		{"header, and no type", []Source{{Kind: SourceHeader, Field: "X-Version"}}, []string{"X-Version", "7"}, true, false},
		{"no header", []Source{{Kind: SourceHeader, Field: "X-Version"}}, typed(), false, false},
		{"no header, but content", []Source{{Kind: SourceHeader, Field: "X-Version"}, {Kind: SourceBody}}, typed(), true, false},
		{"modified", []Source{{Kind: SourceModified}}, typed("Last-Modified", changedAt, "Date", provenAt, "Content-Length", "9"), false, true},
		{"modified, and no length", []Source{{Kind: SourceModified}}, typed("Last-Modified", changedAt, "Date", provenAt), true, false},
		{
			"modified, and no length, but a version",
			[]Source{{Kind: SourceModified}, {Kind: SourceVersion}},
			typed("Last-Modified", changedAt, "Date", provenAt), true, false,
		},
		{"json", []Source{jsonSource(t, "/v")}, []string{"Content-Type", "application/json"}, true, false},
		{"no json", []Source{jsonSource(t, "/v"), {Kind: SourceVersion}}, typed(), false, false},
		{"version", []Source{{Kind: SourceVersion}}, nil, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rec := newRecorder()
			err := NewCapture(rec, Deriver{Sources: test.sources, Limit: 32}, rec).Serve(responding(200, "", test.fields...), newRequest("HEAD", nil))
			if s := rec.only(t); err != nil || s.Untagged != test.untagged || s.ETag.Valid != test.tagged || len(rec.late) > 0 || s.Untagged && s.Versioned {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// TestVersionNeedsNoContent: with the source Version, neither a read nor a probe
// buffers or hashes content.
func TestVersionNeedsNoContent(t *testing.T) {
	large := strings.Repeat("x", 300<<10)
	rec := newRecorder()
	if err := NewCapture(rec, deriver(SourceVersion), rec).Serve(handler(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("x"))
		rec.expect(t, "label 200", "header 200", "content")
	}), newRequest("GET", nil)); err != nil {
		t.Error(err)
	}
	cut := false
	p := Probe(t.Context(), handler(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(large))
		cut = r.Context().Err() != nil
	}), newRequest("PUT", nil), deriver(SourceVersion), 0)
	if !p.Known || !p.Versioned || p.Observed.ETag.Valid || p.Err != nil || !cut {
		t.Errorf("%+v, cut %t", p, cut)
	}
}

// TestProbeStopsAfterLimitOfJSON: a probe stops reading once JSON sources can't yield
// any more, unless a later source needs the content.
func TestProbeStopsAfterLimitOfJSON(t *testing.T) {
	for _, test := range []struct {
		sources []Source
		cut     bool
	}{
		{[]Source{jsonSource(t, "/v")}, true},
		{[]Source{jsonSource(t, "/v"), {Kind: SourceHeader, Field: "X-Version"}}, true},
		{[]Source{jsonSource(t, "/v"), {Kind: SourceVersion}}, true},
		{[]Source{jsonSource(t, "/v"), {Kind: SourceBody}}, false},
	} {
		cut := false
		p := Probe(t.Context(), handler(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Version", "7")
			for range 2 * maxDiscarded / 1000 {
				_, _ = w.Write([]byte(strings.Repeat(" ", 1000)))
			}
			cut = r.Context().Err() != nil
		}), newRequest("PUT", nil), Deriver{Sources: test.sources, Limit: 32}, 0)
		tagged := len(test.sources) == 2 && test.sources[1].Kind != SourceVersion
		if !p.Known || p.Observed.ETag.Valid != tagged || p.Versioned == tagged && len(test.sources) == 2 || p.Err != nil || cut != test.cut {
			t.Errorf("%v: %+v, cut %t", test.sources, p, cut)
		}
	}
}

// TestMayReplaceTag: a part may keep the backend's tag only if the whole representation is
// certain to get the same tag.
func TestMayReplaceTag(t *testing.T) {
	header := Source{Kind: SourceHeader, Field: "X-Version"}
	for i, test := range []struct {
		sources   []Source
		own, weak bool
	}{
		{[]Source{{Kind: SourceUpstream}}, false, false},
		{[]Source{{Kind: SourceUpstream}, {Kind: SourceBody}}, false, true},
		{[]Source{{Kind: SourceUpstream}, header}, false, true},
		{[]Source{{Kind: SourceUpstream}, {Kind: SourceVersion}}, false, true},
		{[]Source{header, {Kind: SourceUpstream}}, true, true},
		{[]Source{jsonSource(t, "/v"), {Kind: SourceUpstream}}, true, true},
		{[]Source{{Kind: SourceModified}, {Kind: SourceUpstream}}, true, true},
		{[]Source{{Kind: SourceVersion}}, true, true},
		{[]Source{{Kind: SourceBody}}, true, true},
	} {
		d := Deriver{Sources: test.sources}
		own, weak := d.MayReplaceTag(http.Header{"Etag": {`"own"`}}), d.MayReplaceTag(http.Header{"Etag": {`W/"weak"`}})
		if own != test.own || weak != test.weak {
			t.Errorf("%d: %t, %t", i, own, weak)
		}
	}
}
