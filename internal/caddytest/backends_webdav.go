package caddytest

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// Lighttpd is lighttpd with mod_webdav, which has locks and no entity tags.
var Lighttpd = Backend{
	Name:  "lighttpd",
	needs: []string{"lighttpd", "/usr/lib/lighttpd/mod_webdav.so"},
	Start: func(t testing.TB, address, dir string) *exec.Cmd {
		host, port, _ := strings.Cut(address, ":")
		return exec.Command(programPath("lighttpd"), "-D", "-f", configFile(t, dir, "lighttpd.conf", "{host}", host, "{port}", port))
	},
	Path:  "/%s.json",
	Proxy: davProxy,
}

// Needs skips the test if a program is missing, or fails it if the environment variable CI is
// set.
func Needs(t testing.TB, programs ...string) {
	t.Helper()
	(&Backend{needs: programs}).OrSkip(t)
}

// Radicale is a server of calendars and address books. It has tags and conditions of its own.
var Radicale = Backend{
	Name:  "Radicale",
	needs: []string{"radicale"},
	Start: func(t testing.TB, address, dir string) *exec.Cmd {
		return exec.Command("radicale", "--config", configFile(t, dir, "radicale.conf", "{address}", address))
	},
}

// TSDAV runs a client made with tsdav in a collection of some kind: calendar or addresses. It
// returns, in JSON, how its requests ended. See tsdav.mjs.
func TSDAV(t testing.TB, kind, collection, authorization string) []byte {
	t.Helper()
	(&Backend{needs: []string{"node", ours("node_modules/tsdav")}}).OrSkip(t)
	cmd := exec.CommandContext(t.Context(), "node", ours("tsdav.mjs"), kind, collection, authorization)
	said := new(bytes.Buffer)
	cmd.Stderr = said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return out
}
