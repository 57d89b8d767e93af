package storeshare

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// generation is a config of a test, by the namings of its handlers.
type generation struct {
	id       *int
	handlers []*naming
}

// load provisions a config after another one, which may be nil.
func load(r *registry, previous *generation, namings ...string) *generation {
	g := &generation{id: new(int)}
	c := Config{ID: g.id}
	if previous != nil {
		c.Previous = previous.id
	}
	for _, text := range namings {
		g.handlers = append(g.handlers, r.join(c, namingKey{"store", text}, false, zap.NewNop()))
	}
	return g
}

// end cleans a config up.
func (g *generation) end() {
	for _, n := range g.handlers {
		n.part()
	}
}

// at returns the first handler with a naming.
func (g *generation) at(text string) *naming {
	for _, n := range g.handlers {
		if n.text == text {
			return n
		}
	}
	panic("no handler has the naming " + text)
}

// nothing is a refresh that succeeds.
func nothing() error { return nil }

// tryBegin begins a write that waits for nobody, to a host of its naming's own.
func tryBegin(n *naming) (*Write, error) { return tryBeginAt(n, hostOf(n.text)) }

func tryBeginAt(n *naming, h host) (*Write, error) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	return n.begin(gone, h, nothing)
}

func begin(t *testing.T, n *naming) *Write {
	t.Helper()
	w, err := tryBegin(n)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func refused(t *testing.T, n *naming, want error) {
	t.Helper()
	if _, err := tryBegin(n); !errors.Is(err, want) {
		t.Errorf("a write under %s: got %v, want %v", n.text, err, want)
	}
}

// Which writes exclude each other follows from how many handlers of two configs have
// each naming.
func TestWhatAReloadReplaces(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after []string
		old, new      string // of two writes
		exclusive     bool
	}{
		{"a new name", []string{"a"}, []string{"b"}, "a", "b", true},
		{"the same name", []string{"a"}, []string{"a"}, "a", "a", false},
		{"one handler of two is renamed", []string{"a", "a"}, []string{"a", "b"}, "a", "b", true},
		{"the others keep theirs", []string{"a", "a"}, []string{"a", "b"}, "a", "a", false},
		{"a handler takes over the name of another", []string{"a", "b"}, []string{"a", "a"}, "b", "a", true},
		{"a handler is added", []string{"a"}, []string{"a", "b"}, "a", "b", false},
		{"a handler is removed", []string{"a", "b"}, []string{"a"}, "b", "a", false},
		{"a name that is kept beside one that is replaced", []string{"a", "b"}, []string{"a", "c"}, "b", "a", false},
		{"a name that replaces another beside one that is kept", []string{"a", "b"}, []string{"a", "c"}, "a", "c", false},
		{"the order of handlers", []string{"a", "b"}, []string{"b", "a"}, "a", "b", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry()
			one := load(r, nil, tt.before...)
			first := begin(t, one.at(tt.old))
			two := load(r, one, tt.after...)
			one.end()
			if !tt.exclusive {
				begin(t, two.at(tt.new)).End()
				begin(t, one.at(tt.old)).End()
				return
			}
			refused(t, two.at(tt.new), ErrOlderWrites)
			first.End()
			second := begin(t, two.at(tt.new))
			refused(t, one.at(tt.old), ErrReplacedConfig)
			second.End()
			refused(t, one.at(tt.old), ErrReplacedConfig) // it could write what the second has replaced
		})
	}
}

// A write waits until the last of the older ones has ended.
func TestWaitForOlderWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		one := load(r, nil, "a")
		first, second := begin(t, one.at("a")), begin(t, one.at("a"))
		two := load(r, one, "b")
		one.end()
		begun := make(chan error, 1)
		go func() {
			w, err := two.at("b").begin(context.Background(), 0, nothing)
			w.End()
			begun <- err
		}()
		synctest.Wait()
		refused(t, one.at("a"), ErrReplacedConfig) // or the newer write might wait forever
		first.End()
		synctest.Wait()
		select {
		case err := <-begun:
			t.Fatal("an older write is in flight: ", err)
		default:
		}
		second.EndAfter(time.Minute) // without an answer
		start := time.Now()
		if err := <-begun; err != nil || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// Writes of any number of older configs count, also after these were cleaned up.
