package simulate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/gateway"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// run carries out one plan in a synctest bubble. The handler is the real one, and so is
// the store. All that happens beside them takes the time that the plan says, to the
// nanosecond, so a plan always runs the same way.
type run struct {
	*plan
	mutant
	begun   time.Time
	nodes   []*node
	clients []*client
	server  *simulatedRedis // nil if the store is in memory

	mu       sync.Mutex
	docs     map[string]*document // by path
	holders  map[string]*op       // by the token of a claim or pass
	dated    map[string]string
	winners  map[string]*op
	trace    []event
	violated *violation
}

// node is one gateway.
type node struct {
	*run
	nodePlan
	index   int
	store   etagcache.Store // without faults
	share   *storeshare.Share
	gateway gateway.Gateway

	// run.mu protects these.
	stillUntil time.Time // the node stands still
	cutUntil   time.Time // the node doesn't reach the store
	dead       bool
	stop       context.CancelFunc // ends its requests when it crashes
}

// client does what its plan says.
type client struct {
	*node
	*clientPlan
	ctx  context.Context
	seen map[string]seen // by path
}

// seen is what a client knows of a document.
type seen struct {
	known   bool
	content string // none if it is absent
	tag     string
	date    string // its Last-Modified, if there was one
}

// op is one thing that a client does.
type op struct {
	*opPlan
	*client
	path        string
	based       seen // what its condition is about
	conditional bool
	byDate      bool   // the condition is If-Unmodified-Since
	content     string // what it writes
	steps       *steps // of its request
	renewals    *steps
	cancel      context.CancelFunc // makes the client go away

	// run.mu protects these.
	grant   etagcache.Grant
	lease   time.Time // when the store considers the write over
	sent    bool      // the backend has got the first byte
	applied bool
	refused bool // the client was told that nothing was changed
	won     bool // the client was told that it succeeded
}

type opKey struct{}

// steps counts the moments at which something can go wrong with an op, or with the
// renewals of its lease.
type steps struct {
	*op
	renewal bool
	rand    *rand.Rand
	made    int
	named   map[string]bool // the names of the steps made
}

// The names of steps.
const (
	asks           = "asks the store: "
	hearsOf        = "hears of the store: "
	connects       = "connects to the backend"
	sends          = "sends the content"
	hearsOfBackend = "hears of the backend"
)

func newSteps(o *op, renewal bool) *steps {
	stream := o.number * 2
	if renewal {
		stream++
	}
	return &steps{op: o, renewal: renewal, rand: rand.New(rand.NewPCG(o.seed, stream)), named: make(map[string]bool)}
}

// Enter implements gateway.Store.
func (n *node) Enter() (*storeshare.Share, func(), error) { return n.share, func() {}, nil }

// Begin implements gateway.Store.
func (*node) Begin(context.Context, string, *storeshare.Share) (*storeshare.Write, error) {
	return nil, nil
}

// Count implements gateway.Store.
func (*node) Count(string) *storeshare.Write { return nil }

// deriver makes the tags.
var deriver = proxyhooks.Deriver{Limit: 1 << 20, Sources: []proxyhooks.Source{{Kind: proxyhooks.SourceUpstream}, {Kind: proxyhooks.SourceBody}}}

// tagOf returns the tag of a content.
func tagOf(content string) string {
	return deriver.FromContent(make(http.Header), []byte(content), time.Now()).ETag.String()
}

func newRun(t *testing.T, p *plan, m mutant) *run {
	r := &run{
		plan: p, mutant: m, begun: time.Now(),
		docs: make(map[string]*document), holders: make(map[string]*op),
		dated: make(map[string]string), winners: make(map[string]*op),
	}
	for i := range p.documents {
		d := &document{run: r, path: documentPath(i)}
		if p.exist {
			d.versions = []version{{original(i), r.begun.Add(-time.Hour)}}
		}
		r.docs[d.path] = d
	}
	open := openMemory(r)
	if p.redis {
		open = openRedis(t, r)
	}
	namer := &resource.Namer{Template: "{http.request.host}{http.request.uri.path}"}
	for i, np := range p.nodes {
		n := &node{run: r, nodePlan: np, index: i}
		if m.grants {
			n.grace = time.Millisecond
		}
		n.store = open()
		if m.store != nil {
			n.store = m.store(n, n.store)
		}
		n.share = storeshare.New(&nodeStore{n.store, n}, zap.NewNop())
		n.gateway = gateway.Gateway{
			Config: &knowledge.Config{
				Deriver: deriver, Scheme: deriver.Scheme(), Template: namer.Template,
				Terms: etagcache.Terms{Lease: n.lease, Grace: n.grace, Lag: n.nodePlan.lag, Retention: 24 * time.Hour},
			},
			Store: n, Namer: namer, Rules: &relation.Rules{Namer: namer},
			Answers:     &answer.Config{Mode: answer.Enforce, Disclose: true, RetryAfter: 5 * time.Second, Logger: zap.NewNop()},
			Verify:      p.verify,
			WriteETag:   p.writeETag,
			Buffer:      1 << 20,
			BufferTotal: 1 << 30,
			Wait:        p.wait,
			Logger:      zap.NewNop(),
		}
		r.nodes = append(r.nodes, n)
	}
	for i := range p.clients {
		cp := &p.clients[i]
		r.clients = append(r.clients, &client{node: r.nodes[cp.node], clientPlan: cp, seen: make(map[string]seen)})
	}
	return r
}

