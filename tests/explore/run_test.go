package explore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/gateway"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// run executes one schedule of a scenario, in its own synctest bubble. Actors
// are clients whose requests the real handler serves. A request stops wherever
// it meets the outside world (the store or the origin) and continues when it is
// picked. Only one move is made at a time, once everything else has come to
// rest. Time passes only through moves.
type run struct {
	scenario *scenario
	memory   *etagcache.Memory
	nodes    []*node
	actors   []*actor
	stirred  chan struct{} // signals that an actor has stopped or ended
	faults   int           // how many may still happen
	delays   int           // how often a backend may still be slow

	mu       sync.Mutex
	content  string // of the resource; none if it is absent
	past     string // the content that the last write replaced
	changed  time.Time
	pending  []*put
	holders  map[string]*actor // by token of claim or pass
	belief   *knowledge.Reader // reads the store's belief for the checks
	trace    []string
	violated *violation
}

// violation is a promise that a schedule broke.
type violation struct {
	promise promise
	text    string
	trace   []string
}

func (v *violation) String() string {
	return strings.Join(v.trace, "\n") + "\n" + v.text
}

type promise string

const (
	noLostUpdate  promise = "a conditional write replaces the state that its condition was about"
	oneWinner     promise = "of writers with the same tag exactly one succeeds"
	honestAnswer  promise = "an answer tells what became of the request"
	soundRefusal  promise = "nobody is refused without a reason"
	currentAnswer promise = "nobody is told that what a write has replaced is current"
	trueBelief    promise = "what the store believes is so"
	everybodyEnds promise = "every request ends"
)

// node is one gateway.
type node struct {
	run     *run
	index   int
	share   *storeshare.Share
	gateway gateway.Gateway
	dead    bool // it crashed
	cut     bool // it can't reach the store any more
}

// actor is a client that makes requests, one after the other.
type actor struct {
	*part
	run    *run
	index  int
	node   *node
	ctx    context.Context
	cancel context.CancelFunc

	stops   []*stop // where the request has stopped, by their names; none if it runs or waits
	begun   bool    // the first request was sent
	ended   bool
	dead    bool // its requests have no effect any more
	faulted bool

	tag   string    // of its last read
	put   *put      // of the current request, if it reached the origin
	shown []string  // the contents that the resource has had since it began
	lease time.Time // when the store considers its write dead
	since time.Time // the beginning of the current request
	last  int       // the status of its answer
	won   bool      // a write was answered with success
}

// stop is where a request meets the outside world. A request that takes over from a different
// one may meet the origin and the store at the same time.
type stop struct {
	name        string
	object      object
	writes      bool
	faults      []fault
	interrupted bool // the request's context ended

	picked chan fault // receives the outcome
}

// The outcomes of a stop that aren't faults.
const (
	proceed  fault = ""
	vanished fault = "vanished" // the request or its context has ended
)

// put is a write at the origin.
type put struct {
	by          *actor
	content     string
	based       string // the content that the condition asks for
	conditional bool
	orphan      bool // nobody waits for the answer any more
	applied     bool
}

type actorKey struct{}

// Enter implements gateway.Store.
func (n *node) Enter() (*storeshare.Share, func(), error) { return n.share, func() {}, nil }

// Begin implements gateway.Store.
func (*node) Begin(context.Context, string, *storeshare.Share) (*storeshare.Write, error) {
	return nil, nil
}

// Count implements gateway.Store.
func (*node) Count(string) *storeshare.Write { return nil }

