package preconditions

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// outcome is what became of a request.
type outcome string

const (
	outcomeBypassed      outcome = "bypassed"      // not looked at
	outcomeRead          outcome = "read"          // sent as it is
	outcomeUnmodified    outcome = "unmodified"    // 304
	outcomePassed        outcome = "passed"        // conditional write, forwarded
	outcomeFailed        outcome = "failed"        // 412: the condition is false
	outcomeRequired      outcome = "required"      // 428
	outcomeConflict      outcome = "conflict"      // 503: waited in vain for another write
	outcomeUnverifiable  outcome = "unverifiable"  // 412: the condition can't be decided
	outcomeUnavailable   outcome = "unavailable"   // 503: the store or the origin can't be asked
	outcomeUnconditional outcome = "unconditional" // write without a condition, forwarded
)

// outcomes lists them all.
var outcomes = []outcome{
	outcomeBypassed, outcomeRead, outcomeUnmodified, outcomePassed, outcomeFailed, outcomeRequired,
	outcomeConflict, outcomeUnverifiable, outcomeUnavailable, outcomeUnconditional,
}

// exchange is one request on its way through the handler.
type exchange struct {
	h    *Handler
	w    http.ResponseWriter
	r    *http.Request
	next caddyhttp.Handler
	repl *caddy.Replacer

	// method is the one that the request stands for, which an override field
	// may name.
	method     string
	conditions validator.Conditions

	key    string
	here   string      // path and query of r, as they come here
	target string      // those that the conditions are about
	called string      // the same, as the client calls it
	header http.Header // the request's, before anything was changed
	signed bool

	// The conditions are about this request's target, which is another one than
	// that of r if guarded.
	subject *http.Request
	guarded bool
	others  []other  // what a write takes besides, in the order of the keys
	ages    []other  // and last, as its own resource may be below them
	above   []string // the keys of what the resource is below in a tree, from the root on
	entry   etagcache.Entry

	groups   memberships // of the entry, with the epochs that they had when they were last read
	outdated bool        // one of them was invalidated since the variants were stored
}

func newExchange(h *Handler, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, method string) *exchange {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	x := &exchange{
		h: h, w: w, r: r, next: next, repl: repl,
		method:     method,
		conditions: validator.ConditionsFrom(r.Header),
		key:        resourceKey(h.Key, repl),
		here:       r.URL.RequestURI(),
		target:     r.URL.RequestURI(),
		header:     r.Header.Clone(),
		signed:     signed(r),
		subject:    r,
	}
	x.called = x.original()
	x.above = x.ancestors(r.URL.Path)
	return x
}

// nested reports whether an outer handler looks after the same resource: to
// wait for it would be to wait forever. It also tells inner ones.
func (x *exchange) nested() bool {
	return slices.Contains(x.tellInner(x.key), x.key)
}

// tellInner tells inner handlers a key, and returns those that outer ones told.
func (x *exchange) tellInner(key string) (outer []string) {
	const name = "preconditions.resources"
	outer, _ = caddyhttp.GetVar(x.r.Context(), name).([]string)
	caddyhttp.SetVar(x.r.Context(), name, append(slices.Clip(outer), key))
	return outer
}

// variant returns the key of the representation that the request selects, if
// responses vary by the given request fields. What the client calls it tells it from that
// of another backend, which is asked for the same.
func (x *exchange) variant(vary string) string {
	if x.signed { // and sent with whatever coding the client asks for
		vary = proxyhooks.JoinVary(vary, "accept-encoding")
	}
	return proxyhooks.VariantKey(x.h.scheme, x.target+" "+x.called, vary, x.header)
}

// stored returns what the entry says about that representation.
func (x *exchange) stored() etagcache.Stored {
	return x.known()[x.variant(x.vary())]
}

// vary returns the request fields that responses are known to vary by.
func (x *exchange) vary() string {
	known, _ := splitVary(x.entry.Vary)
	if x.h.vary == "" {
		return known
	}
	return proxyhooks.JoinVary(x.h.vary, known)
}

// evaluate evaluates the request's conditions against a representation.
func (x *exchange) evaluate(r validator.Representation) validator.Result {
	return validator.Evaluate(x.method, x.conditions, r, time.Now())
}

// original returns the path and query that the client asked for.
func (x *exchange) original() string {
	if o, ok := x.r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && o.URL != nil {
		return o.URL.RequestURI()
	}
	return x.here
}

// subjectTarget returns the path and query that the conditions are about.
func (x *exchange) subjectTarget() string {
	if x.guarded {
		return x.target
	}
	return x.original()
}

// detached returns a context for what must be done whether the client is still
// there or not. The store bounds the time of its calls itself.
func (x *exchange) detached() context.Context {
	return context.WithoutCancel(x.r.Context())
}

// observation returns o as an observation of the request's variant, and false
// where the response, of which h is the header, can't be told apart from others,
// or is in too many groups.
func (x *exchange) observation(o validator.Observed, h http.Header) (etagcache.Observation, bool) {
	vary, ok := proxyhooks.Vary(x.vary(), h)
	groups, few := x.memberships(h)
	return etagcache.Observation{Observed: o, Variant: x.variant(vary), Vary: vary + groups.String()}, ok && few
}

// report makes the outcome known: as placeholders, in the access log and in the
// metrics. It is called once for a request, before its response is sent.
func (x *exchange) report(o outcome, reason string) {
	x.repl.Set("http.preconditions.outcome", string(o))
	x.repl.Set("http.preconditions.reason", reason)
	x.repl.Set("http.preconditions.resource", x.key)
	for _, name := range valueless {
		if _, set := x.repl.Get(name); !set {
			x.repl.Set(name, "") // or else it would stand there in braces
		}
	}
	if fields, ok := x.r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		fields.Set(zap.String("preconditions", string(o)))
		if reason != "" {
			fields.Set(zap.String("preconditions_reason", reason))
		}
	}
	countOutcome(o, x.h.Mode)
	if c := x.h.logger.Check(zap.DebugLevel, "preconditions"); c != nil {
		c.Write(zap.String("outcome", string(o)), zap.String("reason", reason),
			zap.String("method", x.r.Method), zap.String("resource", x.key))
	}
}

// valueless are the placeholders that not every request has a value for.
var valueless = [...]string{
	"http.preconditions.condition", "http.preconditions.provided_etag",
	"http.preconditions.current_etag", "http.preconditions.problem",
}

// reportCondition makes known which condition decided, and against what.
func (x *exchange) reportCondition(field validator.Field, current validator.ETag) {
	x.repl.Set("http.preconditions.condition", field.String())
	x.repl.Set("http.preconditions.provided_etag", provided(x.conditions, field))
	if *x.h.Disclose {
		x.repl.Set("http.preconditions.current_etag", current.String())
	}
}
