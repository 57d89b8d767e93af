package explore

import (
	"context"
	"errors"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/gateway"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"go.uber.org/zap"
)

// The tests in this file run the handler under every possible schedule of a few
// requests: every order of their calls to the store and the origin, with an
// accident at every point where one can happen. run_test.go runs one schedule,
// search_test.go enumerates the schedules.
//
// Under the race detector, which makes the tests ten times slower, only one
// setting is explored. This explores all of them in six minutes:
//
//	go test -run TestEverySchedule ./tests/explore

// scenario describes the requests to explore and what may go wrong.
type scenario struct {
	name      string
	content   string // of the resource at first; none if it is absent
	parts     []part
	accidents int     // the maximum number of accidents
	promise   promise // the only one to check, if set
	winners   int     // how many writers succeed without an accident; zero if it varies
	replies   bool    // the store's replies are delayed, too
	tree      bool    // the resource is in a tree
	replica   bool    // the origin may show the past
	varies    bool    // responses vary by Accept, and each write accepts something else
	floor     int     // the minimum number of schedules over all settings
	knownOnly bool    // only the settings in which the resource is known; the others take too long

	setting
	mutate    func(etagcache.Store) etagcache.Store // makes the store break a rule
	unreduced bool                                  // run equivalent schedules, too

	gateway gateway.Gateway   // each node gets a copy
	tags    map[string]string // by content
}

// setting is one configuration under which every scenario is explored.
type setting struct {
	verify string
	known  bool // the store and the nodes know the resource from the start
	after  bool // the handler asks the origin again after a write
}

// The values of verify to explore.
const (
	passing = "passing"
	never   = "never"
)

var settings = []setting{
	{passing, false, false},
	{passing, true, false},
	{never, false, false},
	{never, true, false},
	{never, true, true},
	{passing, false, true},
}

// someSettings returns the settings that the available time allows.
func someSettings() []setting {
	if testing.Short() || raced {
		return settings[3:4]
	}
	return settings
}

// largeFloor is the floor above which a scenario is explored only without the race
// detector, as .ci/run does after the other tests: with it, the large ones take most of
// the time.
const largeFloor = 5000

// raced reports whether the race detector is on.
var raced = func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}()

func (s setting) String() string {
	text := "verify " + s.verify
	if s.known {
		text += ", known"
	}
	if s.after {
		text += ", asked after"
	}
	return text
}

// part is the role of one actor in a scenario.
type part struct {
	name     string
	node     int
	requests []request
	faults   []fault // what may happen to it; at most one does
}

type request struct {
	method        string
	content       string // a different one in every request
	unconditional bool
	whole         bool // it targets the tree that contains the resource
	asks          bool // whether the resource has changed since the client read it
}

// fault is something that goes wrong.
type fault string

const (
	goesAway       fault = "goes away"         // the client
	crashes        fault = "crashes"           // the node
	losesStore     fault = "is cut off"        // the node, from the store, for good
	requestLost    fault = "its request lost"  // of a call of the store
	replyLost      fault = "its reply lost"    // of a call of the store
	refuses        fault = "answers 400"       // the backend
	failsBefore    fault = "answers 500"       // the backend, having done nothing
	failsAfter     fault = "answers 500 to it" // the backend, having done it
	noAnswerBefore fault = "no answer"         // the backend, which may still do it
	noAnswerAfter  fault = "no answer to it"   // the backend, having done it
	isSlow         fault = "has a slow backend"
	showsPast      fault = "shows the past" // the origin, before the last write
)

// writer read the resource before the schedule begins.
func writer(name string, node int, faults ...fault) part {
	return part{name, node, []request{{method: "PUT", content: name + "'s"}}, faults}
}

// editor reads the resource and then writes it.
func editor(name string, node int) part {
	return part{name: name, node: node, requests: []request{{method: "GET"}, {method: "PUT", content: name + "'s"}}}
}

func reader(name string, node int, faults ...fault) part {
	return part{name, node, []request{{method: "GET"}}, faults}
}

