package answer

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/history"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Mode says whether the handler enforces preconditions or only reports.
type Mode string

// The modes, as they are configured and as they label metrics.
const (
	Enforce    Mode = "enforce"
	ReportOnly Mode = "report"
)

// Config is what the configuration says about answers.
type Config struct {
	Mode Mode
	// ErrorRoutes turns refusals into errors for Caddy's error routes, instead of
	// problem details.
	ErrorRoutes bool
	// S3 sends refusals as S3 sends its errors.
	S3 bool
	// WebDAV sends refusals as WebDAV servers send their errors.
	WebDAV bool
	// Template makes the content of refusals. If it is nil, problem details do.
	Template *Template
	// Disclose puts the current validators into refusals.
	Disclose bool
	// Places are where clients may send a version, besides If-Match.
	Places []resource.Place
	// RetryAfter is sent if the store or the origin can't be asked.
	RetryAfter time.Duration
	Logger     *zap.Logger

	// StatusName identifies this handler in the field Preconditions-Status. If it is empty,
	// responses don't get the field.
	StatusName string

	// Observer and History may be nil.
	Observer *telemetry.Observer
	History  *history.Handler
}

// Responder answers one request.
type Responder struct {
	*Config
	Writer  http.ResponseWriter
	Request *resource.Request
	Key     string // of the resource

	// Inner means that a handler further out has forwarded the write to this one, and wants
	// to know what became of it.
	Inner bool

	// CrossOrigin may be nil.
	CrossOrigin CrossOrigin

	// Course is what the request has been through so far. It may be nil.
	Course *telemetry.Course

	outcome Outcome // that was reported
	reason  string
	mapped  *placeholders
}

// CrossOrigin lets scripts of other origins read answers that the handler makes, where the
// backend lets them read its own.
type CrossOrigin interface {
	// Ask finds out what the backend says, if nothing of the request was forwarded.
	Ask()
	// Allow puts what the backend says on an answer.
	Allow(header http.Header)
}

// Report reports the outcome of the request: as placeholders and in the metrics, and
// for LogFields. It must be called once, before the response is sent.
func (a *Responder) Report(o Outcome, reason string) {
	report(a, o, reason, telemetry.NoReason)
}

// report does the same, with the reason as one of a fixed set.
func report(a *Responder, o Outcome, reason string, code telemetry.Reason) {
	mappedFor(a).report(o, reason, a.Key)
	a.outcome, a.reason = o, reason
	a.Observer.Count(telemetry.Request{Outcome: string(o), Reason: code, Method: MethodOf(a.Request)})
	a.Course.Reported(a.Key, string(o), code)
	if a.Request.Class == resource.Write {
		a.History.Wrote(a.Request.Method, string(o), a.Request.UserAgent())
	}
	addStatus(a, o, reason, code)
	if c := a.Logger.Check(zap.DebugLevel, "preconditions"); c != nil {
		c.Write(zap.String("outcome", string(o)), zap.String("reason", reason),
			zap.String("method", a.Request.Method), zap.String("resource", a.Key))
	}
}

// ReportRefusal reports the outcome of a request that is refused, or would be in mode report,
// and leaves a record of it. It takes the place of Report.
func (a *Responder) ReportRefusal(refusal Refusal) {
	report(a, refusal.Outcome, refusal.Reason, refusal.code())
	prevented := preventsLoss(a, refusal)
	if prevented {
		a.Observer.LostUpdatePrevented()
	}
	if !a.Observer.WantsRefusals() {
		return
	}
	if a.S3 {
		refusal, _ = forS3(refusal, a.Request.Conditional)
	}
	a.Observer.Refused(telemetry.Refusal{
		Method:    a.Request.Method,
		Resource:  a.Key,
		Status:    refusal.Status,
		Outcome:   string(refusal.Outcome),
		Reason:    refusal.Reason,
		Code:      refusal.code(),
		Condition: refusal.Condition.String(),
		Provided:  provided(a.Request, refusal.Condition),
		Current:   refusal.Current.ETag.String(),
		Waited:    a.Course.Waits(),
		Probed:    a.Course.Probes(),
		Prevented: prevented,
	})
}

// preventsLoss reports whether a refusal keeps a write from replacing a state of the resource
// that its client hasn't seen, or didn't expect.
func preventsLoss(a *Responder, refusal Refusal) bool {
	if a.Mode != Enforce || a.Request.Class != resource.Write || refusal.Outcome != Failed {
		return false
	}
	return Contradicts(refusal.Code) && (refusal.Code == telemetry.Replaced || refusal.Current.State == validator.Present)
}

// Contradicts reports whether the reason of a false condition is that the resource is there, and
// isn't what the client believes. A write whose condition is malformed, or about something that
// isn't there, would have erased nobody's change.
func Contradicts(code telemetry.Reason) bool {
	switch code {
	case telemetry.Replaced, codes[validator.NoMatch], codes[validator.Matched], codes[validator.Exists], codes[validator.Modified]:
		return true
	default:
		return false
	}
}

