package clients

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A resource whose content differs on every read is counted once. A resource whose
// content changes through writes isn't counted, even if they bypass the handler.
func TestUnstable(t *testing.T) {
	t.Parallel()
	unstable := func(node *caddytest.Node) string {
		return grep(caddytest.Send(t, "GET", node.URL+"/metrics", "").Expect(t, 200).Content, "caddy_preconditions_unstable_resources_total ")
	}
	backend, _ := restless()
	n := caddytest.StartNode(t, "metrics /metrics\n"+caddytest.Guarded("", caddytest.Serve(t, backend)))
	for range 20 {
		caddytest.Send(t, "GET", n.URL+"/page", "").Expect(t, 200)
	}
	if got := unstable(n); got != "caddy_preconditions_unstable_resources_total 1\n" {
		t.Errorf("want one unstable resource, got %s", got)
	}

	content := 0
	n = caddytest.StartNode(t, "metrics /metrics\n"+caddytest.Guarded("", caddytest.Serve(t, &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" {
			content++
			return
		}
		_, _ = io.WriteString(w, strconv.Itoa(content))
	}})))
	for i := range 20 {
		caddytest.Send(t, "GET", n.URL+"/page", "").Expect(t, 200)
		caddytest.Send(t, "GET", n.URL+"/page", "").Expect(t, 200)
		if i%2 == 0 {
			content++
		} else {
			caddytest.Send(t, "POST", n.URL+"/page", "").Expect(t, 200)
		}
	}
	if got := unstable(n); got != "caddy_preconditions_unstable_resources_total 0\n" {
		t.Errorf("want no unstable resource, got %s", got)
	}
}

// grep returns the lines of text that begin with word.
func grep(text, word string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}
