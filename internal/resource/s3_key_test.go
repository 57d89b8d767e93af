package resource

import (
	"net/url"
	"testing"
)

// An object has one key, whether its bucket is named in the path or in the host, and two objects
// have two.
func TestObjectKey(t *testing.T) {
	t.Parallel()
	key := func(text string) string {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		key, err := Template(ObjectKey).URLKey(u)
		if err != nil {
			t.Error(err)
		}
		return key
	}
	for in, want := range map[string]string{
		"http://s3.example.com/bucket/a/b.txt":            "http://bucket.s3.example.com/a/b.txt",
		"http://s3.example.com:9000/my.bucket/a/b.txt":    "http://my.bucket.s3.example.com:9000/a/b.txt",
		"http://s3.example.com/Bucket/%61":                "http://bucket.s3.example.com/a",
		"http://s3.example.com/bucket":                    "http://bucket.s3.example.com/",
		"http://s3.example.com/bucket/":                   "http://s3.example.com/bucket",
		"http://localhost/bucket/a/index.html":            "http://bucket.localhost/a/index.html",
		"http://s3.example.com/bucket/a/b.txt?versionId=": "http://s3.example.com/bucket/a/b.txt",
	} {
		if key(in) != key(want) {
			t.Errorf("%s: %s, and %s: %s", in, key(in), want, key(want))
		}
	}
	seen := make(map[string]string)
	for _, text := range []string{
		"http://s3.example.com/b/k", "http://s3.example.com/b/k/l", "http://s3.example.com/k/b", "http://s3.example.org/b/k",
		"http://s3.example.com/b/2024/01/02", "http://s3.example.com/b/2024/02/01", "http://s3.example.com/b/a.b", "http://s3.example.com/b/b.a",
	} {
		if other := seen[key(text)]; other != "" {
			t.Errorf("%s and %s share the key %s", text, other, key(text))
		}
		seen[key(text)] = text
	}
	if err := Template(ObjectKey).CheckOthers(); err != nil {
		t.Error(err)
	}
	if err := Template(ObjectKey).CheckPlaceholders(); err != nil {
		t.Error(err)
	}
}
