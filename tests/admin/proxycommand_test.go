package admin

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// proxied starts caddy precondition-proxy in front of a backend, in a process of its own. It
// returns the URL of its site.
func proxied(t testing.TB, backend string, flags ...string) (url string) {
	t.Helper()
	at := caddytest.StartBackends(t, caddytest.Backend{Name: "the proxy", Start: func(t testing.TB, address, dir string) *exec.Cmd {
		return caddytest.Command(t, dir, append([]string{"precondition-proxy", "--from", "http://" + address, "--to", backend}, flags...)...)
	}})
	return "http://" + at["the proxy"]
}

// The command serves what the directive would: tags, refusals, and one of two writers.
func TestProxyCommand(t *testing.T) {
	t.Parallel()
	docs := legacydocs.New(legacydocs.Options{})
	backend := caddytest.Serve(t, docs)
	url := proxied(t, backend) + "/docs/plan"
	caddytest.Send(t, "PUT", "http://"+backend+"/docs/plan", "one").ExpectSuccess(t)

	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	caddytest.Send(t, "PUT", url, "two", "If-Match", tag).ExpectSuccess(t)
	caddytest.Send(t, "PUT", url, "three", "If-Match", tag).Expect(t, 412)
	caddytest.Send(t, "PUT", url, "three").ExpectSuccess(t) // nothing requires a condition
	if got := caddytest.Send(t, "GET", url, ""); got.Content != "three" {
		t.Errorf("stored %q", got.Content)
	}
}

// Each flag has the effect of the option that it stands for.
func TestProxyCommandFlags(t *testing.T) {
	t.Parallel()
	docs, seen := caddytest.Watched(legacydocs.Options{})
	backend := caddytest.Serve(t, docs)
	caddytest.Send(t, "PUT", "http://"+backend+"/docs/plan", `{"rev":7}`, "Content-Type", "application/json").ExpectSuccess(t)
	redis := "redis://" + caddytest.UsedRedis(t).Addr
	admin := caddytest.LocalAddress(t)
	flags := []string{
		"--store", redis, "--require", "--etag", "json /rev verbatim", "--etag", "body", "--option", "verify never",
		"--option", "store_down {\nretry_after 7s\n}", "--change-host-header", "--admin", admin,
	}
	first := proxied(t, backend, flags...) + "/docs/plan"
	second := proxied(t, backend, append(flags[:len(flags):len(flags)], "--admin", "off")...) + "/docs/plan"

	tag := caddytest.Send(t, "GET", first, "").Tag(t)
	if tag != `"7"` {
		t.Errorf("--etag: got the tag %s", tag)
	}
	caddytest.Send(t, "PUT", first, "{}").Expect(t, 428)
	asked := seen.Asks(func() { caddytest.Send(t, "PUT", second, "{}", "If-Match", `"6"`).Expect(t, 412) })
	if asked != 0 { // --store and --option: the second knows what the first has read
		t.Errorf("the backend was asked %d times", asked)
	}
	if got := caddytest.Send(t, "GET", "http://"+admin+"/metrics", ""); !strings.Contains(got.Content, "caddy_preconditions_requests_total") {
		t.Errorf("--admin: got %d", got.StatusCode)
	}
}

// What --print prints is a Caddyfile that a user can go on with.
func TestProxyCommandPrint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flags []string
		want  string
	}{
		{
			[]string{"--from", ":8080", "--to", "127.0.0.1:9000", "--to", "127.0.0.1:9001"},
			"{\n\tadmin off\n\tpersist_config off\n}\n\n" +
				"http://:8080 {\n\tpreconditions {\n\t\tkey documents{http.request.uri.path}\n\t}\n\treverse_proxy 127.0.0.1:9000 127.0.0.1:9001\n}\n",
		},
		{
			[]string{
				"--to", "https://legacy.example.com", "--insecure", "--change-host-header", "--internal-certs", "--disable-redirects",
				"--debug", "--access-log", "--admin", "localhost:2019", "--store", "redis://localhost:6379/0", "--require",
				"--etag", "json /rev", "--option", "verify never",
			},
			"{\n\tadmin localhost:2019\n\tpersist_config off\n\tauto_https disable_redirects\n\tdebug\n}\n\n" +
				"localhost {\n\ttls internal\n\tlog\n\tpreconditions {\n\t\tstore redis redis://localhost:6379/0\n" +
				"\t\tetag json /rev\n\t\trequire\n\t\tverify never\n\t}\n" +
				"\treverse_proxy https://legacy.example.com {\n\t\theader_up Host {http.reverse_proxy.upstream.hostport}\n" +
				"\t\ttransport http {\n\t\t\ttls_insecure_skip_verify\n\t\t}\n\t}\n}\n",
		},
		{[]string{"--from", ":8080", "--to", "127.0.0.1:9000", "--option", "key {path}"}, "\t\tkey {path}\n"},
	} {
		out, status := runCaddy(t, append([]string{"precondition-proxy", "--print"}, tt.flags...)...)
		if status != 0 || !strings.Contains(out, tt.want) || strings.Contains(out, "documents") && strings.Contains(tt.want, "{path}") {
			t.Errorf("%v: exit code %d\n%s", tt.flags, status, out)
		}
	}
}

// A flag that can't be meant ends the command, and the error says what to write instead.
func TestProxyCommandErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flags []string
		says  string
	}{
		{nil, "--to is required"},
		{[]string{"--to", "{"}, "must not be a brace"},
		{[]string{"--to", "127.0.0.1:9000", "--from", "localhost/docs"}, "must not have a path"},
		{[]string{"--to", "127.0.0.1:9000", "--etag", "jsn /rev"}, ": etag jsn /rev (--print shows"},
		{[]string{"--to", "127.0.0.1:9000", "--option", "verfy never"}, "verify"},
		{[]string{"--to", "127.0.0.1:9000", "127.0.0.1:9001"}, "unknown command"},
	} {
		out, status := runCaddy(t, append([]string{"precondition-proxy"}, tt.flags...)...)
		if status == 0 || !strings.Contains(out, tt.says) {
			t.Errorf("%v: exit code %d\n%s", tt.flags, status, out)
		}
	}
}
