// Package s3 tests the handler in front of object stores that speak S3, with the SDKs of their
// clients.
package s3

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

func TestMain(m *testing.M) { caddytest.Main(m) }
