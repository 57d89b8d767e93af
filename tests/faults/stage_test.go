package faults

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// holdContests runs the contests of TestAtomicContest on a stage.
func (s *stage) holdContests() {
	s.Helper()
	for _, c := range caddytest.Contests {
		for round := range caddytest.Rounds() {
			if winners := c.Hold(s.T, s.nodes, s.docs, fmt.Sprintf("/docs/%s-%d", c.Name, round)); winners != 1 {
				s.Errorf("%s, round %d: %d of %d writers won, want 1", c.Name, round, winners, caddytest.Writers)
			}
		}
	}
}

// stage is the running setup of a scenario.
type stage struct {
	*testing.T
	faultScenario
	redis   *redistest.Server
	db      *redis.Client
	docs    *legacydocs.Service
	backend *moody
	nodes   caddytest.Nodes
	mortals []*caddytest.Node
	config  string // of the node that is this process

	round     int // number of rounds so far
	exchanged int // how often a node was upgraded or went back to the earlier build

	// Of one round:
	history  *history
	contents map[string]string        // initial, of the documents
	applied  map[string]time.Duration // when the backend had applied each content
	happened []string                 // the injected faults
	tally    *tally
	bell     atomic.Pointer[chan struct{}] // closed when a fault is over
	over     atomic.Bool                   // no more faults will be injected
	fine     atomic.Int32                  // clients that got a write through since then
	allFine  chan struct{}
	overtime time.Duration // from the last fault until all clients got one through
}

// opening starts a store for a stage, and returns its directive.
type opening func(s *stage, timeout time.Duration) string

// oneRedis is a single Redis.
func oneRedis(s *stage, timeout time.Duration) string {
	s.Helper()
	s.redis = redistest.Start(s)
	s.db = s.redis.Client()
	if s.calm { // with so long a timeout, the first grace is longer than a write waits
		caddytest.EndGrace(s, s.redis.Addr)
	}
	return fmt.Sprintf("store redis redis://%s {\ntimeout %s\n}\n", s.redis.Addr, timeout)
}

// ownMemory is a store that the nodes don't share.
func ownMemory(*stage, time.Duration) string { return "store memory\n" }

// newStage starts the store, the backend and the nodes.
func newStage(t *testing.T, sc faultScenario) *stage {
	t.Helper()
	s := &stage{T: t, faultScenario: sc}
	s.docs = legacydocs.New(legacydocs.Options{})
	s.backend = newMoody(s.docs)
	s.backend.prompt = sc.prompt
	var upstreams []string
	for range max(1, sc.upstreams) {
		upstreams = append(upstreams, caddytest.Serve(t, s.backend))
	}
	// If clients may notice nothing, a busy machine must not disturb them either.
	timeout := 500 * time.Millisecond
	if sc.calm {
		timeout = 5 * time.Second
	}
	open := oneRedis
	if sc.store != nil {
		open = sc.store
	}
	store := open(s, timeout)
	terms := cmp.Or(sc.terms, faultTerms)
	with := func(terms string) string {
		return caddytest.Guarded(store+terms+sc.options, fmt.Sprintf("%s {\n%s}\n", strings.Join(upstreams, " "), sc.proxy))
	}
	s.start(with(terms), with(cmp.Or(sc.otherTerms, terms)))
	return s
}

// start starts the nodes. The last one has other directives.
func (s *stage) start(directives, other string) {
	s.Helper()
	processes := []string{directives, other}
	if s.inProcess {
		address := caddytest.Address(s)
		s.config = fmt.Sprintf("http://%s {\n%s\n}\n", address, directives)
		caddytest.Load(s, s.config)
		s.nodes = append(s.nodes, "http://"+address)
		processes = processes[1:]
	}
	if s.alone {
		processes = processes[1:]
	}
	s.mortals = caddytest.StartNodesOf(s, s.program, processes...)
	for _, m := range s.mortals {
		s.nodes = append(s.nodes, m.URL)
	}
}

// run plays the scenario in rounds of up to a minute, and calls check after each.
func (s *stage) run(check func()) {
	s.Helper()
	duration := faultTime(s.T)
	if s.soak {
		duration = max(duration, soakTime(s.T))
	}
	for end := time.Now().Add(duration); ; {
		s.play(min(duration, time.Minute))
		s.applied = s.backend.end()
		check()
		s.Logf("%s: %s", s.name, s.figures())
		if s.soak {
			s.Log(s.usage())
		}
		if s.Failed() || time.Now().After(end) {
			return
		}
	}
}

// play runs the clients while faults are injected, and until every client has got
// a write through after the last fault.
func (s *stage) play(duration time.Duration) {
	s.Helper()
	s.prepare()
	var wg sync.WaitGroup
	working, stop := context.WithCancel(context.Background())
	defer wg.Wait()
	defer stop()
	for i := range faultClients {
		c := &author{stage: s, id: i}
		wg.Go(func() {
			for working.Err() == nil {
				c.edit()
			}
		})
	}

	s.inject(duration)
	s.backend.hurry()
	s.over.Store(true)
	begun := time.Now()
	select {
	case <-s.allFine:
	case <-time.After(faultRecovery):
		s.Errorf("%d of %d clients got a write through within %v after the last fault", s.fine.Load(), faultClients, faultRecovery)
	}
	s.overtime = time.Since(begun)
}

