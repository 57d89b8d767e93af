package preconditions

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

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
	switch p {
	case ProfileWebDAV:
		h.Errors = cmp.Or(h.Errors, errorsWebDAV)
	case ProfileS3:
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

// unmarshalProfile reads the profile and, for s3, the hosts of the store.
func unmarshalProfile(d *caddyfile.Dispenser, h *Handler) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("takes a profile: s3 or webdav")
	}
	if args[0] == "" {
		return d.Err("must not be empty")
	}
	h.Profile, h.S3Hosts = Profile(args[0]), args[1:]
	return nil
}

// checkS3Hosts refuses hosts of a store that can't be the host of a request.
func checkS3Hosts(h *Handler) error {
	if len(h.S3Hosts) > 0 && h.Profile != ProfileS3 {
		return errors.New("hosts of a store come with profile s3 only")
	}
	for i, host := range h.S3Hosts {
		if host == "" || strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || strings.ContainsRune("/:*{}@?#", c) }) {
			return fmt.Errorf("%q is not a host: write one such as s3.example.com, without scheme, port and wildcard", host)
		}
		if slices.ContainsFunc(h.S3Hosts[:i], func(other string) bool { return strings.EqualFold(other, host) }) {
			return fmt.Errorf("%s is given twice", host)
		}
	}
	return nil
}
