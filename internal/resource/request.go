package resource

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Request is a request as it reached the handler. Its own fields don't change. The
// header of the embedded HTTP request does change while the request is forwarded.
type Request struct {
	*http.Request
	Replacer *caddy.Replacer

	// Class is what the request's method means to preconditions.
	Class Class

	// Meaning is the method that the request stands for: its own, or one that an
	// override field names.
	Meaning string

	// Unclear says why nobody can tell what the request means to the backend. It is
	// empty if it is clear, and then readings are all methods that the backend may take
	// the request for, in upper case.
	Unclear  string
	readings []string

	// Unsupported says what this handler doesn't support about the request, so nobody can tell
	// whether it may be performed. It is empty if the handler supports all of it.
	Unsupported string

	// PathUnclear means that nobody can tell which resource the path leads to. Nothing is
	// known of what a read of it shows.
	PathUnclear bool

	// Unasked means that the origin can't be asked with a GET for the target: its query may
	// make a write of that.
	Unasked bool

	// Operation is what the request asks an object store for, if it is known to be one.
	Operation Operation

	// Fields is a copy of the header, made before anything changes it.
	Fields     http.Header
	Conditions validator.Conditions

	// Place is where If-Match comes from, and Sent how the client sent it there. They are zero
	// if it comes from the field of that name.
	Place Place
	Sent  string

	// Conditional means that the request is a write with a condition that can
	// prevent it. A field that must be ignored in every state of the resource (RFC
	// 9110, section 13.1) can't.
	Conditional bool

	// Ignored are the fields of a write that must be ignored in every state.
	Ignored validator.Fields

	// Claimed are the schemes in which the request says that it is signed. Signed means
	// that the operator expects one of them: the request must be forwarded as it is.
	Claimed []Scheme
	Signed  bool

	// OneTime names the fields with credentials that are good for this one request only;
	// Challenged means that they answer a challenge, and Mixed that there are credentials
	// of another kind beside them (credentials.go).
	OneTime           []string
	Challenged, Mixed bool

	// Destinations are the targets, as the client calls them, that the Destination field
	// may mean to the backend.
	Destinations []*url.URL

	// Premises are the conditions on other resources than the target, besides those in the
	// If field.
	Premises []Premise

	// StateSubjects are the resources besides the target that the lists of an If field are
	// about, if these have entity tags. Submits means that the If field depends on
	// a state that only the backend knows, such as a lock.
	StateSubjects []Subject
	Submits       bool
	oversized     bool // the If field

	// OriginalTarget is the path and query as the client sent them. CurrentTarget is
	// what they are after earlier handlers have rewritten them. If the request is
	// Signed or has an Operation, they lack the parameters that differ between requests
	// for one resource.
	OriginalTarget, CurrentTarget string
	differing                     []string
}

// NewRequest describes a request that Caddy has prepared. The operator expects requests
// that are signed in some schemes.
func NewRequest(r *http.Request, expected ...Scheme) *Request {
	names := namesIn(r.Header)
	methods, ok := overrides(r.Header, names.override)
	inQuery := queryOverrides(r.URL.RawQuery)
	methods = append(methods, inQuery...)
	class, meaning := classify(r, methods)
	req := &Request{
		Request:    r,
		Replacer:   r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer),
		Class:      class,
		Meaning:    meaning,
		Fields:     r.Header.Clone(),
		Conditions: validator.ConditionsFrom(r.Header),
		Claimed:    claimedSchemes(r),
		OneTime:    oneTime(r, names.oneTime),
		Challenged: challenged(r),
		Mixed:      mixed(r),
		Unasked:    inQuery != nil,
		readings:   append(methods, strings.ToUpper(r.Method)),
	}
	if !ok {
		req.Class, req.Unclear = Write, "the field that overrides the method names none"
	}
	for _, s := range req.Claimed {
		req.OneTime = append(req.OneTime, s.credentialFields(r)...)
		if slices.Contains(expected, s) {
			req.Signed, req.differing = true, append(req.differing, s.targetParameters()...)
		}
	}
	readTargets(req)
	req.readPathOverride(names.path)
	req.readDestinations()
	readConditions(req)
	return req
}

// readTargets sets the targets, without the parameters that differ between requests for one
// resource.
func readTargets(r *Request) {
	r.CurrentTarget = withoutParameters(r.URL, r.differing).RequestURI()
	r.OriginalTarget = r.CurrentTarget
	if o, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && o.URL != nil {
		r.OriginalTarget = withoutParameters(o.URL, r.differing).RequestURI()
	}
}

// readConditions finds out whether the conditions of a write can prevent it.
func readConditions(r *Request) {
	if r.Class != Write || r.Conditions.Empty() {
		return
	}
	res := r.Evaluate(validator.Representation{})
	r.Conditional = r.Conditions.GuardsWrite() && res.Verdict != validator.Unconditional
	r.Ignored = res.Ignored
	if r.Unasked && r.Unclear == "" {
		r.Unclear = "its query names a method in _method, which may make a write of the GET with which the condition is confirmed. Send that method itself"
	}
}

// fieldNames are the names of the fields of a request that mean something by their names,
// in no order.
type fieldNames struct{ override, path, oneTime []string }

func namesIn(h http.Header) (names fieldNames) {
	for name := range h {
		switch {
		case proxyhooks.IsMethodOverride(name):
			names.override = append(names.override, name)
		case proxyhooks.IsPathOverride(name):
			names.path = append(names.path, name)
		case isOneTimeField(name):
			names.oneTime = append(names.oneTime, name)
		}
	}
	return names
}

// readPathOverride looks at the fields that name a path. The handler removes such a field,
// unless it may change nothing.
func (r *Request) readPathOverride(names []string) {
	for _, name := range names {
		r.PathUnclear = true
		if r.Signed && r.Class == Write {
			r.Unclear = "the field " + name + " names a path, and a signed request can't be forwarded without it. Send the request without that field"
		}
	}
}

// Evaluate evaluates the request's conditions against a representation.
func (r *Request) Evaluate(current validator.Representation) validator.Result {
	var now time.Time // only dates need it
	if r.Conditions.IfModifiedSince != nil || r.Conditions.IfUnmodifiedSince != nil {
		now = time.Now()
	}
	return validator.Evaluate(r.Meaning, r.Conditions, current, now)
}

// TooManyConditions reports whether the conditions are larger than any honest client
// would send (see [validator.Conditions.CheckSize]).
func (r *Request) TooManyConditions() bool { return r.oversized || r.Conditions.CheckSize() != nil }

// Does reports whether the request has one of these methods, or may stand for one.
// Several override fields may disagree, and nobody knows which one the backend
// obeys. Case is ignored: some backends (Flask, Symfony) accept lower case, and
// browsers send `patch` in lower case.
func (r *Request) Does(methods ...string) bool {
	return slices.ContainsFunc(r.readings, func(method string) bool { return slices.Contains(methods, method) })
}

// DoesOnly reports whether the request has this method and can't stand for another.
func (r *Request) DoesOnly(method string) bool {
	return r.Method == method && !slices.ContainsFunc(r.readings, func(m string) bool { return m != method })
}

// MayWriteNothing reports whether the request may stand for one that doesn't write.
func (r *Request) MayWriteNothing() bool {
	return slices.ContainsFunc(r.readings, func(method string) bool { return ClassOf(method) != Write })
}

// Gone reports whether the client has gone away.
func (r *Request) Gone() bool { return r.Context().Err() != nil }
