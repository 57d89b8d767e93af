package knowledge

import (
	"cmp"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A resource has as many current tags as it has representations, and If-Match holds for
// any of them (RFC 9110, section 13.1.1). A client reads one representation and sends its
// tag with a write whose own fields select a different one: most clients send no Accept
// with a write, or */*, or the type that they want the answer to have.
//
// So a variant's key contains the fields that negotiated it (proxyhooks.VariantKey), and
// the condition may be about any variant that the same client would get for the same
// target if it sent those fields. Whatever else selects a representation, such as the
// credentials, always comes from the write.

// selection is what a view is about. The zero value stands for the representation that
// the request's own fields select.
type selection struct {
	// negotiated, if not nil, holds the request's fields as they would be if the client
	// had negotiated as it did for the variant.
	negotiated http.Header

	// version, if not empty, is the key of a variant that has the tag of the present
	// version.
	version string
}

// Selected returns the view of the representation that the condition of a write is
// about: if the one that the write's own fields select doesn't satisfy an If-Match, but
// the stored tag of a different one does, that one. Of several it is the one that was
// seen last. For `If-None-Match: *` it is any representation that exists.
//
// A list in If-None-Match, or a date, is about what the write's own fields select.
//
// With no source but version, the tag of any variant counts, whoever has seen it: it says
// that nobody has written the resource since. A tag from another source may say the same of
// an old state of what a different query selects.
func (v View) Selected() View {
	decides := decisive(v)
	if decides == nil {
		return v
	}
	own := v.Stored()
	variants := v.variants()
	if own.State != validator.Unknown && len(variants) == 1 || decides(own) {
		return v
	}
	var others etagcache.Variants
	for _, variant := range variants {
		if decides(variant.Stored) {
			others = append(others, variant)
		}
	}
	slices.SortFunc(others, func(a, b etagcache.Variant) int {
		return cmp.Or(cmp.Compare(a.Age, b.Age), cmp.Compare(a.Key, b.Key))
	})
	for _, variant := range others {
		if other, ok := negotiate(v, variant.Key); ok {
			return other
		}
	}
	return v
}

// decisive returns a function that reports whether a representation decides the
// request's condition, whatever the others are. It returns nil if only the one that the
// request's own fields select can.
func decisive(v View) func(etagcache.Stored) bool {
	c := v.Request.Conditions
	switch {
	case v.selection.negotiated != nil, v.selection.version != "":
		return nil // already selected
	case c.IfMatch != nil && c.IfNoneMatch == nil:
		return func(s etagcache.Stored) bool {
			return v.Request.Evaluate(s.Representation).Verdict == validator.True
		}
	case c.IfMatch == nil && c.IfNoneMatch != nil:
		return func(s etagcache.Stored) bool {
			return s.State == validator.Present && v.Request.Evaluate(s.Representation).Reason == validator.Exists
		}
	default:
		return nil
	}
}

// Weakened returns the representation that the condition of a write would be about, and hold
// for, if weak tags in If-Match counted. It reports whether there is one.
func Weakened(v View) (current validator.Representation, ok bool) {
	request := *v.Request
	request.Conditions.Weak.Listed = true
	v.Reader = &Reader{Config: v.Config, Share: v.Share, Request: &request, Subject: v.Subject}
	v, stored, res := v.EvaluateStored()
	return v.Dated(stored.Observed, stored), res.Verdict == validator.True
}

// negotiate returns the view of the variant with a key. It reports false if the client
// couldn't select that variant by negotiation alone.
func negotiate(v View, key string) (View, bool) {
	if !v.Request.Signed { // nobody but the signer can send other fields
		fields, ok := proxyhooks.Renegotiate(key, v.Scheme, v.targets(), v.varyFields(), v.Request.Fields)
		if ok {
			v.negotiated = fields
			return v, true
		}
	}
	if v.Deriver.OnlyVersion() && v.Request.Conditions.IfMatch != nil {
		v.version = key
		return v, true
	}
	return v, false
}

// Again returns the view of the variant whose key begins with a hash, if the client could
// select it by negotiation, and v otherwise. An earlier write was about that variant.
func Again(v View, hash string) View {
	for _, variant := range v.variants() {
		if own, _, _ := strings.Cut(variant.Key, "\n"); own == hash {
			if again, ok := negotiate(v, variant.Key); ok && again.Negotiated() {
				return again
			}
		}
	}
	return v
}

// Own returns the view of the representation that the request's own fields select.
func Own(v View) View {
	v.selection = selection{}
	return v
}

// Negotiated reports whether the view is about a representation that the request's own
// fields don't select.
func (s selection) Negotiated() bool { return s.negotiated != nil }

// Renegotiated returns a request for the representation that the view is about. It is
// otherwise like r, a request for the subject.
func (s selection) Renegotiated(r *http.Request) *http.Request {
	if s.negotiated == nil {
		return r
	}
	r = r.Clone(r.Context())
	for name := range r.Header {
		if proxyhooks.Negotiates(name) {
			delete(r.Header, name)
		}
	}
	for name, lines := range s.negotiated {
		if proxyhooks.Negotiates(name) {
			r.Header[name] = lines
		}
	}
	return r
}

// NegotiatedBy returns the names of the fields by which clients negotiate content, as far
// as is known: from what is stored, or from what a response has shown since.
func NegotiatedBy(v View, shown *etagcache.Observation) (names []string) {
	vary := v.varyFields()
	if shown != nil {
		vary, _ = splitVary(shown.Vary)
	}
	for name := range strings.SplitSeq(vary, ",") {
		if proxyhooks.Negotiates(name) {
			names = append(names, textproto.CanonicalMIMEHeaderKey(name))
		}
	}
	return names
}