// play carries out the plan, and then lets every client write once more.
func (r *run) play() {
	for _, n := range r.nodes {
		var ctx context.Context
		ctx, n.stop = context.WithCancel(context.Background())
		for _, c := range r.clients {
			if c.node == n {
				c.ctx = ctx
			}
		}
	}
	for _, n := range r.nodes { // the first one has the longest grace, and the others hear of it
		_, _ = n.store.Read(context.Background(), "anything", n.gateway.Terms)
	}
	r.forClients(func(c *client) {
		for i := range c.ops {
			c.perform(&c.ops[i])
		}
	})
	r.mu.Lock()
	for _, n := range r.nodes {
		n.stillUntil, n.cutUntil = time.Time{}, time.Time{}
	}
	r.record("all", "what was planned is done")
	r.mu.Unlock()
	r.forClients((*client).succeed)
	time.Sleep(3 * r.longestLease()) // what is still under way ends
	for _, n := range r.nodes {
		n.stop()
		_ = n.share.Close()
	}
}

// original is the content of a document at first.
func original(document int) string { return fmt.Sprintf("old%d", document) }

// forClients calls f for all clients at the same time, and waits for it.
func (r *run) forClients(f func(*client)) {
	var all sync.WaitGroup
	for _, c := range r.clients {
		all.Go(func() { f(c) })
	}
	all.Wait()
}

func (r *run) longestLease() (longest time.Duration) {
	for _, n := range r.nodes {
		longest = max(longest, n.lease)
	}
	return longest
}

// begin begins an op.
func (c *client) begin(p *opPlan) *op {
	o := &op{opPlan: p, client: c, path: documentPath(p.document), content: fmt.Sprintf("%s's %d", c.name, p.number)}
	o.steps, o.renewals = newSteps(o, false), newSteps(o, true)
	return o
}

// perform does one thing of the plan.
func (c *client) perform(p *opPlan) *op {
	time.Sleep(p.after)
	o := c.begin(p)
	known := c.seen[o.path]
	if p.does == reads || !known.known && p.does != creates && p.does != posts && p.does != drops {
		o.request(http.MethodGet, "", "")
		known = c.seen[o.path]
	}
	switch p.does {
	case edits, restores, dates, removes:
		if known.known {
			o.write(known)
		}
	case creates:
		o.write(seen{known: true})
	case posts, drops:
		o.write(seen{})
	}
	return o
}

// write makes a write whose condition is about a state. It has no condition if that isn't
// known.
func (o *op) write(based seen) {
	method, field, value := http.MethodPut, "", ""
	switch {
	case !based.known:
	case based.content == "":
		field, value = "If-None-Match", "*"
	case o.does == dates && based.date != "":
		field, value, o.byDate = "If-Unmodified-Since", based.date, true
	default:
		field, value = "If-Match", based.tag
	}
	switch o.does {
	case restores:
		o.content = original(o.document)
	case removes, drops:
		method, o.content = http.MethodDelete, ""
		if based.known && based.content == "" {
			return
		}
	case posts:
		method = http.MethodPost
	}
	o.based, o.conditional = based, based.known
	o.request(method, field, value)
}

// request sends a request, and checks the answer.
func (o *op) request(method, field, value string) {
	var body io.Reader
	if method == http.MethodPut || method == http.MethodPost {
		body = strings.NewReader(o.content)
	}
	q := httptest.NewRequest(method, "http://example.com"+o.path, body)
	if field != "" {
		q.Header.Set(field, value)
	}
	ctx, cancel := context.WithCancel(o.ctx)
	defer cancel()
	o.cancel = cancel
	q = q.WithContext(context.WithValue(ctx, opKey{}, o))
	o.tell("%s %s at node %d: %s %s", method, o.path, o.node.index, field, value)
	got := o.serve(q)
	if o.isDead() {
		return
	}
	o.tell("is answered with %s", got)
	if ctx.Err() != nil {
		o.forget() // nobody hears the answer
		return
	}
	if method == http.MethodGet {
		o.checkRead(got)
	} else {
		o.checkWrite(got)
	}
}

// forget makes the client read the document before it writes it the next time.
func (o *op) forget() { o.seen[o.path] = seen{} }

// reply is the answer that a client gets.
type reply struct {
	status    int // zero if the answer broke off
	reason    string
	content   string
	tag, date string
	problem   bool // the handler itself answers
}