// asker asks whether the resource has changed, on a node that may know by itself.
func asker(name string, node int, faults ...fault) part {
	return part{name, node, []request{{method: "GET", asks: true}}, faults}
}

// blindWriter writes without a condition.
func blindWriter(name string, node int, faults ...fault) part {
	return part{name, node, []request{{method: "PUT", content: name + "'s", unconditional: true}}, faults}
}

// remover deletes the tree that contains the resource.
func remover(name string, node int, faults ...fault) part {
	return part{name, node, []request{{method: "DELETE", unconditional: true, whole: true}}, faults}
}

// nodes is the number of nodes.
func (sc *scenario) nodes() (n int) {
	for _, p := range sc.parts {
		n = max(n, p.node+1)
	}
	return n
}

// contentOf returns the content that a tag belongs to.
func (sc *scenario) contentOf(tag string) string {
	for content, known := range sc.tags {
		if known == tag {
			return content
		}
	}
	return "?" + tag
}

var scenarios = []scenario{
	{
		name: "two writers", content: "old", floor: 20, winners: 1,
		parts: []part{writer("Ann", 0), writer("Bob", 1)},
	},
	{
		name: "two creators and a reader", floor: 710, winners: 1,
		parts: []part{writer("Ann", 0), writer("Bob", 1), reader("Rob", 2)},
	},
	{
		name: "two writers on one node", content: "old", floor: 520, winners: 1,
		parts: []part{writer("Ann", 0), writer("Bob", 0)},
	},
	{
		name: "two writers on one node, and one on another", content: "old", floor: 150000, winners: 1, knownOnly: true,
		parts: []part{writer("Ann", 0), writer("Bob", 0), writer("Cid", 1)},
	},
	{
		name: "writer and reader on one node, slow replies", content: "old", floor: 10300, winners: 1, replies: true,
		parts: []part{writer("Ann", 0), reader("Rob", 0)},
	},
	{
		name: "two writers and a reader", content: "old", floor: 710, winners: 1,
		parts: []part{writer("Ann", 0), writer("Bob", 1), reader("Rob", 2)},
	},
	{
		name: "writer and reader on one node, writer on another", content: "old", floor: 12300, winners: 1,
		parts: []part{writer("Ann", 0), reader("Rob", 0), writer("Bob", 1)},
	},
	{
		name: "two editors", content: "old", floor: 140,
		parts: []part{editor("Ann", 0), editor("Bob", 1)},
	},
	{
		name: "three writers", content: "old", floor: 9600, winners: 1,
		parts: []part{writer("Ann", 0), writer("Bob", 1), writer("Cid", 2)},
	},
	{
		name: "writer and blind writer", content: "old", floor: 20,
		parts: []part{writer("Ann", 0), blindWriter("Una", 1)},
	},
	{
		name: "writer, blind writer and a reader", content: "old", floor: 600,
		parts: []part{writer("Ann", 0), blindWriter("Una", 1), reader("Rob", 2)},
	},
	{
		name: "writer and two blind writers", content: "old", floor: 3500,
		parts: []part{writer("Ann", 0), blindWriter("Una", 1), blindWriter("Uwe", 2)},
	},
	{
		name: "a client goes away", content: "old", floor: 1800, accidents: 1,
		parts: []part{writer("Ann", 0, goesAway), editor("Bob", 1)},
	},
	{
		name: "one of two clients of one node goes away", content: "old", floor: 5800, accidents: 1,
		parts: []part{writer("Ann", 0, goesAway), writer("Bob", 0)},
	},
	{
		name: "a read goes wrong", content: "old", floor: 3100, accidents: 1,
		parts: []part{reader("Rob", 0, goesAway, requestLost, replyLost), writer("Ann", 0)},
	},
	{
		name: "a node crashes", content: "old", floor: 1900, accidents: 1,
		parts: []part{writer("Ann", 0, crashes), writer("Bob", 1), reader("Rob", 2)},
	},
	{
		name: "two nodes crash", content: "old", floor: 870, accidents: 2,
		parts: []part{writer("Ann", 0, crashes), writer("Bob", 1, crashes)},
	},
	{
		name: "the backend fails", content: "old", floor: 7800, accidents: 2,
		parts: []part{
			writer("Ann", 0, refuses, failsBefore, failsAfter),
			writer("Bob", 1, refuses, failsBefore, failsAfter), reader("Rob", 2),
		},
	},
	{
		name: "the backend gives no answer", content: "old", floor: 2500, accidents: 1,
		parts: []part{
			writer("Ann", 0, noAnswerBefore, noAnswerAfter),
			writer("Bob", 1, noAnswerBefore, noAnswerAfter), reader("Rob", 2),
		},
	},
	{
		name: "the backend is slow", content: "old", floor: 580, accidents: 1,
		parts: []part{writer("Ann", 0, isSlow), writer("Bob", 1)},
	},
	{
		name: "a node is cut off from the store", content: "old", floor: 7300, accidents: 1,
		parts: []part{writer("Ann", 0, losesStore), writer("Bob", 1), reader("Rob", 2)},
	},
	{
		name: "calls of the store fail", content: "old", floor: 860, accidents: 2,
		parts: []part{writer("Ann", 0, requestLost, replyLost), writer("Bob", 1, requestLost, replyLost)},
	},
	{
		name: "two things go wrong", content: "old", floor: 5000, accidents: 2,
		parts: []part{writer("Ann", 0, goesAway, noAnswerBefore), writer("Bob", 1, crashes, losesStore)},
	},
	{
		name: "a blind write goes wrong", content: "old", floor: 1000, accidents: 1,
		parts: []part{
			writer("Ann", 0),
			blindWriter("Una", 1, goesAway, crashes, isSlow, refuses, failsBefore, failsAfter, noAnswerBefore, noAnswerAfter),
		},
	},
	{
		name: "the origin shows the past", content: "old", floor: 100, accidents: 2, replica: true,
		parts: []part{writer("Ann", 0, showsPast), writer("Bob", 1, showsPast)},
	},
	{
		name: "the origin shows the past to a reader", content: "old", floor: 100, accidents: 1, replica: true,
		parts: []part{writer("Ann", 0), reader("Rob", 2, showsPast), writer("Bob", 1)},
	},
	{
		name: "the origin shows that there is nothing yet", floor: 100, accidents: 2, replica: true,
		parts: []part{writer("Ann", 0, showsPast), writer("Bob", 1, showsPast)},
	},
	{
		name: "two writers who accept different things", content: "old", floor: 20, winners: 1, varies: true,
		parts: []part{writer("Ann", 0), writer("Bob", 1)},
	},
	{
		name: "two writers and a reader who accept different things", content: "old", floor: 700, winners: 1, varies: true,
		parts: []part{writer("Ann", 0), writer("Bob", 1), reader("Rob", 2)},
	},
	{
		name: "a write of a different variant goes wrong", content: "old", floor: 1000, accidents: 1, varies: true,
		parts: []part{writer("Ann", 0, goesAway, crashes, refuses, failsAfter, noAnswerBefore, noAnswerAfter), writer("Bob", 1)},
	},
	{
		name: "the origin shows the past of a different variant", content: "old", floor: 19000, accidents: 1, replica: true, varies: true,
		parts: []part{writer("Ann", 0), reader("Rob", 2, showsPast), writer("Bob", 1, showsPast)},
	},
	{
		name: "two writers, and somebody asks", content: "old", floor: 700, winners: 1,
		parts: []part{writer("Ann", 0), writer("Bob", 1), asker("Rob", 2)},
	},
	{
		name: "a write goes wrong, and somebody asks", content: "old", floor: 1000, accidents: 1,
		parts: []part{writer("Ann", 0, goesAway, crashes, refuses, failsAfter, noAnswerBefore, noAnswerAfter), asker("Rob", 1, requestLost, replyLost)},
	},
	{
		name: "a blind write goes wrong, and somebody asks", content: "old", floor: 700, accidents: 1,
		parts: []part{blindWriter("Una", 0, goesAway, crashes, refuses, failsAfter, noAnswerBefore, noAnswerAfter), asker("Rob", 1)},
	},
	{
		name: "a tree is deleted", content: "old", floor: 90, tree: true,
		parts: []part{writer("Ann", 0), remover("Tim", 1)},
	},
	{
		name: "a tree is deleted, and read", content: "old", floor: 1900, tree: true,
		parts: []part{writer("Ann", 0), remover("Tim", 1), reader("Rob", 2)},
	},
	{
		name: "the deletion of a tree goes wrong", content: "old", floor: 1000, accidents: 1, tree: true,
		parts: []part{writer("Ann", 0), remover("Tim", 1, crashes, refuses, failsBefore, failsAfter, noAnswerBefore, noAnswerAfter)},
	},
	{
		name: "a write in a tree that is deleted goes wrong", content: "old", floor: 700, accidents: 1, tree: true,
		parts: []part{writer("Ann", 0, crashes, refuses, failsAfter, noAnswerBefore, noAnswerAfter), remover("Tim", 1)},
	},
}

