// Package registryclient changes the image index at a tag of an OCI registry, and
// loses no change that others make at the same time. The registry must obey
// If-Match, or be behind a handler that does, and the tag's ETag must be the digest of
// its manifest, in quotes.
package registryclient

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Client reads and writes indexes.
type Client struct {
	Transport http.RoundTripper // default: remote.DefaultTransport
	Options   []remote.Option   // such as remote.WithAuthFromKeychain, but no transport
}

// Append adds an image to the index at a tag. It creates the index if it doesn't exist.
// It uploads the image first. An image that is in the index already isn't added again.
// It returns how often it has written.
func (c *Client) Append(ctx context.Context, tag name.Tag, image v1.Image) (writes int, err error) {
	digest, err := image.Digest()
	if err != nil {
		return 0, err
	}
	if err := c.Upload(ctx, tag, image); err != nil {
		return 0, err
	}
	return c.Update(ctx, tag, func(index v1.ImageIndex) (v1.ImageIndex, error) {
		manifest, err := index.IndexManifest()
		if err != nil {
			return nil, err
		}
		for _, entry := range manifest.Manifests {
			if entry.Digest == digest { // an earlier write has landed, but its answer was lost
				return index, nil
			}
		}
		return mutate.AppendManifests(index, mutate.IndexAddendum{Add: image}), nil
	})
}

// Upload uploads an image to the repository of a tag. The tag stays as it is.
func (c *Client) Upload(ctx context.Context, tag name.Tag, image v1.Image) error {
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	return remote.Write(tag.Digest(digest.String()), image, c.options(ctx, nil)...)
}

// Update reads the index at a tag, and writes what change makes of it if nobody has written
// meanwhile. If somebody has, it begins again, so change may be called several times. An
// index that doesn't exist is read as an empty one. If change changes nothing, nothing is
// written. It returns how often it has written.
func (c *Client) Update(ctx context.Context, tag name.Tag, change func(v1.ImageIndex) (v1.ImageIndex, error)) (writes int, err error) {
	for ; ; writes++ {
		index, condition, err := c.read(ctx, tag)
		if err != nil {
			return writes, err
		}
		before, err := index.Digest()
		if err != nil {
			return writes, err
		}
		if index, err = change(index); err != nil {
			return writes, err
		}
		if after, err := index.Digest(); err != nil || after == before {
			return writes, err
		}
		err = remote.Put(tag, index, c.options(ctx, condition)...)
		if !hasStatus(err, http.StatusPreconditionFailed) {
			return writes + 1, err
		}
	}
}

// read reads the index at a tag. A write with the condition replaces nothing else.
func (c *Client) read(ctx context.Context, tag name.Tag) (v1.ImageIndex, *condition, error) {
	read, err := remote.Get(tag, c.options(ctx, nil)...)
	if hasStatus(err, http.StatusNotFound) {
		return empty.Index, &condition{"If-None-Match", "*"}, nil
	} else if err != nil {
		return nil, nil, err
	}
	index, err := read.ImageIndex()
	return index, &condition{"If-Match", strconv.Quote(read.Digest.String())}, err
}

// condition is a field that a write of a tag gets.
type condition struct{ field, value string }

// options returns the options of a request with a condition, if there is one.
func (c *Client) options(ctx context.Context, only *condition) []remote.Option {
	next := c.Transport
	if next == nil {
		next = remote.DefaultTransport
	}
	if only != nil {
		next = conditional{next, *only}
	}
	return append(slices.Clone(c.Options), remote.WithContext(ctx), remote.WithTransport(next))
}

// conditional adds a condition to writes of tags.
type conditional struct {
	next http.RoundTripper
	only condition
}

func (t conditional) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
		r = r.Clone(r.Context())
		r.Header.Set(t.only.field, t.only.value)
	}
	return t.next.RoundTrip(r)
}

// hasStatus reports whether a registry has answered with the status.
func hasStatus(err error, status int) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == status
}
