package s3

import (
	"os"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// The site of the example does what its comment says.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../examples/s3/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	_, site, ok := strings.Cut(string(text), "\n}\n") // the global options
	if !ok {
		t.Fatalf("%s", text)
	}
	address, store := caddytest.Address(t), caddytest.ObjectStore(t)
	caddytest.Start(t, strings.NewReplacer("{$S3_ADDRESS:localhost:8080}", address, "{$S3_STORE:localhost:9000}", store).Replace(site))
	c := client{caddytest.NewObjectClient(t, "aws-sdk-go-v2"), t, "http://" + address}
	c.expect(op{Op: "put", Key: "k", Body: "one", IfNoneMatch: "*"}, 200, "")
	c.expect(op{Op: "put", Key: "k", Body: "two", IfNoneMatch: "*"}, 412, "PreconditionFailed")
	c.node = "http://" + store
	c.expect(op{Op: "put", Key: "k", Body: "two", IfNoneMatch: "*"}, 200, "")
}
