// Package application tests the handler in front of an application in which most
// resources also change through URLs other than their own.
package application

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
