package preconditions

import (
	"slices"
	"testing"
)

// A profile sets defaults, and what is configured counts more.
func TestProfile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		given        Handler
		signed, etag []string
	}{
		{Handler{}, nil, []string{"upstream", "body"}},
		{Handler{Profile: ProfileS3}, []string{"aws"}, []string{"upstream"}},
		{Handler{Profile: ProfileS3, Signed: []string{"gcs"}}, []string{"gcs"}, []string{"upstream"}},
		{Handler{Profile: ProfileS3, ETag: []ETagSource{{Source: "body"}}}, []string{"aws"}, []string{"body"}},
	} {
		h := tt.given
		h.setDefaults()
		if err := h.check(); err != nil {
			t.Errorf("%+v: %v", tt.given, err)
		}
		var etag []string
		for _, s := range h.ETag {
			etag = append(etag, s.String())
		}
		if !slices.Equal(h.Signed, tt.signed) || !slices.Equal(etag, tt.etag) {
			t.Errorf("%+v: signed %v, etag %v", tt.given, h.Signed, etag)
		}
	}
}
