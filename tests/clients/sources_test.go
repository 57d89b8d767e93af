package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// revised is a document with a revision number, which every PUT increments. The
// reads are counted too, so that a response can differ in something irrelevant.
type revised struct {
	caddytest.Witness
	mu       sync.Mutex
	revision int
	reads    int
}

// newRevised returns a document; show writes the response to a GET or HEAD.
func newRevised(show func(w http.ResponseWriter, r *http.Request, revision, reads int)) *revised {
	d := new(revised)
	d.Answer = func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		switch r.Method {
		case "GET", "HEAD":
			d.reads++
			show(w, r, d.revision, d.reads)
		case "PUT":
			d.revision++
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}
	return d
}

// showAll sends the revision in every place that a tag can be made from. The
// content itself differs on every read.
func showAll(w http.ResponseWriter, _ *http.Request, revision, reads int) {
	content := fmt.Sprintf(`{"reads": %9d, "meta": {"revision": %d}}`, reads, revision)
	changed := time.Date(1994, 11, 6, 8, 49, revision, 0, time.UTC)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.Header().Set("Last-Modified", changed.Format(http.TimeFormat))
	w.Header().Set("X-Revision", fmt.Sprint(revision))
	_, _ = io.WriteString(w, content)
}

// Each source gives GET the same tag until the value that it reads changes. HEAD has that
// tag, or none as long as nobody has read the content.
// A write passes only with the current tag (RFC 9110, sections 8.8.1, 9.3.2 and
// 13.1.1).
func TestSources(t *testing.T) {
	t.Parallel()
	plain := func(w http.ResponseWriter, _ *http.Request, revision, _ int) {
		_, _ = fmt.Fprintf(w, "revision %d", revision)
	}
	own := func(w http.ResponseWriter, _ *http.Request, revision, reads int) {
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, revision))
		_, _ = fmt.Fprintf(w, "read %d", reads)
	}
	chunked := func(w http.ResponseWriter, r *http.Request, revision, reads int) {
		_ = http.NewResponseController(w).Flush()
		plain(w, r, revision, reads)
	}
	bare := func(w http.ResponseWriter, r *http.Request, revision, reads int) {
		if r.Method == "GET" {
			showAll(w, r, revision, reads)
			return
		}
		full := httptest.NewRecorder()
		showAll(full, r, revision, reads)
		for _, name := range []string{"Last-Modified", "X-Revision"} { // and no other field (9.3.2)
			w.Header()[name] = full.Header()[name]
		}
	}
	for _, tt := range []struct {
		name    string
		options string
		show    func(w http.ResponseWriter, r *http.Request, revision, reads int)
		own     bool
	}{
		{"upstream", "etag upstream", own, true},
		{"header", "etag header X-Revision", showAll, false},
		{"header, frugal HEAD", "etag header X-Revision", bare, false},
		{"json", "etag json /meta/revision", showAll, false},
		{"json, the object", "etag json /meta", showAll, false},
		{"modified", "etag modified", showAll, false},
		{"modified, frugal HEAD", "etag modified", bare, false},
		{"body", "etag body", plain, false},
		{"upstream of several", "etag upstream\netag header X-Revision\netag body", own, true},
		{"header of several", "etag upstream\netag header X-Revision\netag body", showAll, false},
		{"json of several", "etag upstream\netag json /none\netag json /meta/revision\netag body", showAll, false},
		{"modified of several", "etag upstream\netag header X-None\netag json /none\netag modified\netag body", showAll, false},
		{"modified of several, frugal HEAD", "etag upstream\netag header X-None\netag modified\netag body", bare, false},
		{"body of several", "etag upstream\netag header X-Revision\netag json /meta/revision\netag modified\netag body", plain, false},
		{"body of chunks", "etag modified\netag body", chunked, false},
		{"header after too much JSON", "buffer 20\netag json /meta/revision\netag header X-Revision", showAll, false},
	} {
		for _, verify := range []string{"passing", "all", "never"} {
			t.Run(tt.name+", verify "+verify, func(t *testing.T) {
				backend := newRevised(tt.show)
				url := caddytest.Site(t, tt.options+"\nverify "+verify, backend) + "/page"
				var tags []string
				for range 3 {
					a := caddytest.Send(t, "HEAD", url, "").Expect(t, 200)
					tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
					if got := a.Header.Get("ETag"); got != tag && got != "" || slices.Contains(tags, tag) || strings.HasPrefix(tag, "W/") {
						t.Fatalf("HEAD has the tag %s, GET has %s; earlier tags: %s", got, tag, tags)
					}
					if got := caddytest.Send(t, "HEAD", url, "").Tag(t); got != tag {
						t.Fatalf("HEAD has the tag %s after the GET, which has %s", got, tag)
					}
					if got := caddytest.Send(t, "GET", url, "").Tag(t); got != tag {
						t.Fatalf("the next GET has the tag %s, want %s", got, tag)
					}
					caddytest.Send(t, "GET", url, "", "If-None-Match", tag).Expect(t, 304)
					caddytest.Send(t, "HEAD", url, "", "If-None-Match", tag).Expect(t, 304)
					for _, old := range append(tags, `"none"`) {
						caddytest.Send(t, "PUT", url, "x", "If-Match", old).Expect(t, 412)
						caddytest.Send(t, "GET", url, "", "If-None-Match", old).Expect(t, 200)
					}
					caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 204)
					if got := backend.Last(t, "PUT").Header.Get("If-Match"); (got == tag) != tt.own || (got == "") == tt.own {
						t.Errorf("the backend heard If-Match: %s", got)
					}
					caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 412)
					tags = append(tags, tag)
				}
			})
		}
	}
}