// newRun must be called inside the bubble, because its channels belong to it.
func newRun(sc *scenario) *run {
	r := &run{
		scenario: sc,
		memory:   etagcache.NewMemory(0),
		stirred:  make(chan struct{}, 1),
		faults:   sc.accidents,
		delays:   2,
		content:  sc.content,
		holders:  make(map[string]*actor),
	}
	var store etagcache.Store = r.memory
	if sc.mutate != nil {
		store = sc.mutate(store)
	}
	for i := range sc.nodes() + 1 { // the last one serves the final checks
		n := &node{run: r, index: i, gateway: sc.gateway}
		n.share = storeshare.New(&nodeStore{store, n}, zap.NewNop())
		n.gateway.Store = n
		if sc.verify == never {
			n.gateway.Responses = gateway.NewResponses()
		}
		r.nodes = append(r.nodes, n)
	}
	last := r.nodes[sc.nodes()]
	look := resource.NewRequest(caddyhttp.PrepareRequest(
		sc.request(request{method: "GET"}, ""), caddy.NewReplacer(), httptest.NewRecorder(), nil))
	r.belief = &knowledge.Reader{
		Config: sc.gateway.Config, Share: last.share, Request: look, Subject: sc.gateway.Namer.Own(look),
	}
	for i := range sc.parts {
		r.actors = append(r.actors, r.newActor(&sc.parts[i], i))
	}
	return r
}

func (r *run) newActor(p *part, index int) *actor {
	a := &actor{
		part: p, run: r, index: index, node: r.nodes[p.node],
		tag: r.scenario.tags[r.scenario.content],
	}
	a.ctx, a.cancel = context.WithCancel(context.WithValue(context.Background(), actorKey{}, a))
	return a
}

// play makes the moves that the search chooses, and reports whether it reached
// the end of the schedule.
func (r *run) play(s *search) bool {
	if r.scenario.known {
		for _, n := range r.nodes[:r.scenario.nodes()] {
			n.send(context.Background(), request{method: "GET"}, "")
		}
	}
	for _, a := range r.actors {
		go a.act()
	}
	synctest.Wait()
	defer r.unwind()
	for r.violated == nil {
		moves := r.moves()
		if len(moves) == 0 {
			r.checkEnd()
			return true
		}
		m, ok := s.choose(moves)
		if !ok {
			return false
		}
		m.do()
		synctest.Wait()
		r.checkBelief()
	}
	return true
}

// moves lists what may happen next, in a fixed order.
func (r *run) moves() (moves []move) {
	atRest, allEnded, slow := true, true, false
	for _, a := range r.actors {
		if a.ended {
			continue
		}
		allEnded = false
		for _, s := range a.stops {
			atRest = false
			slow = slow || a.faulted && s.object == theOrigin && s.writes
			moves = append(moves, r.movesOf(a, s)...)
		}
		for _, f := range a.faults {
			if do := a.accident(f); do != nil && a.begun && r.faults > 0 {
				moves = append(moves, move{
					name: a.name + " " + string(f), actor: a.index, node: a.node.index, fault: true,
					do: func() {
						r.faults--
						a.faulted = true
						r.tell("%s %s", a.name, f)
						do()
					},
				})
			}
		}
	}
	orphans := false
	for _, p := range r.pending {
		if p.orphan {
			orphans = true
			moves = append(moves, move{
				name: p.by.name + "'s write lands late", actor: nobody - 1 - p.by.index, node: nobody,
				object: theOrigin, writes: true,
				do: func() { r.apply(p) },
			})
		}
	}
	if atRest && (!allEnded || orphans) || slow && r.delays > 0 {
		moves = append(moves, move{
			name: "time passes", actor: nobody, node: nobody, object: everything,
			do: func() { r.passTime(atRest) },
		})
	}
	return moves
}

// movesOf lists the possible outcomes of a stop of a.
func (r *run) movesOf(a *actor, s *stop) []move {
	m := move{
		name: a.name + ": " + s.name, actor: a.index, node: a.node.index,
		object: s.object, writes: s.writes,
		do: func() { s.picked <- proceed },
	}
	moves := []move{m}
	for _, f := range s.faults {
		if r.faults > 0 && slices.Contains(a.faults, f) {
			m := m
			m.name += ", " + string(f)
			m.fault = true
			m.do = func() {
				r.faults--
				a.faulted = true
				s.picked <- f
			}
			moves = append(moves, m)
		}
	}
	return moves
}

