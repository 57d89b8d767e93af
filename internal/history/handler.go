package history

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of what is remembered. What doesn't fit counts as "other".
const (
	maxHandlers = 256
	maxKinds    = 128     // of writes of one handler: methods and outcomes
	maxProducts = 64      // of one handler
	maxProduct  = 32      // bytes in a name
	maxHours    = 24 * 35 // for which counts by the hour are kept
)

// other is the name of what has no place of its own.
const other = "other"

// Begun is when this process began to count.
var Begun = time.Now()

// Handler is what was counted of the requests of one handler, or of all handlers with the same
// name and mode. A nil Handler counts nothing.
type Handler struct {
	name, mode string

	mu       sync.Mutex
	writes   map[write]uint64
	products map[string]uint64 // of clients that sent no condition
	saved    hours
	lost     hours
}

// write is a kind of writes.
type write struct{ method, outcome string }

var handlers struct {
	sync.Mutex
	all map[write]*Handler // by name and mode
}

// For returns the history of the handlers with a name and mode.
func For(name, mode string) *Handler {
	handlers.Lock()
	defer handlers.Unlock()
	h := handlers.all[write{name, mode}]
	if h == nil && len(handlers.all) >= maxHandlers {
		name = other
		h = handlers.all[write{name, mode}]
	}
	if h == nil {
		if handlers.all == nil {
			handlers.all = make(map[write]*Handler)
		}
		h = &Handler{name: name, mode: mode, writes: make(map[write]uint64), products: make(map[string]uint64)}
		handlers.all[write{name, mode}] = h
	}
	return h
}

// Wrote counts a write by its method and outcome. UserAgent is that of a client whose write had
// no condition, or empty.
func (h *Handler) Wrote(method, outcome, userAgent string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	kind := write{method, outcome}
	if _, known := h.writes[kind]; !known && len(h.writes) >= maxKinds || len(method) > maxProduct {
		kind.method = other
	}
	h.writes[kind]++
	if outcome == "unconditional" || outcome == "required" {
		name := product(userAgent)
		if _, known := h.products[name]; !known && len(h.products) >= maxProducts {
			name = other
		}
		h.products[name]++
	}
}

// browsers are named by the first of these that their User-Agent has: all begin with Mozilla.
var browsers = []string{"Edg", "OPR", "Firefox", "Chrome", "Safari"}

// product returns the name of the product that a User-Agent begins with, without its version.
func product(userAgent string) string {
	name, _, _ := strings.Cut(userAgent, "/")
	if name == "Mozilla" {
		for _, browser := range browsers {
			if strings.Contains(userAgent, " "+browser+"/") {
				return browser
			}
		}
	}
	name, _, _ = strings.Cut(name, " ")
	if name = name[:min(len(name), maxProduct)]; name == "" {
		return "none"
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' {
			return other
		}
	}
	return strings.Clone(name)
}

// prevented counts a lost update that was prevented.
func (h *Handler) prevented() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.saved.count(time.Now())
}

// lostOne counts an update that was lost.
func (h *Handler) lostOne() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost.count(time.Now())
}

// hours counts something by the hour, for the last maxHours.
type hours struct {
	counts []uint32 // by the hour modulo maxHours; nil until there is something to count
	last   int64    // hour that was counted in
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

func (h *hours) count(now time.Time) {
	hour := hourOf(now)
	if h.counts == nil {
		h.counts, h.last = make([]uint32, maxHours), hour
	}
	if hour < h.last { // the clock was set back
		hour = h.last
	}
	for ; h.last < hour; h.last++ {
		if hour-h.last >= maxHours {
			clear(h.counts)
			h.last = hour
			break
		}
		h.counts[(h.last+1)%maxHours] = 0
	}
	h.counts[hour%maxHours]++
}

// since returns how many were counted since a time, in whole hours.
func (h *hours) since(from time.Time) (n uint64) {
	if h.counts == nil {
		return 0
	}
	for hour := max(hourOf(from), h.last-maxHours+1); hour <= h.last; hour++ {
		n += uint64(h.counts[hour%maxHours])
	}
	return n
}

// Kept is how long counts by the hour are kept.
const Kept = maxHours * time.Hour

// Summary is what was counted of the requests of a handler.
type Summary struct {
	Handler string `json:"handler"`
	Mode    string `json:"mode"`
	// Prevented are the lost updates that were prevented, and Lost those that happened in mode
	// report, both since the time that was asked for.
	Prevented uint64 `json:"lost_updates_prevented"`
	Lost      uint64 `json:"lost_updates"`
	// Writes and Clients were counted since the process began.
	Writes  []Writes  `json:"writes"`
	Clients []Product `json:"without_condition"`
}

// Writes is a number of writes.
type Writes struct {
	Method  string `json:"method"`
	Outcome string `json:"outcome"`
	Count   uint64 `json:"count"`
}

// Product is a number of writes without a condition that the clients of one product sent.
type Product struct {
	Client string `json:"client"`
	Writes uint64 `json:"writes"`
}

// Summaries returns what was counted of all handlers.
func Summaries(since time.Time) []Summary {
	handlers.Lock()
	all := make([]*Handler, 0, len(handlers.all))
	for _, h := range handlers.all {
		all = append(all, h)
	}
	handlers.Unlock()
	slices.SortFunc(all, func(a, b *Handler) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.mode, b.mode)) })
	summaries := make([]Summary, len(all))
	for i, h := range all {
		summaries[i] = h.summary(since)
	}
	return summaries
}

func (h *Handler) summary(since time.Time) Summary {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Summary{
		Handler: h.name, Mode: h.mode, Prevented: h.saved.since(since), Lost: h.lost.since(since),
		Writes: []Writes{}, Clients: []Product{},
	}
	for kind, n := range h.writes {
		s.Writes = append(s.Writes, Writes{kind.method, kind.outcome, n})
	}
	slices.SortFunc(s.Writes, func(a, b Writes) int {
		return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.Outcome, b.Outcome))
	})
	for name, n := range h.products {
		s.Clients = append(s.Clients, Product{name, n})
	}
	slices.SortFunc(s.Clients, func(a, b Product) int {
		return cmp.Or(cmp.Compare(b.Writes, a.Writes), cmp.Compare(a.Client, b.Client))
	})
	return s
}
