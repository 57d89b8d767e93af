package gateway

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
)

// newPremiseSite returns a site in front of an object store that shows tags of objects to
// everybody, and evaluates no conditions.
func newPremiseSite(tags map[string]string) *site {
	s := newObjectSite(nil)
	s.Verify = Verification{Passing: true}
	s.Namer.Hosts = []string{"example.com"}
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			return nil
		}
		tag, ok := tags[r.URL.RequestURI()]
		switch {
		case tag == "hidden":
			w.WriteHeader(http.StatusForbidden)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
		case tag != "":
			w.Header().Set("ETag", `"`+tag+`"`)
			w.Header().Set("Last-Modified", "Mon, 02 Nov 2026 00:00:00 GMT")
		}
		return nil
	}
	return s
}

// A write passes only if its conditions on other resources hold, which the origin confirms under a
// claim on each. A resource that the write leaves as it is stays known.
func TestPremises(t *testing.T) {
	t.Parallel()
	const source = "X-Amz-Copy-Source: "
	object := func(key, tag string) string {
		if tag != "" {
			tag = "<ETag>" + tag + "</ETag>"
		}
		return "<Object><Key>" + key + "</Key>" + tag + "</Object>"
	}
	tags := map[string]string{"/b/k": "k", "/b/a": "a", "/b/none": "", "/b/hidden": "hidden", "/b/a?versionId=v": "v"}
	for _, tt := range []struct {
		request string
		fields  []string
		list    string
		want    int
		text    string // in the content of the refusal
	}{
		{"PUT /b/k", []string{source + "/b/a", "X-Amz-Copy-Source-If-Match: a"}, "", 200, ""},
		{"PUT /b/k", []string{source + "/b/a", "X-Amz-Copy-Source-If-Match: b"}, "", 412, "<Condition>x-amz-copy-source-If-Match</Condition>"},
		{"PUT /b/k", []string{source + "/b/a", "X-Amz-Copy-Source-If-None-Match: a"}, "", 412, "<Condition>x-amz-copy-source-If-None-Match</Condition>"},
		{"PUT /b/k", []string{source + "/b/a", "X-Amz-Copy-Source-If-Modified-Since: Tue, 03 Nov 2026 00:00:00 GMT"}, "", 412, "If-Modified-Since"},
		{"PUT /b/k", []string{source + "/b/a?versionId=v", "X-Amz-Copy-Source-If-Match: v"}, "", 200, ""},
		{"PUT /b/k", []string{source + "/b/a?versionId=v", "X-Amz-Copy-Source-If-Match: a"}, "", 412, ""},
		{"PUT /b/k", []string{source + "/b/no", "X-Amz-Copy-Source-If-Match: a"}, "", 404, "<Code>NoSuchKey</Code>"},
		{"PUT /b/k", []string{source + "/b/no", "X-Amz-Copy-Source-If-None-Match: a"}, "", 404, "<Code>NoSuchKey</Code>"},
		{"PUT /b/k", []string{source + "/b/none", "X-Amz-Copy-Source-If-Match: a"}, "", 503, ""},
		{"PUT /b/k", []string{source + "/b/hidden", "X-Amz-Copy-Source-If-Match: a"}, "", 503, "Forbidden"},
		{"PUT /b/k", []string{source + "/b/a", "X-Amz-Copy-Source-If-Match: a", "If-Match: k"}, "", 200, ""},
		{"PUT /b/k", []string{source + "/b/a", "X-Amz-Copy-Source-If-Match: a", "If-Match: x"}, "", 412, "<Condition>If-Match</Condition>"},
		{"PUT /b/k", []string{source + "/b/a", "X-Amz-Copy-Source-If-Match: x", "If-Match: k"}, "", 412, "x-amz-copy-source"},
		{"PUT /b/k", []string{source + "/b/a", "X-Amz-Copy-Source-If-Match: x", "If-Unmodified-Since: Tue, 03 Nov 2026 00:00:00 GMT"}, "", 412, "x-amz-copy-source"},
		{"PUT /b/k", []string{source + "/b/k", "X-Amz-Copy-Source-If-Match: k"}, "", 200, ""},
		{"PUT /b/k", []string{source + "/b/k", "X-Amz-Copy-Source-If-Match: x"}, "", 412, ""},
		{"PUT /b/new?partNumber=1&uploadId=u", []string{source + "/b/a", "X-Amz-Copy-Source-If-Match: a"}, "", 200, ""},
		{"PUT /b/new?partNumber=1&uploadId=u", []string{source + "/b/a", "X-Amz-Copy-Source-If-Match: x"}, "", 412, ""},

		{"POST /b?delete", nil, object("a", "a") + object("k", "&quot;k&quot;") + object("other", ""), 200, ""},
		{"POST /b?delete", nil, object("a", "a") + object("k", "a"), 412, "/b/k"},
		{"POST /b?delete", nil, object("a", "*"), 200, ""},
		{"POST /b?delete", nil, object("no", "a"), 200, ""},
		{"POST /b?delete", nil, object("hidden", "a"), 503, ""},
		{"POST /b?delete", nil, object("x/../a", "a"), 400, ""},
	} {
		for _, atOnce := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.request, tt.fields, tt.list, atOnce), func(t *testing.T) {
				t.Parallel()
				s := newPremiseSite(tags)
				s.ForwardUnconditional = atOnce
				r := requestOf(t.Context(), tt.request, append(tt.fields, objectSignature)...)
				if tt.list != "" {
					r.Body = io.NopCloser(strings.NewReader("<Delete>" + tt.list + "</Delete>"))
				}
				w, err := s.serve(r)
				if err != nil {
					t.Fatal(err)
				}
				line, _, _ := strings.Cut(tt.request, "?")
				reached := slices.Contains(s.take(), line)
				if w.Code != tt.want || reached != (tt.want == 200) || !strings.Contains(w.Body.String(), tt.text) {
					t.Errorf("status %d, want %d; reached the backend: %v; %s", w.Code, tt.want, reached, w.Body)
				}
				if tag := w.Header().Get("ETag"); tag != "" && tag != `"k"` {
					t.Errorf("the client gets the tag %s for the target", tag)
				}
			})
		}
	}
}