// patience is longer than any wait in the handler.
const patience = 5 * time.Minute

// passTime lets time pass until an actor does something, or until the last moment
// at which a write that nobody waits for can land.
func (r *run) passTime(atRest bool) {
	if !atRest {
		r.delays--
	}
	select {
	case <-r.stirred:
	default:
	}
	begun := time.Now()
	limit := begun.Add(patience)
	for _, p := range r.pending {
		for _, at := range []time.Time{p.by.lease.Add(-time.Millisecond), p.by.lease} {
			if at.After(begun) && at.Before(limit) {
				limit = at
			}
		}
	}
	r.tell("time passes …") // this also releases what was read above to others
	timer := time.NewTimer(time.Until(limit))
	select {
	case <-r.stirred:
	case <-timer.C:
	}
	timer.Stop()
	synctest.Wait()
	r.tell("… %s", time.Since(begun))
	r.pending = slices.DeleteFunc(r.pending, func(p *put) bool {
		return p.orphan && !p.by.lease.After(time.Now())
	})
	if time.Since(begun) == patience {
		r.violate(everybodyEnds, "nothing happens any more, but not all requests have ended")
	}
}

// unwind ends everything that still runs.
func (r *run) unwind() {
	for _, a := range r.actors {
		a.die()
	}
	for _, a := range r.actors {
		if !a.ended {
			panic(a.name + " can't be ended after\n" + strings.Join(r.trace, "\n"))
		}
	}
}

// accident returns the effect of a fault that can hit a at any time, and nil for
// a fault that happens at a stop.
func (a *actor) accident(f fault) func() {
	switch f {
	case goesAway:
		return a.cancel
	case crashes:
		return func() {
			a.node.dead = true
			a.die()
		}
	case losesStore:
		return func() { a.node.cut = true }
	case isSlow:
		return func() {}
	default:
		return nil
	}
}

// die ends a's requests without any further effect.
func (a *actor) die() {
	a.dead = true
	a.cancel()
	synctest.Wait() // it may have noticed
	for len(a.stops) > 0 {
		a.stops[0].picked <- vanished
		synctest.Wait()
	}
}

// await stops the request that ctx belongs to until it is picked, and returns
// the outcome of the stop.
func await(ctx context.Context, s stop) fault {
	a, _ := ctx.Value(actorKey{}).(*actor)
	switch {
	case a == nil || a.index == nobody:
		return proceed
	case a.dead:
		return vanished
	}
	var interrupted <-chan struct{}
	if s.interrupted {
		interrupted = ctx.Done()
	}
	s.picked = make(chan fault)
	a.begin(&s)
	defer a.end(&s)
	a.run.stir()
	select {
	case f := <-s.picked:
		return f
	case <-interrupted:
		return vanished
	}
}

// begin begins a stop. Two that begin at the same time stand in the same order in every run.
func (a *actor) begin(s *stop) {
	a.run.mu.Lock()
	defer a.run.mu.Unlock()
	a.stops = append(a.stops, s)
	slices.SortFunc(a.stops, func(x, y *stop) int { return cmp.Compare(x.name, y.name) })
}

func (a *actor) end(s *stop) {
	a.run.mu.Lock()
	defer a.run.mu.Unlock()
	a.stops = slices.DeleteFunc(a.stops, func(other *stop) bool { return other == s })
}

func (r *run) stir() {
	select {
	case r.stirred <- struct{}{}:
	default:
	}
}

