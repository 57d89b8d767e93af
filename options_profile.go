package preconditions

import (
	"cmp"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/spelling"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Profile names a protocol on top of HTTP that clients and the backend speak. It sets
// defaults, and every option that is given counts more.
type Profile string

// The profiles.
const (
	ProfileS3     Profile = "s3"     // the protocol of Amazon S3
	ProfileWebDAV Profile = "webdav" // WebDAV (RFC 4918), with CalDAV and CardDAV
)

// check refuses an unknown profile.
func (p Profile) check() error {
	if p == "" {
		return nil
	}
	return spelling.Check(string(p), string(ProfileS3), string(ProfileWebDAV))
}

// setDefaults sets the options that a profile stands for and that aren't configured.
func (p Profile) setDefaults(h *Handler) {
	if p == ProfileS3 {
		if h.Signed == nil {
			h.Signed = []string{string(resource.AWS)}
		}
		if h.ETag == nil {
			h.ETag = []ETagSource{{Source: string(proxyhooks.SourceUpstream)}}
		}
		h.Key = cmp.Or(h.Key, resource.ObjectKey)
		h.Errors = cmp.Or(h.Errors, errorsS3)
	}
}
