package backends

import (
	"crypto/md5" //nolint:gosec // RFC 7616 begins with it, and so does every old server
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// digestSite is an Apache with mod_dav and mod_auth_digest, behind a Caddy.
type digestSite struct {
	url, direct string
	log         string // of requests: method, path, status and credentials
}

// digestConfig lets ann write, and perhaps everybody read.
const digestConfig = `
LoadModule auth_digest_module /usr/lib/apache2/modules/mod_auth_digest.so
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule authn_file_module /usr/lib/apache2/modules/mod_authn_file.so
LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so
LogFormat "%%m %%U %%>s %%{Authorization}i" credentials
CustomLog %[1]s/access.log credentials
<Location />
	AuthType Digest
	AuthName "r"
	AuthUserFile %[1]s/passwords
	%[2]s
</Location>
`

const (
	everybodyReads = "<LimitExcept GET HEAD>\nRequire valid-user\n</LimitExcept>"
	nobodyReads    = "Require valid-user"
)

func newDigestSite(t *testing.T, options, access string) (s digestSite) {
	t.Helper()
	start := func(t testing.TB, address, dir string) *exec.Cmd {
		passwords := "ann:r:" + hashed("ann:r:pw") + "\n"
		if err := os.WriteFile(filepath.Join(dir, "passwords"), []byte(passwords), 0o644); err != nil {
			t.Fatal(err)
		}
		s.log = filepath.Join(dir, "access.log")
		return caddytest.StartApache(fmt.Sprintf(digestConfig, dir, access))(t, address, dir)
	}
	address := caddytest.StartBackends(t, caddytest.Backend{Name: "digest", Start: start})["digest"]
	s.direct = "http://" + address
	// Apache's tag is weak for a second, and then strong, so it is of no use here.
	s.url = caddytest.OneNodeAt(t, caddytest.Guarded("etag body\nlag 30s\n"+options, address)).First()
	return s
}

func hashed(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

var nonce = regexp.MustCompile(`nonce="([^"]*)"`)

// send sends a request, and again with the password if the server asks for it, as clients
// do that know Digest (RFC 7616, section 3).
func (s digestSite) send(t *testing.T, method, path, content, password string, fields ...string) caddytest.Answer {
	t.Helper()
	a := caddytest.Send(t, method, s.url+path, content, fields...)
	found := nonce.FindStringSubmatch(a.Header.Get("WWW-Authenticate"))
	if a.StatusCode != 401 || found == nil {
		return a
	}
	return caddytest.Send(t, method, s.url+path, content, append(fields, "Authorization", credentials(method, path, found[1], password))...)
}

func credentials(method, path, nonce, password string) string {
	response := hashed(strings.Join([]string{hashed("ann:r:" + password), nonce, "00000001", "c", "auth", hashed(method + ":" + path)}, ":"))
	return fmt.Sprintf(`Digest username="ann", realm="r", nonce=%q, uri=%q, qop=auth, nc=00000001, cnonce="c", response=%q`, nonce, path, response)
}

// expectNoFailedLogins fails the test if the server got credentials that it refused.
func (s digestSite) expectNoFailedLogins(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil || len(text) == 0 {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		words := strings.SplitN(line, " ", 4)
		if words[2] == "401" && words[3] != "-" {
			t.Errorf("counted as a failed log-in: %s", line)
		}
	}
}

// Digest covers the method, so the handler can't use a writer's credentials to look at the
// resource. A conditional write passes all the same, a stale tag doesn't, and the server
// never sees wrong credentials (RFC 7616, section 3.4.3).
func TestDigest(t *testing.T) {
	t.Parallel()
	caddytest.BackendNamed(t, "Apache httpd").OrSkip(t)
	for _, access := range []string{everybodyReads, nobodyReads} {
		for _, options := range []string{"verify passing", "verify all", "verify never", "write_etag always\nreplay"} {
			t.Run(caddytest.Title(options)+" "+access, func(t *testing.T) {
				t.Parallel()
				s := newDigestSite(t, options, access)
				s.send(t, "PUT", "/a.json", "one", "pw").ExpectSuccess(t)
				first := s.send(t, "GET", "/a.json", "", "pw").Expect(t, 200).Tag(t)
				s.send(t, "PUT", "/a.json", "two", "pw", "If-Match", first).ExpectSuccess(t)
				stale := s.send(t, "PUT", "/a.json", "three", "pw", "If-Match", first)
				want := 412
				if strings.Contains(options, "all") && access == nobodyReads {
					want = 401 // whether the password is right can't be told, and a stranger must learn nothing
				}
				if stale.StatusCode != want {
					t.Errorf("a stale tag got %d, want %d\n%s", stale.StatusCode, want, stale.Content)
				}
				second := s.send(t, "GET", "/a.json", "", "pw").Expect(t, 200)
				if second.Content != "two" || second.Tag(t) == first {
					t.Errorf("stored: %q", second.Content)
				}
				s.send(t, "PUT", "/a.json", "four", "pw", "If-Match", second.Tag(t)).ExpectSuccess(t)
				s.send(t, "DELETE", "/a.json", "", "pw", "If-Match", s.send(t, "GET", "/a.json", "", "pw").Tag(t)).ExpectSuccess(t)
				s.expectNoFailedLogins(t)
			})
		}
	}
}

// The same with the client that everybody has.
func TestDigestCurl(t *testing.T) {
	t.Parallel()
	caddytest.BackendNamed(t, "Apache httpd").OrSkip(t)
	caddytest.Needs(t, "curl")
	for _, access := range []string{everybodyReads, nobodyReads} {
		t.Run(access, func(t *testing.T) { curlDigest(t, newDigestSite(t, "", access)) })
	}
}

func curlDigest(t *testing.T, s digestSite) {
	curl := func(args ...string) string {
		out, err := exec.Command("curl", append([]string{"-sS", "-o", "/dev/null", "--digest", "-u", "ann:pw", s.url + "/a.json"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	put := func(content string, args ...string) (status string) {
		return curl(append([]string{"-w", "%{http_code}", "-X", "PUT", "-d", content}, args...)...)
	}
	tag := func() string { return curl("-w", "%header{etag}") }
	if got := put("one"); got != "201" {
		t.Fatalf("created with %s", got)
	}
	first := tag()
	if got := put("two", "-H", "If-Match: "+first); got != "204" {
		t.Errorf("the current tag %s got %s", first, got)
	}
	if got := put("three", "-H", "If-Match: "+first); got != "412" {
		t.Errorf("a stale tag got %s", got)
	}
	if got := put("four", "-H", "If-Match: "+tag()); got != "204" {
		t.Errorf("the current tag got %s", got)
	}
	s.expectNoFailedLogins(t)
}

// Of many writers with one tag, exactly one succeeds, though nobody can look in their name.
func TestDigestContest(t *testing.T) {
	t.Parallel()
	caddytest.BackendNamed(t, "Apache httpd").OrSkip(t)
	for _, options := range []string{"", "verify never"} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			s := newDigestSite(t, options, nobodyReads)
			s.send(t, "PUT", "/a.json", "start", "pw").ExpectSuccess(t)
			tag := s.send(t, "GET", "/a.json", "", "pw").Tag(t)
			found := nonce.FindStringSubmatch(caddytest.Send(t, "GET", s.url+"/a.json", "").Header.Get("WWW-Authenticate"))
			var results []<-chan caddytest.Result
			for i := range 16 {
				results = append(results, caddytest.Go(t.Context(), "PUT", s.url+"/a.json", fmt.Sprint(i),
					"If-Match", tag, "Authorization", credentials("PUT", "/a.json", found[1], "pw")))
			}
			winners := 0
			for _, result := range results {
				switch r := <-result; {
				case r.Err != nil:
					t.Error(r.Err)
				case r.StatusCode/100 == 2:
					winners++
				case r.StatusCode != 412:
					t.Errorf("got %d", r.StatusCode)
				}
			}
			if winners != 1 {
				t.Errorf("%d writers were told that they succeeded", winners)
			}
		})
	}
}

// Whoever only claims to have credentials gains nothing: a change that didn't come through
// the handler is noticed where everybody may read, and where nobody may, the answer is the
// same whatever is stored.
func TestDigestClaimed(t *testing.T) {
	t.Parallel()
	caddytest.BackendNamed(t, "Apache httpd").OrSkip(t)
	t.Run("everybody reads", func(t *testing.T) {
		s := newDigestSite(t, "", everybodyReads)
		s.send(t, "PUT", "/a.json", "one", "pw").ExpectSuccess(t)
		tag := caddytest.Send(t, "GET", s.url+"/a.json", "", "Authorization", "Digest x").Tag(t)
		direct := s
		direct.url = s.direct
		direct.send(t, "PUT", "/a.json", "by somebody else", "pw").ExpectSuccess(t)
		s.send(t, "PUT", "/a.json", "two", "pw", "If-Match", tag).Expect(t, 412)
		caddytest.Send(t, "PUT", s.url+"/a.json", "two", "Authorization", "Digest x", "If-Match", tag).Expect(t, 412)

		tag = s.send(t, "GET", "/a.json", "", "pw").Tag(t)
		direct.send(t, "DELETE", "/a.json", "", "pw").ExpectSuccess(t)
		s.send(t, "PUT", "/a.json", "two", "pw", "If-Match", tag).Expect(t, 412)
		caddytest.Send(t, "PUT", s.url+"/a.json", "two", "Authorization", "Digest x", "If-Match", tag).Expect(t, 412)
		s.send(t, "GET", "/a.json", "", "pw").Expect(t, 404)
		s.send(t, "PUT", "/a.json", "anew", "pw", "If-None-Match", "*").ExpectSuccess(t)
	})
	t.Run("everybody reads, and the deletion is noticed first by a claimant", func(t *testing.T) {
		s := newDigestSite(t, "", everybodyReads)
		s.send(t, "PUT", "/a.json", "one", "pw").ExpectSuccess(t)
		tag := s.send(t, "GET", "/a.json", "", "pw").Tag(t)
		direct := s
		direct.url = s.direct
		direct.send(t, "DELETE", "/a.json", "", "pw").ExpectSuccess(t)
		found := nonce.FindStringSubmatch(caddytest.Send(t, "PUT", s.direct+"/a.json", "").Header.Get("WWW-Authenticate"))
		caddytest.Send(t, "PUT", s.url+"/a.json", "two", "If-Match", tag, "Authorization", credentials("PUT", "/a.json", found[1], "pw")).Expect(t, 503)
		direct.send(t, "GET", "/a.json", "", "pw").Expect(t, 404)
		s.send(t, "GET", "/a.json", "", "pw").Expect(t, 404)
		caddytest.Send(t, "PUT", s.url+"/a.json", "two", "If-Match", tag, "Authorization", credentials("PUT", "/a.json", found[1], "pw")).Expect(t, 412)
	})
	t.Run("nobody reads, and refusals are confirmed", func(t *testing.T) {
		s := newDigestSite(t, "verify all", nobodyReads)
		s.send(t, "PUT", "/a.json", "one", "pw").ExpectSuccess(t)
		tag := s.send(t, "GET", "/a.json", "", "pw").Tag(t)
		found := nonce.FindStringSubmatch(caddytest.Send(t, "GET", s.url+"/a.json", "").Header.Get("WWW-Authenticate"))
		var answers []string
		for _, path := range []string{"/a.json", "/unknown.json"} {
			for _, condition := range []string{tag, `"guess"`, "*"} {
				for _, field := range []string{"If-Match", "If-None-Match"} {
					a := caddytest.Send(t, http.MethodPut, s.url+path, "x", field, condition, "Authorization", credentials("PUT", path, found[1], "guess"))
					a.Header.Del("Www-Authenticate") // has a nonce
					a.Header.Del("Date")
					a.Header.Del("X-Outcome") // only these tests show it to clients
					answers = append(answers, fmt.Sprint(a.StatusCode, a.Header, a.Content))
				}
			}
		}
		for _, answer := range answers {
			if answer != answers[0] || !strings.HasPrefix(answer, "401") {
				t.Errorf("a stranger can tell\n%s\nfrom\n%s", answer, answers[0])
			}
		}
	})
}