// act makes the actor's requests.
func (a *actor) act() {
	defer a.run.stir()
	defer func() { a.ended = true }()
	for _, q := range a.requests {
		if await(a.ctx, stop{name: "begins to " + q.method}) == vanished {
			return
		}
		a.begun, a.put, a.since = true, nil, time.Now()
		a.run.mu.Lock()
		a.shown = []string{a.run.content}
		a.run.mu.Unlock()
		reply := a.node.send(a.ctx, q, a.tag)
		if a.dead {
			return
		}
		a.last = reply.status
		a.run.tell("%s: %s is answered with %d %s", a.name, q.method, reply.status, reply.reason)
		if q.method == "GET" {
			a.run.checkRead(a, reply)
			if reply.status != http.StatusNotModified {
				a.tag = reply.tag
			}
		} else {
			a.run.checkWrite(a, q, reply)
		}
	}
}

// reply is the answer that a client gets.
type reply struct {
	status  int
	reason  string
	content string
	tag     string
}

// none stands for the tag of an absent resource.
const none = "*"

// send passes a request to the node's handler.
func (n *node) send(ctx context.Context, q request, tag string) reply {
	w := httptest.NewRecorder()
	r := n.run.scenario.request(q, tag).WithContext(ctx)
	repl := caddy.NewReplacer()
	err := n.gateway.ServeHTTP(w, caddyhttp.PrepareRequest(r, repl, w, nil), caddyhttp.HandlerFunc(n.run.origin))
	reason, _ := repl.GetString("http.preconditions.reason")
	got := reply{w.Code, reason, w.Body.String(), w.Header().Get("ETag")}
	if got.status == http.StatusNotFound {
		got.tag = none
	}
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		got.status = he.StatusCode
	} else if err != nil {
		got.status = http.StatusInternalServerError
	}
	return got
}

// request builds the request of a client that has read the content with the tag.
func (sc *scenario) request(q request, tag string) *http.Request {
	var body io.Reader
	if q.content != "" {
		body = strings.NewReader(q.content)
	}
	target := "http://example.com/tree/doc"
	if q.whole {
		target = "http://example.com/tree"
	}
	r := httptest.NewRequest(q.method, target, body)
	if sc.varies && q.method != "GET" {
		r.Header.Set("Accept", "text/"+q.content)
	}
	switch {
	case q.asks:
		r.Header.Set("If-None-Match", tag)
	case q.method == "GET", q.unconditional:
	case tag == none:
		r.Header.Set("If-None-Match", "*")
	default:
		r.Header.Set("If-Match", tag)
	}
	return r
}

// origin is the backend. It ignores preconditions.
func (r *run) origin(w http.ResponseWriter, q *http.Request) error {
	if q.Method == "GET" {
		return r.originGet(w, q)
	}
	return r.originPut(w, q)
}

