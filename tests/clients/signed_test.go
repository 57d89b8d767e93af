package clients

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// signatures are fields that a signed request has, by the word for them in the option signed.
var signatures = map[string][]string{
	"aws":     {"Authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;if-match, Signature=b"},
	"rfc9421": {"Signature-Input", `sig=("@method" "if-match");keyid="k"`, "Signature", "sig=:YQ==:"},
	"cavage":  {"Authorization", `Signature keyId="k",headers="if-match",signature="b"`},
	"gcs":     {"Authorization", "GOOG4-RSA-SHA256 Credential=a, SignedHeaders=host;if-match, Signature=b"},
	"azure":   {"Authorization", "SharedKey account:YQ=="},
}

// A request that is signed as the option signed says reaches the backend exactly as the
// client sent it. With verify never, the handler sends no other request in the client's name
// once it knows the resource.
func TestOptionSigned(t *testing.T) {
	for scheme, signature := range signatures {
		t.Run(scheme, func(t *testing.T) {
			backend := caddytest.Page("content")
			url := caddytest.Site(t, "lag 1m\nverify never\nsigned "+scheme, caddytest.Hiding(backend)) + "/page"
			with := func(fields ...string) []string { return append(fields, signature...) }
			arrives := func(method string, name string, want ...string) {
				t.Helper()
				if got := backend.Last(t, method).Header[name]; !slices.Equal(got, want) {
					t.Errorf("%s: the backend got %s: %q, want %q", method, name, got, want)
				}
			}

			// No tag is stored yet, and the origin shows nothing without the signature.
			// That isn't a condition that is false.
			a := caddytest.Send(t, "PUT", url, "x", with("If-Match", `"x"`)...).Expect(t, 503)
			if problemOf(t, a)["condition"] != "If-Match" || len(backend.All()) != 0 || a.Header.Get("Retry-After") == "" || !strings.Contains(a.Content, "Read the resource first") {
				t.Errorf("%s; the backend heard %d requests", a.Content, len(backend.All()))
			}

			tag := caddytest.Send(t, "GET", url, "", with("Accept-Encoding", "gzip, br", "If-None-Match", `"x"`, "Range", "bytes=0-3")...).Tag(t)
			arrives("GET", "Accept-Encoding", "gzip, br")
			arrives("GET", "If-None-Match", `"x"`)
			arrives("GET", "Range", "bytes=0-3")

			asked := backend.Asks(func() {
				caddytest.Send(t, "PUT", url, "x", with("Accept-Encoding", "gzip, br", "If-Match", `"stale"`)...).Expect(t, 412)
				caddytest.Send(t, "PUT", url, "x", with("Accept-Encoding", "gzip, br", "If-Match", tag, "Prefer", "return=minimal")...).Expect(t, 204)
			})
			if asked != 0 {
				t.Errorf("the origin was asked %d times", asked)
			}
			arrives("PUT", "If-Match", tag)
			arrives("PUT", "Accept-Encoding", "gzip, br")
			arrives("PUT", "Prefer", "return=minimal")
			caddytest.Send(t, "PUT", url, "x", with("Accept-Encoding", "gzip, br", "If-Match", tag)...).Expect(t, 412)
		})
	}
}

// A URL that was signed in advance is signed, too. The signatures of a GET and of a PUT
// differ, but both are about the same representation.
func TestPresignedURL(t *testing.T) {
	const signature = "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-SignedHeaders=host%3Bif-match&X-Amz-Signature="
	backend := caddytest.Page("content")
	url := caddytest.Site(t, "lag 1m\nverify never\nsigned aws", caddytest.Hiding(backend)) + "/page" + signature
	caddytest.Send(t, "PUT", url+"b", "x", "If-Match", `"x"`).Expect(t, 503)
	tag := caddytest.Send(t, "GET", url+"c&x-id=GetObject", "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "PUT", url+"d&x-id=PutObject", "x", "If-Match", `"stale"`).Expect(t, 412)
	caddytest.Send(t, "PUT", url+"d&x-id=PutObject", "x", "If-Match", tag).Expect(t, 204)
	if last := backend.Last(t, "PUT"); last.Header.Get("If-Match") != tag {
		t.Errorf("the backend got %v", last.Header)
	}
}

// The condition of a signed write is confirmed at the origin without the signature. If the
// origin shows nothing without it, the write is refused, and the answer says what to do.
func TestSignedIsVerified(t *testing.T) {
	for _, options := range []string{"", "verify all\n"} {
		for scheme, signature := range signatures {
			t.Run(scheme+" "+caddytest.Title(options), func(t *testing.T) {
				content, hidden := "one", false
				backend := caddytest.Page("")
				page := backend.Answer
				backend.Answer = func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.Method != "GET":
						page(w, r)
					case hidden && r.Header["Authorization"] == nil && r.Header["Signature-Input"] == nil:
						w.WriteHeader(http.StatusForbidden)
					default:
						_, _ = w.Write([]byte(content))
					}
				}
				url := caddytest.Site(t, "lag 0s\n"+options+"signed "+scheme, backend) + "/page"
				put := func(tag string) caddytest.Answer {
					return caddytest.Send(t, "PUT", url, "x", append([]string{"If-Match", tag}, signature...)...)
				}
				tag := caddytest.Send(t, "GET", url, "", signature...).Tag(t)
				put(tag).Expect(t, 204)
				tag = caddytest.Send(t, "GET", url, "", signature...).Tag(t)
				content = "changed by somebody else"
				put(tag).Expect(t, 412)

				hidden = true
				tag = caddytest.Send(t, "GET", url, "", signature...).Tag(t)
				a := put(tag).Expect(t, 503)
				if !strings.Contains(a.Content, "answered Forbidden") || !strings.Contains(a.Content, "`verify never`") {
					t.Errorf("%s", a.Content)
				}
				if options != "" {
					if stale := put(`"stale"`).Expect(t, 503); strings.ReplaceAll(stale.Content, `\"stale\"`, "") != strings.ReplaceAll(a.Content, strings.ReplaceAll(tag, `"`, `\"`), "") {
						t.Errorf("what is stored makes a difference: %s, %s", stale.Content, a.Content)
					}
				}
			})
		}
	}
}

