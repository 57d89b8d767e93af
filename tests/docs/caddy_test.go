package docs_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-preconditions/preconditions"
)

// runCaddy is the environment variable that makes this test binary the command
// caddy.
const runCaddy = "PRECONDITIONS_DOCS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(runCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// given holds what freeAddress has returned: the system may offer an address again.
var given = make(map[string]bool)

// freeAddress returns an address of this host that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address := l.Addr().String()
	if given[address] {
		return freeAddress(t)
	}
	given[address] = true
	return address
}

// serve serves a backend and returns its address.
func serve(t testing.TB, backend http.Handler) (address string) {
	t.Helper()
	s := httptest.NewServer(backend)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// globalOptions are those of every Caddyfile here, but for the address of the admin API.
const globalOptions = `{
	admin {admin}
	persist_config off
	auto_https off
	grace_period 5s
	log {
		level PANIC
	}
}
`

// adapt turns a Caddyfile into JSON. Its own global options, if it has any, count besides those of
// the tests.
func adapt(t testing.TB, admin, sites string) ([]byte, error) {
	t.Helper()
	text := strings.ReplaceAll(globalOptions, "{admin}", admin)
	if more, ok := strings.CutPrefix(sites, "{\n"); ok {
		sites, text = more, strings.TrimSuffix(strings.TrimSpace(text), "}")
	}
	text += sites
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// load lets this process's Caddy serve sites until the test ends. It returns the
// address of its admin API.
func load(t testing.TB, sites string) (admin string) {
	t.Helper()
	admin = freeAddress(t)
	config, err := adapt(t, admin, sites)
	if err != nil {
		t.Fatalf("adapting:\n%s\n%v", sites, err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatalf("loading:\n%s\n%v", sites, err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return admin
}

// validate provisions a config, and starts nothing.
func validate(config []byte) error {
	var parsed caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		return err
	}
	return caddy.Validate(&parsed)
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	content []byte
}

// send sends a request with pairs of field name and value.
func send(t testing.TB, method, url, content string, fields ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewBufferString(content))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if r.Header.Set(fields[i], fields[i+1]); fields[i] == "Host" {
			r.Host = fields[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, read}
}

// expect fails the test unless the answer has the status.
func (a answer) expect(t testing.TB, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: got %s, want %d\n%s", a.Request.Method, a.Request.URL, a.Status, status, a.content)
	}
	return a
}