// lag is how long the origin may show the past. It is zero in scenarios without
// a replica, where a read always shows the present.
const lag = lease

func TestEverySchedule(t *testing.T) {
	for _, sc := range scenarios {
		if raced && sc.floor > largeFloor {
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			total := 0
			for _, sc.setting = range someSettings() {
				if sc.knownOnly && !sc.known {
					continue
				}
				begun := time.Now()
				found := sc.explore(t)
				t.Logf("%s, %s: %d schedules of up to %d moves, %d outcomes, in %s", sc.name,
					sc.setting, found.schedules, found.longest, len(found.outcomes), time.Since(begun).Round(time.Millisecond))
				if found.violation != nil {
					t.Errorf("setting %s breaks the promise %s:\n%s", sc.setting, found.promise, found.violation)
				}
				total += found.schedules
			}
			if total < sc.floor && len(someSettings()) == len(settings) {
				t.Errorf("ran only %d schedules, want at least %d", total, sc.floor)
			}
		})
	}
}

// Leaving out equivalent schedules loses no outcome.
func TestReducedExplorationLosesNothing(t *testing.T) {
	for _, sc := range []scenario{
		scenarioNamed("two writers"),
		scenarioNamed("writer and blind writer"),
		{
			name: "everything goes wrong", content: "old", accidents: 1,
			parts: []part{
				writer("Ann", 0, goesAway, crashes, losesStore, requestLost, replyLost, refuses, failsAfter, noAnswerBefore),
				writer("Bob", 1),
			},
		},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			for _, sc.setting = range someSettings() {
				sc.unreduced = false
				reduced := sc.explore(t)
				sc.unreduced = true
				full := sc.explore(t)
				t.Logf("%s: %d of %d schedules, %d outcomes", sc.setting, reduced.schedules, full.schedules, len(full.outcomes))
				if !maps.Equal(reduced.outcomes, full.outcomes) {
					t.Errorf("setting %s: reduced search reaches %v,\nfull search reaches %v", sc.setting, reduced.outcomes, full.outcomes)
				}
			}
		})
	}
}

