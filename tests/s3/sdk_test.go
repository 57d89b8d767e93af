package s3

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// client is a client of one node.
type client struct {
	*caddytest.ObjectClient
	t    *testing.T
	node string
}

func (c client) expect(o op, status int, code string) caddytest.ObjectResult {
	c.t.Helper()
	o.Endpoint, o.Bucket = c.node, cmp.Or(o.Bucket, "b")
	return c.Do(o).Expect(c.t, status, code)
}

// SDKs read refusals as they read those of S3, and get the tags of the store as they are.
func TestSDK(t *testing.T) {
	t.Parallel()
	onEverySDK(t, "", func(t *testing.T, nodes caddytest.Nodes, sdk *caddytest.ObjectClient) {
		c, other := client{sdk, t, nodes.First()}, client{sdk, t, nodes.Other()}
		first := c.expect(op{Op: "put", Key: "k", Body: "one"}, 200, "")
		got := other.expect(op{Op: "get", Key: "k", IfMatch: first.ETag}, 200, "")
		if got.Body != "one" || got.ETag != first.ETag {
			t.Errorf("%+v, want the tag %s", got, first.ETag)
		}
		unquoted := strings.Trim(first.ETag, `"`)
		second := other.expect(op{Op: "put", Key: "k", Body: "two", IfMatch: unquoted}, 200, "")
		c.expect(op{Op: "put", Key: "k", Body: "three", IfMatch: unquoted}, 412, "PreconditionFailed")
		c.expect(op{Op: "get", Key: "k", IfMatch: first.ETag}, 412, "PreconditionFailed")
		if head := c.expect(op{Op: "head", Key: "k"}, 200, ""); head.ETag != second.ETag {
			t.Errorf("HEAD shows %s, want %s", head.ETag, second.ETag)
		}
		if r := c.expect(op{Op: "get", Key: "k", IfNoneMatch: second.ETag}, 304, c.notModified()); r.Body != "" {
			t.Errorf("%+v", r)
		}
		c.expect(op{Op: "put", Key: "missing", Body: "x", IfMatch: first.ETag}, 404, "NoSuchKey")
		c.expect(op{Op: "delete", Key: "missing", IfMatch: first.ETag}, 200, "")
		c.expect(op{Op: "delete", Key: "k", IfMatch: first.ETag}, 412, "PreconditionFailed")

		c.expect(op{Op: "multipart", Key: "k", Body: "four", IfMatch: second.ETag}, 200, "")
		uploaded := c.expect(op{Op: "head", Key: "k"}, 200, "") // gofakes3 shows another tag than it has answered
		other.expect(op{Op: "multipart", Key: "k", Body: "five", IfMatch: second.ETag}, 412, "PreconditionFailed")
		other.expect(op{Op: "multipart", Key: "missing", Body: "five", IfMatch: second.ETag}, 404, "NoSuchKey")
		other.expect(op{Op: "copy", Key: "k", Source: "b/k", IfMatch: second.ETag}, 412, "PreconditionFailed")
		c.expect(op{Op: "copy", Key: "copy", Source: "b/k", IfNoneMatch: "*"}, 200, "")
		c.expect(op{Op: "copy", Key: "another", Source: "b/k", SourceIfMatch: second.ETag}, 412, "PreconditionFailed")
		other.expect(op{Op: "copy", Key: "another", Source: "b/k", SourceIfMatch: uploaded.ETag}, 200, "")
		c.expect(op{Op: "copy", Key: "another", Source: "b/missing", SourceIfMatch: "x"}, 404, "NoSuchKey")

		c.expect(op{Op: "deletes", Keys: []string{"copy", "none"}}, 200, "")
		c.expect(op{Op: "put", Key: "copy", Body: "x", IfNoneMatch: "*"}, 200, "")
		c.expect(op{Op: "delete", Key: "k", IfMatch: uploaded.ETag}, 200, "")
		c.expect(op{Op: "put", Key: "k", Body: "x", IfNoneMatch: "*"}, 200, "")
	})
}

// notModified is the code of a 304, which has no content to name one: boto3 makes one up.
func (c client) notModified() string {
	if strings.Contains(c.t.Name(), "boto3") {
		return "304"
	}
	return "NotModified"
}

// A list of objects to delete is refused as a whole unless the tag of each is current. If require
// asks for a condition, each object needs a tag.
func TestDeleteListWithTags(t *testing.T) {
	t.Parallel()
	store := caddytest.ObjectStore(t)
	c := client{caddytest.NewObjectClient(t, "aws-sdk-go-v2"), t, caddytest.OneNodeAt(t, caddytest.Guarded("profile s3\nrequire DELETE", store)).First()}
	c.expect(op{Op: "put", Key: "k", Body: "one"}, 200, "")
	old := c.expect(op{Op: "put", Key: "other", Body: "one"}, 200, "").ETag
	c.expect(op{Op: "put", Key: "other", Body: "two"}, 200, "")
	c.expect(op{Op: "deletes", Keys: []string{"k", "other"}, IfMatch: old}, 412, "PreconditionFailed")
	c.expect(op{Op: "deletes", Keys: []string{"k"}}, 428, "PreconditionRequired")
	c.expect(op{Op: "head", Key: "k"}, 200, "")
	c.expect(op{Op: "head", Key: "other"}, 200, "")
	c.expect(op{Op: "deletes", Keys: []string{"k", "none"}, IfMatch: old}, 200, "")
	c.expect(op{Op: "head", Key: "k"}, 404, "NotFound")
}