// If no source yields a value, the resource has no tag and no If-Match with a tag holds.
func TestSourcesThatDoNotYield(t *testing.T) {
	for _, options := range []string{
		"etag upstream", "etag header X-None", "etag json /none", "etag modified", "etag json /none\netag header X-None\netag modified",
	} {
		t.Run(options, func(t *testing.T) {
			backend := newRevised(func(w http.ResponseWriter, _ *http.Request, _, _ int) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("ETag", `W/"weak"`)
				// The content could change again within this second (8.8.2.2).
				w.Header().Set("Last-Modified", w.Header().Get("Date"))
				_, _ = io.WriteString(w, `{"a": 1}`)
			})
			url := caddytest.Site(t, options, backend)
			for _, method := range []string{"GET", "HEAD"} {
				if tag := caddytest.Send(t, method, url, "").Expect(t, 200).Header.Get("ETag"); tag != "" && (options != "etag upstream" || tag != `W/"weak"`) {
					t.Errorf("%s has the tag %s", method, tag)
				}
			}
			caddytest.Send(t, "PUT", url, "x", "If-Match", `"weak"`).Expect(t, 412)
			caddytest.Send(t, "PUT", url, "x", "If-Match", `W/"weak"`).Expect(t, 412)
			backend.Unwritten(t)
			caddytest.Send(t, "PUT", url, "x", "If-Match", "*").Expect(t, 204)
		})
	}
}

// A different secret yields different tags. The secret appears in no log or response.
func TestSecret(t *testing.T) {
	const text = "MellonIsTheWord"
	t.Setenv("PRECONDITIONS_TEST_SECRET", text)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	backend := newRevised(showAll)
	tagWith := func(source, secret string) string {
		t.Helper()
		url := caddytest.Site(t, source+"\n"+secret, backend)
		return caddytest.Send(t, "GET", url, "").Tag(t)
	}
	for _, source := range []string{"etag header X-Revision", "etag json /meta", "etag modified"} {
		tags := make(map[string]bool)
		for _, secret := range []string{"", "secret one", "secret two", "secret " + text} {
			tags[tagWith(source, secret)] = true
		}
		if len(tags) != 4 {
			t.Errorf("%s: %d tags, want 4", source, len(tags))
		}
	}
	want := tagWith("etag modified", "secret "+text)
	for _, secret := range []string{"secret {env.PRECONDITIONS_TEST_SECRET}", "secret {file." + file + "}", `secret "` + text + `"`} {
		if got := tagWith("etag modified", secret); got != want {
			t.Errorf("%s: got %s, want %s", secret, got, want)
		}
	}
	if got := tagWith("etag modified", "secret {env.PRECONDITIONS_TEST_SECRET}2"); got == want {
		t.Error("only part of the secret affects the tag")
	}

	t.Run("the secret isn't logged", func(t *testing.T) {
		address, log := caddytest.Address(t), filepath.Join(t.TempDir(), "log")
		sites := fmt.Sprintf("http://%s {\nlog\npreconditions {\nsecret {env.PRECONDITIONS_TEST_SECRET}\nrequire\n}\nreverse_proxy %s\n}\n", address, caddytest.Serve(t, backend))
		var config map[string]any
		if err := json.Unmarshal(caddytest.Adapt(t, caddytest.GlobalOptions+sites), &config); err != nil {
			t.Fatal(err)
		}
		config["logging"] = map[string]any{"logs": map[string]any{"default": map[string]any{
			"level": "DEBUG", "writer": map[string]any{"output": "file", "filename": log},
		}}}
		loaded, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load(loaded, true); err != nil {
			t.Fatal(err)
		}
		url := "http://" + address
		a := caddytest.Send(t, "GET", url, "").Expect(t, 200)
		b := caddytest.Send(t, "PUT", url, "x", "If-Match", `"x"`).Expect(t, 412)
		caddytest.Send(t, "PUT", url, "x").Expect(t, 428)
		caddytest.Send(t, "PUT", url, "x", "If-Match", "*").Expect(t, 204)
		caddytest.Client.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		logged, err := os.ReadFile(log)
		if err != nil || !bytes.Contains(logged, []byte(`"outcome":"failed"`)) {
			t.Fatalf("%v in %s", err, logged)
		}
		if bytes.Contains(logged, []byte(text)) {
			t.Errorf("the secret is in the log:\n%s", logged)
		}
		for _, answer := range []caddytest.Answer{a, b} {
			if strings.Contains(fmt.Sprint(answer.Header, answer.Content), text) {
				t.Errorf("the secret is in the answer: %v %s", answer.Header, answer.Content)
			}
		}
	})
}

