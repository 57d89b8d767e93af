package etagcache

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
)

// markerKey is the beginning of the name of each marker, after the prefix.
const markerKey = "generation"

// markers names the markers of the generation. There is one, or in a cluster one
// for each hash slot, because a script can access the keys of only one slot.
type markers struct {
	name string
	// tags returns what to append to name, by slot. It is nil if there is only
	// one marker. All gateways must compute the same tags.
	tags func() *[slots]string
}

func newMarkers(name string, cluster bool) markers {
	m := markers{name: name}
	if _, tagged := hashTag(name); !cluster || tagged {
		return m // a tag in the prefix puts all entries into one slot
	}
	m.tags = sync.OnceValue(func() *[slots]string {
		var tags [slots]string
		for n, found := 0, 0; found < slots; n++ {
			tag := ":{" + strconv.Itoa(n) + "}"
			if s := slot(name + tag); tags[s] == "" {
				tags[s] = tag
				found++
			}
		}
		return &tags
	})
	return m
}

// of returns the name of the marker beside the entry with the given name.
func (m markers) of(entry string) string {
	if m.tags == nil {
		return m.name
	}
	return m.name + m.tags()[slot(entry)]
}

func (m markers) all() []string {
	if m.tags == nil {
		return []string{m.name}
	}
	names := make([]string, 0, slots)
	for _, tag := range m.tags() {
		names = append(names, m.name+tag)
	}
	return names
}

// replies remembers what the server's replies have told.
type replies struct {
	several bool // whether there are several markers, each with a grace of its own

	met    atomic.Bool  // whether there was any reply
	blind  atomic.Bool  // whether the server can't tell whether it has lost data
	grace  atomic.Int64 // the longest of all callers, in ms
	warn   func(error)  // may be nil
	warned sync.Once

	terms atomic.Pointer[phrasedTerms] // of the last call
}

// phrasedTerms are terms as arguments of scripts. Most calls have the same.
type phrasedTerms struct {
	Terms
	grace, lease, lag, retention any
}

// phrased returns terms as arguments.
func (r *replies) phrased(t Terms) *phrasedTerms {
	p := r.terms.Load()
	if p == nil || p.Terms != t {
		p = &phrasedTerms{t, milliseconds(t.Grace), milliseconds(t.Lease), milliseconds(t.Lag), t.retention()}
		r.terms.Store(p)
	}
	return p
}

// heed takes note of a reply with an entry. What it says about a single server replaces
// what was known: after a loss, the gateways of that time no longer count.
func (r *replies) heed(reply reply) {
	for heard := r.grace.Load(); reply.grace() > heard || !r.several && reply.grace() < heard; heard = r.grace.Load() {
		r.grace.CompareAndSwap(heard, reply.grace())
	}
	r.blind.Store(reply.blind())
	if reply.blind() && r.warn != nil {
		r.warned.Do(func() { r.warn(ErrBlind) })
	}
}

// maxArguments is how many arguments most calls of scripts have at most.
const maxArguments = 20

// argv returns the arguments that all scripts begin with.
func (r *replies) argv(t Terms, check bool) []any {
	checks := flag(check)
	if check && !r.met.Load() {
		checks = "new"
	}
	p := r.phrased(t)
	return append(make([]any, 0, maxArguments), NewToken(), checks, p.grace, r.grace.Load(), p.lease, p.lag)
}

// spread begins a new generation in the other hash slots, too, if one began in one.
// Otherwise each slot would have its own grace, at its first use.
func (r *Redis) spread(began bool, t Terms) {
	if !began || r.markers.tags == nil || !r.beginning.CompareAndSwap(false, true) {
		return
	}
	r.begins.Go(func() {
		defer r.beginning.Store(false)
		_ = r.everywhere(r.closing, beginScript, t) // if it fails, each slot's first call does it
	})
}

// everywhere runs a script on all markers, in batches.
func (r *Redis) everywhere(ctx context.Context, s *script, t Terms) error {
	var keys [][]string
	for _, name := range r.markers.all() {
		keys = append(keys, []string{name})
	}
	return r.runAll(ctx, s, keys, r.replies.argv(t, true), func(any) {})
}
