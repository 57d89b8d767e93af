package examples

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
