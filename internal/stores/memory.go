// Package stores contains the Caddy modules of the stores. They are guest modules of
// the handler, in the namespace http.preconditions.stores.
package stores

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/directive"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

func init() {
	caddy.RegisterModule(Memory{})
}

// Memory keeps validators and claims in the memory of this process. All handlers
// of the process that use it share one store, which also survives config
// reloads. It suits a single Caddy: nodes that serve the same resources need a
// store that they share.
type Memory struct {
	// How many resources are kept. When there are more, the least recently used
	// one is forgotten, which costs no more than asking the origin for it again.
	// The limit belongs to the process: the last one configured counts, defaults
	// included, so give all handlers the same one. Default: 1000000.
	MaxEntries int `json:"max_entries,omitempty"`
}

const defaultMaxEntries = 1_000_000

// NewMemory returns the store of a handler that has none configured.
func NewMemory() *Memory { return &Memory{MaxEntries: defaultMaxEntries} }

// CaddyModule returns the Caddy module information.
func (Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.preconditions.stores.memory",
		New: func() caddy.Module { return new(Memory) },
	}
}

// Provision sets the default.
func (m *Memory) Provision(caddy.Context) error {
	m.MaxEntries = cmp.Or(m.MaxEntries, defaultMaxEntries)
	return nil
}

// Validate refuses a limit below 1.
func (m *Memory) Validate() error {
	if err := m.checkMaxEntries(); err != nil {
		return fmt.Errorf("max_entries %w", err)
	}
	return nil
}

func (m *Memory) checkMaxEntries() error {
	if m.MaxEntries < 1 {
		return errors.New("must be at least 1")
	}
	return nil
}

// Local says that no other process uses the store (see storeshare.Opener).
func (*Memory) Local() {}

// StoreKey implements storeshare.Opener.
func (*Memory) StoreKey() string { return "memory" }

// OpenStore implements storeshare.Opener. Reconfigure then sets the limit.
func (*Memory) OpenStore() (etagcache.Store, error) {
	return etagcache.NewMemory(defaultMaxEntries), nil
}

// Reconfigure sets the limit of a store that an earlier config may have opened.
func (m *Memory) Reconfigure(s etagcache.Store) {
	s.(*etagcache.Memory).SetMaxEntries(m.MaxEntries)
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store memory {
//		max_entries <number>
//	}
func (m *Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // store name
	if d.NextArg() {
		return d.Err("memory takes no arguments, only a block")
	}
	_, err := directive.EachOption(d, func(d *caddyfile.Dispenser, option string) error {
		if option != "max_entries" {
			return directive.Unknown(option, "max_entries")
		}
		if err := directive.NumberArg(d, &m.MaxEntries); err != nil {
			return err
		}
		return directive.Check(d, m.checkMaxEntries())
	})
	return err
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Memory)(nil)
	_ caddy.Validator       = (*Memory)(nil)
	_ caddyfile.Unmarshaler = (*Memory)(nil)
	_ storeshare.Opener     = (*Memory)(nil)
)
