package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// In the tests of this file, clients edit documents while everything that can
// fail does: nodes, Redis, the backend and the clients themselves. Afterwards,
// these rules must hold:
//
//   - by the backend's own record, every write replaced the content that it is
//     based on;
//   - the history of each document, as the clients saw it, is linearizable;
//   - every confirmed write was applied, and no refused write was;
//   - every client soon gets a write through again.
//
// Each scenario takes a few seconds. Longer runs can find more:
//
//	PRECONDITIONS_FAULT_SECONDS=30 go test -race -run TestFaults -timeout 60m -v ./tests/faults
//
// The last scenario, in which everything fails in turn, can run for any length of
// time. It then prints the resource usage of its nodes every minute:
//
//	PRECONDITIONS_SOAK_MINUTES=60 go test -race -run TestFaults/everything -timeout 2h -v ./tests/faults
//
// The scenarios are in this file; stage_test.go runs them and checks the results.
// The clients, the backend and the nodes are in separate files.

const (
	faultClients  = 8
	faultLease    = 3 * time.Second
	faultWait     = 5 * time.Second
	faultRecovery = 12 * time.Second // by then every client must get a write through
)

var (
	// A write can wait long enough for a lease to expire.
	faultTerms = fmt.Sprintf("lease %s\nwait %s\n", faultLease, faultWait)
	fullGrace  = fmt.Sprintf("grace %s\n", faultLease)
	// Renewals are rarer than the usual grace is long.
	longTerms = fmt.Sprintf("lease %s\nwait %s\n", 4*faultLease, faultWait)
)

// faultTime returns how long faults are injected.
func faultTime(t *testing.T) time.Duration {
	t.Helper()
	return caddytest.DurationFromEnv(t, "PRECONDITIONS_FAULT_SECONDS", time.Second, 3*time.Second)
}

// soakTime returns how long the last scenario runs, if longer than the others.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	return caddytest.DurationFromEnv(t, "PRECONDITIONS_SOAK_MINUTES", time.Minute, 0)
}

// faultScenario describes a setup and the faults to inject into it.
type faultScenario struct {
	name       string
	terms      string  // lease and wait, if not the usual ones
	otherTerms string  // those of the last node, if it has different ones
	options    string  // options of the handler
	proxy      string  // options of reverse_proxy
	upstreams  int     // addresses of the backend, if there is more than one
	faults     []fault // injected one at a time
	calm       bool    // no client may notice anything
	store      opening // a single Redis by default
	program    string  // what the nodes run at first, if it isn't this test binary
	inProcess  bool    // one node is this process
	alone      bool    // that is the only node
	soak       bool    // it may run for longer

	// origin shows the documents, perhaps as they were. Reads are then no part of the
	// history. What is written is judged as ever.
	origin func(docs http.Handler) http.Handler

	delay  time.Duration // the maximum of a slow backend
	prompt bool          // reads are as quick as usual all the same
	leaves float64       // the share of conditional writes whose clients leave early
	blind  float64       // the share of writes without a condition

	// The share of a document's writes that go to the URL of an action instead.
	actions float64

	// Whether writes without a condition are forwarded while the store is
	// unreachable. Other nodes don't know about these writes at first. A conditional
	// write may overwrite one, or be refused although its condition holds.
	forwards bool
}

const (
	quickly       = 20 * time.Millisecond
	slowly        = 300 * time.Millisecond // keeps some writes in flight at all times
	refuseAll     = "store_down {\nunconditional refuse\n}\n"
	headerTimeout = "transport http {\nresponse_header_timeout 500ms\n}\n"
	affectsDoc    = "affects /docs/*" + saving + " /docs/*\n"
	guardsDoc     = "guards /docs/*" + saving + " /docs/*\n"
	retryWrites   = "lb_policy round_robin\nlb_retries 1\nlb_retry_match method PUT\nrequest_buffers 64KiB\n"
)

// retryAnswers makes the proxy try a second upstream after most answers of goesOn.
const retryAnswers = "lb_policy round_robin\nlb_retries 1\nlb_retry_match {\nexpression \"{rp.status_code} >= 503\"\n}\nrequest_buffers 64KiB\n"

