package simulate

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/gateway"
)

// plan is everything that a seed decides about a run. Whoever takes something out of a
// plan changes nothing about the rest, so a plan that fails can be made smaller.
type plan struct {
	seed      uint64
	redis     bool // the store is a simulated Redis, which may lose its data
	dates     bool // the backend dates its documents itself
	verify    gateway.Verification
	writeETag gateway.WriteETag
	wait      time.Duration
	lag       time.Duration // for how long the origin may show the past
	documents int
	exist     bool // the documents exist at first
	nodes     []nodePlan
	clients   []clientPlan
}

// nodePlan is how a node is configured.
type nodePlan struct {
	lease, grace, lag time.Duration
}

// clientPlan is what a client does, one after the other.
type clientPlan struct {
	name string
	node int
	ops  []opPlan
}

// opPlan is one thing that a client does.
type opPlan struct {
	number   uint64 // of all in the plan
	does     action
	document int
	after    time.Duration // since the client's last one
	answer   answerPlan
	faults   []fault
}

type action string

const (
	reads    action = "reads"
	edits    action = "edits"              // PUT with If-Match, or If-None-Match: * if there is nothing
	restores action = "restores"           // the same, with what the document was at first
	dates    action = "edits by date"      // the same with If-Unmodified-Since, if there is a date
	creates  action = "creates"            // PUT with If-None-Match: *
	removes  action = "removes"            // DELETE with If-Match
	posts    action = "posts"              // POST without a condition, which replaces the content
	drops    action = "removes regardless" // DELETE without a condition
)

// answerPlan is how the backend answers a write, and when it applies it.
type answerPlan struct {
	status       int  // zero for no answer
	breaksOff    bool // the connection ends before the answer does
	applies      moment
	stopsWhenCut bool             // it gives up when its connection is cut before it has applied the write
	waits        [3]time.Duration // before the header section, before the end, and before what comes after that
}

// moment is when the backend applies a write.
type moment string

const (
	beforeHeader moment = "before its answer"
	beforeEnd    moment = "while it answers"
	afterEnd     moment = "after its answer"
	never        moment = "never"
)

// fault is something that goes wrong at a step of an op, or of the renewals of its lease.
type fault struct {
	kind    faultKind
	renewal bool
	step    int    // by number
	at      string // or by name, the first one of that name
	lasts   time.Duration
}

// delicate are steps at which much depends on what goes wrong.
var delicate = []string{
	hearsOf + "Claim", hearsOf + "Pass", connects, sends, hearsOfBackend, asks + "Settle as changed", asks + "Settle as unchanged",
}

type faultKind string

const (
	standsStill faultKind = "node stands still"
	crashes     faultKind = "node crashes"
	leaves      faultKind = "client goes away"
	cutOff      faultKind = "node is cut off from the store"
	requestLost faultKind = "request to the store is lost"
	replyLost   faultKind = "reply of the store is lost"
	takesEffect faultKind = "call of the store fails and takes effect later"
	repeats     faultKind = "call of the store takes effect twice"
	originFails faultKind = "origin fails"
	loses       faultKind = "Redis loses its data"
	clockSteps  faultKind = "clock of Redis is set back"
	sentTwice   faultKind = "command is sent to Redis twice"
)

func (f fault) String() string {
	at := fmt.Sprintf("at step %d", f.step)
	if f.at != "" {
		at = fmt.Sprintf("when it %s", f.at)
	} else if f.renewal {
		at = fmt.Sprintf("at renewal %d", f.step)
	}
	if f.lasts != 0 {
		at += fmt.Sprintf(" (%s)", f.lasts.Round(time.Millisecond))
	}
	return string(f.kind) + " " + at
}

var names = []string{"Ann", "Bob", "Cid", "Dan", "Eve", "Fay"}

// drawer draws a plan.
type drawer struct {
	*rand.Rand
	*plan
	pace   time.Duration // the longest that a client thinks
	faulty float64       // the probability that something goes wrong with an op
	kinds  []faultKind
	do     []action
	lease  time.Duration // the longest of all nodes
}