func scenarioNamed(name string) scenario {
	return scenarios[slices.IndexFunc(scenarios, func(sc scenario) bool { return sc.name == name })]
}

// exploration is the result of exploring one scenario.
type exploration struct {
	schedules int // run to the end
	cut       int // abandoned because the rest was already explored
	longest   int
	outcomes  map[string]bool // what the clients and the origin ended with

	// the violation that is easiest to follow
	*violation
	switches int
}

// simplify is how many more schedules to run after one that breaks a promise, in
// search of one that breaks it in fewer steps.
const simplify = 2000

// explore runs all schedules of a scenario.
func (sc scenario) explore(t *testing.T) (found exploration) {
	sc.provision(t)
	s := search{unreduced: sc.unreduced}
	found.outcomes = make(map[string]bool)
	for left := -1; left != 0; left-- {
		synctest.Test(t, func(*testing.T) {
			r := newRun(&sc)
			if !r.play(&s) {
				found.cut++
				return
			}
			found.schedules++
			found.longest = max(found.longest, s.depth)
			found.outcomes[r.outcome()] = true
			if r.violated == nil {
				return
			}
			if n := s.switches(); found.violation == nil || n < found.switches ||
				n == found.switches && len(r.violated.trace) < len(found.violation.trace) {
				if found.violation == nil {
					left = simplify
				}
				found.violation, found.switches = r.violated, n
			}
		})
		if !s.next() {
			break
		}
	}
	return found
}

