package caddytest

import (
	"os/exec"
	"strings"
	"testing"
)

// CouchDB is a database that speaks CouchDB's protocol, and is empty at first.
func CouchDB() Backend {
	return Backend{
		Name:  "CouchDB",
		needs: []string{"node", ours("node_modules/express-pouchdb")},
		Start: func(_ testing.TB, address, _ string) *exec.Cmd {
			_, port, _ := strings.Cut(address, ":")
			return exec.Command("node", ours("couchdb.js"), port)
		},
	}
}