// A bucket in the path and one in front of the host make one object, under both names. What
// creates a bucket needs no condition.
func TestVirtualHosts(t *testing.T) {
	t.Parallel()
	for _, sdk := range caddytest.ObjectSDKs {
		t.Run(sdk, func(t *testing.T) {
			t.Parallel()
			store := caddytest.ObjectStore(t)
			c := client{caddytest.NewObjectClient(t, sdk), t, caddytest.AnyHost(t, caddytest.Guarded("profile s3 s3.example.com\nrequire PUT DELETE", store))}
			called := func(o op, virtual bool) op {
				o.Bucket, o.Host, o.Virtual = sdk, "s3.example.com", virtual // a bucket of one's own, since all sites here share a store
				return o
			}
			path := func(o op, status int, code string) caddytest.ObjectResult {
				return c.expect(called(o, false), status, code)
			}
			host := func(o op, status int, code string) caddytest.ObjectResult {
				return c.expect(called(o, true), status, code)
			}
			path(op{Op: "create"}, 200, "")
			host(op{Op: "put", Key: "k", Body: "x"}, 428, "PreconditionRequired")
			first := host(op{Op: "put", Key: "k", Body: "one", IfNoneMatch: "*"}, 200, "")
			path(op{Op: "put", Key: "k", Body: "two", IfNoneMatch: "*"}, 412, "PreconditionFailed")
			second := path(op{Op: "put", Key: "k", Body: "two", IfMatch: first.ETag}, 200, "")
			host(op{Op: "put", Key: "k", Body: "three", IfMatch: first.ETag}, 412, "PreconditionFailed")
			if got := host(op{Op: "get", Key: "k"}, 200, ""); got.Body != "two" {
				t.Errorf("%+v", got)
			}
			host(op{Op: "copy", Key: "copy", Source: sdk + "/k", SourceIfMatch: first.ETag, IfNoneMatch: "*"}, 412, "PreconditionFailed")
			host(op{Op: "copy", Key: "copy", Source: sdk + "/k", SourceIfMatch: second.ETag, IfNoneMatch: "*"}, 200, "")
			host(op{Op: "copy", Key: "another", Source: "other/k", SourceIfMatch: second.ETag, IfNoneMatch: "*"}, 501, "NotImplemented")

			var all []<-chan caddytest.ObjectResult
			for i := range writers {
				o := called(op{Op: "put", Endpoint: c.node, Key: "k", Body: fmt.Sprint(i), IfMatch: second.ETag}, i%2 == 0)
				all = append(all, c.Go(o))
			}
			if _, winners := outcomes(t, all, "PreconditionFailed"); winners != 1 {
				t.Errorf("%d winners", winners)
			}
		})
	}
}

// Where the store shows nothing to strangers, what came through decides with verify never: the
// answers to writes, reads, and that an object isn't there.
func TestPrivateStore(t *testing.T) {
	t.Parallel()
	for _, sdk := range caddytest.ObjectSDKs {
		t.Run(sdk, func(t *testing.T) {
			t.Parallel()
			nodes := twoNodes(t, "verify never\nlag 30s", caddytest.ObjectStore(t, "-hide"))
			c := client{caddytest.NewObjectClient(t, sdk), t, nodes.First()}
			c.expect(op{Op: "put", Key: "k", Body: "x", IfNoneMatch: "*"}, 503, "ServiceUnavailable")
			c.expect(op{Op: "head", Key: "k"}, 404, c.notFound())
			first := c.expect(op{Op: "put", Key: "k", Body: "one", IfNoneMatch: "*"}, 200, "")
			c.node = nodes.Other()
			second := c.expect(op{Op: "put", Key: "k", Body: "two", IfMatch: first.ETag}, 200, "")
			c.expect(op{Op: "put", Key: "k", Body: "three", IfMatch: first.ETag}, 412, "PreconditionFailed")
			third := c.expect(op{Op: "put", Key: "k", Body: "three"}, 200, "") // without a condition
			c.expect(op{Op: "put", Key: "k", Body: "four", IfMatch: second.ETag}, 412, "PreconditionFailed")
			fourth := c.expect(op{Op: "multipart", Key: "k", Body: "four", IfMatch: third.ETag}, 200, "")
			fifth := c.expect(op{Op: "copy", Key: "k", Source: "b/k", IfMatch: fourth.ETag}, 200, "")
			c.expect(op{Op: "delete", Key: "k", IfMatch: fifth.ETag}, 200, "")
			c.expect(op{Op: "put", Key: "k", Body: "five", IfNoneMatch: "*"}, 200, "")
			c.expect(op{Op: "deletes", Keys: []string{"k"}}, 200, "")
			c.expect(op{Op: "put", Key: "k", Body: "six", IfNoneMatch: "*"}, 503, "ServiceUnavailable")
		})
	}
}

// notFound is the code of a 404 to a HEAD, which has no content: boto3 makes one up.
func (c client) notFound() string {
	if strings.Contains(c.t.Name(), "boto3") {
		return "404"
	}
	return "NotFound"
}