// lease is the lease of every write.
const lease = 30 * time.Second

// provision builds the gateway and computes the tags of all contents.
func (sc *scenario) provision(t *testing.T) {
	t.Helper()
	namer := &resource.Namer{Template: "{http.request.host}{http.request.uri.path}"}
	rules := &relation.Rules{Namer: namer}
	if sc.tree {
		rule, err := relation.ParseRule("/tree", "/tree/**")
		if err != nil {
			t.Fatal(err)
		}
		namer.Roots, rules.Affects = rule.Roots(), []relation.Rule{rule}
	}
	deriver := proxyhooks.Deriver{Limit: 1 << 20, Sources: []proxyhooks.Source{{Kind: proxyhooks.SourceUpstream}, {Kind: proxyhooks.SourceBody}}}
	sc.gateway = gateway.Gateway{
		Namer: namer,
		Rules: rules,
		Config: &knowledge.Config{
			Deriver:  deriver,
			Scheme:   deriver.Scheme(),
			Template: namer.Template,
			Terms:    etagcache.Terms{Lease: lease, Grace: lease / 3, Retention: 24 * time.Hour},
		},
		Answers:     &answer.Config{Mode: answer.Enforce, Disclose: true, RetryAfter: 5 * time.Second, Logger: zap.NewNop()},
		Verify:      gateway.Verification{Passing: sc.verify == passing},
		WriteETag:   gateway.WriteETagOff,
		Buffer:      1 << 20,
		BufferTotal: 1 << 30,
		Wait:        125 * time.Second, // longer than any write lasts
		StoreDown:   gateway.StoreDown{ForwardUnconditional: true},
		Logger:      zap.NewNop(),
	}
	if sc.replica {
		sc.gateway.Terms.Lag = lag
	}
	if sc.after {
		sc.gateway.WriteETag, sc.gateway.Replay = gateway.WriteETagVerbatim, true
	}

	sc.tags = map[string]string{"": none}
	contents := []string{"last"}
	if sc.content != "" {
		contents = append(contents, sc.content)
	}
	for _, p := range sc.parts {
		for _, q := range p.requests {
			if q.content != "" {
				contents = append(contents, q.content)
			}
		}
	}
	for _, content := range contents {
		single := &scenario{gateway: sc.gateway, content: content, tags: map[string]string{}, parts: []part{{}}}
		got := newRun(single).nodes[0].send(context.Background(), request{method: "GET"}, "")
		if got.tag == "" {
			t.Fatalf("%q has no tag", content)
		}
		sc.tags[content] = got.tag
	}
}