// prepare begins a new history.
func (s *stage) prepare() {
	s.Helper()
	s.round++
	s.docs = legacydocs.New(legacydocs.Options{})
	s.history, s.contents, s.happened, s.tally = newHistory(), make(map[string]string), nil, newTally()
	var shown http.Handler = s.docs
	if s.origin != nil {
		shown = s.origin(s.docs)
	}
	s.backend.begin(shown, s.history, cmp.Or(s.delay, quickly))
	for _, path := range caddytest.SharedDocs {
		content := fmt.Sprintf("content of %s in round %d", path, s.round)
		caddytest.Bypass(s, s.docs, "PUT", path, content)
		s.contents[path] = content
	}
	s.bell.Store(new(make(chan struct{})))
	s.over.Store(false)
	s.fine.Store(0)
	s.allFine = make(chan struct{})
}

// inject injects the faults, one at a time.
func (s *stage) inject(duration time.Duration) {
	s.Helper()
	pause := 3 * time.Second // lets clients make progress
	if duration < 20*time.Second || s.calm {
		pause = 500 * time.Millisecond
	}
	for begun := time.Now(); ; {
		wait := pause + rand.N(pause*2/3)
		if s.faults == nil || time.Since(begun)+wait > duration {
			s.pass(duration - time.Since(begun))
			return
		}
		s.pass(wait)
		f := s.faults[rand.IntN(len(s.faults))]
		from := s.history.now()
		f.happen(s)
		s.happened = append(s.happened, fmt.Sprintf("%s from %v to %v", f.name, from, s.history.now()))
		close(*s.bell.Swap(new(make(chan struct{}))))
	}
}

// pass waits for the given time.
func (s *stage) pass(d time.Duration) { <-time.After(d) }

// record returns the writes that the backend applied in this round.
func (s *stage) record() []legacydocs.Write { return s.docs.Writes()[len(caddytest.SharedDocs):] }

// lost returns the writes that replaced a content other than the one they are
// based on. A write that was retried and applied twice may replace itself.
func (s *stage) lost() (lost []legacydocs.Write) {
	for _, w := range s.record() {
		if w.Lost() && w.Previous != w.Body {
			lost = append(lost, w)
		}
	}
	return lost
}

// find returns the deed that wrote a content.
func (s *stage) find(digest string) (deed, bool) {
	for _, d := range s.history.deeds {
		if d.came != read && legacydocs.Digest([]byte(d.content)) == digest {
			return d, true
		}
	}
	return deed{}, false
}

// story describes what is known about the write of a content.
func (s *stage) story(digest string) string {
	d, ok := s.find(digest)
	if !ok {
		return digest
	}
	return fmt.Sprintf("%+v, applied at %v", d, s.applied[d.content])
}

// expectSound fails the test if an update was lost or a client got a false answer.
func (s *stage) expectSound() {
	s.Helper()
	for _, w := range s.lost() {
		if overwritten, ok := s.find(w.Previous); s.forwards && ok && overwritten.basedOn == "" {
			s.Logf("a write without a condition was lost: %+v", overwritten)
			delete(s.contents, w.Path) // whose history isn't linearizable
			continue
		}
		s.Errorf("an update was lost:\n\twritten: %s\n\tinstead of: %s", s.story(w.Body), s.story(w.Previous))
	}
	if s.forwards {
		for i, d := range s.history.deeds {
			if d.came == refused {
				s.history.deeds[i].came = nothing
			}
		}
	}
	s.history.expectLinearizable(s.T, s.contents, s.applied)
	for _, d := range s.history.deeds {
		_, applied := s.applied[d.content]
		switch {
		case d.came == written && !applied:
			s.Errorf("a write was confirmed, but not applied: %+v", d)
		case (d.came == refused || d.came == nothing) && applied:
			s.Errorf("a write was refused, but applied: %+v", d)
		case d.came == unknown && applied && s.calm:
			s.Errorf("a write was applied, but not confirmed: %+v", d)
		}
	}
	for _, complaint := range s.tally.complaints {
		s.Error(complaint)
	}
	if s.calm && s.tally.errors() > 0 {
		s.Errorf("clients got error answers although nothing failed: %s", s.tally)
	}
	if len(s.faults) > 0 && len(s.happened) == 0 {
		s.Error("no fault was injected")
	}
	if s.Failed() {
		s.Logf("what happened:\n\t%s", strings.Join(s.happened, "\n\t"))
	}
}

// figures summarizes a round.
func (s *stage) figures() string {
	gap := time.Duration(0)
	slices.Sort(s.tally.successes)
	for i, at := range s.tally.successes {
		if i > 0 {
			gap = max(gap, at-s.tally.successes[i-1])
		}
	}
	return fmt.Sprintf("%d faults; %d writes applied, %d lost; %s; longest gap %v, slowest answer %v, all fine after %v",
		len(s.happened), len(s.record()), len(s.lost()), s.tally,
		gap.Round(time.Millisecond), s.tally.slowest.Round(time.Millisecond), s.overtime.Round(time.Millisecond))
}

// usage returns the resource usage of the nodes.
func (s *stage) usage() string {
	var b strings.Builder
	for i, m := range s.mortals {
		fmt.Fprintf(&b, "\n\tnode %d: %s", i, m.Usage())
	}
	return b.String()
}

// dump is the file in which Redis saves its data.
func (s *stage) dump() string { return filepath.Join(s.redis.Dir, "dump.rdb") }
