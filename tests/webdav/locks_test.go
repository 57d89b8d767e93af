package webdav

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestOffice: what Microsoft Office sends to save a document works, and while the document is
// open, nobody else's write takes its place.
func TestOffice(t *testing.T) {
	t.Parallel()
	s := newShare("/plan.docx")
	site := caddytest.Site(t, "profile webdav\nlag 0s\nrequire PUT", s)
	const lockinfo = `<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>`
	send := func(method, content string, status int, fields ...string) caddytest.Answer {
		t.Helper()
		return caddytest.Send(t, method, site+"/plan.docx", content, fields...).Expect(t, status)
	}
	before := send("HEAD", "", 200).Tag(t)
	lock := send("LOCK", lockinfo, 200, "Timeout", "Second-3600", "Depth", "0", "Content-Type", "text/xml")
	token := lock.Header.Get("Lock-Token")
	if !strings.Contains(lock.Content, "lockdiscovery") || token != "<"+lockToken+">" {
		t.Errorf("LOCK: %v %s", lock.Header, lock.Content)
	}
	if tag := send("GET", "", 200).Tag(t); tag != before {
		t.Errorf("LOCK changes the tag from %s to %s", before, tag)
	}
	send("PUT", "somebody else", 423, "If-Match", before)
	send("PUT", "somebody else", 428)
	send("LOCK", "", 200, "If", "("+token+")", "Timeout", "Second-3600")
	send("PUT", "saved", 204, "If", "("+token+")")
	send("PUT", "saved again", 204, "If", "("+token+")")
	send("UNLOCK", "", 409, "Lock-Token", "<urn:other>")
	send("UNLOCK", "", 204, "Lock-Token", token)
	if got := s.get("/plan.docx"); got != "saved again" {
		t.Errorf("the document is %q", got)
	}
	send("PUT", "somebody else", 412, "If-Match", before)
}

// TestLocksKeepTags: LOCK and UNLOCK change no content, so the tag from before them still counts
// at once, although the origin may be behind its writes by default.
func TestLocksKeepTags(t *testing.T) {
	t.Parallel()
	site := caddytest.Site(t, "profile webdav\nlag 30s", newShare("/doc"))
	send := func(method, content string, status int, fields ...string) caddytest.Answer {
		t.Helper()
		return caddytest.Send(t, method, site+"/doc", content, fields...).Expect(t, status)
	}
	const token = "<" + lockToken + ">"
	tag := send("GET", "", 200).Tag(t)
	send("LOCK", "", 200)
	send("LOCK", "", 200, "If", "("+token+" ["+tag+"])")
	send("PUT", "somebody else", 423, "If-Match", tag)
	send("PUT", "saved", 204, "If", "("+token+" ["+tag+"])")
	saved := send("GET", "", 200).Tag(t)
	send("UNLOCK", "", 204, "Lock-Token", token)
	send("PUT", "stale", 412, "If-Match", tag)
	send("PUT", "saved again", 204, "If-Match", saved)
}

// TestLockCreates: a LOCK of what isn't there creates it (RFC 4918, section 7.3), so nobody
// else does.
func TestLockCreates(t *testing.T) {
	t.Parallel()
	s := newShare()
	site := caddytest.Site(t, "profile webdav\nlag 0s\nverify never", s)
	caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 404)
	caddytest.Send(t, "LOCK", site+"/doc", "").Expect(t, 201)
	caddytest.Send(t, "PUT", site+"/doc", "new", "If-None-Match", "*").Expect(t, 412)
	caddytest.Send(t, "PUT", site+"/doc", "new", "If-None-Match", "*", "If", "(<"+lockToken+">)").Expect(t, 412)
	caddytest.Send(t, "PUT", site+"/doc", "new", "If", "(<"+lockToken+">)").Expect(t, 204)
}

// answers is a backend that answers every write in the same way, after it has performed it.
type answers struct {
	*share
	status int
	header map[string]string
	body   string
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		a.share.ServeHTTP(w, r)
		return
	}
	a.share.ServeHTTP(discard{}, r)
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// discard is a response writer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// TestPartialSuccess: a write with a multistatus (RFC 4918, section 9.6.1) has changed nobody
// knows what. The client gets the answer as it is, and nothing that was known counts.
func TestPartialSuccess(t *testing.T) {
	t.Parallel()
	const body = `<D:multistatus xmlns:D="DAV:"><D:response><D:href>/dir/doc</D:href><D:status>HTTP/1.1 423 Locked</D:status></D:response></D:multistatus>`
	b := &answers{newShare("/dir/doc", "/dir"), 207, map[string]string{"Content-Type": "application/xml"}, body}
	site := caddytest.Site(t, "profile webdav\nlag 0s\nverify never\nreplay", b)
	tag := caddytest.Send(t, "GET", site+"/dir/doc", "").Expect(t, 200).Tag(t)
	whole := caddytest.Send(t, "GET", site+"/dir", "").Expect(t, 200).Tag(t)
	for range 2 { // the second one isn't a repetition of a success
		a := caddytest.Send(t, "DELETE", site+"/dir", "", "If-Match", whole)
		if a.StatusCode == 207 && a.Content != body || a.StatusCode/100 == 2 && a.StatusCode != 207 {
			t.Errorf("%s: %s", a.Status, a.Content)
		}
	}
	b.set("/dir/doc", "theirs")
	caddytest.Send(t, "PUT", site+"/dir/doc", "mine", "If-Match", tag).Expect(t, 412)
}