// mutants are stores that break one rule each, with a scenario that exposes it.
// They prove that an exploration can find the bugs it looks for.
var mutants = []struct {
	name     string
	mutate   func(etagcache.Store) etagcache.Store
	scenario string
	setting
}{
	{"a claim ignores the epoch", func(s etagcache.Store) etagcache.Store { return anyEpoch{s} }, "two writers", setting{never, true, false}},
	{"an observation ignores the epoch", func(s etagcache.Store) etagcache.Store { return anyTime{s} }, "two writers and a reader", setting{never, false, false}},
	{"a settlement keeps the validators", func(s etagcache.Store) etagcache.Store { return keeping{s} }, "two writers", setting{never, true, false}},
	{"a settlement tells of the validators before it", func(s etagcache.Store) etagcache.Store { return nostalgic{s} }, "two writers on one node", setting{never, true, false}},
	{"a claim is shared", func(s etagcache.Store) etagcache.Store { return sharing{s} }, "two writers", setting{passing, false, false}},
	{"a claim ends when there is no answer", func(s etagcache.Store) etagcache.Store { return impatient{s} }, "the backend gives no answer", setting{passing, true, false}},
	{"a pass keeps no claim out", func(s etagcache.Store) etagcache.Store { return careless{s} }, "writer and blind writer", setting{passing, true, false}},
	{"a lease is half as long", func(s etagcache.Store) etagcache.Store { return brief{s} }, "a node crashes", setting{passing, true, false}},
	{"a lock is shared", func(s etagcache.Store) etagcache.Store { return without{s, "lock "} }, "a tree is deleted", setting{passing, true, false}},
	{"a subtree epoch never moves", func(s etagcache.Store) etagcache.Store { return without{s, "age "} }, "a tree is deleted", setting{never, true, false}},
	{"a spent state is forgotten", func(s etagcache.Store) etagcache.Store { return forgetful{s} }, "the origin shows the past", setting{passing, true, false}},
	{"a renewal does nothing", func(s etagcache.Store) etagcache.Store { return idle{s} }, "the backend is slow", setting{passing, true, false}},
}

// If the store went on to show an entry as it was before a write, whoever asks would be told that
// what was replaced is current.
func TestExplorationFindsStaleAnswers(t *testing.T) {
	t.Parallel()
	sc := scenarioNamed("two writers, and somebody asks")
	sc.setting, sc.promise = setting{never, true, false}, currentAnswer
	sc.mutate = func(s etagcache.Store) etagcache.Store {
		return &frozen{Store: s, first: make(map[string]etagcache.Entry)}
	}
	if found := sc.explore(t); found.violation == nil {
		t.Fatalf("not found in %d schedules", found.schedules)
	}
}

func TestExplorationFindsLostUpdates(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			sc := scenarioNamed(m.scenario)
			sc.setting, sc.mutate, sc.promise = m.setting, m.mutate, noLostUpdate
			found := sc.explore(t)
			if found.violation == nil {
				t.Fatalf("not found in %d schedules", found.schedules)
			}
			t.Logf("found:\n%s", found.violation)
		})
	}
}

// The exploration also checks what the store believes, not only the answers that
// result from it.
func TestExplorationFindsWrongBeliefs(t *testing.T) {
	t.Parallel()
	sc := scenarioNamed("two writers and a reader")
	sc.setting, sc.promise = setting{passing, false, false}, trueBelief
	sc.mutate = func(s etagcache.Store) etagcache.Store { return anyTime{s} }
	if found := sc.explore(t); found.violation == nil {
		t.Fatalf("not found in %d schedules", found.schedules)
	}
}

// anyEpoch grants claims without checking the epoch.
type anyEpoch struct{ etagcache.Store }

func (s anyEpoch) Claim(ctx context.Context, key, _ string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	e, err := s.Read(ctx, key, t)
	if err != nil {
		return etagcache.Grant{}, e, err
	}
	return s.Store.Claim(ctx, key, e.Epoch, t, replaces...)
}

// anyTime stores an observation no matter when it was made.
type anyTime struct{ etagcache.Store }

func (s anyTime) Observe(ctx context.Context, key string, _ etagcache.Entry, o etagcache.Observation, t etagcache.Terms) error {
	e, err := s.Read(ctx, key, t)
	if err != nil {
		return err
	}
	return s.Store.Observe(ctx, key, e, o, t)
}

// keeping treats every write as one that changed nothing.
type keeping struct{ etagcache.Store }

func (s keeping) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	settlement.Unchanged = true
	return s.Store.Settle(ctx, g, settlement, t)
}

