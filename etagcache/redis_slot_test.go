package etagcache

import (
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

func TestSlot(t *testing.T) {
	c := redistest.StartCluster(t)[0].Client()
	for _, key := range []string{
		"", "123456789", "foo{}{bar}", "foo{{bar}}zap", "foo{bar}{zap}", "{}", "}{", "a{b", "a}b{c}d",
		"{\x00\xff}", strings.Repeat("k", 500), "caddy:preconditions:generation:{17}",
	} {
		if got, want := slot(key), c.ClusterKeySlot(t.Context(), key).Val(); int64(got) != want {
			t.Errorf("%q: got %d, want %d", key, got, want)
		}
	}
}
