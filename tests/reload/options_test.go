package reload

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// Tags that were made with one secret don't count after a reload with a different one.
func TestReloadWithAnotherSecret(t *testing.T) {
	r := loadReloadable(t, "verify never\nsecret one", caddytest.Serve(t, caddytest.Page("content")))
	tag := caddytest.Send(t, "GET", r.URL, "").Tag(t)
	r.reload(t, "verify never\nsecret two")
	caddytest.Send(t, "PUT", r.URL, "x", "If-Match", tag).Expect(t, 412)
	other := caddytest.Send(t, "GET", r.URL, "").Tag(t)
	r.reload(t, "verify never\nsecret one")
	caddytest.Send(t, "PUT", r.URL, "x", "If-Match", other).Expect(t, 412)
	caddytest.Send(t, "PUT", r.URL, "x", "If-Match", tag).Expect(t, 204)
}

// What is stored counts across reloads with a different weak_tags, which holds from then on.
func TestReloadWithAnotherWeakTags(t *testing.T) {
	r := loadReloadable(t, "verify never\nweak_tags accept", caddytest.Serve(t, caddytest.Page("content")))
	tag := caddytest.Send(t, "GET", r.URL, "").Tag(t)
	r.reload(t, "verify never")
	caddytest.Send(t, "PUT", r.URL, "x", "If-Match", "W/"+tag).Expect(t, 412)
	r.reload(t, "verify never\nweak_tags accept")
	caddytest.Send(t, "PUT", r.URL, "x", "If-Match", "W/"+tag).Expect(t, 204)
}

// Tags of one form don't count after a reload with a different one.
func TestReloadWithAnotherForm(t *testing.T) {
	const options = "verify never\nwrite_etag off\netag json /version "
	r := loadReloadable(t, options+"verbatim", caddytest.Serve(t, caddytest.Page(`{"version":7}`, "Content-Type", "application/json")))
	caddytest.Send(t, "GET", r.URL, "").Expect(t, 200)
	for _, form := range []string{"hash", "weak", "hash", "verbatim"} {
		r.reload(t, options+form)
		before := caddytest.Send(t, "PUT", r.URL, "x", "If-Match", `"7"`)
		if before.Expect(t, map[string]int{"hash": 412, "weak": 204, "verbatim": 204}[form]); form == "hash" {
			tag := caddytest.Send(t, "GET", r.URL, "").Tag(t)
			caddytest.Send(t, "PUT", r.URL, "x", "If-Match", tag).Expect(t, 204)
		}
	}
}

// Once the option vary names a field, tags stored before don't count for any value of
// that field.
func TestReloadWithAnotherVary(t *testing.T) {
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" && r.Method != "HEAD" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Vary", "Accept-Language")
		_, _ = io.WriteString(w, "of "+r.Header.Get("X-Tenant"))
	}}
	r := loadReloadable(t, "verify never\nwrite_etag off", caddytest.Serve(t, backend))
	before := caddytest.Send(t, "GET", r.URL, "", "X-Tenant", "a").Tag(t)
	r.reload(t, "verify never\nwrite_etag off\nvary X-Tenant")
	caddytest.Send(t, "PUT", r.URL, "x", "X-Tenant", "b", "If-Match", before).Expect(t, 412)
	a := caddytest.Send(t, "GET", r.URL, "", "X-Tenant", "a").Tag(t)
	b := caddytest.Send(t, "GET", r.URL, "", "X-Tenant", "b").Tag(t)
	caddytest.Send(t, "PUT", r.URL, "x", "X-Tenant", "b", "If-Match", a).Expect(t, 412)
	caddytest.Send(t, "PUT", r.URL, "x", "X-Tenant", "a", "If-Match", b).Expect(t, 412)
	if n := backend.Asks(func() { caddytest.Send(t, "PUT", r.URL, "x", "X-Tenant", "a", "If-Match", a).Expect(t, 204) }); n != 0 {
		t.Errorf("the origin was asked %d times", n)
	}
}

// Tags that are stored count for versions that only the new config looks for, and go on to
// count after the next reload.
func TestReloadWithConditions(t *testing.T) {
	r := loadReloadable(t, "verify never\nwrite_etag off", caddytest.Serve(t, caddytest.Page("content")))
	tag := strings.Trim(caddytest.Send(t, "GET", r.URL, "").Tag(t), `"`)
	for range 2 {
		r.reload(t, "verify never\nwrite_etag off\ncondition query rev\nguards /books /books/{id}")
		caddytest.Send(t, "PUT", r.URL+"/?rev=x", "x").Expect(t, 412)
	}
	caddytest.Send(t, "PUT", r.URL+"/?rev="+tag, "x").Expect(t, 204).ExpectOutcome(t, "passed")
	r.reload(t, "verify never\nwrite_etag off")
	caddytest.Send(t, "PUT", r.URL+"/?rev=x", "x").Expect(t, 204).ExpectOutcome(t, "unconditional")
}

// A write that may go on keeps others out across a reload, whatever the new config says
// about such answers. What it says holds from then on.
func TestReloadUnanswered(t *testing.T) {
	backend := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" {
			w.WriteHeader(503)
		}
	}))
	const options = "lease 1h\nretention 2h\nwait 1ms\nverify never\n"
	r := loadReloadable(t, options, backend)
	write := func(path, outcome string) {
		t.Helper()
		caddytest.Send(t, "PUT", r.URL+path, "x", "If-Match", "*").Expect(t, 503).ExpectOutcome(t, outcome)
	}
	for _, path := range []string{"/a", "/b"} {
		caddytest.Send(t, "GET", r.URL+path, "").Expect(t, 200)
	}
	write("/a", "passed")
	write("/a", "conflict")
	r.reload(t, options+"unanswered none")
	write("/a", "conflict")
	write("/b", "passed")
	write("/b", "passed")
	r.reload(t, options+"unanswered 5xx")
	write("/b", "passed")
	write("/b", "conflict")
}
