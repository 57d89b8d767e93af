package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// Gateway is what the configuration of a handler means. It is immutable.
type Gateway struct {
	*knowledge.Config
	Store     Store
	Namer     *resource.Namer
	Rules     *relation.Rules
	Items     []ItemRule
	Answers   *answer.Config
	Verify    Verification
	WriteETag WriteETag

	// Require lists the methods that need a condition.
	Require []string

	// Replay makes the repetition of a write that has succeeded succeed again.
	Replay bool

	// ForwardUnconditional lets writes without a condition through at once.
	ForwardUnconditional bool

	// Buffer is how many bytes of content are kept in memory, and Wait is how
	// long a write waits for others.
	Buffer int64
	Wait   time.Duration

	StoreDown StoreDown
	Logger    *zap.Logger
}

// Store is a handler's membership of a share of the store.
type Store interface {
	// Enter returns the share, which stays open until leave is called.
	Enter() (share *storeshare.Share, leave func(), err error)
}

// StoreDown says what to do while the store is out of reach.
type StoreDown struct {
	ForwardConditional   bool
	ForwardUnconditional bool
}

// Verification says when a condition is confirmed at the origin.
type Verification struct {
	// Passing and Refused writes are confirmed, respectively.
	Passing, Refused bool
	// Younger is the age below which a validator needs no confirmation.
	Younger time.Duration
}

// needed reports whether a write that passes on what is stored must be confirmed,
// if that was stored so long ago.
func (v Verification) needed(age time.Duration) bool {
	return v.Passing && age >= v.Younger
}

// stale reports whether a validator that was stored so long ago should be stored
// again, to be young enough when a write comes.
func (v Verification) stale(age time.Duration) bool {
	return v.Younger > 0 && age > v.Younger/2
}

// WriteETag says when the answer to a write carries the new ETag.
type WriteETag string

// The values of the option write_etag.
const (
	WriteETagVerbatim WriteETag = "verbatim"
	WriteETagAlways   WriteETag = "always"
	WriteETagOff      WriteETag = "off"
)

// ServeHTTP enforces the preconditions of a request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	request := resource.NewRequest(r)
	target := g.Namer.Own(request)
	respond := g.responder(w, request, target)

	// Methods that neither select nor modify a representation have no preconditions
	// (RFC 9110, section 13.2.1), and an upgrade has no response. An outer handler
	// may already look after the same resource.
	if request.Class == resource.Other || nested(request, target) {
		respond.Report(answer.Bypassed, "")
		return next.ServeHTTP(w, r)
	}

	// A target such as `x:http://host/path` has no path to identify the resource.
	if r.URL.Opaque != "" && g.enforces() {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("the request target is not an http URL"))
	}

	// The store outlives the handler while requests use it.
	share, leave, err := g.Store.Enter()
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	defer leave()

	// More conditions than any honest client sends aren't even evaluated.
	if request.TooManyConditions() && g.enforces() {
		return respond.Refuse(answer.TooLarge())
	}

	x := g.exchange(share, w, request, target, next)
	switch {
	case request.Class == resource.Read:
		// Forwarded, labelled with its validators, and compared with this very
		// response.
		return x.read()
	case !g.enforces():
		// Forwarded, and evaluated only for the report.
		return x.reportWrite()
	case request.Conditional:
		// Evaluated before the backend hears of it, and performed alone.
		return x.writeConditional()
	case x.mustBeConditional():
		return x.answer.Refuse(answer.ConditionRequired())
	default:
		// Forwarded, but not while a conditional write is in flight.
		return x.writeUnconditional()
	}
}

// enforces reports whether conditions that don't hold refuse a request.
func (g *Gateway) enforces() bool { return g.Answers.Mode == answer.Enforce }

// responder returns what answers a request that is about a resource.
func (g *Gateway) responder(w http.ResponseWriter, r *resource.Request, about resource.Subject) *answer.Responder {
	return &answer.Responder{Config: g.Answers, Writer: w, Request: r, Key: about.Key}
}

// nested reports whether an outer handler of the chain already looks after the
// same resource: a write that waited for it would wait forever. Handlers further
// in are told in turn.
func nested(r *resource.Request, own resource.Subject) bool {
	return slices.Contains(announce(r, own.Key), own.Key)
}

// announce tells nested handlers a key, and returns the keys that outer handlers
// have announced.
func announce(r *resource.Request, key string) (outer []string) {
	const name = "preconditions.resources"
	outer, _ = caddyhttp.GetVar(r.Context(), name).([]string)
	caddyhttp.SetVar(r.Context(), name, append(slices.Clip(outer), key))
	return outer
}

// exchange is one request on its way through the gateway.
type exchange struct {
	*Gateway
	share   *storeshare.Share
	w       http.ResponseWriter
	r       *http.Request
	next    caddyhttp.Handler
	request *resource.Request
	plan    relation.Plan
	reader  *knowledge.Reader
	answer  *answer.Responder
}

// exchange prepares a request to be served. Own is its target.
func (g *Gateway) exchange(share *storeshare.Share, w http.ResponseWriter, r *resource.Request, own resource.Subject, next caddyhttp.Handler) *exchange {
	plan := g.Rules.Plan(r, own)
	if plan.Guarded {
		announce(r, plan.Subject.Key)
	}
	return &exchange{
		Gateway: g,
		share:   share,
		w:       w,
		r:       r.Request,
		next:    next,
		request: r,
		plan:    plan,
		reader:  &knowledge.Reader{Config: g.Config, Share: share, Request: r, Subject: plan.Subject},
		answer:  g.responder(w, r, plan.Subject),
	}
}

// mustBeConditional reports whether the request's method needs a condition.
func (x *exchange) mustBeConditional() bool { return x.request.Does(x.Require...) }

// waiting returns the context that bounds how long a write waits for others.
func (x *exchange) waiting() (context.Context, context.CancelFunc) {
	return context.WithTimeout(x.r.Context(), x.Wait)
}

// markChanged invalidates resources. What the store can't be told now, it is told
// before it is trusted again.
func (x *exchange) markChanged(keys []string) {
	for _, key := range keys {
		_ = x.share.MarkChanged(x.r.Context(), key, x.Terms)
	}
}
