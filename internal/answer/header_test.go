package answer

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// header makes a header of lines such as "Name: value".
func header(lines ...string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h[name] = append(h[name], value)
	}
	return h
}

// The metadata of a representation are the fields that RFC 9110 defines in sections
// 8 and 14.3, and those that describe its bytes (RFC 3230, RFC 9530). The rest is
// about the response and stays.
func TestRemoveRepresentationMetadata(t *testing.T) {
	removed := []string{
		"Content-Type", "Content-Encoding", "Content-Language", "Content-Length", "Content-Location", "Content-Range",
		"Content-Disposition", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest", "Etag", "Last-Modified",
		"Accept-Ranges", "Transfer-Encoding", "Trailer", "X-Amz-Checksum-Sha256",
	}
	kept := []string{
		"Cache-Control", "Content-Security-Policy", "Content-Security-Policy-Report-Only", "Date", "Expires", "Location",
		"Set-Cookie", "Vary", "Warning", "X-Amz-Request-Id", "X-Content-Type-Options",
	}
	h := make(http.Header)
	for _, name := range slices.Concat(removed, kept) {
		if http.CanonicalHeaderKey(name) != name {
			t.Fatalf("%s isn't how a header spells it", name)
		}
		h[name] = []string{"x"}
	}
	RemoveRepresentationMetadata(h)
	if got := slices.Sorted(maps.Keys(h)); !slices.Equal(got, kept) {
		t.Errorf("kept %q,\nwant %q", got, kept)
	}
}

// The fields that describe the bytes go, and so does the offer of parts. What the
// content is otherwise stays as it is.
func TestRemoveContentMetadata(t *testing.T) {
	removed := []string{"Accept-Ranges", "Content-Digest", "Content-Length", "Content-Md5", "Digest", "Repr-Digest"}
	kept := []string{"Content-Language", "Content-Location", "Content-Type", "Etag", "Last-Modified", "Vary"}
	h := make(http.Header)
	for _, name := range slices.Concat(removed, kept) {
		h[name] = []string{"x"}
	}
	RemoveContentMetadata(h)
	if got := slices.Sorted(maps.Keys(h)); !slices.Equal(got, kept) {
		t.Errorf("kept %q,\nwant %q", got, kept)
	}
}

// A date that the handler made goes out only if it is strong and past (RFC 9110,
// sections 8.8.2.1 and 8.8.2.2) and the backend has sent none. Caches must then ask
// each time, as they did, rather than guess (RFC 9111, section 4.2.2), unless the
// backend says something about caching.
func TestSetDate(t *testing.T) {
	now := time.Date(2025, 11, 3, 12, 0, 0, 500e6, time.UTC)
	const second = "Last-Modified: Mon, 03 Nov 2025 11:59:59 GMT"
	made := validator.Representation{State: validator.Present, LastModified: now.Add(-time.Second)}
	with := func(edit func(*validator.Representation)) validator.Representation {
		r := made
		edit(&r)
		return r
	}
	for _, tt := range []struct {
		name   string
		r      validator.Representation
		before []string
		added  []string
	}{
		{"a strong date", made, nil, []string{second, "Cache-Control: no-cache"}},
		{"in a different zone", with(func(r *validator.Representation) { r.LastModified = r.LastModified.In(time.FixedZone("x", 3600)) }), nil, []string{second, "Cache-Control: no-cache"}},
		{"the present", with(func(r *validator.Representation) { r.LastModified = now }), nil, []string{"Last-Modified: Mon, 03 Nov 2025 12:00:00 GMT", "Cache-Control: no-cache"}},
		{"no date", with(func(r *validator.Representation) { r.LastModified = time.Time{} }), nil, nil},
		{"a weak date", with(func(r *validator.Representation) { r.WeakDate = true }), nil, nil},
		{"a date to come", with(func(r *validator.Representation) { r.LastModified = now.Add(1) }), nil, nil},
		{"the backend has one", made, []string{"Last-Modified: Mon, 03 Nov 2025 11:00:00 GMT"}, nil},
		{"the backend has an invalid one", made, []string{"Last-Modified: yesterday"}, nil},
		{"Cache-Control", made, []string{"Cache-Control: max-age=60"}, []string{second}},
		{"Expires", made, []string{"Expires: 0"}, []string{second}},
		{"Pragma", made, []string{"Pragma: no-cache"}, []string{second}},
	} {
		got, want := header(tt.before...), header(slices.Concat(tt.before, tt.added)...)
		SetDate(got, tt.r, now)
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
}
