package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// tally counts the answers that the clients got.
type tally struct {
	mu         sync.Mutex
	told       map[string]int // except success
	successes  []time.Duration
	slowest    time.Duration
	complaints []string
}

func newTally() *tally { return &tally{told: make(map[string]int)} }

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d confirmed", len(c.successes))
	for _, told := range slices.Sorted(maps.Keys(c.told)) {
		fmt.Fprintf(&b, ", %d × %s", c.told[told], told)
	}
	return b.String()
}

// errors returns how many requests got a 5xx answer.
func (c *tally) errors() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for told, count := range c.told {
		if strings.HasPrefix(told, "5") {
			n += count
		}
	}
	return n
}

// take counts the answer to a client, unless the client left before it came.
func (c *tally) take(told string, took time.Duration, left bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slowest = max(c.slowest, took)
	if !left && !strings.HasPrefix(told, "2") {
		c.told[told]++
	}
}

// told summarizes an answer.
func told(a caddytest.Answer, err error) string {
	if err == nil {
		return strings.TrimSpace(fmt.Sprint(a.StatusCode, " ", a.Header.Get("X-Outcome")))
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err.Error()
}

func (c *tally) succeed(at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.successes = append(c.successes, at)
}

func (c *tally) complain(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complaints = append(c.complaints, fmt.Sprintf(format, args...))
}

// author is a client that reads a document, changes it and writes it back. It
// continues after every failure.
type author struct {
	*stage
	id    int
	edits int
	fine  bool
}

// faultPatience is how long a client waits for an answer.
const faultPatience = 20 * time.Second

func (c *author) edit() {
	path := caddytest.SharedDocs[rand.IntN(len(caddytest.SharedDocs))]
	a, d, err := c.send("GET", path, "", faultPatience)
	if err != nil || a.StatusCode != 200 {
		c.pause(a, err)
		return
	}
	d.content, d.came = a.Content, read
	if c.origin == nil {
		c.history.add(d)
	}
	tag := a.Header.Get("ETag")
	if tag == "" {
		c.tally.complain("%s was shown without a tag", path)
	}
	if !c.over.Load() && rand.IntN(8) == 0 { // some clients are slow and write at the worst moment
		select {
		case <-time.After(rand.N(2 * time.Second)):
		case <-*c.bell.Load():
		}
	}

	c.edits++
	content := fmt.Sprintf("edit %d by client %d in round %d", c.edits, c.id, c.round)
	fields, basedOn, limit := []string{"If-Match", tag, "X-Based-On", legacydocs.Digest([]byte(a.Content))}, a.Content, faultPatience
	switch {
	case rand.Float64() < c.blind:
		fields, basedOn = nil, ""
	case !c.over.Load() && rand.Float64() < c.leaves:
		limit = rand.N(50 * time.Millisecond)
	}
	target := path
	if rand.Float64() < c.actions {
		target += saving
	}
	after := c.over.Load()
	a, d, err = c.send("PUT", target, content, limit, fields...)
	d.path, d.content, d.basedOn, d.came = path, content, basedOn, came(a, err)
	c.history.add(d)
	switch {
	case d.came != written:
		c.pause(a, err)
		return
	case basedOn != "":
		c.tally.succeed(c.history.now())
	}
	if after && !c.fine {
		c.fine = true
		if c.stage.fine.Add(1) == faultClients {
			close(c.allFine)
		}
	}
}

// send sends a request to some node.
func (c *author) send(method, path, content string, limit time.Duration, fields ...string) (caddytest.Answer, deed, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	d := deed{client: c.id, path: path, node: c.nodes.Random(), call: c.history.now()}
	a, err := caddytest.Try(ctx, method, d.node+path, content, fields...)
	d.told = told(a, err)
	took := c.history.now() - d.call
	c.tally.take(d.told, took, limit < faultPatience && ctx.Err() != nil)
	if limit == faultPatience && ctx.Err() != nil {
		c.tally.complain("%s %s: no answer within %v", method, path, faultPatience)
	}
	return a, d, err
}

// came returns what the answer to a write says about the write's outcome.
func came(a caddytest.Answer, err error) end {
	outcome := ""
	if err == nil {
		outcome = a.Header.Get("X-Outcome")
	}
	switch {
	case err != nil:
		return unknown
	case a.StatusCode == 200, a.StatusCode == 201, a.StatusCode == 204:
		return written
	case a.StatusCode == 412 && outcome == "failed":
		return refused
	case a.StatusCode == 412 && outcome == "unverifiable",
		a.StatusCode == 503 && outcome == "conflict",
		a.StatusCode == 503 && outcome == "unavailable" && !strings.Contains(a.Content, "nobody knows whether the request was performed"):
		return nothing
	default:
		return unknown
	}
}

// pause waits as long as the answer asks the client to, up to a low limit. The
// limit ensures that many clients are always retrying.
func (c *author) pause(a caddytest.Answer, err error) {
	most := time.Duration(0)
	switch {
	case err != nil:
		most = 50 * time.Millisecond
	case a.StatusCode >= 500:
		seconds, _ := strconv.Atoi(a.Header.Get("Retry-After"))
		most = min(time.Duration(seconds)*time.Second, 250*time.Millisecond)
	}
	if most > 0 {
		c.pass(rand.N(most))
	}
}
