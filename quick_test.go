package preconditions_test

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// TestLostUpdate is what the handler is for.
func TestLostUpdate(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	url := site(t, "require", docs) + "/docs/plan"
	send(t, "PUT", url, "first", "If-None-Match", "*").expect(t, 201)

	tag := send(t, "GET", url, "").expect(t, 200).tag(t)
	send(t, "PUT", url, "Ann's", "If-Match", tag).expect(t, 204)
	send(t, "PUT", url, "Bob's", "If-Match", tag).expect(t, 412)
	send(t, "PUT", url, "Bob's").expect(t, 428)

	if got := send(t, "GET", url, "").expect(t, 200).Content; got != "Ann's" {
		t.Errorf("got %q, want Ann's", got)
	}
}