func TestSeveralOlderConfigs(t *testing.T) {
	r := newRegistry()
	one := load(r, nil, "a")
	first := begin(t, one.at("a"))
	two := load(r, one, "b")
	one.end()
	refused(t, two.at("b"), ErrOlderWrites)
	three := load(r, two, "c")
	two.end()
	refused(t, three.at("c"), ErrOlderWrites)
	four := load(r, three, "a")
	three.end()
	last := begin(t, four.at("a")) // the claims of the first write protect it
	last.End()
	first.End()
	five := load(r, four, "b")
	four.end()
	begin(t, five.at("b")).End()
	for _, g := range []*generation{one, four} {
		refused(t, g.at("a"), ErrReplacedConfig)
	}
	refused(t, three.at("c"), ErrReplacedConfig)
	begin(t, two.at("b")).End() // the same names as now
}

// A late write under removed names is let through if no newer one has come. The newer
// ones then wait for it, although its config was cleaned up long ago.
func TestLateWriteComesFirst(t *testing.T) {
	r := newRegistry()
	one := load(r, nil, "a")
	two := load(r, one, "b")
	one.end()
	late := begin(t, one.at("a"))
	refused(t, two.at("b"), ErrOlderWrites)
	late.End()
	begin(t, two.at("b")).End()
	refused(t, one.at("a"), ErrReplacedConfig)
}

