package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// The condition of a signed write is confirmed without its signature, as verify says. If the
// origin shows nothing without it, the write is refused: what is stored decides only if
// verify lets it. This holds whether or not signatures are expected.
func TestVerifySigned(t *testing.T) {
	never, all, hour := Verification{}, Verification{Passing: true, Refused: true}, Verification{true, false, time.Hour}
	passing := Verification{Passing: true}
	const right, wrong = `If-Match: CURRENT`, `If-Match: "stale"`
	for _, tt := range []struct {
		name     string
		verify   Verification
		expected bool
		age      time.Duration
		origin   string // what the origin shows to strangers
		field    string
		probes   int
		status   int
	}{
		{"shown to everybody", passing, true, 0, "content", right, 1, 204},
		{"shown to everybody, and changed", passing, true, 0, "changed", right, 1, 412},
		{"hidden", passing, true, 0, "hidden", right, 1, 503},
		{"hidden, and refuted by what is stored", passing, true, 0, "hidden", wrong, 0, 412},
		{"verify never", never, true, 0, "hidden", right, 0, 204},
		{"verify never, refuted", never, true, 0, "hidden", wrong, 0, 412},
		{"stored a moment ago", hour, true, time.Minute, "hidden", right, 0, 204},
		{"stored long ago", hour, true, time.Hour, "hidden", right, 1, 503},
		{"verify all, hidden", all, true, 0, "hidden", right, 1, 503},
		{"verify all, hidden, refuted by what is stored", all, true, 0, "hidden", wrong, 1, 503},
		{"verify all, shown, and changed", all, true, 0, "changed", right, 1, 412},

		{"not expected, shown to everybody", passing, false, 0, "content", right, 1, 204},
		{"not expected, and changed", passing, false, 0, "changed", right, 1, 412},
		{"not expected, and hidden", passing, false, 0, "hidden", right, 1, 503},
		{"not expected, verify never", never, false, 0, "hidden", right, 0, 204},
		{"not expected, verify all, and changed", all, false, 0, "changed", right, 1, 412},
		{"not expected, verify all, hidden", all, false, 0, "hidden", right, 1, 403},
		{"not expected, verify all, hidden, refuted by what is stored", all, false, 0, "hidden", wrong, 1, 403},
	} {
		for _, signature := range []string{"Signature-Input: x", "Authorization: AWS4-HMAC-SHA256 x"} {
			t.Run(fmt.Sprint(tt.name, " ", signature), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite()
					s.Verify = tt.verify
					if tt.expected {
						s.Signed = []resource.Scheme{resource.AWS, resource.RFC9421}
					}
					w, err := s.serve(requestOf(t.Context(), "GET /m", signature))
					if err != nil {
						t.Fatal(err)
					}
					tag, probes := w.Header().Get("Etag"), 0
					time.Sleep(tt.age)
					s.origin = func(w http.ResponseWriter, r *http.Request) error {
						switch {
						case r.Method != http.MethodGet:
							w.WriteHeader(http.StatusNoContent)
							return nil
						case r.Header["Authorization"] != nil || r.Header["Signature-Input"] != nil:
							t.Error("the probe is signed")
						}
						probes++
						if tt.origin == "hidden" {
							w.WriteHeader(http.StatusForbidden)
							return nil
						}
						_, err := w.Write([]byte(tt.origin))
						return err
					}
					w, err = s.serve(requestOf(t.Context(), "PUT /m", signature, strings.Replace(tt.field, "CURRENT", tag, 1)))
					if err != nil || w.Code != tt.status || probes != tt.probes {
						t.Errorf("status %d after %d probes, want %d after %d, %v: %s", w.Code, probes, tt.status, tt.probes, err, w.Body)
					}
				})
			})
		}
	}
}

