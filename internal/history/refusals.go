package history

import (
	"strings"
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// maxRefusals is the number of refusals that are remembered.
const maxRefusals = 1000

// ring holds the last refusals.
type ring struct {
	mu    sync.Mutex
	kept  []telemetry.Refusal // maxRefusals at most
	next  int                 // where the next one goes, once there are that many
	total int
}

func (r *ring) add(one telemetry.Refusal) {
	one.Provided = strings.Clone(one.Provided) // may be a small part of a long field
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	if len(r.kept) < maxRefusals {
		r.kept = append(r.kept, one)
		return
	}
	r.kept[r.next] = one
	r.next = (r.next + 1) % maxRefusals
}

// Query selects refusals. Its zero value selects all.
type Query struct {
	// Since and Until bound the time of the refusal, unless they are zero.
	Since, Until time.Time
	// Resource, if it isn't empty, reports whether the refusal is about the resource.
	Resource func(key string) bool
	// Limit is the greatest number of refusals, or zero.
	Limit int
}

// Selects reports whether a refusal is selected, whatever the limit.
func (q Query) Selects(r *telemetry.Refusal) bool {
	return (q.Since.IsZero() || !r.Time.Before(q.Since)) && (q.Until.IsZero() || r.Time.Before(q.Until)) &&
		(q.Resource == nil || q.Resource(r.Resource))
}

// list returns the selected refusals, the newest first, and how many have been forgotten.
func (r *ring) list(q Query) (found []telemetry.Refusal, forgotten int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found = []telemetry.Refusal{}
	for i := range r.kept {
		one := &r.kept[(r.next+len(r.kept)-1-i)%len(r.kept)]
		if q.Selects(one) {
			if found = append(found, *one); len(found) == q.Limit {
				break
			}
		}
	}
	return found, r.total - len(r.kept)
}

var refusals ring

func init() {
	telemetry.Subscribe(func(r telemetry.Refusal) {
		refusals.add(r)
		if r.Prevented {
			For(r.Handler, r.Mode).prevented()
		}
	})
}

// Refusals returns the selected refusals of this process, the newest first, and how many
// older ones have been forgotten.
func Refusals(q Query) (found []telemetry.Refusal, forgotten int) { return refusals.list(q) }
