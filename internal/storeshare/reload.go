package storeshare

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// A reload can change how resources are named: the key, or what a write affects or
// guards. Two writes of one resource then claim different keys, one under the old names
// and one under the new ones, and don't see each other in the store. They exclude each
// other here instead.
//
// The handlers of two configs are compared by their naming. A reload has removed a
// naming if fewer handlers have it than before, and added it if more have it. For
// each added naming of the newer config, and each removed one of the older:
//
//   - The newer write waits until the older ones in flight have ended.
//   - From its arrival on, the older config's writes are refused.
//
// Before the first write under an added naming, the store forgets what it knows:
// reads may have stored it while older writes were in flight that didn't move its
// epochs, or it may be left from a time when the names were in use before.
//
// The numbers hide a change if the same reload adds an unrelated handler with the
// removed naming, or removes one with the added naming. So the same applies to any two
// namings under which writes come to one host, if the two configs have different
// namings (reloadhost.go).

// ErrReplacedConfig means that a write came in under names that a reload has removed.
var ErrReplacedConfig = errors.New("the config has been replaced by one that names resources differently")

// ErrOlderWrites means that a write waited in vain for the writes that a reload found
// in flight under names that it has removed.
var ErrOlderWrites = errors.New("writes from before the reload are in flight under other names")

// Config identifies the config that a handler belongs to.
type Config struct {
	// ID is the same for all handlers of a config, and different for any other
	// config. Previous is the ID of the config that it replaces once it is loaded.
	ID, Previous any
}

// configs has the configs of the process.
var configs = newRegistry()

// registry finds the configs that handlers belong to. Its mutex also guards
// everything in them that isn't atomic.
type registry struct {
	mu   sync.Mutex
	byID map[any]*config // those with handlers
}

func newRegistry() *registry { return &registry{byID: make(map[any]*config)} }

// succession is a config, those before it and those after it. There are several only
// if several Caddys run in one process, as they do in tests.
type succession struct {
	last int       // number of the newest config
	live []*config // with handlers or with writes in flight, from the oldest to the newest
	// moved is closed and replaced when a write or a config ends.
	moved chan struct{}
}

// config is what is remembered of one config.
type config struct {
	*registry
	*succession
	id      any
	number  int // in the succession
	logger  *zap.Logger
	open    int // handlers that have joined and not parted
	namings map[namingKey]*naming
	counts  counts         // of all handlers that have ever joined
	before  []counts       // of the configs that were live when it joined
	foreign [hosts]writers // of other configs, that they may have written to each host
	// unsettled means that it has taken over doubts of a config with the same namings,
	// or that a config that failed to load has written.
	unsettled bool
	dropped   []func() // to call when it has neither handlers nor writes in flight

	refreshing sync.Mutex // held while a store is told to forget
}

// counts are the numbers of handlers by the texts of their namings. They don't change
// once the config has been provisioned.
type counts map[string]int

// replace reports whether the step from older counts to newer ones has added the
// naming added and removed the naming removed.
func replace(older, newer counts, removed, added string) bool {
	return newer[added] > older[added] && older[removed] > newer[removed]
}

// naming stands for the handlers of one config that name resources in the same way, in
// the same store.
type naming struct {
	*config
	namingKey
	shared bool // whether other processes may use the store

	inFlight atomic.Int64
	at       [hosts]atHost
	// calm means that no other config is live, and that the rest is true. A write need
	// not look further then.
	calm      atomic.Bool
	arrived   bool        // a write has come in
	suspected bool        // a config that failed to load has written under other names
	fresh     atomic.Bool // what the store knows under these names can be trusted
}

// namingKey distinguishes the namings of a config. Only the text counts when two configs
// are compared.
type namingKey struct{ store, text string }

