package resource

import (
	"net/http"
	"slices"
	"strings"
)

// oneTimeSchemes are authentication schemes, in upper case, whose credentials are good
// for one request only: they cover its method, or they may not be used twice. They don't
// cover its other fields. (Digest: RFC 7616, section 3.4.3. OAuth 1.0: RFC 5849, section
// 3.4.1. DPoP: RFC 9449, section 4.2. Negotiate and NTLM: RFC 4559; a ticket is refused the
// second time. SCRAM: RFC 7804.)
// The last line is about object stores, whose signatures cover the method and the content.
var oneTimeSchemes = []string{
	"DIGEST", "OAUTH", "HAWK", "MAC", "DPOP", "NEGOTIATE", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-256",
	"AWS", "GOOG1", "SHAREDKEYLITE", "OSS", "OBS",
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
// only: those that are known by their names, and Authorization if there are any, because the
// one is worth nothing without the other. The fields of a signature are known by its scheme
// (signature.go).
func oneTime(r *http.Request, byName []string) (names []string) {
	if byName != nil || slices.ContainsFunc(r.Header["Authorization"], isOneTime) || signedURL(r.URL.RawQuery) != nil {
		return append(byName, "Authorization")
	}
	return nil
}

// isOneTimeField reports whether a field is known by its name for credentials that are good
// for one request only, such as X-Hub-Signature and X-GitHub-OTP.
func isOneTimeField(name string) bool {
	return name == "Dpop" || endsIn(name, "otp") || endsIn(name, "signature") && name != signatureField ||
		strings.Contains(name, "-Signature-") || endsIn(name, "-hmac")
}

// mixed reports whether a request also has credentials in Authorization that are good for
// more than one request. Whoever sends it may need only these, and may have made up the others.
func mixed(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Authorization"], func(value string) bool { return !isOneTime(value) })
}

// isOneTime reports whether the value of an Authorization field is good for one request
// only. Some services call a bearer token by the name of OAuth, too.
func isOneTime(value string) bool {
	scheme := authScheme(value)
	return slices.Contains(oneTimeSchemes, scheme) && (scheme != "OAUTH" || strings.Contains(value, "oauth_signature")) ||
		strings.Contains(scheme, "HMAC") || strings.HasPrefix(scheme, "AWS") || strings.HasPrefix(scheme, "Q-SIGN-ALGORITHM=")
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