// TestOtherConditionsPass: conditions that only the backend knows reach it, and so does what it
// says to them reach the client.
func TestOtherConditionsPass(t *testing.T) {
	t.Parallel()
	for _, status := range []int{204, 412, 423, 424} {
		b := &answers{newShare("/doc"), status, map[string]string{"Schedule-Tag": `"s2"`}, ""}
		var got http.Header
		b.before = func(r *http.Request) {
			if r.Method == http.MethodPut {
				got = r.Header.Clone()
			}
		}
		site := caddytest.Site(t, "profile webdav\nlag 0s", b)
		tag := caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 200).Tag(t)
		a := caddytest.Send(t, "PUT", site+"/doc", "new", "If-Match", tag, "If-Schedule-Tag-Match", `"s1"`).Expect(t, status)
		if got.Get("If-Schedule-Tag-Match") != `"s1"` || a.Header.Get("Schedule-Tag") != `"s2"` {
			t.Errorf("the backend got %q, and the client %q", got.Get("If-Schedule-Tag-Match"), a.Header.Get("Schedule-Tag"))
		}
	}
}

// TestConditionOfCopy: If-Match on a COPY or MOVE is about its source, which is the target (RFC
// 9110, section 13.1.1), whatever its destination is.
func TestConditionOfCopy(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"COPY", "MOVE"} {
		s := newShare("/from", "/to")
		site := caddytest.Site(t, "profile webdav\nlag 0s", s)
		from := caddytest.Send(t, "GET", site+"/from", "").Expect(t, 200).Tag(t)
		to := caddytest.Send(t, "GET", site+"/to", "").Expect(t, 200).Tag(t)
		caddytest.Send(t, method, site+"/from", "", "Destination", site+"/to", "If-Match", to).Expect(t, 412)
		caddytest.Send(t, method, site+"/from", "", "Destination", site+"/to", "If-Match", from).Expect(t, 204)
		caddytest.Send(t, "PUT", site+"/to", "mine", "If-Match", to).Expect(t, 412)
	}
}

// TestOverwrite: of two MOVEs that must not overwrite anything, one succeeds, although the
// backend looks first and moves later.
func TestOverwrite(t *testing.T) {
	t.Parallel()
	s := newShare("/a", "/b")
	looked, proceed := make(chan struct{}, 2), make(chan struct{})
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "MOVE" && s.get("/to") != "" {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		if r.Method == "MOVE" {
			looked <- struct{}{}
			if r.URL.Path == "/a" {
				<-proceed
			}
		}
		s.ServeHTTP(w, r)
	})
	site := caddytest.Site(t, "profile webdav\nlag 0s\nwait 1s", backend)
	first := caddytest.Go(t.Context(), "MOVE", site+"/a", "", "Destination", site+"/to", "Overwrite", "F")
	<-looked
	second := func(status int) {
		t.Helper()
		caddytest.Send(t, "MOVE", site+"/b", "", "Destination", site+"/to", "Overwrite", "F").Expect(t, status)
	}
	second(503) // it waits for the first, in vain
	close(proceed)
	caddytest.ExpectResult(t, first, 204)
	second(412)
	if got := s.get("/to"); got != "of /a" {
		t.Errorf("the destination is %q", got)
	}
}

// TestRefusals: a refusal is a DAV:error (RFC 4918, section 14.5), unless the configuration says
// otherwise, and the backend's own reaches the client as it is.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const locked = `<D:error xmlns:D="DAV:"><D:lock-token-submitted><D:href>/doc</D:href></D:lock-token-submitted></D:error>`
	b := &answers{newShare("/doc"), 423, map[string]string{"Content-Type": "application/xml"}, locked}
	for options, want := range map[string]string{"": "application/xml; charset=utf-8", "errors problem": "application/problem+json"} {
		site := caddytest.Site(t, "profile webdav\nlag 0s\nrequire PUT\n"+options, b)
		for status, field := range map[int][]string{412: {"If", `(["stale"])`}, 428: nil} {
			a := caddytest.Send(t, "PUT", site+"/doc", "new", field...).Expect(t, status)
			if got := a.Header.Get("Content-Type"); got != want || options == "" && !strings.Contains(a.Content, `<D:error xmlns:D="DAV:"`) {
				t.Errorf("%s, %s: %s", a.Status, got, a.Content)
			}
		}
		tag := caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 200).Tag(t)
		if a := caddytest.Send(t, "PUT", site+"/doc", "new", "If-Match", tag).Expect(t, 423); a.Content != locked {
			t.Errorf("the backend's own refusal becomes %s", a.Content)
		}
	}
}