func (r *run) originGet(w http.ResponseWriter, q *http.Request) error {
	ctx := q.Context()
	f := await(ctx, stop{name: "GET at the origin", object: theOrigin, interrupted: true, faults: []fault{showsPast}})
	if f == vanished {
		w.WriteHeader(statusClientClosed) // as the proxy does
		return nil
	}
	r.mu.Lock()
	content := r.content
	if f == showsPast && time.Since(r.changed) < lag {
		content = r.past
	}
	r.mu.Unlock()
	if a, ok := ctx.Value(actorKey{}).(*actor); ok {
		r.tell("%s: the origin shows %q", a.name, content)
	}
	if content == "" {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	if r.scenario.varies {
		w.Header().Set("Vary", "Accept")
	}
	_, err := io.WriteString(w, content)
	return err
}

func (r *run) originPut(w http.ResponseWriter, q *http.Request) error {
	ctx := q.Context()
	a := ctx.Value(actorKey{}).(*actor)
	content, err := io.ReadAll(q.Body)
	if err != nil {
		return caddyhttp.Error(http.StatusBadGateway, err)
	}
	p := &put{
		by: a, content: string(content),
		based:       r.scenario.contentOf(a.tag),
		conditional: !slices.ContainsFunc(a.requests, func(q request) bool { return q.unconditional }),
	}
	if !a.dead {
		r.mu.Lock()
		a.put = p
		r.pending = append(r.pending, p)
		r.mu.Unlock()
	}

	write := stop{
		name: "PUT at the origin", object: theOrigin, writes: true, interrupted: true,
		faults: []fault{failsBefore, refuses, noAnswerBefore},
	}
	switch f := await(ctx, write); f {
	case proceed:
		r.apply(p)
	case failsBefore, refuses:
		r.tell("%s: the origin %s", a.name, f)
		r.mu.Lock()
		r.pending = slices.DeleteFunc(r.pending, func(other *put) bool { return other == p })
		r.mu.Unlock()
		if f == refuses {
			w.WriteHeader(http.StatusBadRequest)
		} else {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return nil
	default:
		p.orphan = true
		return r.noAnswer(w, a, f)
	}

	switch f := await(ctx, stop{name: "the origin answers", interrupted: true, faults: []fault{failsAfter, noAnswerAfter}}); f {
	case proceed:
		w.WriteHeader(http.StatusNoContent)
	case failsAfter:
		r.tell("%s: the origin %s", a.name, f)
		w.WriteHeader(http.StatusInternalServerError)
	default:
		return r.noAnswer(w, a, f)
	}
	return nil
}

// noAnswer is the proxy's reaction to a lost connection.
func (r *run) noAnswer(w http.ResponseWriter, a *actor, f fault) error {
	if f == vanished {
		r.tell("%s: the connection to the origin is cut", a.name)
		w.WriteHeader(statusClientClosed)
		return nil
	}
	r.tell("%s: the origin gives %s", a.name, f)
	return caddyhttp.Error(http.StatusBadGateway, io.ErrUnexpectedEOF)
}

func (r *run) apply(p *put) {
	r.mu.Lock()
	replaced := r.content
	r.content, r.past, r.changed = p.content, replaced, time.Now()
	p.applied = true
	for _, a := range r.actors {
		a.shown = append(a.shown, p.content)
	}
	r.pending = slices.DeleteFunc(r.pending, func(other *put) bool { return other == p })
	r.mu.Unlock()
	late := ""
	if p.orphan {
		late = ", late"
	}
	r.tell("%s: the origin replaces %q by %q%s", p.by.name, replaced, p.content, late)
	if p.conditional && p.based != replaced {
		r.violate(noLostUpdate, "%s's write was about %q and replaced %q", p.by.name, p.based, replaced)
	}
}

func (r *run) tell(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
}

func (r *run) violate(p promise, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.violated == nil && (r.scenario.promise == "" || r.scenario.promise == p) {
		r.violated = &violation{p, fmt.Sprintf(format, args...), slices.Clone(r.trace)}
	}
}

// checkRead checks the answer to a read.
func (r *run) checkRead(a *actor, got reply) {
	switch {
	case got.status == http.StatusNotModified:
		if content := r.scenario.contentOf(a.tag); !slices.Contains(a.shown, content) {
			r.violate(currentAnswer, "%s was told that %q is current", a.name, content)
		}
	case a.faulted:
	case got.status == http.StatusNotFound && got.content == "":
	case got.status != http.StatusOK || got.tag != r.scenario.tags[got.content]:
		r.violate(honestAnswer, "%s read %q with status %d and tag %s", a.name, got.content, got.status, got.tag)
	}
}

// checkWrite checks the answer to a write.
func (r *run) checkWrite(a *actor, q request, got reply) {
	r.mu.Lock()
	now, p := r.content, a.put
	r.mu.Unlock()
	based := r.scenario.contentOf(a.tag)
	switch applied := p != nil && p.applied; {
	case got.status < 300:
		a.won = true
		if !applied {
			r.violate(honestAnswer, "%s got %d, but the write wasn't applied", a.name, got.status)
		}
	case got.status == http.StatusPreconditionFailed:
		if p != nil {
			r.violate(honestAnswer, "%s got 412, but the write reached the origin", a.name)
		}
		if q.unconditional || now == based {
			r.violate(soundRefusal, "%s got 412, but the condition holds", a.name)
		}
	case got.status == http.StatusServiceUnavailable:
		if p != nil && !strings.Contains(got.reason, "lost while the backend worked") {
			r.violate(honestAnswer, "%s was told that nothing was changed, but the write reached the origin", a.name)
		}
		if time.Since(a.since) >= r.scenario.gateway.Wait {
			break // for another one in vain
		}
		if time.Since(a.since) >= proxyhooks.DefaultProbeTimeout && strings.Contains(got.reason, "the origin could not be asked") {
			break // time has passed while it was asked
		}
		fallthrough
	default:
		if !a.faulted {
			r.violate(soundRefusal, "%s got %d %s", a.name, got.status, got.reason)
		}
	}
}

// checkBelief compares the current state according to the store, if the store
// knows one, with the origin's content.
func (r *run) checkBelief() {
	if r.memory.Len() == 0 {
		return
	}
	view, err := r.belief.Read()
	if err != nil {
		r.violate(trueBelief, "reading the store: %v", err)
		return
	}
	e := *view.Entry()
	if !view.Counts() {
		e.Variants = nil
	}
	if e.Busy == 0 && len(e.Variants) > 0 && r.scenario.describe(e) != r.scenario.knows(r.content) {
		r.violate(trueBelief, "the store %s, but the origin has %q", r.scenario.describe(e), r.content)
	}
}

// checkEnd checks the state after all actors have ended. In particular, a client
// that is alone must be able to read and write the resource.
func (r *run) checkEnd() {
	winners := 0
	for _, a := range r.actors {
		if a.won {
			winners++
		}
	}
	if want := r.scenario.winners; want > 0 && r.scenario.accidents == 0 && winners != want {
		r.violate(oneWinner, "%d writers were told that they succeeded, not %d", winners, want)
	}
	time.Sleep(2 * lease)
	r.checkBelief()

	last := r.newActor(&part{name: "the last one", node: r.scenario.nodes(), requests: []request{{method: "GET"}, {method: "PUT", content: "last"}}}, nobody)
	r.actors = append(r.actors, last)
	last.act()
	if !last.won {
		r.violate(soundRefusal, "a write was refused though nobody else was there")
	}
	r.checkBelief()
}

// outcome describes the final state of the clients and the origin.
func (r *run) outcome() string {
	text := fmt.Sprintf("%q", r.content)
	for _, a := range r.actors {
		text += fmt.Sprintf(" %s %d", a.name, a.last)
	}
	return text
}

// nodeStore is the store as a node reaches it.
type nodeStore struct {
	etagcache.Store
	node *node
}

// connected reports whether the node reaches the store.
func (n *node) connected() bool {
	n.run.mu.Lock()
	defer n.run.mu.Unlock()
	return !n.dead && !n.cut
}

var errCut = fmt.Errorf("%w: cut off", etagcache.ErrUnavailable)

// call makes a call to the store when it is picked. The renewal of a lease belongs
// to no actor and happens at once.
func (s *nodeStore) call(ctx context.Context, op, key string, writes bool, f func() (string, error)) error {
	a, _ := ctx.Value(actorKey{}).(*actor)
	what := await(ctx, stop{name: op, object: object(key), writes: writes, faults: []fault{requestLost, replyLost}})
	if what == vanished || what == requestLost || !s.node.connected() {
		if a != nil && !a.dead {
			s.node.run.tell("%s: %s does not reach the store", a.name, op)
		}
		return errCut
	}
	result, err := f()
	if a == nil {
		return err
	}
	if err != nil {
		result += " " + err.Error()
	}
	s.node.run.tell("%s: %s %s", a.name, op, result)
	switch {
	case what == replyLost:
		s.node.run.tell("%s: the reply is lost", a.name)
		return errCut
	case s.node.run.scenario.replies:
		await(ctx, stop{name: op + " is answered"})
	}
	return err
}

// held notes how long a lease lasts.
func (s *nodeStore) held(ctx context.Context, g etagcache.Grant, lease time.Duration) {
	r := s.node.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := ctx.Value(actorKey{}).(*actor); ok {
		r.holders[g.Token] = a
	}
	r.holders[g.Token].lease = time.Now().Add(lease)
}

func (s *nodeStore) Read(ctx context.Context, key string, t etagcache.Terms) (e etagcache.Entry, err error) {
	err = s.call(ctx, "Read", key, false, func() (string, error) {
		e, err = s.Store.Read(ctx, key, t)
		return s.node.run.scenario.describe(e), err
	})
	return e, err
}

func (s *nodeStore) Observe(ctx context.Context, key string, before etagcache.Entry, o etagcache.Observation, t etagcache.Terms) error {
	return s.call(ctx, "Observe", key, true, func() (string, error) {
		return s.node.run.scenario.show(o.Observed), s.Store.Observe(ctx, key, before, o, t)
	})
}

func (s *nodeStore) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (g etagcache.Grant, e etagcache.Entry, err error) {
	err = s.call(ctx, "Claim", key, true, func() (string, error) {
		g, e, err = s.Store.Claim(ctx, key, epoch, t, replaces...)
		if err == nil {
			s.held(ctx, g, t.Lease)
		}
		return "", err
	})
	return g, e, err
}

func (s *nodeStore) Pass(ctx context.Context, key string, t etagcache.Terms) (g etagcache.Grant, e etagcache.Entry, err error) {
	err = s.call(ctx, "Pass", key, true, func() (string, error) {
		g, e, err = s.Store.Pass(ctx, key, t)
		if err == nil {
			s.held(ctx, g, t.Lease)
		}
		return "", err
	})
	return g, e, err
}

func (s *nodeStore) Renew(ctx context.Context, g etagcache.Grant, t etagcache.Terms) error {
	return s.call(ctx, "Renew", g.Key, true, func() (string, error) {
		err := s.Store.Renew(ctx, g, t)
		if err == nil {
			s.held(ctx, g, t.Lease)
		}
		return "", err
	})
}

func (s *nodeStore) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	what := "as changed"
	if settlement.Unchanged {
		what = "as unchanged"
	}
	settlement.Next = nil // so that the next claim is a call of its own, and something may come in between
	return s.call(ctx, "Settle", g.Key, true, func() (string, error) {
		return what, s.Store.Settle(ctx, g, settlement, t)
	})
}

func (s *nodeStore) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	return s.call(ctx, "Invalidate", key, true, func() (string, error) { return "", s.Store.Invalidate(ctx, key, t) })
}

