package caddytest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// Contest is a write that many clients send at the same time. Only one of them
// may be performed.
type Contest struct {
	Name   string
	method string
	exists bool   // whether the document exists; if so, the condition is its tag
	field  string // of the condition
	loser  int    // the status that the others get
}

// Contests are the writes that a client may rely on being atomic.
var Contests = []Contest{
	{"edit", "PUT", true, "If-Match", 412},
	{"create", "PUT", false, "If-None-Match", 412},
	// There is nothing left to delete, so the condition is ignored (RFC 9110, 13.2.1).
	{"delete", "DELETE", true, "If-Match", 404},
}

// Writers is how many clients take part in a contest.
const Writers = 32

// Rounds is how often to hold each contest.
func Rounds() int {
	if testing.Short() {
		return 3
	}
	return 10
}

// Hold lets all writers read the document, and then write it at the same moment. It
// returns how many were told that they did.
func (c Contest) Hold(t *testing.T, n Nodes, docs *legacydocs.Service, path string) (winners int) {
	t.Helper()
	if c.exists {
		Bypass(t, docs, "PUT", path, "base")
	}
	before := len(WritesOf(docs, path))

	var ready, done sync.WaitGroup
	start := make(chan struct{})
	results := make(chan Result, Writers)
	ready.Add(Writers)
	for i := range Writers {
		done.Go(func() {
			to, condition := n[i%len(n)]+path, "*"
			read, err := Try(context.Background(), "GET", to, "")
			if err == nil && c.exists {
				condition = read.Header.Get("ETag")
			}
			ready.Done()
			<-start
			if err != nil {
				results <- Result{Err: err}
				return
			}
			content := ""
			if c.method == "PUT" {
				content = fmt.Sprintf("by writer %d", i)
			}
			a, err := Try(context.Background(), c.method, to, content, c.field, condition)
			results <- Result{a, err}
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	close(results)

	for r := range results {
		switch {
		case r.Err != nil:
			t.Error(r.Err)
		case r.StatusCode/100 == 2:
			winners++
		case r.StatusCode != c.loser:
			t.Errorf("a loser got %s, want %d: %s", r.Status, c.loser, r.Content)
		}
	}
	if got := len(WritesOf(docs, path)) - before; got != winners {
		t.Errorf("the backend applied %d writes, but %d writers were told so", got, winners)
	}
	return winners
}

// Winners lets n clients send a PUT at the same moment, each with a content of its own, and
// returns how many got the status of success. All others must get 412.
func Winners(t *testing.T, n int, url string, content func(i int) string, success int, fields ...string) int64 {
	t.Helper()
	var won atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			a, err := Try(context.Background(), "PUT", url, content(i), fields...)
			switch {
			case err != nil:
				t.Error(err)
			case a.StatusCode == success:
				won.Add(1)
			case a.StatusCode != 412:
				t.Errorf("a writer got %s: %s", a.Status, a.Content)
			}
		})
	}
	all.Wait()
	return won.Load()
}
