package resource

import (
	"net/http"
	"slices"
	"strings"
)

// signed reports whether a request carries a signature over its fields: HTTP message
// signatures (RFC 9421) or their predecessors, AWS Signature Version 4, or one of the
// schemes that other object stores and gateways have made after it. A signed request is
// forwarded untouched, because a change could break the signature. For the same reason,
// no other request can be derived from it.
func signed(r *http.Request) bool {
	if r.Header["Signature-Input"] != nil {
		return true
	}
	for _, value := range r.Header["Authorization"] {
		if scheme := authScheme(value); strings.HasPrefix(scheme, "AWS") || strings.Contains(scheme, "HMAC") ||
			slices.Contains(signatureSchemes, scheme) {
			return true
		}
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(signatureParameters, name) {
			return true
		}
	}
	return false
}

// signatureSchemes are authentication schemes that sign fields of the request, in upper
// case: of drafts that became RFC 9421, Google, Azure, Alibaba and Huawei.
var signatureSchemes = []string{"SIGNATURE", "GOOG1", "SHAREDKEY", "SHAREDKEYLITE", "OSS", "OBS"}

// signatureParameters are the query parameters in which URLs are signed in advance: for
// AWS, Google, Tencent, and OAuth 1.0 (RFC 5849, section 3.5.3).
var signatureParameters = []string{"X-Amz-Signature", "X-Goog-Signature", "q-signature", "oauth_signature"}

// oneTimeSchemes are authentication schemes, in upper case, whose credentials are good
// for one request only: they cover its method, or they may not be used twice. They don't
// cover its other fields. (Digest: RFC 7616, section 3.4.3. OAuth 1.0: RFC 5849, section
// 3.4.1. DPoP: RFC 9449, section 4.2. Negotiate and NTLM: RFC 4559; a ticket is refused the
// second time. SCRAM: RFC 7804.)
var oneTimeSchemes = []string{
	"DIGEST", "OAUTH", "HAWK", "MAC", "DPOP", "NEGOTIATE", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-256",
}

// challengedSchemes are those whose credentials answer a challenge of the server. A server
// that lets strangers believe that a resource is absent never gives them one.
var challengedSchemes = []string{"DIGEST", "NEGOTIATE", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-256"}

// challenged reports whether the client must have got a challenge for its credentials.
func challenged(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Authorization"], func(value string) bool {
		return slices.Contains(challengedSchemes, authScheme(value))
	})
}

// oneTime returns the names of the fields whose credentials are good for this one request
// only. Fields such as X-Hub-Signature and X-GitHub-OTP are known by their names. If there
// are any, Authorization is one of them: the one is worth nothing without the other.
func oneTime(r *http.Request) (names []string) {
	for name := range r.Header {
		if name == "Dpop" || endsIn(name, "otp") || endsIn(name, "signature") ||
			strings.Contains(name, "-Signature-") || endsIn(name, "-hmac") {
			names = append(names, name)
		}
	}
	covers := func(value string) bool {
		scheme := authScheme(value)
		// Some services call a bearer token by the name of OAuth, too.
		return slices.Contains(oneTimeSchemes, scheme) && (scheme != "OAUTH" || strings.Contains(value, "oauth_signature"))
	}
	if names != nil || slices.ContainsFunc(r.Header["Authorization"], covers) {
		names = append(names, "Authorization")
	}
	return names
}

// endsIn reports whether a field name has a suffix, in whatever case.
func endsIn(name, suffix string) bool {
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
}

// authScheme returns the scheme of an Authorization field in upper case (RFC 9110, section
// 11.4).
func authScheme(value string) string {
	scheme, _, _ := strings.Cut(strings.TrimLeft(value, " \t"), " ")
	return strings.ToUpper(scheme)
}