// draw returns the plan of a seed.
func draw(seed uint64) *plan {
	d := &drawer{Rand: rand.New(rand.NewPCG(seed, 0)), plan: &plan{seed: seed}}
	d.redis = d.IntN(12) == 0
	d.verify = one(d, gateway.Verification{Passing: true}, gateway.Verification{Passing: true}, gateway.Verification{},
		gateway.Verification{Passing: true, FreshFor: 2 * time.Second}, gateway.Verification{Passing: true, Refused: true})
	d.writeETag = one(d, gateway.WriteETagVerbatim, gateway.WriteETagVerbatim, gateway.WriteETagAlways, gateway.WriteETagOff)
	d.wait = one(d, time.Second, 10*time.Second, 40*time.Second)
	d.documents = 1 + d.IntN(5)/4
	d.exist = d.IntN(4) > 0
	d.pace = one(d, 5*time.Millisecond, 100*time.Millisecond, time.Second, 4*time.Second)
	d.faulty = one(d, 0, 0.2, 0.5)
	d.kinds = []faultKind{standsStill, standsStill, standsStill, crashes, leaves, leaves, cutOff, requestLost, replyLost, takesEffect, repeats, originFails}
	d.do = []action{reads, edits, edits, edits, edits, restores, dates, creates, removes}
	switch {
	case d.redis:
		d.kinds = append(d.kinds, loses, loses, sentTwice, clockSteps)
		d.do = append(d.do, posts)
	case d.IntN(5) == 0:
		// Nobody knows what a write without a condition replaces.
		d.lag = one(d, 500*time.Millisecond, 5*time.Second)
	default:
		d.do = append(d.do, posts, drops)
	}
	d.dates = d.lag == 0 && d.IntN(3) == 0 // replicas may show a date that a later state shares
	d.drawNodes()
	for i := range 3 + d.IntN(len(names)-2) {
		d.drawClient(names[i], i%len(d.nodes))
	}
	return d.plan
}

func (d *drawer) drawNodes() {
	common := one(d, 3*time.Second, 6*time.Second, 30*time.Second)
	for range 2 + d.IntN(2) {
		n := nodePlan{lease: common, lag: d.lag}
		if d.IntN(4) == 0 {
			n.lease = one(d, 3*time.Second, 10*time.Second)
		}
		if d.lag > 0 && d.IntN(4) == 0 {
			n.lag += time.Second
		}
		d.lease = max(d.lease, n.lease)
		d.nodes = append(d.nodes, n)
	}
	for i := range d.nodes {
		d.nodes[i].grace = d.lease // a shorter one is no promise to nodes that stand still
		if i > 0 && d.IntN(4) == 0 {
			d.nodes[i].grace /= 3 // what counts is the longest
		}
	}
}

func (d *drawer) drawClient(name string, node int) {
	c := clientPlan{name: name, node: node}
	for range 1 + d.IntN(4) {
		o := opPlan{
			number:   uint64(len(d.clients)*10 + len(c.ops) + 1),
			does:     one(d, d.do...),
			document: d.IntN(d.documents),
			after:    d.upTo(d.pace),
			answer:   d.drawAnswer(),
		}
		for d.Float64() < d.faulty && len(o.faults) < 3 {
			o.faults = append(o.faults, d.drawFault())
		}
		c.ops = append(c.ops, o)
	}
	d.clients = append(d.clients, c)
}

// lateStatuses are the statuses after which a write may still be applied.
var lateStatuses = []int{
	http.StatusAccepted, 499, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	520, 522, 524, 530, 598, 599,
}

func (d *drawer) drawAnswer() answerPlan {
	a := answerPlan{status: one(d, http.StatusOK, http.StatusOK, http.StatusCreated, http.StatusNoContent), applies: one(d, beforeHeader, beforeHeader, beforeEnd)}
	for i := range a.waits {
		a.waits[i] = d.upTo(one(d, 2*time.Millisecond, 20*time.Millisecond, 700*time.Millisecond))
		if d.Float64() < d.faulty/4 {
			a.waits[i] = d.upTo(d.lease * 3 / 2)
		}
	}
	a.stopsWhenCut = d.IntN(2) == 0
	if d.Float64() < 1-d.faulty {
		return a
	}
	switch d.IntN(10) {
	case 0:
		a.status, a.applies = one(d, 400, 403, 409, 413, 422), never
	case 1, 2:
		a.status, a.applies = one(d, 500, 501, 507, 408), one(d, beforeHeader, beforeEnd, never)
	case 3, 4, 5:
		a.status, a.applies = one(d, lateStatuses...), one(d, beforeHeader, beforeEnd, afterEnd, afterEnd, never)
	case 6, 7:
		a.status, a.applies = 0, one(d, beforeHeader, afterEnd, afterEnd, never)
	case 8:
		a.status, a.breaksOff, a.applies = http.StatusOK, true, one(d, beforeHeader, beforeEnd, afterEnd, never)
	}
	if a.applies == afterEnd && d.IntN(2) == 0 {
		a.waits[2] = d.upTo(d.lease)
	}
	return a
}