// The fields of the option vary count as if the backend had listed them in Vary
// (RFC 9110, section 12.5.5).
func TestOptionVary(t *testing.T) {
	for _, tt := range []struct {
		name string
		says []string // the backend's Vary
		want []string
	}{
		{"the backend sends no Vary", nil, []string{"Accept-Language, X-Tenant"}},
		{"the backend lists one of the fields", []string{"Origin, x-tenant"}, []string{"Origin, x-tenant", "Accept-Language"}},
		{"the backend lists all of the fields", []string{"X-Tenant", "Accept-Language"}, []string{"X-Tenant", "Accept-Language"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			backend := newRevised(func(w http.ResponseWriter, r *http.Request, revision, _ int) {
				for _, line := range tt.says {
					w.Header().Add("Vary", line)
				}
				_, _ = fmt.Fprintf(w, "revision %d in %s", revision, r.Header.Get("Accept-Language"))
			})
			url := caddytest.Site(t, "vary x-TENANT Accept-Language accept-language\nverify never\nwrite_etag off", backend) + "/page"
			german, english := []string{"Accept-Language", "de"}, []string{"Accept-Language", "en"}
			with := func(fields []string, more ...string) []string { return append(slices.Clone(fields), more...) }

			// A write comes first: no read has stored a tag yet.
			caddytest.Send(t, "PUT", url, "x", with(german, "If-Match", `"none"`)...).Expect(t, 412)
			if n := len(backend.All("GET")); n != 1 {
				t.Errorf("the origin was asked %d times", n)
			}
			// The tag from that probe is stored for these field values only.
			asked := func(status int, fields ...string) int {
				return backend.Asks(func() { caddytest.Send(t, "PUT", url, "x", fields...).Expect(t, status) })
			}
			if n := asked(412, with(german, "If-Match", `"none"`)...); n != 0 {
				t.Errorf("the origin was asked %d times for a representation that is already known", n)
			}
			if n := asked(412, with(english, "If-Match", `"none"`)...); n != 1 {
				t.Errorf("the origin was asked %d times for a different representation, want 1", n)
			}
			if n := asked(412, with(german, "X-Tenant", "a", "If-Match", `"none"`)...); n != 1 {
				t.Errorf("the origin was asked %d times for a different tenant's representation, want 1", n)
			}

			a := caddytest.Send(t, "GET", url, "", german...).Expect(t, 200)
			b := caddytest.Send(t, "GET", url, "", english...).Expect(t, 200)
			for _, answer := range []caddytest.Answer{
				a, b, caddytest.Send(t, "HEAD", url, "", german...), caddytest.Send(t, "GET", url, "", with(german, "If-None-Match", a.Tag(t))...).Expect(t, 304),
			} {
				if got := answer.Header["Vary"]; !slices.Equal(got, tt.want) {
					t.Errorf("Vary: %q, want %q", got, tt.want)
				}
			}
			if n := asked(412, with(german, "X-Tenant", "b", "If-Match", b.Tag(t))...); n != 1 {
				t.Errorf("the origin was asked %d times for a different tenant's representation, want 1", n)
			}
			if n := asked(204, with(german, "If-Match", b.Tag(t))...); n != 0 {
				t.Errorf("the origin was asked %d times", n)
			}
			caddytest.Send(t, "PUT", url, "x", with(german, "If-Match", a.Tag(t))...).Expect(t, 412)
		})
	}
}
