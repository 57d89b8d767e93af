package validator

import (
	"net/http"
	"testing"
)

func TestFields(t *testing.T) {
	var s Fields
	for f := IfMatch; f <= IfModifiedSince; f++ {
		if s.Has(f) || !s.With(f).Has(f) {
			t.Errorf("%v: Has(%v) = %v without, %v with", s, f, s.Has(f), s.With(f).Has(f))
		}
		if http.CanonicalHeaderKey(f.String()) != f.String() || f.String() == "" {
			t.Errorf("%q isn't canonical", f)
		}
		s = s.With(f)
	}
}
