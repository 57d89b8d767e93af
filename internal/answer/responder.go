package answer

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Config is what the configuration says about answers.
type Config struct {
	Mode Mode
	// ErrorRoutes makes a refusal an error for Caddy's error routes, rather than
	// problem details.
	ErrorRoutes bool
	// Disclose makes refusals tell the current validators.
	Disclose bool
	// RetryAfter is sent if the store or the origin can't be asked.
	RetryAfter time.Duration
	Logger     *zap.Logger
}

// Responder answers one request.
type Responder struct {
	*Config
	Writer  http.ResponseWriter
	Request *resource.Request
	Key     string // of the resource
}

// Report makes the outcome known: as placeholders, in the access log and in the
// metrics. It is called once for a request, before its response is sent.
func (a *Responder) Report(o Outcome, reason string) {
	repl := a.Request.Replacer
	repl.Set("http.preconditions.outcome", string(o))
	repl.Set("http.preconditions.reason", reason)
	repl.Set("http.preconditions.resource", a.Key)
	for _, name := range optionalPlaceholders {
		if _, set := repl.Get(name); !set {
			repl.Set(name, "") // or its name would be printed, in braces
		}
	}
	if fields, ok := a.Request.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		fields.Set(zap.String("preconditions", string(o)))
		if reason != "" {
			fields.Set(zap.String("preconditions_reason", reason))
		}
	}
	requestsTotal.WithLabelValues(string(o), string(a.Mode)).Inc()
	if c := a.Logger.Check(zap.DebugLevel, "preconditions"); c != nil {
		c.Write(zap.String("outcome", string(o)), zap.String("reason", reason),
			zap.String("method", a.Request.Method), zap.String("resource", a.Key))
	}
}

// optionalPlaceholders are the placeholders that not every request has a value
// for.
var optionalPlaceholders = [...]string{
	"http.preconditions.condition", "http.preconditions.provided_etag",
	"http.preconditions.current_etag", "http.preconditions.problem",
}

// ReportCondition makes known which condition decided, and what it was compared
// with.
func (a *Responder) ReportCondition(field validator.Field, current validator.ETag) {
	repl := a.Request.Replacer
	repl.Set("http.preconditions.condition", field.String())
	repl.Set("http.preconditions.provided_etag", provided(a.Request.Conditions, field))
	if a.Disclose {
		repl.Set("http.preconditions.current_etag", current.String())
	}
}

// Refuse reports a refusal and sends it, before the request content is read.
func (a *Responder) Refuse(f Refusal) error {
	a.Report(f.Outcome, f.Reason)
	return a.SendRefusal(f)
}

// SendRefusal sends a refusal that was reported.
func (a *Responder) SendRefusal(f Refusal) error {
	a.ReportCondition(f.Condition, f.Current.ETag)
	p := newProblem(f, provided(a.Request.Conditions, f.Condition), a.Disclose)
	header := a.Writer.Header()
	RemoveRepresentationMetadata(header)
	header.Set("Cache-Control", "no-store")
	if f.RetryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((f.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if p.CurrentETag != "" {
		header.Set("ETag", p.CurrentETag)
	}
	if p.LastModified != "" {
		header.Set("Last-Modified", p.LastModified)
	}
	content, err := p.json()
	if err != nil {
		return err
	}
	a.Request.Replacer.Set("http.preconditions.problem", string(content))
	if a.ErrorRoutes {
		a.answerBeforeContent()
		return caddyhttp.Error(f.Status, errors.New(f.Detail))
	}
	content = append(content, '\n')
	header.Set("Content-Type", "application/problem+json")
	header.Set("Content-Length", strconv.Itoa(len(content)))
	return a.Send(f.Status, content)
}
