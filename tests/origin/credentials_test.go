package origin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// guarded is a backend that accepts each credential once, and only for the method and path
// that it was made for. It counts the others as attempts to break in.
type guarded struct {
	public bool // whether everybody may read

	mu       sync.Mutex
	used     map[string]bool
	attempts int
	content  string
}

// sealed returns fields with credentials that cover a request.
func sealed(scheme, method, path, nonce string) []string {
	mac := hmac.New(sha256.New, []byte("secret"))
	mac.Write([]byte(method + " " + path + " " + nonce))
	proof := nonce + "." + hex.EncodeToString(mac.Sum(nil))
	switch scheme {
	case "OAuth":
		return []string{"Authorization", `OAuth oauth_consumer_key="k", oauth_nonce="n", oauth_signature="` + proof + `"`}
	case "DPoP":
		return []string{"Authorization", "DPoP token", "DPoP", proof}
	case "X-Hub-Signature-256", "X-GitHub-OTP":
		return []string{scheme, proof}
	default: // Hawk, Negotiate, Digest
		return []string{"Authorization", scheme + ` mac="` + proof + `"`}
	}
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	defer g.mu.Unlock()
	claimed := r.Header.Get("Authorization")+r.Header.Get("X-Hub-Signature-256")+r.Header.Get("X-Github-Otp") != ""
	var proof string
	for _, lines := range r.Header {
		for _, word := range strings.FieldsFunc(lines[0], func(c rune) bool { return c == '"' || c == ' ' }) {
			nonce, mac, ok := strings.Cut(word, ".")
			if fields := sealed("DPoP", r.Method, r.URL.Path, nonce); ok && len(mac) == 64 && fields[3] == word {
				proof = word
			}
		}
	}
	valid := proof != "" && !g.used[proof]
	if claimed && !valid {
		g.attempts++
	}
	if !valid && (r.Method != http.MethodGet || !g.public || claimed) {
		w.Header().Set("WWW-Authenticate", "Sealed")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if proof != "" {
		if g.used == nil {
			g.used = make(map[string]bool)
		}
		g.used[proof] = true
	}
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, g.content)
		return
	}
	g.content = string(sent)
	w.WriteHeader(http.StatusNoContent)
}

// Credentials that are good for one request, whatever they are called, reach the backend
// with that request and no other: a conditional write passes, a stale tag doesn't, and no
// attempt to break in is counted.
func TestOneTimeCredentials(t *testing.T) {
	for _, scheme := range []string{"OAuth", "Hawk", "DPoP", "Negotiate", "Digest", "X-Hub-Signature-256", "X-GitHub-OTP"} {
		for _, options := range []string{"", "verify all", "verify never", "write_etag always\nreplay", "guards /docs/*/publish /docs/*"} {
			for _, public := range []bool{false, true} {
				name := scheme + " " + caddytest.Title(options)
				if public {
					name += ", public"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					g := &guarded{public: public, content: "one"}
					url := caddytest.OneNode(t, "lag 1m\n"+options, g).First()
					n := 0
					send := func(method, path, content string, fields ...string) caddytest.Answer {
						n++
						return caddytest.Send(t, method, url+path, content, append(sealed(scheme, method, path, strings.Repeat("n", n)), fields...)...)
					}
					const path = "/docs/plan"
					first := send("GET", path, "").Expect(t, 200).Tag(t)
					send("PUT", path, "two", "If-Match", first).Expect(t, 204)
					want := 412
					if options == "verify all" && !public {
						want = 401 // as for a stranger
					}
					send("PUT", path, "three", "If-Match", first).Expect(t, want)
					second := send("GET", path, "").Expect(t, 200)
					if second.Content != "two" {
						t.Errorf("stored %q", second.Content)
					}
					send("PATCH", path, "four", "If-Match", second.Tag(t)).Expect(t, 204)
					if strings.HasPrefix(options, "guards") {
						send("POST", path+"/publish", "five", "If-Match", send("GET", path, "").Tag(t)).Expect(t, 204)
					}
					if g.attempts != 0 {
						t.Errorf("%d attempts to break in were counted", g.attempts)
					}
				})
			}
		}
	}
}

// Whoever makes up such a credential, beside a real one of another kind, doesn't evade the
// confirmation at an origin that hides the resource from strangers.
func TestMadeUpCredentials(t *testing.T) {
	for _, fields := range [][]string{
		{"X-Hub-Signature-256", "sha256=x"},
		{"X-GitHub-OTP", "123456"},
		{"DPoP", "x"},
		{"Authorization", "Digest x"},
		{"Signature-Input", "x"},
		{"X-Content-Hmac", "x"},
	} {
		for _, verify := range []string{"passing", "all"} {
			t.Run(strings.Join(fields, " ")+" "+verify, func(t *testing.T) {
				t.Parallel()
				var content atomic.Value
				content.Store("one")
				url := caddytest.OneNode(t, "verify "+verify, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.Header.Get("Authorization") != "Bearer token":
						w.WriteHeader(http.StatusUnauthorized)
					case r.Method == http.MethodGet:
						_, _ = io.WriteString(w, content.Load().(string))
					default:
						t.Error("a stale write arrived")
						w.WriteHeader(http.StatusNoContent)
					}
				})).First() + "/doc"
				bearer := []string{"Authorization", "Bearer token"}
				tag := caddytest.Send(t, "GET", url, "", bearer...).Expect(t, 200).Tag(t)
				content.Store("changed past Caddy")
				all := slices.Concat(bearer, fields, []string{"If-Match", tag})
				if a := caddytest.Send(t, "PUT", url, "two", all...); a.StatusCode/100 == 2 {
					t.Errorf("got %s", a.Status)
				}
			})
		}
	}
}

// What only looks like such a credential is sent along: some services call their bearer
// tokens by the name of OAuth.
func TestReusableCredentials(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"Bearer token", "Basic YTpi", "OAuth token", "Token token"} {
		backend := caddytest.Page("content")
		page := backend.Answer
		backend.Answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != value {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			page(w, r)
		}
		url := caddytest.OneNode(t, "", backend).First() + "/" + value[:2]
		asked := backend.Asks(func() {
			caddytest.Send(t, "PUT", url, "x", "If-Match", "*", "Authorization", value).Expect(t, 204)
		})
		if asked == 0 {
			t.Errorf("%s: the origin wasn't asked", value)
		}
	}
}
