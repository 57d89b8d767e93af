package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// secret is a part of everything that nobody may see: it is neither a word nor a tag.
const secret = "s3cr3t"

// leaky is a backend that answers with secrets, and refuses to show one resource.
func leaky() *caddytest.Witness {
	return &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=backend-"+secret)
		switch {
		case r.URL.Path == "/docs/closed":
			w.WriteHeader(403)
		case r.URL.Path == "/docs/broken":
			w.WriteHeader(500)
		}
		_, _ = io.WriteString(w, "content-"+secret)
	}}
}

// secretRequests sends requests that have secrets in every place that may have one, and get
// every kind of answer.
func secretRequests(t testing.TB, url string) {
	t.Helper()
	fields := []string{
		"Authorization", "Bearer token-" + secret, "Cookie", "session=client-" + secret, "X-Api-Key", "key-" + secret,
		"Proxy-Authorization", "Basic proxy-" + secret,
	}
	for _, path := range []string{"/docs/a", "/docs/closed", "/docs/broken"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "PROPFIND"} {
			for _, condition := range [][]string{nil, {"If-Match", `"old"`}, {"If-Match", "*"}, {"If-None-Match", "*"}, {"If-Match", "bad"}} {
				content := ""
				if method != "GET" && method != "HEAD" {
					content = `{"password": "sent-` + secret + `"}`
				}
				caddytest.Send(t, method, url+path+"?token=query-"+secret, content, append(condition, fields...)...)
			}
		}
	}
}

// No log, metric, event or span has a password, a cookie, a field with credentials, content,
// or the query.
func TestNoSecrets(t *testing.T) {
	m := miniredis.RunT(t)
	m.RequireAuth("redis-" + secret)
	redis := fmt.Sprintf("store redis redis://:redis-%s@%s\nlease 1s\ngrace 600ms\nwait 5s\n", secret, m.Addr())
	backend := caddytest.Serve(t, leaky())
	for _, options := range []string{"", redis, "mode report\nrequire", "require\nverify all\nerrors caddy", "secret hash-" + secret + "\nverify never\nwrite_etag always"} {
		t.Run(caddytest.Title(strings.ReplaceAll(options, secret, "x")), func(t *testing.T) {
			text, url := site(t, options, backend)
			c := load(t, "", text)
			if strings.Contains(options, "redis") {
				m.SetError("ERR no answer for now") // the store is away, and comes back
				caddytest.Send(t, "PUT", url+"/docs/a", "", "If-Match", "*")
				m.SetError("")
			}
			secretRequests(t, url)
			log, err := os.ReadFile(c.log)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.lines(t, "refused", "would be refused")) == 0 {
				t.Error("no refusal was logged")
			}
			for where, text := range map[string]string{
				"the log": string(log), "the metrics": caddytest.Send(t, "GET", c.admin+"/metrics", "").Expect(t, 200).Content,
			} {
				for line := range strings.Lines(text) {
					if strings.Contains(line, secret) && !byCaddy(line) {
						t.Errorf("%s has a secret: %s", where, line)
					}
				}
			}
		})
	}
}

// byCaddy reports whether Caddy itself has written a line of the log, about a request.
func byCaddy(line string) bool {
	return strings.Contains(line, `"logger":"http.handlers.reverse_proxy"`) || strings.Contains(line, `"logger":"http.log`)
}
