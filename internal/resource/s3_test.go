package resource

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// prepared returns a request as Caddy prepares it.
func prepared(t *testing.T, method, target string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, "http://s3.example.com"+target, nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil)
}

// objectRequest describes a request to an object store. Fields are pairs of a name and a value.
func objectRequest(t *testing.T, method, target string, fields ...string) *Request {
	t.Helper()
	r := prepared(t, method, target)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return (&Namer{Template: "{http.request.host}{http.request.uri.path}", S3: true, Hosts: []string{"s3.example.com"}}).Request(r, AWS)
}

// The query and the fields tell what a request asks an object store for. Whatever isn't
// certain to leave all objects as they are counts as a write.
func TestOperations(t *testing.T) {
	t.Parallel()
	const form, source = "Content-Type: multipart/form-data; boundary=x", "X-Amz-Copy-Source: /b/k"
	for _, tt := range []struct {
		method, target, field string
		want                  Operation
		class                 Class
	}{
		{"GET", "/b/k?tagging", "", ObjectOperation, Read},
		{"GET", "/b?list-type=2&prefix=x", "", ObjectOperation, Read},
		{"PUT", "/b/k", "", ObjectOperation, Write},
		{"PUT", "/b/k?x-id=PutObject", "", ObjectOperation, Write},
		{"DELETE", "/b/k?versionId=x", "", ObjectOperation, Write},
		{"PUT", "/b/k?unknown", "", ObjectOperation, Write},

		{"POST", "/b/k?uploads", "", PartOperation, Other},
		{"POST", "/b/k?uploads=&x-id=CreateMultipartUpload", "", PartOperation, Other},
		{"PUT", "/b/k?partNumber=1&uploadId=u&x-id=UploadPart", "", PartOperation, Other},
		{"PUT", "/b/k?partNumber=1&uploadId=u", source, PartOperation, Other},
		{"DELETE", "/b/k?uploadId=u", "", PartOperation, Other},
		{"PUT", "/b/k?partNumber=1&uploadId=u&X-Amz-Signature=s", "", PartOperation, Other},
		{"PUT", "/b/k?partNumber=1&uploadId=u", "X-Http-Method-Override: DELETE", ObjectOperation, Write},
		{"PUT", "/b/k?partNumber=1&uploadId=", "", ObjectOperation, Write},
		{"PUT", "/b/k?uploadId=u", "", ObjectOperation, Write},
		{"PUT", "/b/k?partNumber=x&uploadId=u", "", ObjectOperation, Write},
		{"PUT", "/b/k?partNumber=1&uploadId=u&uploadId=v", "", ObjectOperation, Write},
		{"PUT", "/b/k?partNumber=1;uploadId=u", "", ObjectOperation, Write},
		{"PUT", "/b/k?partNumber=1&UploadId=u", "", ObjectOperation, Write},
		{"DELETE", "/b/k?uploadId=u&versionId=v", "", ObjectOperation, Write},
		{"PUT", "/b/k?uploads", "", ObjectOperation, Write},

		{"POST", "/b/k?uploadId=u", "", CompleteOperation, Write},
		{"PUT", "/b/k", source, CopyOperation, Write},
		{"PUT", "/b/k?tagging", source, CopyOperation, Write},
		{"PUT", "/b/k?tagging", "", DetailOperation, Write},
		{"DELETE", "/b/k?tagging&versionId=x", "", DetailOperation, Write},
		{"POST", "/b/k?restore", "", DetailOperation, Write},
		{"PUT", "/b?versioning", "", DetailOperation, Write},
		{"PUT", "/b?encryption", "", DetailOperation, Write},
		{"PUT", "/b/k?versioning", "", ObjectOperation, Write}, // some stores ignore what they don't expect
		{"PUT", "/b/k?torrent", "", ObjectOperation, Write},
		{"PUT", "/b/k?restore", "", ObjectOperation, Write},
		{"DELETE", "/b/k?acl", "", ObjectOperation, Write},
		{"PUT", "/b/k?acl", "X-Http-Method-Override: DELETE", ObjectOperation, Write},
		{"PUT", "/b/k?X-Amz-Copy-Source=/b/a&X-Amz-Signature=s", "", CopyOperation, Write},
		{"PUT", "/b/k?acl&x-amz-copy-source=/b/a", "", CopyOperation, Write},

		{"POST", "/b?delete", "", DeleteManyOperation, Write},
		{"POST", "/b/?delete=&x-id=DeleteObjects", "", DeleteManyOperation, Write},
		{"POST", "/b?delete&%zz", "", DeleteManyOperation, Write},
		{"POST", "/b", form, FormOperation, Write},
		{"PUT", "/b", "", BucketOperation, Write},
		{"DELETE", "/b/", "", BucketOperation, Write},
		{"DELETE", "/b?x-id=DeleteBucket", "", BucketOperation, Write},
		{"PUT", "/b", source, CopyOperation, Write},
		{"PUT", "/b?unknown", "", ObjectOperation, Write},
		{"PUT", "/b//", "", ObjectOperation, Write},
		{"PUT", "/b", "X-Http-Method-Override: POST", ObjectOperation, Write},
		{"PUT", "/", "", ObjectOperation, Write},
		{"POST", "/b/k", "", ObjectOperation, Write},
	} {
		var fields []string
		if name, value, ok := strings.Cut(tt.field, ": "); ok {
			fields = []string{name, value}
		}
		if r := objectRequest(t, tt.method, tt.target, fields...); r.Operation != tt.want || r.Class != tt.class {
			t.Errorf("%s %s %s: operation %d of class %d, want %d of class %d", tt.method, tt.target, tt.field, r.Operation, r.Class, tt.want, tt.class)
		}
	}
}