func (s *nodeStore) Wait(ctx context.Context, key string, seen etagcache.Entry) error {
	// Only the beginning is a stop, because a waiting request must not be picked.
	what := await(ctx, stop{name: "Wait", object: object(key), writes: true})
	if what == vanished || !s.node.connected() {
		return errCut
	}
	return s.Store.Wait(ctx, key, seen)
}

// describe returns an entry in words.
func (sc *scenario) describe(e etagcache.Entry) string {
	switch {
	case e.Busy > 0:
		return "is busy"
	case len(e.Variants) == 0:
		return "knows nothing"
	}
	var known []string
	for _, v := range e.Variants {
		known = append(known, sc.show(v.Observed))
	}
	slices.Sort(known)
	return "knows " + strings.Join(slices.Compact(known), " and ")
}

// knows is the word with which describe says that the content is known.
func (sc *scenario) knows(content string) string {
	if content == "" {
		return "knows nothing there"
	}
	return fmt.Sprintf("knows %q", content)
}

func (sc *scenario) show(o validator.Observed) string {
	if o.State == validator.Absent {
		return "nothing there"
	}
	return fmt.Sprintf("%q", sc.contentOf(o.ETag.String()))
}

// statusClientClosed is what Caddy's proxy writes if the request was cancelled.
const statusClientClosed = 499
