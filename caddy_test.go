package preconditions_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-preconditions/preconditions"
)

// The tests run a real Caddy: in this process, or, where several nodes are
// needed, as child processes that are this very test binary.

const runCaddy = "PRECONDITIONS_TEST_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(runCaddy) != "" {
		caddycmd.Main()
		return
	}
	// What runs in parallel mostly waits, as for a lease to run out.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set(f.Name, strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}

const globalOptions = `{
	admin off
	persist_config off
	auto_https off
	grace_period 5s
	log {
		level ERROR
	}
}
`

// promised holds what freeAddress returned: the system may give such an address
// to the next who listens, before the one whom it is for.
var promised sync.Map

// freeAddress returns an address of this host that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l := listen(t)
	defer l.Close()
	promised.Store(l.Addr().String(), true)
	return l.Addr().String()
}

// listen listens on an address that is promised to nobody else.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, taken := promised.Load(l.Addr().String()); taken {
		defer l.Close() // so that it isn't given again
		return listen(t)
	}
	return l
}

// adapt turns a Caddyfile into JSON.
func adapt(t testing.TB, config string) []byte {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("adapting:\n%s\n%v", config, err)
	}
	return adapted
}

// load has this process's Caddy serve sites, in place of what it served before.
// Caddy stops when the test ends.
func load(t testing.TB, sites string) {
	t.Helper()
	if err := caddy.Load(adapt(t, globalOptions+sites), true); err != nil {
		t.Fatalf("loading:\n%s\n%v", sites, err)
	}
	t.Cleanup(func() {
		client.CloseIdleConnections() // Caddy waits for those that were never used
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// site is a site of this process's Caddy with preconditions in front of a
// backend; it returns its URL.
func site(t testing.TB, options string, backend http.Handler) (url string) {
	t.Helper()
	address := freeAddress(t)
	load(t, fmt.Sprintf("http://%s {\n\tpreconditions {\n%s\n\t}\n\treverse_proxy %s\n}\n", address, options, serve(t, backend)))
	return "http://" + address
}

// serve serves a backend and returns its address.
func serve(t testing.TB, backend http.Handler) (address string) {
	t.Helper()
	s := &httptest.Server{Listener: listen(t), Config: &http.Server{Handler: backend}}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// caddyCommand returns a Caddy, with the given home and arguments, that is a
// process of its own. It is of this very test binary.
func caddyCommand(t testing.TB, home string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...) // not t.Context(): that ends before the clean-up
	cmd.Env = append(os.Environ(), runCaddy+"=1", "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home,
		// The race detector would have each process wait for a second at its end.
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	return cmd
}

// waitForListener returns once somebody listens on address.
func waitForListener(t testing.TB, address string, exited <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("what should listen on %s exited", address)
		case <-ctx.Done():
			t.Fatalf("nobody listens on %s", address)
		case <-tick.C:
		}
	}
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	Content string
}

// send sends a request with pairs of field name and value, and reads the
// answer.
func send(t testing.TB, method, url, content string, fields ...string) answer {
	t.Helper()
	a, err := try(context.Background(), method, url, content, fields...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

// client doesn't follow redirects and doesn't ask for compression.
var client = &http.Client{
	Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100},
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

// try is like send, but returns the error.
func try(ctx context.Context, method, url, content string, fields ...string) (answer, error) {
	var body io.Reader
	if content != "" {
		body = strings.NewReader(content)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(fields); i += 2 {
		if strings.EqualFold(fields[i], "Host") {
			r.Host = fields[i+1]
			continue
		}
		r.Header[http.CanonicalHeaderKey(fields[i])] = append(r.Header[http.CanonicalHeaderKey(fields[i])], fields[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return answer{resp, string(read)}, err
}

// expect fails the test unless the answer has the status.
func (a answer) expect(t testing.TB, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: got %s, want %d\n%s", a.Request.Method, a.Request.URL, a.Status, status, a.Content)
	}
	return a
}

// tag returns the answer's ETag.
func (a answer) tag(t testing.TB) string {
	t.Helper()
	tag := a.Header.Get("ETag")
	if tag == "" {
		t.Fatalf("%s %s: no ETag", a.Request.Method, a.Request.URL)
	}
	return tag
}
