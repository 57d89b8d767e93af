package backends

import (
	"fmt"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// destinationSpellings are ways to name a document. Each server understands some of them.
var destinationSpellings = []string{
	"http://{host}:{port}{path}", "https://{host}:{port}{path}", "HTTP://{host}:{port}{path}", "{path}",
	"http://{host}{path}", "http://{host}:x{path}", "http://{host}:{port}:{port}{path}", "http://{host}:{port}x{path}", "http://{host}.example{path}",
	"http://other.example{path}", "http://ann@{host}:{port}{path}", "http://ann:b@{host}:{port}{path}", "http://{host}@other.example{path}",
	"http://{host} x{path}", "http://{host}[{path}", "http://[::1]{path}", "http://[{path}", "http://{host}%2f{path}",
	"http://{host}?{path}", "http://{host}#{path}", "http://{host};{path}", `http://{host}\{path}`, `http:\\{host}{path}`,
	"http:/{path}", "http:{path}", "http://{path}", "ftp://{host}:{port}{path}", "mailto:{host}{path}",
	"//{host}{path}", "/{path}", "//{path}", "{relative}", "./{relative}", "x/..{path}", "/x/..{path}", "/.{path}", "/x//..{path}", "/%2e{path}",
	"{path}?x", "{path}#x", "{path}?x#y", "{path}%00x", "{path}/", "{path}/.", "%2f{relative}", "/%zz{relative}", "/%{relative}",
	"http://{host}:{port}{path}%zz", "http://{host}:{port}/%zz{relative}", "http://{host}:{port}/{path}", "http://{host}:{port}//{path}", " {path}", "<{path}>",
	"{path}, {other}", "{other}, {path}", "{path},{other}",
}

// TestDestinationSpellings: however a client spells a Destination, a document that the
// server has replaced because of it isn't written with its old tag.
func TestDestinationSpellings(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nginx", "Apache httpd", "rclone", "Tomcat"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := caddytest.BackendNamed(t, name)
			b.OrSkip(t)
			direct := &url.URL{Scheme: "http", Host: caddytest.StartBackends(t, *b)[name]}
			site := caddytest.Site(t, b.Options[0]+"\nwait 10s\nlease 1s\nverify never\nwrite_etag off", httputil.NewSingleHostReverseProxy(direct))
			host, port, _ := strings.Cut(strings.TrimPrefix(site, "http://"), ":")
			caddytest.Send(t, "PUT", direct.String()+"/source.json", "copied").ExpectSuccess(t)
			replaced := 0
			for i, spelling := range destinationSpellings {
				for _, lines := range []int{1, 2} {
					path, other := fmt.Sprintf("/victim-%d-%d.json", i, lines), fmt.Sprintf("/other-%d-%d.json", i, lines)
					caddytest.Send(t, "PUT", direct.String()+path, "old").ExpectSuccess(t)
					tag := caddytest.Send(t, "GET", site+path, "").Expect(t, 200).Tag(t)
					to := strings.NewReplacer("{host}", host, "{port}", port, "{path}", path, "{relative}", path[1:], "{other}", other).Replace(spelling)
					fields := []string{"Overwrite", "T", "Destination", to}
					if lines > 1 {
						fields = append(fields, "Destination", other)
					}
					answer := caddytest.Send(t, "COPY", site+"/source.json", "", fields...).StatusCode
					if caddytest.Send(t, "GET", direct.String()+path, "").Content == "old" {
						continue
					}
					replaced++
					if a := caddytest.Send(t, "PUT", site+path, "lost", "If-Match", tag); a.StatusCode != 412 {
						t.Errorf("after a COPY to %q (%d lines, %d), a write with the old tag gets %d", to, lines, answer, a.StatusCode)
					}
				}
			}
			if replaced == 0 {
				t.Error("no Destination was understood")
			}
			t.Logf("%d of %d documents were replaced", replaced, 2*len(destinationSpellings))
		})
	}
}