// Parameters that don't say which object a request is about are no part of its target: reads
// and writes of one object have the same one.
func TestObjectTarget(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ method, target, want string }{
		{"GET", "/b/k?x-id=GetObject", "/b/k"},
		{"PUT", "/b/k?x-id=PutObject&X-Amz-Signature=s&x-amz-checksum-crc32=c", "/b/k"},
		{"POST", "/b/k?uploadId=u", "/b/k"},
		{"GET", "/b/k?uploadId=u", "/b/k?uploadId=u"},
		{"GET", "/b/k?versionId=v&x-id=GetObject", "/b/k?versionId=v"},
		{"GET", "/b/k?tagging", "/b/k?tagging"},
	} {
		if r := objectRequest(t, tt.method, tt.target); r.CurrentTarget != tt.want || r.OriginalTarget != tt.want {
			t.Errorf("%s %s: %s, %s, want %s", tt.method, tt.target, r.CurrentTarget, r.OriginalTarget, tt.want)
		}
	}
	r := objectRequest(t, "POST", "/b/k?uploadId=u&x-id=x", "X-Amz-Server-Side-Encryption", "AES256", "X-Amz-Request-Payer", "requester")
	if probe := r.Unsigned(r.Request); probe.URL.RequestURI() != "/b/k" || len(probe.Header) != 1 || probe.Header["X-Amz-Request-Payer"] == nil {
		t.Errorf("a probe asks for %s with %v", probe.URL.RequestURI(), probe.Header)
	}
}

// Tags may come without their quotes, and the conditions on the target of a copy in fields of
// their own.
func TestObjectConditions(t *testing.T) {
	t.Parallel()
	const source = "X-Amz-Copy-Source"
	for _, tt := range []struct {
		fields      []string
		match, none []string
	}{
		{[]string{"If-Match", "abc"}, []string{`"abc"`}, nil},
		{[]string{"If-Match", "abc, def"}, []string{`"abc","def"`}, nil},
		{[]string{"If-Match", `"abc"`}, []string{`"abc"`}, nil},
		{[]string{"If-Match", `"abc", def`}, []string{`"abc", def`}, nil},
		{[]string{"If-Match", "*"}, []string{"*"}, nil},
		{[]string{"If-Match", "*, abc"}, []string{`*,"abc"`}, nil},
		{[]string{"If-Match", ""}, []string{""}, nil},
		{[]string{"If-None-Match", "abc"}, nil, []string{`"abc"`}},
		{[]string{source, "/b/k", "Cf-Copy-Destination-If-Match", "abc"}, []string{`"abc"`}, nil},
		{[]string{source, "/b/k", "Cf-Copy-Destination-If-None-Match", "*"}, nil, []string{"*"}},
	} {
		r := objectRequest(t, "PUT", "/b/k", tt.fields...)
		if !slices.Equal(r.Conditions.IfMatch, tt.match) || !slices.Equal(r.Conditions.IfNoneMatch, tt.none) || r.Unclear+r.Unsupported != "" {
			t.Errorf("%q: %q, %q, %s%s", tt.fields, r.Conditions.IfMatch, r.Conditions.IfNoneMatch, r.Unclear, r.Unsupported)
		}
		if want := tt.match != nil || tt.none != nil; r.Conditional != want {
			t.Errorf("%q: conditional %v", tt.fields, r.Conditional)
		}
	}
}

