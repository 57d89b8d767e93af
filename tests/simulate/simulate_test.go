package simulate

import (
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// seedsVariable names the seeds to run: how many, or the first and the last (17-42).
const seedsVariable = "PRECONDITIONS_SIMULATION_SEEDS"

// TestSimulation runs the handler in worlds that are drawn from seeds. It runs as many as
// there is time for. To run more:
//
//	PRECONDITIONS_SIMULATION_SEEDS=20000 go test -run 'TestSimulation$' -timeout 60m ./tests/simulate
func TestSimulation(t *testing.T) {
	first, last := seeds(t)
	begun := time.Now()
	var next atomic.Uint64
	next.Store(first)
	t.Run("seeds", func(t *testing.T) {
		for range workers {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for {
					seed := next.Add(1) - 1
					if seed > last {
						return
					}
					if r := simulate(t, draw(seed), mutant{}); r.violated != nil {
						fail(t, r)
					} else if first == last {
						t.Log(report(r))
					}
				}
			})
		}
	})
	t.Logf("%d seeds in %s", last-first+1, time.Since(begun).Round(time.Millisecond))
}

// raced reports whether the race detector is on, which makes everything ten times slower.
var raced = func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}()

// workers is how many seeds run at the same time.
const workers = 4

// seeds returns the seeds to run.
func seeds(t *testing.T) (first, last uint64) {
	text := "2000"
	if testing.Short() || raced {
		text = "500"
	}
	text = cmp.Or(os.Getenv(seedsVariable), text)
	from, to, both := strings.Cut(text, "-")
	if !both {
		from, to = "1", from
	}
	first, err1 := strconv.ParseUint(from, 10, 64)
	last, err2 := strconv.ParseUint(to, 10, 64)
	if err := cmp.Or(err1, err2); err != nil {
		t.Fatalf("%s=%s: %v", seedsVariable, text, err)
	}
	return first, last
}

// simulate carries out a plan.
func simulate(t *testing.T, p *plan, m mutant) (r *run) {
	synctest.Test(t, func(t *testing.T) {
		r = newRun(t, p, m)
		r.play()
	})
	return r
}

// fail reports a violation in the smallest plan that still shows it.
func fail(t *testing.T, r *run) {
	t.Errorf("seed %d breaks the promise that %s:\n%s\n\nTo repeat it: %s=%[1]d-%[1]d go test -run 'TestSimulation$' ./tests/simulate",
		r.seed, r.violated.promise, report(minimize(t, r)), seedsVariable)
}

// report shows a run.
func report(r *run) string {
	text := r.plan.String() + strings.Join(r.events(), "\n")
	if r.violated != nil {
		text += "\nBROKEN: " + string(r.violated.promise) + ": " + r.violated.text
	}
	return text
}

// minimize takes out of a plan whatever isn't needed to break the promise.
func minimize(t *testing.T, r *run) *run {
	for {
		smaller := firstThat(t, r)
		if smaller == nil {
			return r
		}
		r = smaller
	}
}

func firstThat(t *testing.T, r *run) *run {
	for _, p := range r.plan.smaller() {
		if s := simulate(t, p, r.mutant); s.violated != nil && s.violated.promise == r.violated.promise {
			return s
		}
	}
	return nil
}

// The same plan always runs in the same way.
func TestSimulationRepeats(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		a, b := simulate(t, draw(seed), mutant{}), simulate(t, draw(seed), mutant{})
		if x, y := report(a), report(b); x != y {
			t.Errorf("seed %d: %s", seed, difference(a.events(), b.events()))
		}
	}
}

func difference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is\n%s\nand then\n%s", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, and then %d", len(a), len(b))
}
