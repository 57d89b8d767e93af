package etagcache

import (
	"context"
	"strconv"
	"sync"
)

// markerKey is what the names of markers begin with, after the prefix.
const markerKey = "generation"

// markers names the markers of the generation: one, or in a cluster one for each
// hash slot, because a script may invalidate only one slot.
type markers struct {
	name string
	// tags returns what to add to name, by slot; nil if there is one marker.
	// All gateways have to agree on it.
	tags func() *[slots]string
}

func newMarkers(name string, cluster bool) markers {
	m := markers{name: name}
	if _, tagged := hashTag(name); !cluster || tagged {
		return m // a tag in the prefix has all entries be in one slot
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

// of returns the name of the marker beside the entry of that name.
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

// spread has a generation that began with this reply begin in the other hash
// slots, too, so that the grace is over everywhere before long.
func (r *Redis) spread(reply reply, t Terms) {
	if !reply.began() || r.markers.tags == nil || !r.beginning.CompareAndSwap(false, true) {
		return
	}
	r.begins.Go(func() {
		defer r.beginning.Store(false)
		_ = r.everywhere(r.closing, beginScript, t) // each slot's first call makes up for it
	})
}

// everywhere runs a script on all markers, some at a time.
func (r *Redis) everywhere(ctx context.Context, s *script, t Terms) error {
	var keys [][]string
	for _, name := range r.markers.all() {
		keys = append(keys, []string{name})
	}
	argv := []any{NewToken(), milliseconds(t.Grace), "1"}
	return r.runAll(ctx, s, keys, argv, func(any) {})
}