func (a reply) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s %s %q", a.status, a.reason, a.tag, a.date, a.content))
}

// serve passes a request to the node's handler.
func (o *op) serve(q *http.Request) (got reply) {
	w := httptest.NewRecorder()
	repl := caddy.NewReplacer()
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		} else if p != nil {
			got = reply{}
		}
	}()
	if !o.steps.next("reaches its node").up {
		return reply{}
	}
	next := caddyhttp.HandlerFunc(o.node.origin)
	err := o.node.gateway.ServeHTTP(w, caddyhttp.PrepareRequest(q, repl, w, nil), next)
	got = reply{
		status: w.Code, content: w.Body.String(), tag: w.Header().Get("ETag"), date: w.Header().Get("Last-Modified"),
		problem: w.Header().Get("Content-Type") == "application/problem+json",
	}
	got.reason, _ = repl.GetString("http.preconditions.reason")
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		got.status = he.StatusCode
	} else if err != nil {
		got.status = http.StatusInternalServerError
	}
	if got.problem {
		got.content = ""
	}
	return got
}

// step is a moment of an op: whether its node is up, and what goes wrong with the call that
// follows.
type step struct {
	up    bool
	wrong fault
}

// next makes the next step: it waits while the node stands still and as long as the step
// takes, and lets happen what the plan says for this step.
func (s *steps) next(name string) step {
	s.mu.Lock()
	var wrong fault
	for _, f := range s.faults {
		now := f.at == "" && f.step == s.made || f.at == name && !s.named[name]
		if f.renewal == s.renewal && now && s.happens(f, name) {
			wrong = f
		}
	}
	s.made++
	s.named[name] = true
	takes, wakes := latency(s.rand), 1+time.Duration(s.rand.IntN(int(time.Millisecond)))
	s.mu.Unlock()
	time.Sleep(takes)
	for s.node.rest() {
		time.Sleep(wakes) // not all at the same time
	}
	return step{!s.isDead(), wrong}
}

// happens lets a fault happen, and reports whether it hits the call that follows.
func (s *steps) happens(f fault, name string) bool {
	now := time.Now()
	switch f.kind {
	case standsStill:
		s.stillUntil = now.Add(f.lasts)
	case cutOff:
		s.cutUntil = now.Add(f.lasts)
	case crashes:
		alive := 0
		for _, n := range s.nodes {
			if !n.dead {
				alive++
			}
		}
		if alive < 2 || s.dead {
			return false
		}
		s.dead = true
		s.stop()
	case leaves:
		if s.cancel != nil {
			s.cancel()
		}
		if s.releases {
			go func() {
				_ = s.node.store.Settle(context.Background(), s.grant, etagcache.Settlement{Unchanged: true}, s.node.gateway.Terms)
			}()
		}
	case loses:
		if s.server != nil {
			s.server.FlushAll()
		}
	case clockSteps:
		if s.server != nil {
			s.server.clock += f.lasts
		}
	case sentTwice:
		if s.server != nil {
			s.server.again = f.lasts
		}
	default:
		s.note("%s (%s)", f, name)
		return true
	}
	s.note("%s (%s)", f, name)
	return false
}

// rest waits until the node no longer stands still, and reports whether it did.
func (n *node) rest() bool {
	n.mu.Lock()
	left := time.Until(n.stillUntil)
	n.mu.Unlock()
	time.Sleep(left)
	return left > 0
}

func (n *node) isDead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead
}

// latency returns how long a step takes: mostly little, and sometimes long.
func latency(r *rand.Rand) time.Duration {
	limits := []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond, 5 * time.Millisecond, 5 * time.Millisecond, 40 * time.Millisecond}
	limit := limits[r.IntN(len(limits))]
	if r.IntN(30) == 0 {
		limit = 2 * time.Second
	}
	return 1 + time.Duration(r.Int64N(int64(limit)))
}

// tell adds a line to the trace.
func (o *op) tell(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note(format, args...)
}

// note is tell for whoever has the lock.
func (o *op) note(format string, args ...any) {
	o.record(o.name, fmt.Sprintf(format, args...))
}

// event is a line of the trace.
type event struct {
	after time.Duration
	by    string
	text  string
}

func (e event) String() string {
	return fmt.Sprintf("%10.6fs %s: %s", e.after.Seconds(), e.by, e.text)
}

// record adds an event to the trace. The caller has the lock.
func (r *run) record(by, text string) {
	r.trace = append(r.trace, event{time.Since(r.begun), by, text})
}

// events returns the trace. Several ops may wake up at the same time; then nothing depends
// on which of them is the first, and the order is by name.
func (r *run) events() (lines []string) {
	slices.SortStableFunc(r.trace, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.after, b.after), cmp.Compare(a.by, b.by))
	})
	for _, e := range r.trace {
		lines = append(lines, e.String())
	}
	return lines
}
