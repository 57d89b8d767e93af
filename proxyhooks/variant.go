package proxyhooks

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/textproto"
	"strings"
)

// VariantKey returns a key for the representation that a request selects. It depends on
// the exact target (path and query, as the backend receives them) and on the values in
// header of the request fields that vary lists (see [MergeVary]). It also depends on scheme
// (see [Deriver.Scheme]), so that handlers with different schemes never compare their
// tags. The key has 22 characters, all of them letters, digits, - or _.
func VariantKey(scheme, target, vary string, header http.Header) string {
	h := sha256.New()
	write := func(s string) {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	write(scheme)
	write(target)
	write(vary)
	for name := range strings.SplitSeq(vary, ",") {
		if name == "" {
			continue
		}
		for _, value := range header[textproto.CanonicalMIMEHeaderKey(name)] {
			h.Write([]byte(value))
			h.Write([]byte{1})
		}
		write("")
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}