// Whoever only says that a request is signed gains nothing: its condition is verified
// like any other.
func TestClaimedSignature(t *testing.T) {
	for _, options := range []string{"", "verify all\n", "signed aws\n", "verify all\nsigned azure\n"} {
		for _, private := range []bool{false, true} {
			content := "one"
			backend := caddytest.Page("")
			page := backend.Answer
			backend.Answer = func(w http.ResponseWriter, r *http.Request) {
				switch {
				case private && r.Header.Get("Authorization") != "Bearer token":
					w.WriteHeader(http.StatusUnauthorized)
				case r.Method == "GET":
					_, _ = w.Write([]byte(content))
				default:
					page(w, r)
				}
			}
			url := caddytest.Site(t, "lag 0s\n"+options, backend) + "/page"
			tag := caddytest.Send(t, "GET", url, "", "Authorization", "Bearer token").Tag(t)
			content = "changed by somebody else"
			for _, claim := range []string{"Signature-Input", "Signature"} {
				fields := []string{"If-Match", tag, "Authorization", "Bearer token", claim, "x"}
				caddytest.Send(t, "PUT", url, "x", fields...).Expect(t, 412)
			}
			// Beside the signature of a URL, nobody can tell what the token is for.
			a := caddytest.Send(t, "PUT", url+"?X-Amz-Signature=x", "x", "If-Match", tag, "Authorization", "Bearer token")
			if a.StatusCode < 400 {
				t.Errorf("%q, private %v: a write with a stale tag gets %d", options, private, a.StatusCode)
			}
			backend.Unwritten(t)
		}
	}
}

// The backend's answer to a signed write reaches the client that signed it.
func TestSignedAnswers(t *testing.T) {
	url := caddytest.Site(t, "signed aws", new(caddytest.Shelf)) + "/page"
	a := caddytest.Send(t, "PUT", url, "x", "Authorization", "AWS4-HMAC-SHA256 Signature=b").Expect(t, 200)
	if got := a.Header.Get("ETag"); got != `"of the answer"` {
		t.Errorf("ETag: %s", got)
	}
}

// bucket is a backend that accepts nothing but requests whose signature covers the method,
// the target, and all fields that the client sent.
type bucket struct{ content string }

const signedFields = "accept-encoding;if-match;x-amz-date"

// sign returns the fields of a signed request.
func sign(method, path, ifMatch, coding string) []string {
	mac := hmac.New(sha256.New, []byte("secret"))
	_, _ = io.WriteString(mac, strings.Join([]string{method, path, coding, ifMatch, "today"}, "\n"))
	fields := []string{
		"Authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=" + signedFields + ", Signature=" + hex.EncodeToString(mac.Sum(nil)),
		"X-Amz-Date", "today", "Accept-Encoding", coding,
	}
	if ifMatch != "" {
		fields = append(fields, "If-Match", ifMatch)
	}
	return fields
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	want := sign(r.Method, r.URL.Path, r.Header.Get("If-Match"), r.Header.Get("Accept-Encoding"))
	if r.Header.Get("Authorization") != want[1] || r.Header.Get("X-Amz-Date") != "today" {
		http.Error(w, "SignatureDoesNotMatch", http.StatusForbidden)
		return
	}
	if content, _ := io.ReadAll(r.Body); r.Method == http.MethodPut {
		b.content = string(content)
	}
	sum := sha256.Sum256([]byte(b.content))
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, b.content)
	}
}

// In front of a backend that checks signatures, conditional writes work with the options that
// docs/backends.md recommends. With less, they are refused, and nothing is overwritten.
func TestSignedBucket(t *testing.T) {
	for options, want := range map[string]int{
		"signed aws\nverify never": 200,
		"signed aws":               503,
		"signed aws\nverify all":   503,
		"signed gcs\nverify never": 503,
		"":                         503,
	} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			b := &bucket{"one"}
			url := caddytest.Site(t, "lag 1m\n"+options, b)
			send := func(method, content, ifMatch string) caddytest.Answer {
				return caddytest.Send(t, method, url+"/object", content, sign(method, "/object", ifMatch, "gzip")...)
			}
			if !strings.HasPrefix(options, "signed aws") {
				send("GET", "", "").Expect(t, 403) // the handler asks for the identity coding
			}
			sum := sha256.Sum256([]byte("one"))
			tag := `"` + hex.EncodeToString(sum[:8]) + `"`
			if want == 200 {
				if got := send("GET", "", "").Expect(t, 200).Tag(t); got != tag {
					t.Fatalf("tag %s", got)
				}
			}
			a := send("PUT", "two", tag).Expect(t, want)
			if written := b.content == "two"; written != (want == 200) {
				t.Errorf("stored: %q", b.content)
			}
			if want == 200 {
				if a.Header.Get("ETag") == "" {
					t.Error("the answer has lost its tag")
				}
				send("PUT", "three", tag).Expect(t, 412)
				send("PUT", "three", send("GET", "", "").Tag(t)).Expect(t, 200)
			}
		})
	}
}