// Conditions that nobody would evaluate are never ignored.
func TestUnsupportedConditions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, target string
		fields         []string
	}{
		{"PUT", "/b/k", []string{"X-Amz-Copy-Source", "/b/k", "If-Match", "x", "Cf-Copy-Destination-If-Match", "x"}},
		{"PUT", "/b/k", []string{"X-Amz-Copy-Source", "/b/k", "Cf-Copy-Destination-If-Modified-Since", "x"}},
		{"PUT", "/b/k?partNumber=1&uploadId=u", []string{"If-Match", "x"}},
		{"POST", "/b/k?uploads", []string{"If-None-Match", "*"}},
		{"DELETE", "/b/k?uploadId=u", []string{"X-Amz-If-Match-Initiated-Time", "x"}},
		{"DELETE", "/b/k", []string{"X-Amz-If-Match-Size", "1"}},
		{"PUT", "/b/k?renameObject", []string{"X-Amz-Rename-Source", "/b/other", "X-Amz-Rename-Source-If-Match", "x"}},
		{"PUT", "/b/k?If-None-Match=*&X-Amz-Signature=s", nil},
		{"PUT", "/b/k?x-amz-copy-source=/b/o&X-Amz-Copy-Source-If-Match=x&X-Amz-Signature=s", nil},
		{"PUT", "/b/k?a;%69f-match=x", nil},
		{"PUT", "/b", []string{"If-Match", "x"}},
		{"PUT", "/b/k", []string{"Cf-Copy-Destination-If-None-Match", "*"}},
		{"PUT", "/b/k?x-amz-copy-source=/b/o", []string{"X-Amz-Copy-Source", "/b/a", "X-Amz-Copy-Source-If-Match", "x"}},
		{"PUT", "/b/k?x-amz-copy-source=/b/o", []string{"X-Amz-Copy-Source-If-Match", "x"}},
		{"PUT", "/b/k?renameObject&x-amz-rename-source=/b/o", nil},
		{"POST", "/b/k?delete", nil},
		{"PUT", "/b/k", []string{"X-Amz-Copy-Source-If-Match", "x"}},
		{"PUT", "/b/k?partNumber=1&uploadId=u", []string{"Authorization", "AWS4-HMAC-SHA256 x", "X-Original-Url", "/b/other"}},
		{"PUT", "/b/k?X-Amz-SignedHeaders=host%3Bif-none-match&X-Amz-Signature=s", nil}, // the signature covers what isn't there
		{"PUT", "/b/k", []string{"Authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;if-match, Signature=b"}},
		{"PUT", "/b/k", []string{"Authorization", "AWS4-HMAC-SHA256 Credential=a,SignedHeaders=host;if-match;x-amz-date,Signature=b", "If-None-Match", "*"}},
		{"PUT", "/b/k?tagging", []string{"If-Match", "x"}},
		{"POST", "/b?delete", []string{"If-Match", "x"}},
		{"POST", "/b", []string{"Content-Type", "multipart/form-data; boundary=x"}},
		{"POST", "/b", []string{"Content-Type", "text/plain", "Content-Type", "Multipart/Form-Data; boundary=x"}},
	} {
		if r := objectRequest(t, tt.method, tt.target, tt.fields...); r.Unclear+r.Unsupported == "" {
			t.Errorf("%s %s %q passes", tt.method, tt.target, tt.fields)
		}
	}
	const signed = "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;if-match, Signature=b"
	if r := objectRequest(t, "PUT", "/b/k", "Authorization", signed, "If-Match", `"x"`); r.Unclear+r.Unsupported != "" {
		t.Errorf("a signed condition is refused: %s%s", r.Unclear, r.Unsupported)
	}
}

// What only prepares an upload, or is about what belongs to an object, needs no condition.
// What replaces an object under another method does.
func TestObjectNeeds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, target string
		methods        []string
		want           bool
	}{
		{"PUT", "/b/k", []string{"PUT"}, true},
		{"POST", "/b/k?uploadId=u", []string{"PUT"}, true},
		{"POST", "/b?delete", []string{"DELETE"}, true},
		{"POST", "/b?delete", []string{"PUT"}, false},
		{"PUT", "/b/k?acl", []string{"PUT"}, false},
		{"PUT", "/b", []string{"PUT"}, false},
		{"DELETE", "/b", []string{"DELETE"}, false},
		{"POST", "/b/k?uploads", []string{"POST", "PUT"}, false},
		{"PUT", "/b/k?partNumber=1&uploadId=u", []string{"PUT"}, false},
	} {
		if got := Needs(objectRequest(t, tt.method, tt.target), tt.methods); got != tt.want {
			t.Errorf("%s %s, %v: %v", tt.method, tt.target, tt.methods, got)
		}
	}
}

// The objects in a list have the same keys as if each were the target of a request.
func TestDeletes(t *testing.T) {
	t.Parallel()
	n := &Namer{Template: "{http.request.host}{http.request.uri.path}", S3: true}
	for _, bucket := range []string{"/b", "/b/", "/"} {
		for _, key := range []string{"k", "a/b c", "%41?x#y", "ä"} {
			r := n.Request(prepared(t, http.MethodPost, bucket+"?delete"))
			if !n.Deletes(r, []Deletion{{Key: key, Tag: "x"}}) || len(r.Destinations) != 1 || len(r.Premises) != 1 {
				t.Fatalf("%s in %s: %v", key, bucket, r.Destinations)
			}
			u := r.Destinations[0]
			target := prepared(t, http.MethodPut, u.RequestURI())
			if got, want := n.Key(r, u, u), n.Own(n.Request(target)).Key; got != want || r.Premises[0].Subject.Key != want || target.URL.Path != "/"+trimSlashes(bucket)+key {
				t.Errorf("%s in %s: key %s, want %s of %s", key, bucket, got, want, target.URL.Path)
			}
		}
	}
}

func trimSlashes(bucket string) string {
	if bucket == "/" {
		return ""
	}
	return "b/"
}
