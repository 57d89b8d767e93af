package caddytest

import (
	"bytes"
	"os/exec"
	"testing"
)

// VersionClient runs a client of fhir, odata or scim that makes its If-Match from the version
// in the content, and returns, in JSON, how its writes of the service at a URL ended. See
// versions.mjs.
func VersionClient(t testing.TB, protocol, url string) []byte {
	t.Helper()
	(&Backend{needs: []string{"node", ours("node_modules/fhir-kit-client"), ours("node_modules/dynamics-web-api")}}).OrSkip(t)
	cmd := exec.CommandContext(t.Context(), "node", ours("versions.mjs"), protocol, url)
	said := new(bytes.Buffer)
	cmd.Stderr = said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return out
}