// With verify never, what came through decides about a source, too, and a copy of it leaves that
// as it is.
func TestPremisesOfPrivateStore(t *testing.T) {
	t.Parallel()
	s := newObjectSite(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("ETag", `"a"`)
		}
	})
	s.Namer.Hosts = []string{"example.com"}
	do := func(want int, request string, fields ...string) {
		t.Helper()
		w, err := s.serve(requestOf(t.Context(), request, append(fields, objectSignature)...))
		if err != nil || w.Code != want {
			t.Errorf("%s %v: status %d, want %d, %v: %s", request, fields, w.Code, want, err, w.Body)
		}
	}
	const source, match = "X-Amz-Copy-Source: /b/a", "X-Amz-Copy-Source-If-Match: "
	do(503, "PUT /b/k", source, match+"a")
	do(200, "GET /b/a")
	do(200, "PUT /b/k", source, match+"a")
	do(200, "PUT /b/k", source, match+"a")
	do(412, "PUT /b/k", source, match+"b")
	do(200, "PUT /b/new?partNumber=1&uploadId=u", source, match+"a")
	do(200, "PUT /b/a", `If-Match: "a"`)
	do(503, "PUT /b/k", source, match+"a") // its answer had no tag
}

// A write with a condition on another resource waits for whoever writes that, and nobody writes it
// until the first write is done.
func TestPremiseClaims(t *testing.T) {
	t.Parallel()
	s := newPremiseSite(map[string]string{"/b/a": "a"})
	fields := []string{"X-Amz-Copy-Source: /b/a", "X-Amz-Copy-Source-If-Match: a", objectSignature}
	w, err := s.serve(requestOf(t.Context(), "PUT /b/k", fields...))
	if err != nil || w.Code != 200 {
		t.Fatalf("%d, %v: %s", w.Code, err, w.Body)
	}
	want := []string{"claim /b/a", "claim /b/k", "GET /b/a", "PUT /b/k", "settle /b/a", "settle /b/k", "answer 200"}
	if got := s.take(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	s.StoreDown.ForwardConditional, s.StoreDown.ForwardUnconditional = true, true
	s.store.fail = func(string) error { return etagcache.ErrUnavailable }
	if w, err = s.serve(requestOf(t.Context(), "PUT /b/k", fields...)); err != nil || w.Code != 503 {
		t.Errorf("without a store: %d, %v", w.Code, err)
	}
}

// In report mode, the outcome says what would become of the write.
func TestPremiseReport(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]answer.Outcome{"a": answer.Passed, "b": answer.Failed} {
		s := newPremiseSite(map[string]string{"/b/a": "a"})
		s.Answers.Mode = answer.ReportOnly
		r := requestOf(t.Context(), "PUT /b/k", "X-Amz-Copy-Source: /b/a", "X-Amz-Copy-Source-If-Match: "+tag, objectSignature)
		if w, err := s.serve(r); err != nil || w.Code != 200 || outcome(r) != string(want) {
			t.Errorf("%s: %d, %v, outcome %s", tag, w.Code, err, outcome(r))
		}
	}
}
