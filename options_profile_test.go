package preconditions

import (
	"slices"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// A profile sets defaults, and what is configured counts more.
func TestProfile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		given        Handler
		signed, etag []string
		errors       string
	}{
		{Handler{}, nil, []string{"upstream", "body"}, "problem"},
		{Handler{Profile: ProfileS3}, []string{"aws"}, []string{"upstream"}, "s3"},
		{Handler{Profile: ProfileS3, Signed: []string{"gcs"}}, []string{"gcs"}, []string{"upstream"}, "s3"},
		{Handler{Profile: ProfileS3, ETag: []ETagSource{{Source: "body"}}}, []string{"aws"}, []string{"body"}, "s3"},
		{Handler{Profile: ProfileS3, Errors: "problem"}, []string{"aws"}, []string{"upstream"}, "problem"},
		{Handler{Profile: ProfileWebDAV}, nil, []string{"upstream", "body"}, "webdav"},
		{Handler{Profile: ProfileWebDAV, Errors: "problem"}, nil, []string{"upstream", "body"}, "problem"},
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
		if want := map[Profile]string{"": defaultKey, ProfileWebDAV: defaultKey, ProfileS3: resource.ObjectKey}[tt.given.Profile]; h.Key != want {
			t.Errorf("%+v: key %s", tt.given, h.Key)
		}
		if !slices.Equal(h.Signed, tt.signed) || !slices.Equal(etag, tt.etag) || h.Errors != tt.errors {
			t.Errorf("%+v: signed %v, etag %v, errors %s", tt.given, h.Signed, etag, h.Errors)
		}
	}
}
