package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Gateway enforces preconditions as the options of one handler say. It doesn't
// change once it serves requests.
type Gateway struct {
	*knowledge.Config // how tags are derived, and how long the store keeps things

	Store     Store
	Namer     *resource.Namer
	Rules     *relation.Rules
	Items     []ItemRule
	Places    []resource.Place // where clients send versions
	Answers   *answer.Config
	Verify    Verification
	WriteETag WriteETag

	// Require lists the methods that need a condition.
	Require []string

	// Weak says which weak tags count in If-Match.
	Weak validator.WeakTags

	// Signed lists the schemes in which requests are expected to be signed. They are
	// forwarded as they are.
	Signed []resource.Scheme

	// Replay lets a write that has succeeded succeed again when it is repeated.
	Replay bool

	// ForwardUnconditional forwards writes without a condition at once, even while
	// a conditional write is in flight.
	ForwardUnconditional bool

	// Unanswered are the statuses after which the backend may go on with a write. Nil
	// means the usual ones.
	Unanswered proxyhooks.Statuses

	// Buffer is how many bytes of content are kept in memory.
	Buffer int64

	// BufferTotal is how many bytes of content all exchanges of the process may keep in
	// memory together.
	BufferTotal int64

	// Wait is how long a write waits for others.
	Wait time.Duration

	StoreDown StoreDown
	Logger    *zap.Logger

	// Learned may be nil.
	Learned *Learned

	// Responses is nil unless reads may be answered without the origin.
	Responses *Responses
}

// Store gives a request access to the store. For a handler it is a
// [storeshare.Membership].
type Store interface {
	// Enter returns the share, which stays open until leave is called.
	Enter() (share *storeshare.Share, leave func(), err error)
	// Begin begins a write. It waits for those that name resources as a config before
	// the last reload did. The host is [resource.Request.HostName].
	Begin(waiting context.Context, host string, share *storeshare.Share) (*storeshare.Write, error)
	// Count begins a write to a host that waits for nobody.
	Count(host string) *storeshare.Write
}

// StoreDown says what to do while the store is out of reach.
type StoreDown struct {
	ForwardConditional   bool
	ForwardUnconditional bool
}

// Verification says when the condition of a write is confirmed at the origin.
type Verification struct {
	// Passing confirms it before a write passes, Refused before one is refused.
	Passing, Refused bool
	// FreshFor is the age up to which a stored validator needs no confirmation.
	FreshFor time.Duration
}

// needed reports whether a stored validator of this age must be confirmed before
// a write passes on it.
func (v Verification) needed(age time.Duration) bool {
	return v.Passing && age >= v.FreshFor
}

// stale reports whether a validator of this age should be stored again, to be
// fresh enough when a write comes.
func (v Verification) stale(age time.Duration) bool {
	return v.FreshFor > 0 && age > v.FreshFor/2
}

// WriteETag says when the answer to a write carries the new ETag.
type WriteETag string

// The values of the option write_etag.
const (
	WriteETagVerbatim WriteETag = "verbatim"
	WriteETagAlways   WriteETag = "always"
	WriteETagAnswer   WriteETag = "answer"
	WriteETagOff      WriteETag = "off"
)

// describe describes a request that Caddy has prepared.
func describe(g *Gateway, r *http.Request) *resource.Request {
	request := g.Namer.Request(r, g.Signed...)
	request.Conditions.Weak = g.Weak
	return request
}

// ServeHTTP enforces the preconditions of a request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	outside := announced(r)
	if g.enforces() {
		defer keepProtocol(r)()
		defer keepPath(r, g.Signed)()
		defer putBack(r, outside)()
	}
	carried := g.carry(r)
	defer carried.end()
	request := carried.request
	next = carried.course.Begin(g.Answers.Observer, r, next)
	defer carried.course.End(answer.MethodOf(request))
	g.Namer.Template.CheckQuery(request)
	if g.enforces() {
		w = newCrossOrigin(g, w, request, next)
	}
	holder := takeHolder(request)
	target := g.Namer.Own(request)
	responder := g.newResponder(w, request, target)
	responder.Course = &carried.course
	answer.MapPlaceholders(responder)
	defer responder.LogFields()

	// Methods that neither select nor modify a representation have no preconditions
	// (RFC 9110, section 13.2.1), and an upgrade has no response.
	if request.Class == resource.Other && !g.describesMembers(request) {
		responder.Report(answer.Bypassed, "")
		defer crossOriginOf(w).end()
		return next.ServeHTTP(w, r)
	}
	responder.Inner = request.Class == resource.Write && (outside != nil || holder != nil)

	// A target such as `x:http://host/path` has no path to identify the resource.
	if r.URL.Opaque != "" && g.enforces() {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("the request target is not an http URL"))
	}

	// A reload may clean the handler up now. The store stays open for this request.
	share, leave, err := g.Store.Enter()
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	defer leave()

	done, err := carried.read()
	if err != nil {
		return contentError(err)
	}
	defer done()
	if refusal := carried.objection(); refusal.Status != 0 && g.enforces() && request.Class != resource.Other {
		return responder.Refuse(refusal)
	}

	x := g.newExchange(share, w, carried, target, next, responder)
	defer x.memory.Close()
	x.inherited = parseHoldings(holder)

	warnOfSignature(x)

	// An outer handler may already protect the same resource.
	if p := (inner{x}).protectedOutside(outside); p != nil {
		defer carried.putBack(r)()
		return inner{x}.passOn(p)
	}
	inner{x}.announce(outside)
	defer x.announces.takeBack()
	if held, ok := (inner{x}).heldOutside(); ok {
		defer carried.putBack(r)()
		return inner{x}.passThrough(held)
	}
	inner{x}.takeOver(outside)
	return serve(x)
}

