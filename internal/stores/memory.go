// Package stores contains the Caddy modules of the stores. They are guest modules of
// the handler, in the namespace http.preconditions.stores.
package stores

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime/debug"

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

	// How many bytes of memory the resources may take, as far as that can be
	// estimated. When there are more, the least recently used ones are forgotten. Those that
	// are being written, or were written within the `lag`, stay in any case. Like
	// max_entries, the limit belongs to the process. Default: an eighth of GOMEMLIMIT if that
	// is set, or else 512 MiB.
	MaxSize int64 `json:"max_size,omitempty"`
}

const (
	defaultMaxEntries = 1_000_000
	defaultMaxSize    = 512 << 20 // unless there is a GOMEMLIMIT
)

// MemoryShare returns an eighth of GOMEMLIMIT, or fallback if that isn't set.
func MemoryShare(fallback int64) int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return max(limit/8, 1)
	}
	return fallback
}

// NewMemory returns the store of a handler that has none configured.
func NewMemory() *Memory { return new(Memory).withDefaults() }

func (m *Memory) withDefaults() *Memory {
	m.MaxEntries = cmp.Or(m.MaxEntries, defaultMaxEntries)
	m.MaxSize = cmp.Or(m.MaxSize, MemoryShare(defaultMaxSize))
	return m
}

// CaddyModule returns the Caddy module information.
func (Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.preconditions.stores.memory",
		New: func() caddy.Module { return new(Memory) },
	}
}

// Provision sets the defaults.
func (m *Memory) Provision(caddy.Context) error {
	m.withDefaults()
	return nil
}

// Validate refuses a limit below 1.
func (m *Memory) Validate() error {
	if err := m.checkMaxEntries(); err != nil {
		return fmt.Errorf("max_entries %w", err)
	}
	if m.MaxSize < 1 {
		return errors.New("max_size must be at least 1 byte")
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

// OpenStore implements storeshare.Opener. Reconfigure then sets the limits.
func (*Memory) OpenStore() (etagcache.Store, error) {
	return etagcache.NewMemory(defaultMaxEntries), nil
}

// Reconfigure sets the limits of a store that an earlier config may have opened.
func (m *Memory) Reconfigure(s etagcache.Store) {
	memory := s.(*etagcache.Memory)
	memory.SetMaxEntries(m.MaxEntries)
	memory.SetMaxSize(m.MaxSize)
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store memory {
//		max_entries <number>
//		max_size    <size>
//	}
func (m *Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // store name
	if d.NextArg() {
		return d.Err("memory takes no arguments, only a block")
	}
	_, err := directive.EachOption(d, func(d *caddyfile.Dispenser, option string) error {
		switch option {
		case "max_entries":
			if err := directive.NumberArg(d, &m.MaxEntries); err != nil {
				return err
			}
			return directive.Check(d, m.checkMaxEntries())
		case "max_size":
			return directive.SizeArg(d, &m.MaxSize)
		default:
			return directive.Unknown(option, "max_entries", "max_size")
		}
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