var faultScenarios = []faultScenario{
	{name: "none", calm: true},
	{name: "none, verify never", options: "verify never", calm: true},
	{name: "node killed", faults: []fault{killNode}},
	{name: "node killed, verify never", options: "verify never", faults: []fault{killNode}},
	{name: "node stands still", faults: []fault{freezeNode}, delay: slowly},
	{
		name: "node stands still, unequal terms", terms: longTerms, otherTerms: faultTerms,
		faults: []fault{freezeNode}, delay: slowly,
	},
	{name: "node stands still, verify never", options: "verify never", faults: []fault{freezeNode}, delay: slowly},
	{name: "node stands still, write_etag always", options: "write_etag always", faults: []fault{freezeNode}, delay: slowly},
	{name: "redis frozen", faults: []fault{freezeRedis}},
	{name: "redis frozen, verify never", options: "verify never", faults: []fault{freezeRedis}},
	{name: "redis restarted empty", faults: []fault{loseRedis}, delay: slowly},
	{name: "redis restarted empty, verify never", options: "verify never", faults: []fault{loseRedis}, delay: slowly},
	{
		name: "redis away for a moment, short leases", terms: "lease 2s\nwait 5s\n", options: "verify never",
		faults: []fault{loseRedisForAMoment}, delay: 3 * time.Second, prompt: true,
	},
	{
		// The grace that suits the last node is over before the other renews what it holds.
		name: "redis restarted empty, unequal terms", terms: longTerms, otherTerms: faultTerms, options: "verify never",
		faults: []fault{rarely(loseRedis)}, delay: faultWait, prompt: true,
	},
	{
		name: "redis flushed, unequal terms", terms: longTerms, otherTerms: faultTerms,
		faults: []fault{rarely(flushRedis)}, delay: faultWait, prompt: true,
	},
	{name: "redis flushed", faults: []fault{flushRedis}, delay: slowly},
	{name: "redis flushed, verify never", options: "verify never", faults: []fault{flushRedis}, delay: slowly},
	{name: "redis restarted with old data", faults: []fault{rollBackRedis}, delay: slowly},
	{name: "redis restarted with old data, verify never", options: "verify never", faults: []fault{rollBackRedis}},
	{name: "redis restarted with old data, verify never, slow", options: "verify never", faults: []fault{rollBackRedis}, delay: slowly},
	{name: "500 after applying", faults: []fault{writes(failsAfter)}},
	{name: "500 after applying, verify never", options: "verify never", faults: []fault{writes(failsAfter)}},
	{name: "500 before applying", faults: []fault{writes(failsBefore)}},
	{name: "500 to reads", faults: []fault{reads(failsBefore)}},
	{name: "hangs and applies late", proxy: headerTimeout, faults: []fault{writes(appliesLate)}},
	{name: "hangs and applies late, verify never", options: "verify never", proxy: headerTimeout, faults: []fault{writes(appliesLate)}},
	{name: "connection dropped", faults: []fault{writes(dropsBefore), writes(dropsAfter)}},
	{name: "goes on after its answer", faults: []fault{writes(goesOn)}},
	{name: "goes on after its answer, verify never", options: "verify never", faults: []fault{writes(goesOn)}},
	{name: "goes on after its answer, unconditional writers", blind: 0.3, faults: []fault{writes(goesOn)}},
	{
		name: "retries, goes on after its answer", proxy: retryAnswers, upstreams: 2,
		faults: []fault{writes(goesOn)},
	},
	{name: "202 and 207", options: "verify never", faults: []fault{writes(answers(202)), writes(answers(207))}},
	{name: "works on after the header section", faults: []fault{writes(worksOn)}},
	{name: "works on after the header section, write_etag off", options: "write_etag off", faults: []fault{writes(worksOn)}},
	{name: "works on after the header section, verify never", options: "verify never\nwrite_etag off", faults: []fault{writes(worksOn)}},
	{name: "answer breaks off", options: "verify never", faults: []fault{writes(breaksOff)}},
	{
		name: "retries, connection dropped", options: "verify never", proxy: retryWrites, upstreams: 2,
		faults: []fault{writes(dropsBefore), writes(dropsAfter)},
	},
	{
		name: "retries, hangs and applies late", proxy: retryWrites + headerTimeout, upstreams: 2,
		faults: []fault{writes(appliesLate)},
	},
	{name: "clients leave", leaves: 0.25},
	{name: "clients leave, verify never", options: "verify never", leaves: 0.25},
	{name: "unconditional writers", blind: 0.2, calm: true},
	{name: "unconditional writers, redis frozen", blind: 0.4, forwards: true, delay: slowly, faults: []fault{freezeRedis}},
	{name: "unconditional writers refused, redis frozen", options: refuseAll, blind: 0.4, delay: slowly, faults: []fault{freezeRedis}},
	{name: "actions, verify never", options: "verify never\n" + affectsDoc + guardsDoc, actions: 0.5, blind: 0.2, calm: true},
	{
		name: "actions, verify never, node killed, redis flushed, config reloaded", options: "verify never\n" + affectsDoc + guardsDoc + fullGrace,
		actions: 0.5, blind: 0.2, delay: slowly, inProcess: true, faults: []fault{killNode, flushRedis, reloadConfig},
	},
	{name: "config reloaded", faults: []fault{reloadConfig}, inProcess: true, calm: true},
	{name: "config reloaded, memory", faults: []fault{reloadConfig}, store: ownMemory, inProcess: true, alone: true, calm: true},
	{
		name: "hangs and applies late, then redis flushed", options: "verify never", proxy: headerTimeout,
		faults: []fault{soon(writes(appliesLate), flushRedis)},
	},
	{
		name: "hangs and applies late, then node killed and redis flushed", options: fullGrace, proxy: headerTimeout,
		faults: []fault{soon(writes(appliesLate), killNode, flushRedis)},
	},
	{name: "replicas", options: longerLag, origin: laggingReplicas},
	{name: "replicas, verify never", options: longerLag + "verify never", origin: laggingReplicas},
	{name: "replicas, memory", options: longerLag, origin: laggingReplicas, store: ownMemory, inProcess: true, alone: true, faults: []fault{reloadConfig}},
	{name: "replicas, node killed", options: longerLag, origin: laggingReplicas, delay: slowly, faults: []fault{killNode}},
	{
		name: "replicas, node killed, verify never", options: longerLag + "verify never\nwrite_etag off",
		origin: laggingReplicas, delay: slowly, faults: []fault{killNode},
	},
	{name: "replicas, redis frozen", options: longerLag, origin: laggingReplicas, faults: []fault{freezeRedis}},
	{
		name: "replicas, answers lost", options: longerLag, proxy: headerTimeout, origin: laggingReplicas, leaves: 0.05,
		faults: []fault{writes(appliesLate), writes(dropsAfter), writes(failsAfter), writes(answers(202)), writes(breaksOff)},
	},
	{
		// What was spent is forgotten, but the replicas are less far behind than the grace is long.
		name: "replicas, node killed, redis flushed", options: longerLag + fullGrace, origin: laggingReplicas,
		delay: slowly, faults: []fault{flushRedis, soon(killNode, flushRedis), loseRedis},
	},
	{name: "cache", options: longerLag, origin: obedientCache},
	{
		name: "cache, node killed, answers lost", options: longerLag, proxy: headerTimeout, origin: obedientCache,
		faults: []fault{killNode, writes(appliesLate), writes(dropsAfter), flushRedis},
	},
	{name: "cache that answers all the same", options: longerLag, origin: deafCache},
	{
		name: "cache that answers all the same, node killed, answers lost", options: longerLag, proxy: headerTimeout, origin: deafCache,
		faults: []fault{killNode, writes(appliesLate), writes(dropsAfter)},
	},
	{
		// The grace is needed because a node and the store may be lost within one lease.
		name: "everything", options: refuseAll + fullGrace, proxy: headerTimeout, leaves: 0.05, blind: 0.05, soak: true,
		faults: []fault{
			killNode, freezeRedis, loseRedis, flushRedis, rollBackRedis, reads(failsBefore), writes(failsBefore),
			freezeNode, writes(worksOn), writes(failsAfter), writes(appliesLate), writes(goesOn), writes(dropsBefore), writes(dropsAfter), writes(answers(202)), writes(breaksOff),
			soon(writes(appliesLate), rollBackRedis), soon(killNode, freezeRedis), soon(reads(failsBefore), loseRedis),
		},
	},
}

