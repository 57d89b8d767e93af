package proxyhooks

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// probeBoth probes with the default sources.
func probeBoth(next caddyhttp.Handler, r *http.Request, limit int64) Probed {
	return Probe(r.Context(), next, r, both, limit)
}

// TestProbeRequest: a probe is a GET for the same target, with the client's credentials
// and without its preconditions (RFC 9110, section 13.1; RFC 4918, section 10.4) or Range
// (section 14.2).
func TestProbeRequest(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
		r := newRequest(method, strings.NewReader("content"),
			"Authorization", "Basic x", "Cookie", "a=b", "Accept", "text/html", "Accept-Language", "de", "X-Custom", "x",
			"Accept-Encoding", "br", "Content-Type", "text/plain", "Content-Length", "7", "Content-Encoding", "gzip",
			"If-Match", `"x"`, "If-None-Match", `"x"`, "If-Modified-Since", "x", "If-Unmodified-Since", "x", "If-Range", "x", "If", "(x)",
			"Range", "bytes=0-1", "Expect", "100-continue", "Upgrade", "h2c", "Connection", "Upgrade", "Te", "trailers",
			"Cache-Control", "max-stale, only-if-cached", "Trailer", "X-Checksum", "Transfer-Encoding", "chunked", "X-HTTP-Method-Override", "DELETE", "Idempotency-Key", "x")
		r.TransferEncoding, r.Trailer = []string{"chunked"}, http.Header{"X-Checksum": nil}
		before := r.Header.Clone()
		asked := 0
		probeBoth(handler(func(_ http.ResponseWriter, pr *http.Request) {
			asked++
			want := http.Header{
				"Authorization": {"Basic x"}, "Cookie": {"a=b"}, "Accept": {"text/html"}, "Accept-Language": {"de"},
				"X-Custom": {"x"}, "Accept-Encoding": {"identity"},
				"Cache-Control": {"no-cache"}, "Pragma": {"no-cache"}, // RFC 9111, section 5.2.1.4
			}
			if !reflect.DeepEqual(pr.Header, want) {
				t.Errorf("header %v", pr.Header)
			}
			if pr.Method != "GET" || pr.Body != http.NoBody || pr.ContentLength != 0 || pr.TransferEncoding != nil || pr.Trailer != nil {
				t.Errorf("%+v", pr)
			}
			if pr.URL.String() != r.URL.String() || pr.Host != r.Host || pr.RemoteAddr != r.RemoteAddr {
				t.Errorf("%s %s %s", pr.URL, pr.Host, pr.RemoteAddr)
			}
			pr.Header.Set("Cookie", "changed")
			pr.URL.Path = "/changed"
		}), r, 0)
		if asked != 1 {
			t.Errorf("next ran %d times", asked)
		}
		if !reflect.DeepEqual(r.Header, before) || r.Method != method || r.URL.Path != "/page" {
			t.Errorf("the client's request changed: %v", r)
		}
		if content, err := io.ReadAll(r.Body); string(content) != "content" || err != nil {
			t.Errorf("the content is %q, %v", content, err)
		}
	}
}

// TestProbeIsolation: a probe shares nothing that handlers keep on a request.
func TestProbeIsolation(t *testing.T) {
	r := newRequest("PUT", nil)
	r.URL.Path = "/rewritten"
	vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	vars["outer"] = "of the client"
	repl := replacer(r)
	repl.Set("http.auth.user.id", "ann")
	repl.Set("http.reverse_proxy.retries", 7)
	groups := r.Context().Value(caddy.CtxKey("route_group"))

	probeBoth(handler(func(w http.ResponseWriter, pr *http.Request) {
		for placeholder, want := range map[string]string{
			"http.request.method":        "GET",
			"http.request.uri.path":      "/rewritten",
			"http.request.orig_uri.path": "/page",
			"http.request.orig_method":   "GET",
			"http.auth.user.id":          "ann",
			"http.vars.outer":            "of the client",
			"http.reverse_proxy.retries": "",
			"http.request.header.Cookie": "",
		} {
			if got := replacer(pr).ReplaceAll("{"+placeholder+"}", ""); got != want {
				t.Errorf("%s is %q, want %q", placeholder, got, want)
			}
		}
		caddyhttp.SetVar(pr.Context(), "outer", "of the probe")
		caddyhttp.SetVar(pr.Context(), "inner", "of the probe")
		replacer(pr).Set("http.reverse_proxy.upstream.address", "of the probe")
		replacer(pr).Set("http.auth.user.id", "eve")
		if pr.Context().Value(caddyhttp.ExtraLogFieldsCtxKey) == r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey) {
			t.Error("the log fields are shared")
		}
		own := pr.Context().Value(caddy.CtxKey("route_group"))
		if reflect.ValueOf(own).Pointer() == reflect.ValueOf(groups).Pointer() {
			t.Error("the route groups are shared")
		}
		w.Header().Set("Via", "of the probe")
		if _, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
			t.Error("the probe's writer leads somewhere")
		}
	}), r, 0)

	if len(vars) == 0 || vars["outer"] != "of the client" || vars["inner"] != nil {
		t.Errorf("vars %v", vars)
	}
	if got := repl.ReplaceAll("{http.auth.user.id} {http.reverse_proxy.upstream.address} {http.request.method}", "-"); got != "ann - PUT" {
		t.Errorf("placeholders %q", got)
	}
}