// join adds a handler.
func (r *registry) join(c Config, key namingKey, shared bool, logger *zap.Logger) *naming {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.byID[c.ID]
	if own == nil {
		own = &config{registry: r, id: c.ID, namings: make(map[namingKey]*naming), counts: make(counts)}
		if previous := r.byID[c.Previous]; previous != nil {
			own.succession = previous.succession
		} else {
			own.succession = &succession{moved: make(chan struct{})}
		}
		own.last++
		own.number = own.last
		for _, older := range own.live {
			own.before = append(own.before, older.counts)
		}
		r.byID[c.ID] = own
		own.enliven()
		own.inherit()
	}
	own.open++
	own.counts[key.text]++
	own.logger = logger
	n := own.namings[key]
	if n == nil {
		n = &naming{config: own, namingKey: key}
		n.suspected = own.doubted(key)
		own.namings[key] = n
	}
	n.shared = shared
	return n
}

// part removes a handler. When the last one of a config is gone, the reload is done.
func (n *naming) part() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open--; n.open == 0 {
		delete(n.byID, n.id)
		for _, other := range n.namings {
			other.calm.Store(false)
		}
		n.done()
	}
	n.tidy()
}

// enliven puts a config among those that are live.
func (c *config) enliven() {
	if slices.Contains(c.live, c) {
		return
	}
	c.live = append(c.live, c)
	slices.SortFunc(c.live, func(a, b *config) int { return a.number - b.number })
	for _, other := range c.live {
		for _, n := range other.namings {
			n.calm.Store(false)
		}
	}
}

// tidy drops the configs that are no longer live, and wakes whoever waits.
func (s *succession) tidy() {
	s.live = slices.DeleteFunc(s.live, func(c *config) bool {
		if c.open > 0 || c.busy() {
			return false
		}
		for _, f := range c.dropped {
			f()
		}
		c.dropped = nil
		return true
	})
	s.wake()
}

// wake lets whoever waits look again.
func (s *succession) wake() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// busy reports whether writes are in flight.
func (c *config) busy() bool {
	for _, n := range c.namings {
		if n.inFlight.Load() > 0 {
			return true
		}
	}
	return false
}

// whenDropped arranges a call of f for when the config has neither handlers nor writes
// in flight. It must not use the registry.
func (c *config) whenDropped(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = append(c.dropped, f)
}

// replaced reports whether the step from an older config to that of n has added the
// naming n and removed the naming old.
func (n *naming) replaced(old *naming) bool {
	return replace(old.counts, n.counts, old.text, n.text)
}

// replacedAny reports whether n was added by the step from a config with these counts,
// and any naming removed.
func (n *naming) replacedAny(older counts) bool {
	for text := range older {
		if replace(older, n.counts, text, n.text) {
			return true
		}
	}
	return false
}

// done is called when the last handler of a config is gone: the config has been
// replaced, or it has failed to load.
func (c *config) done() {
	for _, other := range c.live {
		switch {
		case other.open == 0:
		case other.number > c.number:
			other.warn(c)
		default:
			other.suspect(c)
		}
	}
}

// warn tells the operator that a reload has changed names in a store that other nodes
// may use.
func (c *config) warn(old *config) {
	for _, n := range c.namings {
		for _, o := range old.namings {
			if (n.shared || o.shared) && n.replaced(o) {
				c.logger.Warn("a reload has changed which keys writes claim: " +
					"nodes that still run with the old ones don't see what this one writes, " +
					"see \"On several nodes\" in docs/operations.md")
				return
			}
		}
	}
}

// suspect makes the config doubt what the store knows, if a config that failed to load
// has written under other names.
func (c *config) suspect(failed *config) {
	for _, n := range c.namings {
		for _, f := range failed.namings {
			if f.arrived && f.replaced(n) {
				n.suspected = true
				n.fresh.Store(false)
			}
		}
	}
}

// Write is a write in flight. It must end once nothing that it claims is held any
// more, and the backend can't perform it any more. The methods of a nil Write do
// nothing.
type Write struct {
	naming *naming
	host   host
	ended  bool
}

