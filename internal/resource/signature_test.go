package resource

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A scheme is known by what its specification puts into a request, and by nothing like it.
func TestClaimedSchemes(t *testing.T) {
	for _, tt := range []struct {
		query, field string
		want         string // schemes
		oneTime      bool
	}{
		{"", "Authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b", "aws", true},
		{"", "Authorization: AWS4-ECDSA-P256-SHA256 Credential=a", "aws", true},
		{"", "Authorization: aws4-hmac-sha256 Credential=a", "aws", true},
		{"x=1&X-Amz-Signature=b", "", "aws", true},
		{"", `Signature-Input: sig=("@method")`, "rfc9421", true},
		{"", `Authorization: Signature keyId="k",signature="b"`, "cavage", true},
		{"", `Signature: keyId="k",signature="b"`, "cavage", true},
		{"", "Authorization: GOOG4-RSA-SHA256 Credential=a", "gcs", true},
		{"", "Authorization: GOOG4-HMAC-SHA256 Credential=a", "gcs", true},
		{"X-Goog-Signature=b", "", "gcs", true},
		{"", "Authorization: SharedKey account:b", "azure", true},
		{"X-Amz-Signature=b", "Signature-Input: x", "aws rfc9421", true},

		// These don't cover conditions.
		{"", "Authorization: AWS key:b", "", true},
		{"", "Authorization: GOOG1 key:b", "", true},
		{"", "Authorization: SharedKeyLite account:b", "", true},
		{"", "Authorization: OSS key:b", "", true},
		{"", "Authorization: HMAC-SHA256 Credential=a", "", true},
		{"", "Authorization: q-sign-algorithm=sha1&q-ak=a", "", true},
		{"q-signature=b", "", "", true},
		{"oauth_signature=b", "", "", true},

		// Anybody who has these may use them again.
		{"", "Authorization: Bearer AWS4-HMAC-SHA256", "", false},
		{"", "Authorization: SharedAccessSignature sr=a", "", false},
		{"sig=b&sv=2024", "", "", false},
		{"q=X-Amz-Signature=b&X-Amz-Signature2=b", "", "", false},
		{"", "X-Amz-Date: 20260101T000000Z", "", false},
	} {
		name, value, _ := strings.Cut(tt.field, ": ")
		r := signedRequest("/a?"+tt.query, name, value)
		var got []string
		for _, s := range r.Claimed {
			got = append(got, string(s))
		}
		if strings.Join(got, " ") != tt.want || (r.OneTime != nil) != tt.oneTime || r.Signed {
			t.Errorf("%s %s: %q, good for one request: %q, signed: %v", tt.query, tt.field, got, r.OneTime, r.Signed)
		}
		for _, s := range Schemes {
			if r := signedRequest("/a?"+tt.query, name, value, s); r.Signed != slices.Contains(r.Claimed, s) {
				t.Errorf("%s %s: expected %s, signed: %v", tt.query, tt.field, s, r.Signed)
			}
		}
	}
}

func signedRequest(target, name, value string, expected ...Scheme) *Request {
	r := httptest.NewRequest("PUT", target, nil)
	if name != "" {
		r.Header.Set(name, value)
	}
	return NewRequest(caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil), expected...)
}

// A request that is derived from a signed one has nothing of the signature, and all the rest.
func TestUnsigned(t *testing.T) {
	const presigned = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=b"
	for _, tt := range []struct {
		target, field, lost string
		unsigned, known     string // the targets of a probe, and of what is stored
	}{
		{"/a?versionId=1&" + presigned + "&x-id=PutObject", "", "", "/a?versionId=1", "/a?versionId=1"},
		{"/a?" + presigned, "", "", "/a", "/a"},
		{"/a?x-id=PutObject", "Authorization: AWS4-HMAC-SHA256 x", "Authorization", "/a", "/a"},
		{"/a?X-Goog-Signature=b&X-Goog-Date=c&generation=1", "", "", "/a?generation=1", "/a?generation=1"},
		{"/a?x-id=1", `Signature-Input: x`, "Signature-Input", "/a?x-id=1", "/a?x-id=1"},
		{"/a?oauth_signature=b&oauth_nonce=c&x=1", "", "", "/a?x=1", "/a?oauth_signature=b&oauth_nonce=c&x=1"},
		{"/a?x-id=1&oauth_x=2", "Authorization: Digest x", "Authorization", "/a?x-id=1&oauth_x=2", "/a?x-id=1&oauth_x=2"},
		{"/a?x=1", "Authorization: Bearer x", "", "/a?x=1", "/a?x=1"},
	} {
		name, value, _ := strings.Cut(tt.field, ": ")
		r := signedRequest(tt.target, name, value, Schemes...)
		if r.OriginalTarget != tt.known || r.CurrentTarget != tt.known {
			t.Errorf("%s: targets %s and %s, want %s", tt.target, r.OriginalTarget, r.CurrentTarget, tt.known)
		}
		probe := r.Unsigned(r.Request)

		first, _ := probe.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
		if first.RequestURI != tt.unsigned || probe.URL.RequestURI() != tt.unsigned || probe.RequestURI != tt.unsigned {
			t.Errorf("%s: a probe of %s, want %s", tt.target, probe.URL.RequestURI(), tt.unsigned)
		}
		if tt.lost != "" && probe.Header[tt.lost] != nil {
			t.Errorf("%s: the probe has %s", tt.target, tt.lost)
		}
		if r.URL.RequestURI() != tt.target || tt.field != "" && r.Header.Get(name) != value {
			t.Errorf("%s: the request itself has changed: %s %v", tt.target, r.URL, r.Header)
		}
	}
}

// Credentials of another kind stay beside a signature: the origin can check them alone.
func TestCredentialsBesideSignature(t *testing.T) {
	for field, stays := range map[string]bool{"Bearer x": true, "Basic x": true, "DPoP x": false, "Signature x": false} {
		r := signedRequest("/a", "Authorization", field)
		r.Header.Set("Signature-Input", "x")
		r = NewRequest(r.Request)
		if got := r.Unsigned(r.Request).Header["Authorization"] != nil; got != stays {
			t.Errorf("%s stays: %v", field, got)
		}
	}
}
