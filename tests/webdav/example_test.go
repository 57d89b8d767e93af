package webdav

import (
	"os"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestExample: the example protects a share of rclone.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../examples/webdav/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	_, directives, ok := strings.Cut(string(text), "\n}\n") // the global options
	if !ok {
		t.Fatalf("%s", text)
	}
	rclone := caddytest.BackendNamed(t, "rclone")
	rclone.OrSkip(t)
	backend, address := caddytest.StartBackends(t, *rclone)[rclone.Name], caddytest.Address(t)
	caddytest.Start(t, strings.NewReplacer("localhost:8080", address, "localhost:3000", backend).Replace(directives))
	site := "http://" + address
	caddytest.Send(t, "PUT", site+"/plan.txt", "first").ExpectSuccess(t)
	all := described(t, caddytest.Send(t, "PROPFIND", site+"/", named, "Depth", "1"))
	get := caddytest.Send(t, "GET", site+"/plan.txt", "").Expect(t, 200)
	if tag := all["plan.txt"].ETag; tag == "" || tag != get.Tag(t) {
		t.Errorf("getetag is %s, and the tag %s", tag, get.Tag(t))
	}
	caddytest.Send(t, "PUT", site+"/plan.txt", "second", "If", "(["+get.Tag(t)+"])").ExpectSuccess(t)
	caddytest.Send(t, "PUT", site+"/plan.txt", "third", "If", "(["+get.Tag(t)+"])").Expect(t, 412)
}