// serve serves a request that no handler further out takes care of.
func serve(x *exchange) error {
	switch {
	case x.request.Class == resource.Other:
		// Forwarded. The answer has tags of other resources.
		return describeMembers(x)
	case x.request.Class == resource.Read:
		// Forwarded. The response is labelled with its validators, and the
		// conditions are evaluated against them.
		return x.read()
	case !x.enforces():
		// Forwarded, and evaluated only for the report.
		return x.reportWrite()
	case x.request.Conditional:
		// Evaluated before the backend hears of it, and forwarded alone.
		return x.writeConditional()
	case x.mustBeConditional():
		return x.responder.Refuse(x.responder.ConditionRequired(x.request.Ignored))
	default:
		// Forwarded, but not while a conditional write is in flight.
		return x.writeUnconditional()
	}
}

// enforces reports whether requests are refused if their conditions don't hold.
func (g *Gateway) enforces() bool { return g.Answers.Mode == answer.Enforce }

// newResponder returns the responder for a request that is about a resource.
func (g *Gateway) newResponder(w http.ResponseWriter, r *resource.Request, about resource.Subject) *answer.Responder {
	return &answer.Responder{Config: g.Answers, Writer: w, Request: r, Key: about.Key, CrossOrigin: crossOriginOf(w)}
}

// exchange is one request on its way through the gateway.
type exchange struct {
	*Gateway
	share     *storeshare.Share
	rw        http.ResponseWriter
	carried   *carried
	request   *resource.Request
	r         *http.Request // the HTTP request in request
	next      caddyhttp.Handler
	target    string // its key; the subject of the plan may be a different resource
	plan      relation.Plan
	begun     *storeshare.Write // nil for a read
	inherited []holding         // from handlers further out, or whoever says so
	announces *protection
	reader    *knowledge.Reader
	origin    prober
	memory    *proxyhooks.Memory
	responder *answer.Responder
	cross     *crossOrigin // also the response writer, or nil
}

// newExchange plans how a request is served. From now on, responder answers for the subject
// of the plan.
func (g *Gateway) newExchange(share *storeshare.Share, w http.ResponseWriter, c *carried, target resource.Subject, next caddyhttp.Handler, responder *answer.Responder) *exchange {
	r, memory := c.request, proxyhooks.NewMemory(g.BufferTotal, g.warnOfFullMemory)
	x := &exchange{
		Gateway:   g,
		share:     share,
		rw:        w,
		carried:   c,
		request:   r,
		r:         r.Request,
		next:      next,
		target:    target.Key,
		plan:      g.Rules.PlanFor(r, target, c.values),
		memory:    memory,
		responder: responder,
		cross:     crossOriginOf(w),
	}
	x.announces = &protection{
		share: share, target: target.Key, plan: &x.plan, writes: r.Class == resource.Write, enforces: g.enforces(),
		evaluated: r.Conditional, premises: r.Premises != nil,
	}
	x.reader = &knowledge.Reader{Config: g.Config, Share: share, Request: r, Subject: x.plan.Subject, Course: responder.Course}
	x.origin = g.newProber(next, r, x.plan.Subject, x.cross, memory)
	x.origin.course = responder.Course
	responder.Key = x.plan.Subject.Key
	return x
}

// mustBeConditional reports whether the request's method needs a condition, and has none that
// only the backend can evaluate.
func (x *exchange) mustBeConditional() bool {
	return resource.Needs(x.request, x.Require) && !x.request.Submits
}

// refuse sends a refusal to a client whose request isn't forwarded.
func (x *exchange) refuse(refusal answer.Refusal) error {
	x.origin.session.tell(x.rw.Header())
	return x.responder.Refuse(refusal)
}

// waiting returns the context that bounds how long a write waits for others.
func (x *exchange) waiting() (waiting context.Context, stop func() (used time.Duration)) {
	return x.share.Losses.Patiently(x.r.Context(), x.Wait, 0)
}

// invalidate invalidates resources. What the store can't be told now, it is told
// before it is trusted again.
func (x *exchange) invalidate(keys []string) {
	for _, key := range keys {
		_ = x.share.InvalidateOrJournal(x.r.Context(), key, x.Terms)
	}
}
