// Package webdav tests the profile of that name: the If field, tags in the answers to PROPFIND
// and REPORT, and WebDAV servers and clients of others.
package webdav

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
