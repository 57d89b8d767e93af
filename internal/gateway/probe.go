package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// prober asks the origin about the subject of a request, in the client's name.
type prober struct {
	*Gateway
	next    caddyhttp.Handler
	request *resource.Request
	subject resource.Subject
	session session
	deriver proxyhooks.Deriver

	// base is what probes are derived from: the request before next changed it.
	base *http.Request

	limit  int64 // of the content of a probe before a write
	cross  *crossOrigin
	course *telemetry.Course // of the request that the origin is asked for
}

// newProber returns a prober for a request that is about a subject.
func (g *Gateway) newProber(next caddyhttp.Handler, r *resource.Request, about resource.Subject, cross *crossOrigin, memory *proxyhooks.Memory) prober {
	p := prober{Gateway: g, next: next, request: r, subject: about, base: r.Request, limit: maxProbed, deriver: counting(g.Deriver, memory), cross: cross}
	p.session = newSession(r.OriginalTarget, r.Fields)
	p.deriver.AnyCoding, p.deriver.BodyOfAbsent = r.Signed, r.Operation != resource.NoOperation
	return p
}

// maxProbed is how much content is read to find out whether the condition of a write
// holds. Content that long takes most of the time that a probe may take.
const maxProbed = 4 << 30

// errUnasked means that a GET for the target might be a write.
var errUnasked = errors.New("the query may make a write of a GET")

// probe asks for the representation that a view of the subject is about.
func (p *prober) probe(ctx context.Context, view knowledge.View) proxyhooks.Probed {
	if p.request.Unasked {
		return proxyhooks.Probed{Err: errUnasked}
	}
	return p.finish(time.Now(), proxyhooks.Probe(ctx, p.next, p.inClientsName(view), p.deriver, p.limit))
}

// probeContent does the same, and writes the content of the representation to content.
func (p *prober) probeContent(ctx context.Context, view knowledge.View, content io.Writer) proxyhooks.Probed {
	if p.request.Unasked {
		return proxyhooks.Probed{Err: errUnasked}
	}
	return p.finish(time.Now(), proxyhooks.ProbeContent(ctx, p.next, p.inClientsName(view), p.deriver, content))
}

// inClientsName returns the request that a probe is made of, as the client would send it
// now. It leaves out the credentials that are good for one request only: the origin would
// refuse them on a GET, and might count a failed attempt to log in.
func (p *prober) inClientsName(view knowledge.View) *http.Request {
	r, renewals := view.Renegotiated(p.subject.Request(p.base)), p.session.renewals()
	if renewals != nil {
		r = r.Clone(r.Context())
		proxyhooks.EditHeader(r.Header, renewals)
	}
	return p.request.Unsigned(r)
}

// finish looks at the answer to a probe that began at some time. An answer to a GET
// without the client's credentials shows less than the client may see: that something
// is absent, or that the rest depends on who asks, says nothing about what the client
// would get. An answer of a cache may have been given to somebody else.
func (p *prober) finish(begun time.Time, probed proxyhooks.Probed) proxyhooks.Probed {
	defer func() { noteProbe(p.course, begun, probed) }()
	if !probed.Cached && p.Learned.tooOld(probed.Header, begun) {
		probed.Cached = true
		p.Logger.Warn("the origin's answer is dated before it was asked for, so a cache seems to have given it",
			zap.String("resource", p.subject.Key), zap.Strings("date", probed.Header["Date"]))
	}
	p.cross.learnProbe(probed, p.subject.OriginalTarget)
	if p.request.OneTime != nil && !hidesNothing(p.request, probed) && (!shows(probed.Status) || dependsOnCredentials(probed.Header)) {
		probed.Known = false
	}
	if !probed.Cached && (p.request.OneTime == nil || probed.Known) {
		p.session.absorb(probed.Header, p.subject.OriginalTarget)
	}
	return probed
}

// noteProbe notes that the origin was asked, and whether its answer tells the current state.
func noteProbe(course *telemetry.Course, begun time.Time, p proxyhooks.Probed) {
	result := telemetry.ProbeKnown
	switch {
	case p.Err != nil, p.Status >= 500:
		result = telemetry.ProbeFailed
	case p.Cached:
		result = telemetry.ProbeCached
	case !p.Known:
		result = telemetry.ProbeUnknown
	}
	course.Probed(result, begun, p.Status, p.Err)
}

// shows reports whether a response with this status shows a representation.
func shows(status int) bool { return status == http.StatusOK || status == http.StatusNoContent }

// dependsOnCredentials reports whether a response says that it would differ for a
// client that says who it is.
func dependsOnCredentials(h http.Header) bool {
	return proxyhooks.Varies(h, "Authorization") || len(h["Www-Authenticate"]) > 0
}

