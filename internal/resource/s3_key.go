package resource

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// ObjectKey is the template of keys of objects in an object store that speaks S3. Clients may
// name a bucket in the path or in the host, and both make one key:
//
//	s3.example.com/bucket/a.txt and bucket.s3.example.com/a.txt
//
// are both com/example/s3/bucket/txt/a. Nobody has to know where the name of the bucket ends: the
// labels of the host come in reverse order, and the segments of the path follow. A bucket may
// have dots in its name, so the same goes for the parts of each segment.
const ObjectKey = "{" + objectPlaceholder + "}"

// objectPlaceholder is known to keys only.
const objectPlaceholder = "http.s3.object"

// objectKey returns the value of the placeholder.
func objectKey(repl *caddy.Replacer) string {
	host, _ := repl.GetString("http.request.host")
	path, _ := repl.GetString("http.request.uri.path")
	parts := reversed(foldHost(host))
	for segment := range strings.SplitSeq(strings.Trim(foldPath(path), "/"), "/") {
		if segment != "" {
			parts = append(parts, reversed(segment)...)
		}
	}
	return strings.Join(parts, "/")
}

func reversed(name string) []string {
	labels := strings.Split(name, ".")
	slices.Reverse(labels)
	return labels
}