// A config that fails to load changes nothing: not before it has failed, and not if it
// had begun to serve.
func TestConfigFailsToLoad(t *testing.T) {
	r := newRegistry()
	one := load(r, nil, "a")
	refreshes := 0
	refresh := func() error { refreshes++; return nil }
	old := func() *Write {
		t.Helper()
		w, err := one.at("a").begin(t.Context(), 0, refresh)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	old().End()
	failed := load(r, one, "b")
	old().End()
	failed.end()
	old().End()
	if !one.at("a").calm.Load() {
		t.Error("writes take longer than before")
	}
	if refreshes != 0 {
		t.Errorf("what is known was dropped %d times", refreshes)
	}

	served := load(r, one, "b")
	w := begin(t, served.at("b"))
	refused(t, one.at("a"), ErrReplacedConfig)
	served.end()
	refused(t, one.at("a"), ErrReplacedConfig)
	w.End()
	old().End()
	if refreshes != 1 {
		t.Errorf("what is known was dropped %d times, want once: the failed config has written", refreshes)
	}
}

// What the store knows under names that a reload has brought is dropped once, when no
// older write is in flight any more. If that fails, the write may go on without the
// store, and the next one tries again.
func TestRefresh(t *testing.T) {
	r := newRegistry()
	one := load(r, nil, "a", "a", "k")
	first := begin(t, one.at("a"))
	two := load(r, one, "b", "c", "k")
	one.end()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	refreshes, failure := 0, errors.New("the store is away")
	refresh := func() error { refreshes++; return failure }
	if _, err := two.at("b").begin(gone, 0, refresh); !errors.Is(err, ErrOlderWrites) || refreshes != 0 {
		t.Fatalf("%v, %d refreshes", err, refreshes)
	}
	first.End()
	w, err := two.at("b").begin(gone, 0, refresh)
	if !errors.Is(err, failure) || w == nil {
		t.Fatalf("got %v, %v", w, err)
	}
	refused(t, one.at("a"), ErrReplacedConfig)
	w.End()
	failure = nil
	for range 2 {
		if w, err = two.at("b").begin(gone, 0, refresh); err != nil {
			t.Fatal(err)
		}
		w.End()
	}
	for _, text := range []string{"c", "k"} {
		if w, err = two.at(text).begin(gone, 0, refresh); err != nil {
			t.Fatal(err)
		}
		w.End()
	}
	if refreshes != 2 {
		t.Errorf("%d refreshes, want 2", refreshes)
	}
}

// Once the old config is gone, nothing is left of it, and writes need not look further.
func TestCalm(t *testing.T) {
	r := newRegistry()
	last := load(r, nil, "a")
	for i := range 10 {
		begin(t, last.at("a")).End()
		next := load(r, last, "a")
		if last.at("a").calm.Load() {
			t.Fatal("a write would not notice that there are two configs")
		}
		w := begin(t, last.at("a"))
		last.end()
		begin(t, next.at("a")).End()
		if next.at("a").calm.Load() {
			t.Fatal("a write would not notice that an older one is in flight")
		}
		w.End()
		begin(t, next.at("a")).End()
		if n := next.at("a"); !n.calm.Load() || len(n.live) != 1 || len(r.byID) != 1 || len(n.before) != 1 {
			t.Fatalf("after %d reloads: calm %v, %d live, %d known, %d before", i+1, n.calm.Load(), len(n.live), len(r.byID), len(n.before))
		}
		last = next
	}
}

// Two Caddys of one process have nothing to do with each other.
func TestConfigsThatDoNotReplaceEachOther(t *testing.T) {
	r := newRegistry()
	one, two := load(r, nil, "a"), load(r, nil, "b")
	w := begin(t, one.at("a"))
	begin(t, two.at("b")).End()
	begin(t, one.at("a")).End()
	w.End()
}

// A write that only counts waits for nobody, but others wait for it.
func TestCountedWrite(t *testing.T) {
	r := newRegistry()
	one := load(r, nil, "a")
	first := begin(t, one.at("a"))
	two := load(r, one, "b")
	one.end()
	two.at("b").count(0).End()
	begin(t, one.at("a")).End() // a counted write makes no promise that a late one could break
	first.End()
	counted := one.at("a").count(0)
	refused(t, two.at("b"), ErrOlderWrites)
	counted.End()
	counted.End()
	begin(t, two.at("b")).End()
}

// stress counts the writes that run under each naming.
type stress struct {
	sync.WaitGroup
	a, b, done atomic.Int64
}

func (s *stress) write(t *testing.T, n *naming) {
	waiting, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w, err := n.begin(waiting, 0, nothing)
	if errors.Is(err, ErrReplacedConfig) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer w.End()
	own, other := &s.a, &s.b
	if n.text == "b" {
		own, other = other, own
	}
	own.Add(1)
	defer own.Add(-1)
	runtime.Gosched()
	if other.Load() > 0 {
		t.Error("writes under a and b are in flight together")
	}
	s.done.Add(1)
}

// However writes and reloads meet, writes under a and under b never run together, even if
// another handler hides the renaming in the numbers.
func TestRenamingUnderLoad(t *testing.T) {
	for _, configs := range [][2][]string{{{"a"}, {"b"}}, {{"a"}, {"b", "a"}}, {{"a", "b"}, {"b"}}} {
		r := newRegistry()
		var g stress
		serving := load(r, nil, configs[0]...)
		for i := range 200 {
			for range 4 {
				n := serving.handlers[0]
				g.Go(func() { g.write(t, n) })
			}
			next := load(r, serving, configs[(i+1)%2]...)
			old := serving
			serving = next
			g.Go(func() { g.write(t, old.handlers[0]) })
			g.Go(func() { g.write(t, next.handlers[0]) })
			old.end()
		}
		g.Wait()
		if g.done.Load() == 0 {
			t.Errorf("%v: no write was let through", configs)
		}
	}
}

func BenchmarkBegin(b *testing.B) {
	n := load(newRegistry(), nil, "a").at("a")
	for b.Loop() {
		w, err := n.begin(context.Background(), 0, nothing)
		if err != nil {
			b.Fatal(err)
		}
		w.End()
	}
}
