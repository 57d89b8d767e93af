package history

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// The last refusals are remembered, the newest first, and no more than there is room for.
func TestRing(t *testing.T) {
	var r ring
	begun := time.Now()
	for i := range maxRefusals + 10 {
		r.add(telemetry.Refusal{Time: begun.Add(time.Duration(i) * time.Second), Resource: fmt.Sprint(i % 2), Probed: i})
	}
	all, forgotten := r.list(Query{})
	if len(all) != maxRefusals || forgotten != 10 || all[0].Probed != maxRefusals+9 || all[maxRefusals-1].Probed != 10 {
		t.Errorf("%d refusals from %d to %d, and %d forgotten", len(all), all[0].Probed, all[len(all)-1].Probed, forgotten)
	}
	for _, tt := range []struct {
		query Query
		want  []int
	}{
		{Query{Limit: 2}, []int{1009, 1008}},
		{Query{Since: begun.Add(1007 * time.Second)}, []int{1009, 1008, 1007}},
		{Query{Until: begun.Add(12 * time.Second)}, []int{11, 10}},
		{Query{Limit: 2, Resource: func(key string) bool { return key == "0" }}, []int{1008, 1006}},
	} {
		found, _ := r.list(tt.query)
		var got []int
		for _, one := range found {
			got = append(got, one.Probed)
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
}

// What is counted by the hour can be asked for since any hour, and is forgotten in the end.
func TestHours(t *testing.T) {
	var h hours
	begun := time.Date(2025, 11, 3, 10, 30, 0, 0, time.UTC)
	if n := h.since(begun); n != 0 {
		t.Errorf("got %d", n)
	}
	for _, after := range []time.Duration{0, time.Minute, 2 * time.Hour, 24 * time.Hour, Kept - time.Hour} {
		h.count(begun.Add(after))
	}
	for after, want := range map[time.Duration]uint64{
		-time.Hour: 5, 0: 5, time.Hour: 3, 2 * time.Hour: 3, 3 * time.Hour: 2, 25 * time.Hour: 1, Kept: 0,
	} {
		if n := h.since(begun.Add(after)); n != want {
			t.Errorf("since %v: got %d, want %d", after, n, want)
		}
	}
	h.count(begun.Add(Kept))
	if n := h.since(begun.Add(-Kept)); n != 4 {
		t.Errorf("got %d", n)
	}
	h.count(begun) // the clock was set back
	h.count(begun.Add(3 * Kept))
	if n := h.since(begun); n != 1 {
		t.Errorf("got %d", n)
	}
}

// Clients are named by their product, and neither names nor methods that clients invent take
// more room than there is.
func TestWhatClientsInventIsBounded(t *testing.T) {
	for userAgent, want := range map[string]string{
		"curl/8.5.0": "curl", "": "none", "python-requests/2.31": "python-requests", "Go-http-client/1.1": "Go-http-client",
		"Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36":           "Chrome",
		"Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36 Edg/120.0": "Edg",
		"Mozilla/5.0 (X11; rv:120.0) Gecko/20100101 Firefox/120.0":                                      "Firefox",
		"Mozilla/5.0 (compatible)": "Mozilla", "Microsoft Office/16": "Microsoft", "caf\xe9/1": "other", "a\x1bb/1": "other",
		strings.Repeat("x", 100): strings.Repeat("x", maxProduct),
	} {
		if got := product(userAgent); got != want {
			t.Errorf("%q: got %q, want %q", userAgent, got, want)
		}
	}
	h := For(t.Name(), "enforce")
	for i := range 1000 {
		h.Wrote(fmt.Sprintf("M%d", i), "unconditional", fmt.Sprintf("client%d/1", i))
		h.Wrote(strings.Repeat("X", 100+i), "required", "")
		For(fmt.Sprint(i), "enforce").Wrote("PUT", "passed", "")
		h.Seen(fmt.Sprint(i%2)).EndRead(h.Seen(fmt.Sprint(i%2)).BeginRead(), uint64(i))
		for n := range 10 {
			h.Seen(fmt.Sprint(n, " ", i))
		}
	}
	if n := len(h.writes); n > maxKinds+20 {
		t.Errorf("%d kinds of writes", n)
	}
	if n := len(h.products); n > maxProducts+1 {
		t.Errorf("%d products", n)
	}
	if n := len(handlers.all); n > maxHandlers+2 {
		t.Errorf("%d handlers", n)
	}
	if n := resources.Len(); n > maxResources {
		t.Errorf("%d resources", n)
	}
	if n := len(h.Seen("0").readers); n > maxReaders {
		t.Errorf("%d readers", n)
	}
	var total uint64
	for _, w := range h.summary(time.Now()).Writes {
		total += w.Count
	}
	if total != 2000 {
		t.Errorf("counted %d writes", total)
	}
}

// A write that replaces what its client hasn't seen is a lost update. If nobody can tell what
// the client has seen, it isn't counted.
func TestLostUpdates(t *testing.T) {
	h := For(t.Name(), "report")
	lost := func() uint64 { return h.summary(time.Now()).Lost }
	read := func(client uint64) { s := h.Seen("a"); s.EndRead(s.BeginRead(), client) }
	write := func(client uint64, proof Proof) { h.BeginWrite("a", client).End(true, proof) }
	steps := []struct {
		name string
		do   func()
		lost uint64
	}{
		{"a client that has read nothing writes", func() { write(9, Unproven) }, 0},
		{"two clients read, and one writes", func() { read(1); read(2); write(1, Unproven) }, 0},
		{"the other one writes", func() { write(2, Unproven) }, 1},
		{"and again, on its own write", func() { write(2, Unproven) }, 0},
		{"the first writes without having read again", func() { write(1, Unproven) }, 1},
		{"the second reads, and writes", func() { read(2); write(2, Unproven) }, 0},
		{"the first has a condition that holds", func() { write(1, Saw) }, 0},
		{"the first has a condition that doesn't", func() { read(1); write(1, SawOther) }, 1},
		{"a write that failed replaces nothing", func() { read(1); read(2); h.BeginWrite("a", 1).End(false, SawOther); write(2, Unproven) }, 0},
		{"both write at the same time", func() {
			read(1)
			read(2)
			one, two := h.BeginWrite("a", 1), h.BeginWrite("a", 2)
			one.End(true, Unproven)
			two.End(true, Unproven)
			two.End(true, Unproven)
		}, 1},
		{"who reads during a write may have seen either state", func() {
			read(1)
			read(2)
			w := h.BeginWrite("a", 1)
			read(2)
			w.End(true, Unproven)
			write(2, Unproven)
		}, 0},
		{"so may who begins to read before a write", func() {
			read(2)
			s := h.Seen("a")
			state := s.BeginRead()
			write(1, Saw)
			s.EndRead(state, 2)
			write(2, Unproven)
		}, 0},
	}
	for _, step := range steps {
		before := lost()
		step.do()
		if got := lost() - before; got != step.lost {
			t.Errorf("%s: %d were lost, want %d", step.name, got, step.lost)
		}
	}
	var none *Handler
	none.Wrote("PUT", "passed", "")
	none.Seen("a").EndRead(none.Seen("a").BeginRead(), 1)
	none.BeginWrite("a", 1).End(true, SawOther)
}
