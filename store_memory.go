package preconditions

import (
	"errors"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

func init() {
	caddy.RegisterModule(MemoryStore{})
}

// MemoryStore keeps validators and claims in the memory of this process. All
// handlers of a process that use it share one, also across config reloads. It
// is right for a single Caddy: nodes that share resources need a shared store.
type MemoryStore struct {
	// How many resources are kept. The one that was used least recently gives
	// way; the origin is asked again for it. One number holds for the process:
	// the last one configured, defaults included, so that all handlers should have
	// the same. Default: 1000000.
	MaxEntries int `json:"max_entries,omitempty"`
}

const defaultMaxEntries = 1_000_000

// CaddyModule returns the Caddy module information.
func (MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.preconditions.stores.memory",
		New: func() caddy.Module { return new(MemoryStore) },
	}
}

// Provision sets the default.
func (m *MemoryStore) Provision(caddy.Context) error {
	setDefault(&m.MaxEntries, defaultMaxEntries)
	return nil
}

// Validate refuses a bound that can't be meant.
func (m *MemoryStore) Validate() error {
	if m.MaxEntries < 1 {
		return errors.New("max_entries must be at least 1")
	}
	return nil
}

// StoreKey implements StoreOpener.
func (*MemoryStore) StoreKey() string { return "memory" }

// OpenStore implements StoreOpener.
func (*MemoryStore) OpenStore() (etagcache.Store, error) {
	return etagcache.NewMemory(defaultMaxEntries), nil
}

// Reconfigure sets the bound of a store that may be open since before this
// config.
func (m *MemoryStore) Reconfigure(s etagcache.Store) {
	s.(*etagcache.Memory).SetMaxEntries(m.MaxEntries)
}