// methods are the classes of methods as metrics call them.
var methods = [...]telemetry.Method{resource.Other: telemetry.Other, resource.Read: telemetry.Read, resource.Write: telemetry.Write}

// MethodOf returns the class of a request's method, as metrics call it.
func MethodOf(r *resource.Request) telemetry.Method { return methods[r.Class] }

// LogFields adds the outcome to the access log, if one was reported. It must be called
// when the other handlers have returned: they add fields of their own, without a lock,
// and Report may run beside them.
func (a *Responder) LogFields() {
	if a.outcome == "" {
		return
	}
	ctx := a.Request.Context()
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server != nil && server.Logs == nil {
		return // it writes no access log
	}
	fields, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok {
		return
	}
	fields.Set(zap.String("preconditions", string(a.outcome)))
	if a.reason != "" {
		fields.Set(zap.String("preconditions_reason", a.reason))
	}
}

// mappedFor returns the placeholders of the request.
func mappedFor(a *Responder) *placeholders {
	if a.mapped == nil {
		a.mapped = placeholdersOf(a.Request.Replacer)
	}
	return a.mapped
}

// ReportCondition sets the placeholders about the condition that decided and the tag
// that it was compared with.
func (a *Responder) ReportCondition(field validator.Field, current validator.ETag) {
	tag := ""
	if a.Disclose {
		tag = current.String()
	}
	reportCondition(a, field, provided(a.Request, field), tag)
}

// reportCondition does the same. The tag counts only if clients may learn it.
func reportCondition(a *Responder, field validator.Field, provided, current string) {
	shown := &current
	if !a.Disclose {
		shown = nil
	}
	mappedFor(a).reportCondition(field.String(), provided, shown)
}

// Refuse reports a refusal and sends it. The request content may still be on its
// way, and nothing of the request was forwarded, or only what changed nothing.
func (a *Responder) Refuse(refusal Refusal) error {
	if a.Inner {
		a.Writer.Header()[proxyhooks.SettledField] = []string{"?1"}
	}
	a.ReportRefusal(refusal)
	if a.CrossOrigin != nil {
		a.CrossOrigin.Ask()
	}
	return a.SendRefusal(refusal)
}

// SendRefusal sends a refusal that was already reported.
func (a *Responder) SendRefusal(refusal Refusal) error {
	var code string
	if a.S3 {
		refusal, code = forS3(refusal, resource.HasConditions(a.Request))
	}
	p := newProblem(refusal, provided(a.Request, refusal.Condition), a.Disclose)
	reportCondition(a, refusal.Condition, p.Provided, p.current)
	header := a.Writer.Header()
	RemoveRepresentationMetadata(header)
	fields := oneLiners{header: header}
	fields.set("Cache-Control", "no-store")
	if seconds := refusal.retryAfter(); seconds > 0 {
		fields.set("Retry-After", strconv.Itoa(seconds))
	}
	if p.CurrentETag != "" {
		fields.set("Etag", p.CurrentETag)
	}
	if p.LastModified != "" {
		fields.set("Last-Modified", p.LastModified)
	}
	if a.CrossOrigin != nil {
		a.CrossOrigin.Allow(header)
	}
	content := appendProblem(make([]byte, 0, usualProblem), p)
	mappedFor(a).reportProblem(content[:len(content):len(content)])
	if a.ErrorRoutes {
		a.answerBeforeContent()
		return caddyhttp.Error(refusal.Status, errors.New(refusal.Detail))
	}
	contentType := "application/xml"
	if a.S3 {
		var err error
		if content, err = s3Content(a, refusal, code); err != nil {
			return err
		}
	} else {
		contentType, content = contentOf(a, refusal, p, content)
	}
	fields.set("Content-Type", contentType)
	fields.set("Content-Length", strconv.Itoa(len(content)))
	return a.Send(refusal.Status, content)
}

// usualProblem is more bytes than problem details usually have.
const usualProblem = 512

// oneLiners sets fields of one line each, whose names are in their canonical form. The lines
// share one array.
type oneLiners struct {
	header http.Header
	lines  [6]string
	n      int
}

func (o *oneLiners) set(name, value string) {
	o.lines[o.n] = value
	o.header[name] = o.lines[o.n : o.n+1 : o.n+1]
	o.n++
}

// contentOf returns the content of a refusal with these problem details, which are also
// given in JSON, and its type.
func contentOf(a *Responder, refusal Refusal, p problem, inJSON []byte) (contentType string, content []byte) {
	if t := a.Template; t != nil {
		content, err := t.render(newRefused(a.Request, refusal, p))
		if err == nil {
			return t.contentType, content
		}
		a.Logger.Error("the template of refusals failed, so problem details are sent in its place", zap.Error(templateError(err)))
	}
	if a.WebDAV {
		content, err := davContent(p)
		if err == nil {
			return "application/xml; charset=utf-8", content
		}
		a.Logger.Error("a refusal could not be written as a DAV:error, so problem details are sent in its place", zap.Error(err))
	}
	return "application/problem+json", append(inJSON, '\n')
}
