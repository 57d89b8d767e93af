package resource

import (
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// The source of a copy is what a GET on the same host asks for, if that can be told.
func TestCopySource(t *testing.T) {
	t.Parallel()
	const part = "/b/k?partNumber=1&uploadId=u"
	for _, tt := range []struct{ host, target, source, want string }{
		{"s3.example.com", "/b/k", "/src/a.txt", "/src/a.txt"},
		{"S3.example.com.:8080", "/b/k", "src/dir/a%20b", "/src/dir/a%20b"},
		{"s3.example.com", "/b/k", "src%2Fdir%2Fa", "/src/dir/a"},
		{"s3.example.com", "/b/k", "/src/a?versionId=v.1_-x", "/src/a?versionId=v.1_-x"},
		{"s3.example.com", part, "/src/a", "/src/a"},
		{"localhost:9000", "/b/k", "/src/a", "/src/a"},
		{"127.0.0.1:9000", "/b/k", "/src/a", "/src/a"},
		{"[::1]:9000", "/b/k", "/src/a", "/src/a"},
		{"src.s3.example.com", "/k", "/src/dir/a", "/dir/a"},
		{"my.src.s3.example.com", "/k", "/my.src/a", "/a"},
		{"b.s3.example.com", "/k", "/src/a", "unsupported"},
		{"b.src.example.com", "/k", "/b/a", "unsupported"}, // nobody knows that host
		{"s3.example.com", "/b/k", "arn:aws:s3:eu:1:accesspoint/p/object/a", "unsupported"},
		{"s3.example.com", "/b/k", "", "unclear"},
		{"s3.example.com", "/b/k", "/src", "unclear"},
		{"s3.example.com", "/b/k", "/src/", "unclear"},
		{"s3.example.com", "/b/k", "/src/a+b", "unclear"},
		{"s3.example.com", "/b/k", "/src/a b", "unclear"},
		{"s3.example.com", "/b/k", "/src/%zz", "unclear"},
		{"s3.example.com", "/b/k", "/src/../a", "unclear"},
		{"s3.example.com", "/b/k", "/src/%2e%2e/a", "unclear"},
		{"s3.example.com", "/b/k", "/src/a?versionId=v&acl", "unclear"},
		{"s3.example.com", "/b/k", "/src/a?acl", "unclear"},
		{"s3.example.com", "/b/k", "/src/a?", "unclear"},
		{"s3.example.com", "/b/k", "//other/src/a", "unclear"},
		{"s3.example.com", "/b/k", "http://other/src/a", "unclear"},
	} {
		hr := prepared(t, "PUT", tt.target)
		hr.Host = tt.host
		hr.Header.Set("X-Amz-Copy-Source", tt.source)
		hr.Header.Set("X-Amz-Copy-Source-If-Match", "x")
		r := (&Namer{Template: ObjectKey, S3: true, Hosts: []string{"example.com", "s3.example.com"}}).Request(hr, AWS)
		if tt.host == "b.src.example.com" {
			r = (&Namer{Template: ObjectKey, S3: true, Hosts: []string{"s3.example.com"}}).Request(hr, AWS)
		}
		got := ""
		switch {
		case r.Unclear != "":
			got = "unclear"
		case r.Unsupported != "":
			got = "unsupported"
		case len(r.Premises) == 1:
			got = r.Premises[0].Subject.OriginalTarget
		}
		if got != tt.want || r.Class != Write {
			t.Errorf("%s%s from %q: %s (%s%s), want %s", tt.host, tt.target, tt.source, got, r.Unclear, r.Unsupported, tt.want)
		}
	}
}

// Conditions on the source of a copy have the precedence of those in RFC 9110, and a false one
// prevents the copy, whichever it is.
func TestSourceConditions(t *testing.T) {
	t.Parallel()
	const (
		match, none      = "X-Amz-Copy-Source-If-Match", "X-Amz-Copy-Source-If-None-Match"
		since, until     = "X-Amz-Copy-Source-If-Modified-Since", "X-Amz-Copy-Source-If-Unmodified-Since"
		before, modified = "Sun, 01 Nov 2026 00:00:00 GMT", "Mon, 02 Nov 2026 00:00:00 GMT"
		after            = "Tue, 03 Nov 2026 00:00:00 GMT"
	)
	date, _ := validator.ParseDate(modified, time.Now())
	tag, _ := validator.ParseETag(`"x"`)
	current := validator.Representation{State: validator.Present, ETag: tag, LastModified: date}
	for _, tt := range []struct {
		fields []string
		want   string
	}{
		{[]string{match, "x"}, "passes"},
		{[]string{match, `"x"`}, "passes"},
		{[]string{match, "*"}, "passes"},
		{[]string{match, "y"}, "fails"},
		{[]string{match, `W/"x"`}, "fails"},
		{[]string{match, ""}, "fails"},
		{[]string{none, "y"}, "passes"},
		{[]string{none, "x"}, "fails"},
		{[]string{none, "*"}, "fails"},
		{[]string{since, before}, "passes"},
		{[]string{since, after}, "fails"},
		{[]string{until, after}, "passes"},
		{[]string{until, before}, "fails"},
		{[]string{match, "x", until, before}, "passes"}, // as S3 documents it
		{[]string{none, "x", since, before}, "fails"},   // likewise
		{[]string{match, "x", none, "x"}, "fails"},
		{[]string{since, "yesterday"}, "unclear"},
		{[]string{until, before, until, after}, "unclear"},
		{[]string{"X-Amz-Copy-Source-If-Size", "1"}, "unclear"},
		{[]string{match, "x", "X-Amz-Copy-Source-If-Size", "1"}, "unclear"},
	} {
		r := objectRequest(t, "PUT", "/b/k", append(tt.fields, "X-Amz-Copy-Source", "/b/a")...)
		got := "unclear"
		if r.Unclear+r.Unsupported == "" && len(r.Premises) == 1 {
			got = "fails"
			if r.Premises[0].Evaluate(current).Verdict == validator.True {
				got = "passes"
			}
		}
		if got != tt.want {
			t.Errorf("%q: %s, want %s", tt.fields, got, tt.want)
		}
	}
}

// A condition on the source satisfies require only if the source is the target: it says nothing
// about what a copy to elsewhere replaces.
func TestSourceConditionNeeded(t *testing.T) {
	t.Parallel()
	const match, none = "X-Amz-Copy-Source-If-Match", "X-Amz-Copy-Source-If-Modified-Since"
	for _, tt := range []struct {
		source, field string
		needs         bool
	}{
		{"/b/k", match, false},
		{"b/%6B", match, false},
		{"/b/other", match, true},
		{"/b/k", none, true},
	} {
		r := objectRequest(t, "PUT", "/b/k", "X-Amz-Copy-Source", tt.source, tt.field, "Sun, 01 Nov 2026 00:00:00 GMT")
		if got := Needs(r, []string{"PUT"}); got != tt.needs {
			t.Errorf("%s %s: %v", tt.source, tt.field, got)
		}
	}
}

// A host is that of the store, or begins with the name of a bucket, or nobody can tell.
func TestBucket(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host, target string
		want         string
		at           bucketPlace
		bucket       bool
	}{
		{"s3.example.com", "/b/k", "b", inPath, false},
		{"s3.example.com", "/b", "b", inPath, true},
		{"s3.example.com", "/b/", "b", inPath, true},
		{"s3.example.com", "/", "", inPath, false},
		{"b.s3.example.com", "/k", "b", inHost, false},
		{"b.s3.example.com", "/", "b", inHost, true},
		{"other.example.org", "/b", "", somewhere, false},
		{"127.0.0.1:9000", "/b", "b", inPath, true},
	} {
		hr := prepared(t, "PUT", tt.target)
		hr.Host = tt.host
		r := objectStore{NewRequest(hr), []string{"s3.example.com"}}
		name, at := r.bucket()
		if name != tt.want || at != tt.at || r.toBucket() != tt.bucket {
			t.Errorf("%s%s: %q, %d, %v", tt.host, tt.target, name, at, r.toBucket())
		}
	}
}