func (d *drawer) drawFault() fault {
	f := fault{kind: one(d, d.kinds...), step: d.IntN(18)}
	switch f.kind {
	case standsStill:
		f.lasts = d.upTo(2 * d.lease)
	case clockSteps:
		f.lasts = -d.upTo(2 * d.lease) // forward, it ends leases
	case cutOff, takesEffect, repeats, sentTwice:
		f.lasts = d.upTo(one(d, 100*time.Millisecond, d.lease, 2*d.lease))
	}
	switch {
	case d.IntN(2) == 0:
		f.at = one(d, delicate...)
	case d.IntN(6) == 0 && f.kind != leaves && f.kind != originFails:
		f.renewal, f.step = true, d.IntN(6)
	}
	return f
}

// upTo returns a duration. No two are the same, so no two things happen at the same time.
func (d *drawer) upTo(most time.Duration) time.Duration {
	return 1 + time.Duration(d.Int64N(int64(most)))
}

func one[T any](d *drawer, of ...T) T { return of[d.IntN(len(of))] }

// String returns the plan as a failure shows it.
func (p *plan) String() string {
	var b strings.Builder
	store, exist, dates := "memory", "exist", "the handler"
	if p.redis {
		store = "Redis"
	}
	if !p.exist {
		exist = "don't exist"
	}
	if p.dates {
		dates = "the backend"
	}
	fmt.Fprintf(&b, "store %s, verify %+v, write_etag %s, wait %s, the origin lags %s, documents %s, dates by %s\n",
		store, p.verify, p.writeETag, p.wait, p.lag, exist, dates)
	for i, n := range p.nodes {
		fmt.Fprintf(&b, "node %d: lease %s, grace %s, lag %s\n", i, n.lease, n.grace, n.lag)
	}
	for _, c := range p.clients {
		for _, o := range c.ops {
			fmt.Fprintf(&b, "%s at node %d, %s later: %s %s", c.name, c.node, o.after.Round(time.Millisecond), o.does, documentPath(o.document))
			if o.does != reads {
				fmt.Fprintf(&b, ", answered %d, applied %s", o.answer.status, o.answer.applies)
			}
			for _, f := range o.faults {
				b.WriteString(", " + f.String())
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func documentPath(n int) string { return fmt.Sprintf("/doc%d", n) }

// clone returns a copy that can be changed.
func (p *plan) clone() *plan {
	c := *p
	c.nodes = slices.Clone(p.nodes)
	c.clients = slices.Clone(p.clients)
	for i := range c.clients {
		c.clients[i].ops = slices.Clone(c.clients[i].ops)
		for j := range c.clients[i].ops {
			o := &c.clients[i].ops[j]
			o.faults = slices.Clone(o.faults)
		}
	}
	return &c
}

// smaller returns plans with something taken out, the largest parts first.
func (p *plan) smaller() (plans []*plan) {
	for i := range p.clients {
		c := p.clone()
		c.clients = slices.Delete(c.clients, i, i+1)
		plans = append(plans, c)
	}
	for i := range p.clients {
		for j := range p.clients[i].ops {
			c := p.clone()
			c.clients[i].ops = slices.Delete(c.clients[i].ops, j, j+1)
			plans = append(plans, c)
		}
	}
	for i := range p.clients {
		for j, o := range p.clients[i].ops {
			for k := range o.faults {
				c := p.clone()
				c.clients[i].ops[j].faults = slices.Delete(c.clients[i].ops[j].faults, k, k+1)
				plans = append(plans, c)
			}
			if a := o.answer; a.status != http.StatusNoContent || a.breaksOff || a.applies != beforeHeader {
				c := p.clone()
				c.clients[i].ops[j].answer = answerPlan{status: http.StatusNoContent, applies: beforeHeader, waits: a.waits}
				plans = append(plans, c)
			}
		}
	}
	return plans
}