// TestProbeAnswer: what a probe makes of each kind of answer.
func TestProbeAnswer(t *testing.T) {
	large := strings.Repeat("x", 100<<10)
	tests := []struct {
		name  string
		next  caddyhttp.Handler
		state validator.State // Unknown if not Known
		tag   string
		want  int
		err   bool
	}{
		{"content", responding(200, "content"), validator.Present, tagOf("content", nil).String(), 200, false},
		{"large content", responding(200, large), validator.Present, tagOf(large, nil).String(), 200, false},
		{"own tag", responding(200, "content", "ETag", `"own"`), validator.Present, `"own"`, 200, false},
		{"own tag and endless content", handler(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"own"`)
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, large)
			}
			panic(http.ErrAbortHandler)
		}), validator.Present, `"own"`, 200, false},
		{"weak tag", responding(200, "content", "ETag", `W/"own"`), validator.Present, tagOf("content", nil).String(), 200, false},
		{"event stream", handler(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(200)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}), validator.Present, "", 200, false},
		{"no answer is 200", handler(func(http.ResponseWriter, *http.Request) {}), validator.Present, tagOf("", nil).String(), 200, false},
		{"404", responding(404, "no"), validator.Absent, "", 404, false},
		{"410", responding(410, "no"), validator.Absent, "", 410, false},
		{"404 as an error", failing(caddyhttp.Error(404, errLegacy)), validator.Absent, "", 404, false},
		{"403", responding(403, "no"), validator.Unknown, "", 403, false},
		{"403 as an error", failing(caddyhttp.Error(403, errLegacy)), validator.Unknown, "", 403, false},
		{"502 as an error", failing(caddyhttp.Error(502, errLegacy)), validator.Unknown, "", 502, false},
		{"early hints first", handler(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(404)
			w.WriteHeader(200)
		}), validator.Absent, "", 404, false},
		{"error", failing(errLegacy), validator.Unknown, "", 0, true},
		{"error without a status", failing(caddyhttp.HandlerError{Err: errLegacy}), validator.Unknown, "", 0, true},
		{"error after half of the content", caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			_, _ = io.WriteString(w, "half")
			return caddyhttp.Error(404, errLegacy)
		}), validator.Unknown, "", 0, true},
		{"broken off", handler(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}), validator.Unknown, "", 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := probeBoth(test.next, newRequest("PUT", nil), 0)
			if p.Known != (test.state != validator.Unknown) || p.Observed.State != test.state || p.Observed.ETag.String() != test.tag ||
				p.Status != test.want || (p.Err != nil) != test.err {
				t.Errorf("%+v", p)
			}
		})
	}
	t.Run("any other panic is passed on", func(t *testing.T) {
		if p := recovered(func() {
			probeBoth(handler(func(http.ResponseWriter, *http.Request) { panic("bug") }), newRequest("PUT", nil), 0)
		}); p != "bug" {
			t.Errorf("got %v", p)
		}
	})
	t.Run("content to relay", func(t *testing.T) {
		for size, kept := range map[int]int{0: 0, 10: 10, 64 << 10: 64 << 10, 100 << 10: 64 << 10} {
			p := probeBoth(handler(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", "Basic")
				w.WriteHeader(401)
				for range slices.Chunk(make([]byte, size), 1000) {
					_, _ = w.Write(make([]byte, min(1000, size)))
				}
			}), newRequest("PUT", nil), 0)
			if want := min(kept, (size+999)/1000*min(1000, size)); len(p.Body) != want || p.Header.Get("WWW-Authenticate") != "Basic" {
				t.Errorf("%d of %d bytes, %v", len(p.Body), size, p.Header)
			}
		}
	})
	t.Run("the context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := newRequest("PUT", nil)
		p := Probe(context.WithValue(ctx, caddy.ReplacerCtxKey, replacer(r)), handler(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "half")
			cancel(errLegacy)
			<-r.Context().Done() // as the proxy does, which then writes 499
		}), r, both, 0)
		if !errors.Is(p.Err, errLegacy) || p.Known {
			t.Errorf("%+v", p)
		}
	})
}

// TestProbeHead: a HEAD shows what its header section tells, and only if a GET would say the
// same. A 404 may mean that the backend has no HEAD. No answer becomes the tag of empty
// content.
func TestProbeHead(t *testing.T) {
	typed := func(fields ...string) []string { return append(fields, "Content-Type", "text/plain") }
	dated := typed("Last-Modified", changedAt, "Date", provenAt, "Content-Length", "9")
	for _, test := range []struct {
		name    string
		sources []Source
		status  int
		fields  []string
		known   bool
	}{
		{"own tag", []Source{{Kind: SourceUpstream}, {Kind: SourceBody}}, 200, []string{"ETag", `"own"`}, true},
		{"weak tag", []Source{{Kind: SourceUpstream}, {Kind: SourceBody}}, 200, []string{"ETag", `W/"own"`}, false},
		{"no tag", []Source{{Kind: SourceUpstream}}, 200, typed(), false},
		{"content", []Source{{Kind: SourceBody}}, 200, typed("ETag", `"own"`), false},
		{"a version", []Source{{Kind: SourceVersion}}, 200, typed("ETag", `"own"`), false},
		{"field", []Source{{Kind: SourceHeader, Field: "X-Version"}}, 200, typed("X-Version", "7"), true},
		{"field, and no type", []Source{{Kind: SourceHeader, Field: "X-Version"}}, 200, []string{"X-Version", "7"}, false},
		{"date", []Source{{Kind: SourceModified}}, 200, dated, true},
		{"date, and no length", []Source{{Kind: SourceModified}}, 200, dated[:4], false},
		{"JSON", []Source{jsonSource(t, "/v"), {Kind: SourceHeader, Field: "X-Version"}}, 200, []string{"X-Version", "7", "Content-Type", "application/json"}, false},
		{"404", []Source{{Kind: SourceUpstream}}, 404, typed(), false},
		{"405", []Source{{Kind: SourceUpstream}}, 405, typed("ETag", `"own"`), false},
		{"206", []Source{{Kind: SourceUpstream}}, 206, typed("ETag", `"own"`), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Deriver{Sources: test.sources, Limit: testLimit}
			var method string
			next := handler(func(w http.ResponseWriter, r *http.Request) {
				method = r.Method
				_ = responding(test.status, "", test.fields...).ServeHTTP(w, r)
			})
			head := ProbeHead(t.Context(), next, newRequest("PUT", nil), d)
			if method != "HEAD" || head.Status != test.status || head.Known != test.known || head.InHeader != test.known ||
				head.Observed.ETag.Valid != test.known {
				t.Errorf("%s %+v", method, head)
			}
			if got := Probe(t.Context(), next, newRequest("PUT", nil), d, 0); test.known && (got.Observed != head.Observed || !got.InHeader) {
				t.Errorf("GET shows %+v, and HEAD %+v", got, head)
			}
		})
	}
}

// TestProbeLimit: a probe stops after more content than the limit.
func TestProbeLimit(t *testing.T) {
	for size, tagged := range map[int]bool{0: true, 9: true, 10: true, 11: false, 1000: false} {
		for _, piece := range []int{1, 7, 1000} {
			content := strings.Repeat("x", size)
			cut := false
			p := probeBoth(handler(func(w http.ResponseWriter, r *http.Request) {
				for part := range slices.Chunk([]byte(content), piece) {
					if n, err := w.Write(part); n != len(part) || err != nil {
						t.Errorf("wrote %d, %v", n, err)
					}
				}
				if cut = r.Context().Err() != nil; cut {
					panic(http.ErrAbortHandler)
				}
			}), newRequest("HEAD", nil), 10)
			if !p.Known || p.Err != nil || p.Observed.State != validator.Present || p.Observed.ETag.Valid != tagged || cut == tagged {
				t.Errorf("%d bytes by %d: cut %t, %+v", size, piece, cut, p)
			}
			if tagged && p.Observed.ETag != tagOf(content, nil) {
				t.Errorf("%d bytes by %d: tag %s", size, piece, p.Observed.ETag)
			}
		}
	}
}
