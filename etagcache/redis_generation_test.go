package etagcache

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestMarkers(t *testing.T) {
	for _, prefix := range []string{"caddy:preconditions:", "a{b", "a{}b", "}", "{"} {
		m := newMarkers(prefix+markerKey, true)
		names := map[string]bool{}
		for i, name := range m.all() {
			if slot(name) != i {
				t.Fatalf("%q: the marker %q is not in slot %d", prefix, name, i)
			}
			names[name] = true
		}
		if len(names) != slots {
			t.Errorf("%q: %d markers", prefix, len(names))
		}
		for _, entry := range []string{"k", "}", "{x}"} {
			if slot(m.of(prefix+entry)) != slot(prefix+entry) {
				t.Errorf("%q: the marker of %q is in a different slot", prefix, entry)
			}
		}
	}
	for name, m := range map[string]markers{
		"a single server":     newMarkers("p:generation", false),
		"a tag in the prefix": newMarkers("{p}:generation", true),
	} {
		if names := m.all(); len(names) != 1 || m.of("{p}:k") != names[0] {
			t.Errorf("%s: %q", name, names)
		}
	}
	// Gateways of different versions must agree on the names.
	if got := newMarkers("p:generation", true).of("p:k"); got != "p:generation:{5740}" {
		t.Errorf("got %q", got)
	}
}

func TestClusterClientIsRecognized(t *testing.T) {
	var client redis.UniversalClient = redis.NewClusterClient(&redis.ClusterOptions{})
	defer func() { _ = client.Close() }()
	if _, ok := client.(clusterClient); !ok {
		t.Fatal("it is not recognized")
	}
}
