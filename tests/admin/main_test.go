// Package admin tests the admin API and the command. Its tests replace the config of the
// process, so none is parallel.
package admin

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
