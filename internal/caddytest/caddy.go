package caddytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// GlobalOptions are the global options of every Caddyfile that is loaded here.
const GlobalOptions = `{
	admin off
	persist_config off
	auto_https off
	grace_period 5s
	log {
		level ERROR
	}
}
`

// Adapt turns a Caddyfile into JSON.
func Adapt(t testing.TB, caddyfile string) []byte {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("adapting:\n%s\n%v", caddyfile, err)
	}
	return adapted
}

// Guarded returns the directives of a site with preconditions in front of a
// backend. The field X-Outcome of its responses has the outcome.
func Guarded(options, backend string) string {
	return fmt.Sprintf("header >X-Outcome {http.preconditions.outcome}\npreconditions {\n%s\n}\nreverse_proxy %s", withLag(options), backend)
}

// withLag returns options that set the lag to zero, unless they set it already. Most
// tests change documents behind the handler's back, and go back to earlier content,
// which is believed only after the lag. The package tests/origin tests the lag.
func withLag(options string) string {
	if strings.Contains(options, "lag ") {
		return options
	}
	return options + "\nlag 0s"
}

// Title names a subtest after the options that it tests.
func Title(options string) string {
	if options == "" {
		return "default"
	}
	return strings.ReplaceAll(options, "\n", ", ")
}

// DialsFirst makes a proxy send each request on a connection of its own. Every proxy of a test
// needs it that another proxy follows in the same request, as `forward_auth` does. Otherwise
// the race detector may report Caddy itself: if a proxy gets an idle connection while it
// dials, the dial goes on and reads the request's variables, which the next proxy changes.
const DialsFirst = "transport http {\nkeepalive off\n}\n"

// Site starts a site with preconditions in front of a backend, and returns its
// URL.
func Site(t testing.TB, options string, backend http.Handler) (url string) {
	t.Helper()
	address := Address(t)
	Start(t, fmt.Sprintf("http://%s {\n\tpreconditions {\n%s\n\t}\n\treverse_proxy %s\n}\n", address, withLag(options), Serve(t, backend)))
	return "http://" + address
}

// AnyHost starts a site with the given directives that doesn't look at the Host of
// a request, and returns its URL.
func AnyHost(t testing.TB, directives string) (url string) {
	t.Helper()
	address := Address(t)
	_, port, _ := strings.Cut(address, ":")
	Start(t, fmt.Sprintf("http://:%s {\n%s\n}\n", port, directives))
	return "http://" + address
}

// Start serves the sites of a Caddyfile until the test ends. Their addresses must be
// this test's own.
func Start(t testing.TB, sites string) {
	t.Helper()
	start(t, globalOptions("default_bind "+Host(t))+sites)
}

// StartWith is like Start, with options for the servers.
func StartWith(t testing.TB, servers, sites string) {
	t.Helper()
	start(t, globalOptions("default_bind "+Host(t)+"\nservers {\n"+servers+"\n}")+sites)
}

// globalOptions are GlobalOptions and more.
func globalOptions(more string) string {
	return strings.Replace(GlobalOptions, "{\n", "{\n"+more+"\n", 1)
}

// provisioning is held while a Caddy is set up or cleaned up, because both
// change what all Caddys of a process share: the default logger, and the
// defaults and the certificate cache of the TLS app.
var provisioning sync.Mutex

// start runs a Caddy beside others, which caddy.Load couldn't do: that stops the
// one before. It does the same with the HTTP app alone. There is no way to clean
// up after caddy.ProvisionContext, so that provisions no app; a context below
// it, which can be canceled, does.
func start(t testing.TB, caddyfile string) {
	t.Helper()
	provisioning.Lock()
	defer provisioning.Unlock()

	config := new(caddy.Config)
	if err := json.Unmarshal(Adapt(t, caddyfile), config); err != nil {
		t.Fatal(err)
	}
	apps := config.AppsRaw
	config.AppsRaw = nil
	parent, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(parent)
	cleanUp := func() {
		provisioning.Lock()
		defer provisioning.Unlock()
		cancel()
	}
	config.AppsRaw = apps
	app, err := ctx.App("http")
	if err == nil {
		err = app.(caddy.App).Start()
	}
	if err != nil {
		t.Cleanup(cleanUp)
		t.Fatalf("starting:\n%s\n%v", caddyfile, err)
	}
	host := Host(t)
	t.Cleanup(func() {
		transports.of(host).CloseIdleConnections() // Caddy waits for connections that were never used
		if err := app.(caddy.App).Stop(); err != nil {
			t.Error(err)
		}
		cleanUp()
	})
}