// previous is the environment variable that names a program with an earlier build of the
// handler: a Caddy, or the compiled tests of this package.
const previous = "PRECONDITIONS_PREVIOUS"

// upgrades are the scenarios that need an earlier build.
func upgrades() []faultScenario {
	program := os.Getenv(previous)
	if program == "" {
		return nil
	}
	faults := []fault{exchangeNodes, soon(exchangeNode, loseRedis), soon(exchangeNode, killNode), soon(exchangeNode, flushRedis)}
	return []faultScenario{
		{name: "nodes upgraded", program: program, faults: faults, delay: slowly},
		{name: "nodes upgraded, verify never", program: program, options: "verify never", faults: faults, delay: slowly},
	}
}

// Whatever fails, no update is lost, no client gets a false answer, and writes
// succeed again once the fault is over.
func TestFaults(t *testing.T) {
	for _, sc := range slices.Concat(faultScenarios, upgrades()) {
		t.Run(sc.name, func(t *testing.T) {
			if !sc.inProcess {
				t.Parallel()
			}
			s := newStage(t, sc)
			s.run(s.expectSound)
		})
	}
}

// The checks detect lost updates. Two nodes that don't share a store lose updates
// although both ask the origin, and so do two nodes that aren't told what an
// action changes, that don't expect the origin to lag behind, or that take every answer
// for the end of a write.
func TestFaultsCanBeFound(t *testing.T) {
	for _, sc := range []faultScenario{
		{name: "two stores", store: ownMemory},
		{name: "no declaration of an action", options: "verify never", actions: 0.5, blind: 0.2},
		{name: "replicas, no lag", options: noLag, origin: laggingReplicas},
		{name: "goes on after its answer, unanswered none", options: "unanswered none", faults: []fault{writes(goesOn)}},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			// On a busy machine, a stage may be over before much has happened.
			for range 5 {
				s, found := newStage(t, sc), false
				s.run(func() {
					lost := s.lost()
					t.Logf("%d updates were lost", len(lost))
					found = len(lost) > 0 && !s.history.linearizable(s.contents, s.applied)
				})
				if found {
					return
				}
			}
			t.Error("no update was lost, or all histories are linearizable, though the setup is wrong")
		})
	}
}

