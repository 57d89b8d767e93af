package storeshare

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// flushed returns the keys that a flush invalidates, sorted. During is called for
// each of them first.
func flushed(t *testing.T, j *journal, during func(key string)) []string {
	t.Helper()
	var keys []string
	err := j.flush(func(key string) error {
		if during != nil {
			during(key)
		}
		keys = append(keys, key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

func expectFlushed(t *testing.T, j *journal, want ...string) {
	t.Helper()
	if got := flushed(t, j, nil); !slices.Equal(got, want) {
		t.Fatalf("flushed %v, want %v", got, want)
	}
}

func mustBegin(t *testing.T, j *journal, key string) {
	t.Helper()
	if name := j.begin(key); name != key {
		t.Fatalf("remembered under %q", name)
	}
}

func TestJournal(t *testing.T) {
	t.Run("a write that has ended is flushed once", func(t *testing.T) {
		j := newJournal(10)
		mustBegin(t, j, "a")
		j.end("a")
		expectFlushed(t, j, "a")
		expectFlushed(t, j)
	})

	t.Run("many writes of one resource are one entry", func(t *testing.T) {
		j := newJournal(1)
		for range 3 {
			j.once("a")
		}
		expectFlushed(t, j, "a")
		expectFlushed(t, j)
	})

	t.Run("a write in flight is flushed again after its end", func(t *testing.T) {
		j := newJournal(10)
		mustBegin(t, j, "a")
		flushed(t, j, nil)
		j.end("a")
		expectFlushed(t, j, "a")
		expectFlushed(t, j)
	})

	t.Run("a write in flight is flushed once until it ends", func(t *testing.T) {
		j := newJournal(10)
		mustBegin(t, j, "a")
		expectFlushed(t, j, "a")
		expectFlushed(t, j)
		mustBegin(t, j, "a") // may land before or after the first
		expectFlushed(t, j, "a")
		expectFlushed(t, j)
	})

	t.Run("the ends of two writes in flight are both flushed", func(t *testing.T) {
		j := newJournal(10)
		mustBegin(t, j, "a")
		mustBegin(t, j, "a")
		j.end("a")
		expectFlushed(t, j, "a")
		j.end("a")
		expectFlushed(t, j, "a")
		expectFlushed(t, j)
	})

	for name, during := range map[string]func(j *journal){
		"begins": func(j *journal) { j.begin("a") },
		"ends":   func(j *journal) { j.end("a") },
		"begins and ends": func(j *journal) {
			j.begin("a")
			j.end("a")
		},
	} {
		t.Run("a write that "+name+" during a flush is not forgotten", func(t *testing.T) {
			j := newJournal(10)
			mustBegin(t, j, "a")
			if name != "ends" {
				j.end("a")
			}
			flushed(t, j, func(string) { during(j) })
			if name == "begins" {
				j.end("a")
			}
			expectFlushed(t, j, "a")
			expectFlushed(t, j)
		})
	}

	t.Run("another resource written during a flush is not forgotten", func(t *testing.T) {
		j := newJournal(10)
		j.once("a")
		flushed(t, j, func(string) { j.once("b") })
		expectFlushed(t, j, "b")
	})

	t.Run("the first error stops a flush, and the rest stays in the journal", func(t *testing.T) {
		j := newJournal(10)
		all := []string{"a", "b", "c"}
		for _, key := range all {
			j.once(key)
		}
		var marked []string
		away := errors.New("away")
		err := j.flush(func(key string) error {
			if len(marked) == 1 {
				return away
			}
			marked = append(marked, key)
			return nil
		})
		if !errors.Is(err, away) {
			t.Fatalf("got %v", err)
		}
		left := slices.DeleteFunc(all, func(key string) bool { return key == marked[0] })
		expectFlushed(t, j, left...)
	})

	t.Run("the limit counts resources, and known ones can always be written", func(t *testing.T) {
		j := newJournal(2)
		for i := range 2 {
			mustBegin(t, j, fmt.Sprint(i))
		}
		flushed(t, j, nil) // they are still in flight
		if name := j.begin("another"); name != allResources {
			t.Fatalf("remembered under %q", name)
		}
		if j.inFlight("a third") == nil {
			t.Error("a write of all resources is not in flight")
		}
		expectFlushed(t, j, allResources)
		j.end(allResources)
		if j.inFlight("a third") != nil {
			t.Error("a write of all resources is in flight")
		}
		expectFlushed(t, j, allResources)
		mustBegin(t, j, "0")
		for _, key := range []string{"0", "0", "1"} {
			j.end(key)
		}
		expectFlushed(t, j, "0", "1")
		mustBegin(t, j, "another")
	})

	t.Run("it says which resources are being written, and when that is over", func(t *testing.T) {
		j := newJournal(10)
		mustBegin(t, j, "a")
		mustBegin(t, j, "a")
		idle := j.inFlight("a")
		if idle == nil || j.inFlight("b") != nil {
			t.Fatalf("a: %v, b: %v", idle, j.inFlight("b"))
		}
		flushed(t, j, nil)
		j.end("a")
		select {
		case <-idle:
			t.Fatal("idle while a write is in flight")
		default:
		}
		j.end("a")
		<-idle
		if j.inFlight("a") != nil {
			t.Fatal("a write that has ended is in flight")
		}
		mustBegin(t, j, "a")
		if again := j.inFlight("a"); again == nil || again == idle {
			t.Fatal("the next write is not in flight")
		}
	})

	t.Run("a flush fails at once while another is under way", func(t *testing.T) {
		j := newJournal(10)
		j.once("a")
		flushed(t, j, func(string) {
			err := j.flush(func(string) error {
				t.Error("two flushes at once")
				return nil
			})
			if !errors.Is(err, errCatchingUp) {
				t.Errorf("got %v", err)
			}
		})
	})

	t.Run("an empty journal never fails", func(t *testing.T) {
		j := newJournal(10)
		j.flushing.Lock()
		expectFlushed(t, j)
	})
}