// trustsStore reports whether a write goes by what is stored, which makes its condition
// true, although the origin had to be asked: the origin has refused to show the resource
// to a GET without the client's credentials, and with them the handler can't ask. The
// backend checks the credentials of the write itself. An origin that does show something
// must show what is stored. Anybody can say that a request is signed, or has a one-time
// password, beside credentials of another kind, so that isn't enough.
func (p *prober) trustsStore(probed proxyhooks.Probed, stored validator.Observed, res validator.Result) bool {
	switch {
	case p.request.OneTime == nil, p.request.Claimed != nil, p.request.Mixed, res.Verdict != validator.True, probed.Err != nil, probed.Known:
		return false
	case shows(probed.Status):
		return !probed.Cached && stored.ETag.Valid && probed.Observed.ETag == stored.ETag
	case p.request.Challenged && stored.State == validator.Present && (probed.Status == http.StatusNotFound || probed.Status == http.StatusGone):
		return false // it was deleted, rather than hidden
	default:
		return probed.Status < 500 && !passes(probed.Status) && (!p.Verify.Refused || concernsClient(probed.Status))
	}
}

// passes reports whether the origin says that the same request may succeed later.
func passes(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests
}

// notProbed decides about a write to which the answer to a probe leaves open what the
// current representation is. A 412 would tell the client that its condition is false,
// which nobody knows.
func (x *exchange) notProbed(p proxyhooks.Probed, field validator.Field) decision {
	if x.Verify.Refused {
		field = x.request.Evaluate(validator.Representation{}).Field // whatever is stored
	}
	switch {
	case x.request.Gone():
		return decision{kind: clientGone}
	case p.Err != nil:
		x.Logger.Warn("the origin could not be asked", zap.String("resource", x.plan.Subject.Key), zap.Error(p.Err))
		return refuseWith(x.responder.CannotTell("the origin could not be asked for the current state").As(telemetry.OriginUnreachable))
	case concernsClient(p.Status) && !x.request.Signed && (x.request.OneTime == nil || x.Verify.Refused):
		// Under verify all, whoever only claims to have credentials that can't be checked
		// here must get the same answer whatever is stored. If the condition holds, the
		// write is forwarded, and the backend refuses it like this.
		return decision{kind: relay, probed: &p}
	}
	x.Logger.Warn("the origin could not be asked", zap.String("resource", x.plan.Subject.Key), zap.Int("status", p.Status))
	refusal := x.responder.NotVerifiable(field, "the origin answered "+statusText(p.Status)+" to a GET"+credentialAdvice(x)).As(telemetry.OriginRefused)
	if p.Status >= 500 || passes(p.Status) {
		refusal.Outcome = answer.Unavailable
	}
	if after, ok := answer.RetryAfter(p.Header, time.Now()); ok && after > 0 {
		refusal.RetryAfter = after
	}
	return refuseWith(refusal)
}

// credentialAdvice tells a client whose credentials a probe doesn't have what may help.
func credentialAdvice(x *exchange) string {
	const (
		read  = "Read the resource first"
		never = "If every write comes through here, the operator can choose `verify never`: what was read here then decides"
	)
	switch {
	case x.request.OneTime == nil:
		return ""
	case x.request.Mixed && x.request.Claimed == nil:
		return " without your credentials, some of which are good for one request only. " + never
	case x.request.Claimed == nil:
		return " without your credentials, which are good for one request only. " + read
	case !x.Verify.Passing || x.Verify.FreshFor > 0:
		return " without your signature, which nobody else can make. " + read
	default:
		return " without your signature, which nobody else can make. " + never
	}
}

// concernsClient reports whether the client can do something about the status that the
// origin gave to a probe. The client would get such a status to its write, too, without
// the condition, and then conditions don't count (RFC 9110, section 13.2.1).
func concernsClient(status int) bool {
	switch status {
	case http.StatusSeeOther, http.StatusNotModified, http.StatusUseProxy, 306:
		// To a write, 303 says that it was performed. The others answer no plain GET.
		return false
	case http.StatusRequestTimeout, http.StatusLengthRequired, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusRequestedRangeNotSatisfiable, http.StatusExpectationFailed,
		http.StatusUnprocessableEntity, http.StatusPreconditionRequired, proxyhooks.StatusClientClosedRequest:
		// These are about content, conditions and connections that only the probe lacks.
		return false
	}
	return status/100 == 3 || status/100 == 4
}

// statusText returns a status and its name, if it has one.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "with an unknown status"
}