// A refusal under verify all is the same whatever is stored.
func TestSignedVerifyAll(t *testing.T) {
	s := newSite()
	s.Verify = Verification{Passing: true, Refused: true}
	s.Signed = []resource.Scheme{resource.AWS}
	const signature = "Authorization: AWS4-HMAC-SHA256 x"
	w, err := s.serve(requestOf(t.Context(), "GET /m", signature))
	if err != nil {
		t.Fatal(err)
	}
	tag := w.Header().Get("Etag")
	s.origin = refusing(403)
	said := make(map[string]bool)
	for _, path := range []string{"/m", "/never-read"} {
		for _, fields := range [][]string{
			{"If-Match: " + tag, "If-None-Match: *"},
			{"If-Match: " + tag, `If-None-Match: "x"`},
			{`If-Match: "guess"`, "If-None-Match: " + tag},
		} {
			w, err := s.serve(requestOf(t.Context(), "PUT "+path, append(fields, signature)...))
			if err != nil || w.Code != 503 {
				t.Errorf("%s, %q: status %d, %v", path, fields, w.Code, err)
			}
			said[strings.ReplaceAll(strings.ReplaceAll(w.Body.String(), tag[1:len(tag)-1], "TAG"), "guess", "TAG")] = true
		}
	}
	if len(said) != 1 {
		t.Errorf("%q", slices.Collect(maps.Keys(said)))
	}
}

// The backend gets a request that says it is signed, but isn't expected to, as any other: a
// tag that only the handler knows isn't part of it.
func TestUnexpectedSignature(t *testing.T) {
	s := newSite()
	tag := s.tagOf(t, "/m")
	var got http.Header
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodPut {
			got = r.Header.Clone()
		}
		return answering("content", 204)(w, r)
	}
	w, err := s.serve(requestOf(t.Context(), "PUT /m", "Signature-Input: x", "If-Match: "+tag))
	if err != nil || w.Code != 204 || got["If-Match"] != nil || got["Signature-Input"] == nil {
		t.Errorf("status %d, %v: the backend got %v", w.Code, err, got)
	}
}

// The operator is told once of signed requests that nobody expects, and of the option.
func TestWarnsOfSignature(t *testing.T) {
	for _, tt := range []struct {
		expected []resource.Scheme
		want     string
	}{
		{nil, "signed rfc9421"},
		{[]resource.Scheme{resource.AWS}, "signed rfc9421"},
		{[]resource.Scheme{resource.RFC9421}, ""},
	} {
		s := newSite()
		core, logs := observer.New(zap.WarnLevel)
		s.Logger, s.Learned, s.Signed = zap.New(core), NewLearned(0), tt.expected
		for range 3 {
			r := requestOf(t.Context(), "PUT /m", "Signature-Input: x")
			if _, err := s.serve(r); err != nil || outcome(r) != string(answer.Unconditional) {
				t.Fatalf("%v, outcome %s", err, outcome(r))
			}
		}
		said := logs.All()
		if tt.want == "" && len(said) > 0 || tt.want != "" && (len(said) != 1 || said[0].ContextMap()["option"] != tt.want) {
			t.Errorf("%v: %v", tt.expected, said)
		}
	}
}

// A probe of a signed request asks for the content coding with which the request itself
// is forwarded.
func TestSignedCoding(t *testing.T) {
	s := newSite()
	s.Verify.Passing, s.Signed = true, []resource.Scheme{resource.RFC9421}
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		return answering("content as "+r.Header.Get("Accept-Encoding"), 204)(w, r)
	}
	fields := []string{"Signature-Input: x", "Accept-Encoding: gzip"}
	w, err := s.serve(requestOf(t.Context(), "GET /m", fields...))
	if err != nil {
		t.Fatal(err)
	}
	w, err = s.serve(requestOf(t.Context(), "PUT /m", append(fields, "If-Match: "+w.Header().Get("Etag"))...))
	if err != nil || w.Code != 204 {
		t.Errorf("status %d, %v", w.Code, err)
	}
}
