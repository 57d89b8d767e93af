package storeshare

import (
	"hash/fnv"
	"maps"
	"slices"
	"sync/atomic"
)

// hosts is the number of groups of hosts. Hosts of one group are taken for the same,
// which costs a wait or a refused late write at worst, and only after a reload.
const hosts = 256

// host is a group of hosts.
type host uint8

// hostOf returns the group of a host, which depends on the name alone.
func hostOf(name string) host {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	sum := h.Sum32()
	return host((sum ^ sum>>16) % hosts)
}

// atHost is what is known of the writes to a host under one naming.
type atHost struct {
	inFlight atomic.Int32
	used     atomic.Bool // there has been a write, if only a counted one
	arrived  bool        // a write has come in that replaces older ones
	fresh    bool        // the store has forgotten what it knew before
	pending  bool        // it is being told to
}

// writers are the namings under which a host has been written to.
type writers struct {
	text    string // of one of them, if used
	used    bool
	several bool // there are others
}

// add adds a naming.
func (w *writers) add(text string) {
	w.several = w.several || w.used && w.text != text
	w.text, w.used = text, true
}

// other reports whether there are others than one naming.
func (w *writers) other(text string) bool { return w.several || w.used && w.text != text }

// enter counts a write to a host.
func (n *naming) enter(h host) {
	n.inFlight.Add(1)
	at := &n.at[h]
	at.inFlight.Add(1)
	if !at.used.Load() {
		at.used.Store(true)
	}
}

// meets reports whether writes under n and under the naming old of another config
// exclude each other if they are to the same host.
func (n *naming) meets(old *naming) bool {
	return n.text != old.text && !maps.Equal(n.counts, old.counts)
}

// inherit takes over what a new config must know of those before it.
func (c *config) inherit() {
	for _, older := range c.live {
		if older == c {
			continue
		}
		for h := range older.foreign {
			if w := older.foreign[h]; w.used {
				c.foreign[h].add(w.text)
				c.foreign[h].several = c.foreign[h].several || w.several
			}
		}
		for _, o := range older.namings {
			for h := range o.at {
				if o.at[h].used.Load() {
					c.foreign[h].add(o.text)
				}
			}
			c.unsettled = c.unsettled || o.staleAnywhere()
		}
	}
}

// doubted reports whether an older config has a naming that waits for the store to
// forget.
func (c *config) doubted(key namingKey) bool {
	return slices.ContainsFunc(c.live, func(older *config) bool {
		n := older.namings[key]
		return older != c && n != nil && !n.trusted()
	})
}

// mark lets the other configs know of a write to a host.
func (n *naming) mark(h host) {
	for _, c := range n.live {
		if c == n.config {
			continue
		}
		c.foreign[h].add(n.text)
		if c.number < n.number && !maps.Equal(c.counts, n.counts) {
			c.unsettled = true // if n fails to load, c goes on
		}
		for _, other := range c.namings {
			if other.text != n.text {
				other.at[h].fresh, other.at[h].pending = false, false
			}
		}
	}
}

// changed reports whether earlier configs may have named resources differently, and the
// store may not have forgotten it.
func (c *config) changed() bool {
	return c.unsettled || slices.ContainsFunc(c.before, func(older counts) bool { return !maps.Equal(older, c.counts) })
}

// stale reports whether what the store knows under n of a host may be left from before a
// write under another naming.
func (n *naming) stale(h host) bool {
	return !n.at[h].fresh && n.foreign[h].other(n.text) && n.changed()
}

// staleAnywhere reports whether that is so for any host.
func (n *naming) staleAnywhere() bool {
	if !n.changed() {
		return false
	}
	for h := range n.at {
		if n.stale(host(h)) {
			return true
		}
	}
	return false
}

// mustForget reports whether the store must forget what it knows before a write to a
// host. Once no older config is left, one write sees to all hosts.
func (n *naming) mustForget(h host) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.fresh.Load() || n.stale(h) || len(n.live) == 1 && n.staleAnywhere()
}

// prepareHosts notes for which hosts it counts that the store forgets: those with no
// write in flight under a naming of another config.
func (n *naming) prepareHosts() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setPending(func(*naming, host) bool { return true })
	for _, c := range n.live {
		if c == n.config {
			continue
		}
		for _, o := range c.namings {
			if o.inFlight.Load() > 0 {
				n.setPending(func(own *naming, h host) bool {
					return own.at[h].pending && (own.text == o.text || o.at[h].inFlight.Load() == 0)
				})
			}
		}
	}
}

// setPending sets for which hosts it counts that the store forgets.
func (c *config) setPending(pending func(*naming, host) bool) {
	for _, n := range c.namings {
		for h := range n.at {
			n.at[h].pending = pending(n, host(h))
		}
	}
}

// refreshHosts notes that the store has forgotten.
func (n *naming) refreshHosts() {
	for h := range n.at {
		at := &n.at[h]
		at.fresh, at.pending = at.fresh || at.pending, false
	}
}