// frozen shows each entry as it was when it was first read.
type frozen struct {
	etagcache.Store
	mu    sync.Mutex
	first map[string]etagcache.Entry
}

func (s *frozen) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	now, err := s.Store.Read(ctx, key, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, known := s.first[key]; known && err == nil {
		return first, nil
	}
	if err == nil && len(now.Variants) > 0 {
		s.first[key] = now
	}
	return now, err
}

// nostalgic says that the end of a write has left the validators that were stored before it.
type nostalgic struct{ etagcache.Store }

func (s nostalgic) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	before, err := s.Peek(ctx, g.Key)
	if err != nil {
		return err
	}
	err = s.Store.Settle(ctx, g, settlement, t)
	if settlement.After != nil {
		settlement.After.Variants = before.Variants
	}
	return err
}

// sharing grants a claim to everyone who asks.
type sharing struct{ etagcache.Store }

func (s sharing) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	g, e, err := s.Store.Claim(ctx, key, epoch, t, replaces...)
	if errors.Is(err, etagcache.ErrBusy) {
		g, err = etagcache.Grant{Key: key, Token: etagcache.NewToken()}, nil
	}
	return g, e, err
}

// impatient ends a claim that must be kept because its write may still land.
type impatient struct{ etagcache.Store }

func (s impatient) Renew(ctx context.Context, g etagcache.Grant, t etagcache.Terms) error {
	if ctx.Value(actorKey{}) != nil { // called for an actor, not by a lease's timer
		return s.Settle(ctx, g, etagcache.Settlement{}, t)
	}
	return s.Store.Renew(ctx, g, t)
}

// careless grants passes that claims don't respect.
type careless struct{ etagcache.Store }

func (s careless) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	e, err := s.Read(ctx, key, t)
	if err != nil || e.Busy > 0 {
		return etagcache.Grant{}, e, etagcache.ErrBusy
	}
	return etagcache.Grant{Key: key, Token: etagcache.NewToken(), Pass: true}, e, s.Invalidate(ctx, key, t)
}

func (s careless) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	if g.Pass {
		return s.Invalidate(ctx, g.Key, t)
	}
	return s.Store.Settle(ctx, g, settlement, t)
}

// without ignores passes on some keys.
type without struct {
	etagcache.Store
	prefix string
}

func (s without) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	if strings.HasPrefix(key, s.prefix) {
		return etagcache.Grant{Key: key, Token: etagcache.NewToken(), Pass: true}, etagcache.Entry{}, nil
	}
	return s.Store.Pass(ctx, key, t)
}

func (s without) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	if g.Pass && strings.HasPrefix(g.Key, s.prefix) {
		return nil
	}
	return s.Store.Settle(ctx, g, settlement, t)
}

// brief ends claims early.
type brief struct{ etagcache.Store }

func (s brief) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	t.Lease /= 2
	return s.Store.Claim(ctx, key, epoch, t, replaces...)
}

func (s brief) Renew(ctx context.Context, g etagcache.Grant, t etagcache.Terms) error {
	t.Lease /= 2
	return s.Store.Renew(ctx, g, t)
}

// forgetful doesn't remember the content that writes have replaced.
type forgetful struct{ etagcache.Store }

func (s forgetful) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	t.Lag = 0
	e, err := s.Store.Read(ctx, key, t)
	e.Spent, e.Doubt = etagcache.Spent{}, 0
	return e, err
}

func (s forgetful) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	t.Lag = 0
	g, e, err := s.Store.Claim(ctx, key, epoch, t, replaces...)
	e.Spent, e.Doubt = etagcache.Spent{}, 0
	return g, e, err
}

func (s forgetful) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	t.Lag = 0
	return s.Store.Settle(ctx, g, settlement, t)
}

// idle reports leases as renewed, but doesn't renew them.
type idle struct{ etagcache.Store }

func (s idle) Renew(context.Context, etagcache.Grant, etagcache.Terms) error { return nil }
