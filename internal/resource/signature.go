package resource

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Scheme is a way to sign a request over its fields, as the option signed names it. Schemes
// whose signatures don't cover conditions have no name: they make credentials that are good
// for one request only (credentials.go).
type Scheme string

// The schemes: AWS Signature Version 4, HTTP message signatures (RFC 9421) and the drafts
// before it, and those of Google Cloud Storage and Azure Storage.
const (
	AWS     Scheme = "aws"
	RFC9421 Scheme = "rfc9421"
	Cavage  Scheme = "cavage"
	GCS     Scheme = "gcs"
	Azure   Scheme = "azure"
)

// Schemes lists all of them.
var Schemes = []Scheme{AWS, RFC9421, Cavage, GCS, Azure}

// The fields of RFC 9421. The drafts before it have only the first.
const (
	signatureField      = "Signature"
	signatureInputField = "Signature-Input"
)

// authorizations are how the Authorization field begins for a scheme, in upper case.
var authorizations = map[Scheme]string{
	AWS:    "AWS4-",
	Cavage: "SIGNATURE ",
	GCS:    "GOOG4-",
	Azure:  "SHAREDKEY ",
}

// signatureFields are the fields that a request has because it is signed, besides
// Authorization. Without the signature, some servers refuse them.
var signatureFields = map[Scheme][]string{
	AWS:     {"X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token"},
	RFC9421: {signatureField, signatureInputField},
	Cavage:  {signatureField},
	GCS:     {"X-Goog-Date", "X-Goog-Content-Sha256"},
}

// The query parameters with the signature of a URL that is signed in advance: of AWS, Google,
// Tencent, and OAuth 1.0 (RFC 5849, section 3.5.3).
const (
	amzSignature     = "X-Amz-Signature"
	googSignature    = "X-Goog-Signature"
	tencentSignature = "q-signature"
	oauthSignature   = "oauth_signature"
)

// signatureParameters are all parameters that belong to such a signature.
var signatureParameters = map[string][]string{
	amzSignature: {
		amzSignature, "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
		"X-Amz-Content-Sha256", "X-Amz-Security-Token",
	},
	googSignature: {
		googSignature, "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires", "X-Goog-SignedHeaders",
	},
	tencentSignature: {
		tencentSignature, "q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list", "q-url-param-list",
	},
	oauthSignature: {
		oauthSignature, "oauth_consumer_key", "oauth_nonce", "oauth_signature_method", "oauth_timestamp", "oauth_token",
		"oauth_version",
	},
}

// operation is the parameter in which clients of AWS name what they do, such as PutObject.
const operation = "x-id"

// claimedSchemes returns the schemes in which a request says that it is signed. Anybody can
// say so.
func claimedSchemes(r *http.Request) (schemes []Scheme) {
	for _, s := range Schemes {
		if claims(r, s) {
			schemes = append(schemes, s)
		}
	}
	return schemes
}

// IsSigned reports whether a request says that it is signed in one of the schemes that the
// operator expects.
func IsSigned(r *http.Request, expected []Scheme) bool {
	return slices.ContainsFunc(expected, func(s Scheme) bool { return claims(r, s) })
}

func claims(r *http.Request, s Scheme) bool {
	if slices.ContainsFunc(r.Header["Authorization"], s.authorizes) {
		return true
	}
	switch s {
	case AWS:
		return hasParameter(r.URL.RawQuery, amzSignature)
	case GCS:
		return hasParameter(r.URL.RawQuery, googSignature)
	case RFC9421:
		return r.Header[signatureInputField] != nil
	case Cavage:
		return r.Header[signatureField] != nil && r.Header[signatureInputField] == nil
	default:
		return false
	}
}

// authorizes reports whether a value of the Authorization field is of the scheme.
func (s Scheme) authorizes(value string) bool {
	start, ok := authorizations[s]
	return ok && strings.HasPrefix(authScheme(value)+" ", start)
}

// credentialFields returns the names of the fields of a request that are worth nothing
// without the signature. Credentials of another kind aren't: they stay beside it, and the
// origin checks them as it checks those of others.
func (s Scheme) credentialFields(r *http.Request) (names []string) {
	for _, name := range signatureFields[s] {
		if r.Header[name] != nil {
			names = append(names, name)
		}
	}
	if slices.ContainsFunc(r.Header["Authorization"], s.authorizes) {
		names = append(names, "Authorization")
	}
	return names
}

// Unsigned returns a request that is derived from r, without the credentials that are good
// for r only.
func (r *Request) Unsigned(derived *http.Request) *http.Request {
	if r.OneTime == nil && r.Operation == NoOperation {
		return derived
	}
	derived = derived.Clone(derived.Context())
	if names := slices.Concat(r.differing, signedURL(r.URL.RawQuery)); names != nil {
		derived = withTargets(derived, func(u *url.URL) *url.URL { return withoutParameters(u, names) })
	}
	for _, name := range r.OneTime {
		delete(derived.Header, name)
	}
	if r.Operation != NoOperation {
		removeObjectFields(derived.Header)
	}
	return derived
}

// withTargets returns r with its target, and the one that the client sent, changed by f.
func withTargets(r *http.Request, f func(*url.URL) *url.URL) *http.Request {
	if first, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && first.URL != nil {
		first.URL = f(first.URL)
		first.RequestURI = first.URL.RequestURI()
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, first))
	}
	r.URL = f(r.URL)
	r.RequestURI = r.URL.RequestURI()
	return r
}

// targetParameters returns the query parameters that differ between a client's requests for
// one resource.
func (s Scheme) targetParameters() []string {
	switch s {
	case AWS:
		return append([]string{operation}, signatureParameters[amzSignature]...)
	case GCS:
		return signatureParameters[googSignature]
	default:
		return nil
	}
}

// signedURL returns the parameters of signatures that a query has.
func signedURL(query string) (names []string) {
	if query == "" {
		return nil
	}
	for signature, all := range signatureParameters {
		if hasParameter(query, signature) {
			names = append(names, all...)
		}
	}
	return names
}

func hasParameter(query, name string) bool {
	if !strings.Contains(query, name) {
		return false
	}
	for pair := range strings.SplitSeq(query, "&") {
		if got, _, _ := strings.Cut(pair, "="); got == name {
			return true
		}
	}
	return false
}

// withoutParameters returns u without some query parameters.
func withoutParameters(u *url.URL, names []string) *url.URL {
	if u.RawQuery == "" || names == nil {
		return u
	}
	pairs := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(names, name)
	})
	u = new(*u)
	u.RawQuery = strings.Join(pairs, "&")
	return u
}