// count begins a write that waits for nobody, and that nobody refuses.
func (n *naming) count(h host) *Write {
	n.enter(h)
	if n.calm.Load() {
		return &Write{naming: n, host: h}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.enliven()
	n.mark(h)
	return &Write{naming: n, host: h}
}

// begin begins a write. It waits for writes under names that a reload has removed, and
// fails with ErrReplacedConfig if the reload has removed its own. If refresh fails, it
// returns the write and the error.
func (n *naming) begin(waiting context.Context, h host, refresh func() error) (*Write, error) {
	n.enter(h)
	w := &Write{naming: n, host: h}
	if n.calm.Load() {
		return w, nil
	}
	if err := n.take(waiting, h); err != nil {
		w.End()
		return nil, err
	}
	if err := n.refresh(h, refresh); err != nil {
		return w, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.live) == 1 && n.open > 0 && n.fresh.Load() && !n.staleAnywhere() {
		n.calm.Store(true)
	}
	return w, nil
}

// take waits for the turn of a write.
func (n *naming) take(waiting context.Context, h host) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.enliven()
	for {
		if n.superseded(h) {
			return ErrReplacedConfig
		}
		if !n.arrived {
			n.fresh.Store(n.trusted())
			n.arrived = true
			n.wake() // writes that are replaced wait in vain
		}
		if at := &n.at[h]; !at.arrived {
			at.arrived = true
			n.wake()
		}
		if !slices.ContainsFunc(n.live, func(c *config) bool { return n.mustWaitFor(c, h) }) {
			n.mark(h)
			return nil
		}
		moved := n.moved
		n.mu.Unlock()
		var err error
		select {
		case <-moved:
		case <-waiting.Done():
			err = errors.Join(ErrOlderWrites, waiting.Err())
		}
		n.mu.Lock()
		if err != nil {
			return err
		}
	}
}

// trusted reports whether what the store knows under these names can be trusted, as far
// as the numbers of handlers tell.
func (n *naming) trusted() bool {
	if n.arrived {
		return n.fresh.Load()
	}
	return !n.suspected && !slices.ContainsFunc(n.before, n.replacedAny)
}

// superseded reports whether a write has come in that replaces one to a host under n.
func (n *naming) superseded(h host) bool {
	for _, c := range n.live {
		if c.number <= n.number {
			continue
		}
		for _, newer := range c.namings {
			if newer.arrived && newer.replaced(n) || newer.at[h].arrived && newer.meets(n) {
				return true
			}
		}
	}
	return false
}

// mustWaitFor reports whether writes of an older config are in flight that one to a host
// under n replaces.
func (n *naming) mustWaitFor(old *config, h host) bool {
	if old.number >= n.number {
		return false
	}
	for _, o := range old.namings {
		if o.inFlight.Load() > 0 && n.replaced(o) || o.at[h].inFlight.Load() > 0 && n.meets(o) {
			return true
		}
	}
	return false
}

// refresh calls f, which makes the store forget, unless that has succeeded before or
// there is no need. It counts for all namings of the config that have waited for the same
// writes, and for all hosts without such writes.
func (n *naming) refresh(h host, f func() error) error {
	if !n.mustForget(h) {
		return nil
	}
	n.refreshing.Lock()
	defer n.refreshing.Unlock()
	if !n.mustForget(h) {
		return nil
	}
	n.prepareHosts()
	if err := f(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.namings {
		if other.store != n.store {
			continue
		}
		other.refreshHosts()
		if !slices.ContainsFunc(n.before, func(older counts) bool {
			return other.replacedAny(older) && !n.replacedAny(older)
		}) {
			other.arrived = true // they replace the same
			other.fresh.Store(true)
		}
	}
	return nil
}

// leave ends one write.
func (n *naming) leave(h host) {
	n.at[h].inFlight.Add(-1)
	n.inFlight.Add(-1)
	if n.calm.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tidy()
}

// End ends the write. Any later call does nothing.
func (w *Write) End() {
	if w != nil && !w.ended {
		w.ended = true
		w.naming.leave(w.host)
	}
}

// EndAfter ends the write after some time: its backend hasn't answered, and may still
// perform it until then.
func (w *Write) EndAfter(d time.Duration) {
	if w != nil && !w.ended {
		w.ended = true
		time.AfterFunc(d, func() { w.naming.leave(w.host) })
	}
}