// fault is something that goes wrong.
type fault struct {
	name   string
	happen func(s *stage) // returns when it is over
}

var (
	// Only the last node is killed: the first one keeps running for the whole test.
	killNode = fault{"node killed", func(s *stage) {
		m := s.mortals[len(s.mortals)-1]
		m.Kill()
		m.Start()
	}}
	// All nodes are upgraded, one by one. The next time they go back to the earlier build.
	exchangeNodes = fault{"nodes exchanged", func(s *stage) {
		for range s.mortals {
			exchangeNode.happen(s)
		}
	}}
	exchangeNode = fault{"node exchanged", func(s *stage) {
		m := s.mortals[s.exchanged%len(s.mortals)]
		if s.exchanged/len(s.mortals)%2 == 0 {
			m.Exchange("")
		} else {
			m.Exchange(s.program)
		}
		s.exchanged++
	}}
	// A node stands still for longer than its leases last, and then goes on.
	freezeNode = fault{"node stands still", func(s *stage) {
		m := s.mortals[len(s.mortals)-1]
		m.Freeze()
		defer m.Thaw()
		s.pass(faultLease + time.Second)
	}}
	freezeRedis = fault{"redis frozen", func(s *stage) {
		s.redis.Freeze()
		defer s.redis.Thaw()
		s.pass(time.Second + rand.N(time.Second))
	}}
	loseRedis = fault{"redis restarted empty", func(s *stage) {
		s.redis.Kill()
		if err := os.RemoveAll(s.dump()); err != nil {
			s.Fatal(err)
		}
		s.redis.Restart()
	}}
	// Meanwhile one node needs Redis more often than it has connections.
	loseRedisForAMoment = fault{"redis away for a moment", func(s *stage) {
		s.redis.Kill()
		ctx, cancel := context.WithCancel(s.Context())
		var reads sync.WaitGroup
		node := s.nodes.Random()
		for range 20 * runtime.GOMAXPROCS(0) {
			reads.Go(func() { _, _ = caddytest.Try(ctx, "GET", node+caddytest.SharedDocs[0], "") })
		}
		s.pass(90 * time.Millisecond)
		cancel()
		reads.Wait()
		s.redis.Restart()
		s.pass(time.Second) // for longer than the grace
	}}
	flushRedis = fault{"redis flushed", func(s *stage) {
		if err := s.db.FlushAll(s.Context()).Err(); err != nil {
			s.Fatal(err)
		}
	}}
	// Redis comes back with data that is one second old.
	rollBackRedis = fault{"redis restarted with old data", func(s *stage) {
		if err := s.db.Save(s.Context()).Err(); err != nil {
			s.Fatal(err)
		}
		s.pass(time.Second)
		s.redis.Kill()
		if _, err := os.Stat(s.dump()); err != nil {
			s.Fatal(err)
		}
		s.redis.Restart()
	}}
	reloadConfig = fault{"config reloaded", func(s *stage) {
		if err := caddytest.Reload(s, s.config); err != nil {
			s.Fatal(err)
		}
	}}
)

// soon injects one fault right after the other, without a pause in which requests
// in progress could finish.
func soon(faults ...fault) fault {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return fault{strings.Join(names, ", then "), func(s *stage) {
		for i, f := range faults {
			if i > 0 {
				s.pass(200 * time.Millisecond)
			}
			f.happen(s)
		}
	}}
}

// rarely injects a fault when the grace after the one before is over.
func rarely(f fault) fault {
	return fault{f.name, func(s *stage) {
		s.pass(faultLease)
		f.happen(s)
		s.pass(faultLease)
	}}
}

// writes is a fault: for a while, the backend treats half of its writes according
// to the mood.
func writes(m mood) fault { return misbehave("PUT", m) }

// reads does the same for reads.
func reads(m mood) fault { return misbehave("GET", m) }

func misbehave(method string, m mood) fault {
	return fault{method + " " + m.name, func(s *stage) {
		s.backend.change(method, m)
		defer s.backend.change("", kind)
		s.pass(500 * time.Millisecond)
	}}
}
