package resource

import (
	"net/netip"
	"strings"
)

// bucketPlace is where a request to an object store names its bucket.
type bucketPlace uint8

const (
	// somewhere: in the path or in the host, and nobody can tell which.
	somewhere bucketPlace = iota
	inPath
	inHost
)

// bucket returns the name of the bucket that a request is about, and where it stands. In a
// path, it is the first segment, which is empty in a request to the store itself.
//
// Nobody names a bucket in front of an address, or of a host without a dot. Whether the first
// label of any other host is a bucket depends on the host of the store, which the operator may
// have named.
func (r objectStore) bucket() (name string, at bucketPlace) {
	host := r.HostName()
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || !strings.Contains(host, ".") {
		return first, inPath
	}
	store := "" // the longest, if one is a part of another
	for _, h := range r.hosts {
		switch h = foldHost(h); {
		case host == h:
			return first, inPath
		case strings.HasSuffix(host, "."+h) && len(h) > len(store):
			store = h
		}
	}
	if store == "" {
		return "", somewhere
	}
	return strings.TrimSuffix(host, "."+store), inHost
}

// toBucket reports whether a request is about a bucket, for sure, and not about an object.
func (r objectStore) toBucket() bool {
	name, at := r.bucket()
	path := r.withoutSlashes()
	return at == inPath && name != "" && path == name || at == inHost && path == ""
}

// mayBeToBucket reports whether a request may be about a bucket: it isn't about an object for
// sure.
func (r objectStore) mayBeToBucket() bool {
	path := r.withoutSlashes()
	_, at := r.bucket()
	return path == "" || at != inHost && !strings.Contains(path, "/")
}

// withoutSlashes returns the path without the slash that it begins with, and one at its end.
func (r objectStore) withoutSlashes() string {
	return strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/")
}
