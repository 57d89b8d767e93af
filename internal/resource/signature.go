package resource

import (
	"net/http"
	"strings"
)

// signed reports whether a request carries a signature over its fields: AWS
// Signature Version 4, HTTP message signatures (RFC 9421) or one of their
// predecessors. A signed request is forwarded untouched, because a change could
// break the signature. For the same reason, no other request can be derived from it.
func signed(r *http.Request) bool {
	if r.Header["Signature-Input"] != nil {
		return true
	}
	for _, value := range r.Header["Authorization"] {
		scheme, _, _ := strings.Cut(value, " ")
		if scheme = strings.ToUpper(scheme); strings.HasPrefix(scheme, "AWS") || scheme == "SIGNATURE" {
			return true
		}
	}
	return strings.Contains(r.URL.RawQuery, "X-Amz-Signature=")
}
