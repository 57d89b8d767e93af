package telemetry

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// scope names the library that makes spans.
const scope = "github.com/caddy-preconditions/preconditions"

// The spans of a request, which are children of the one that Caddy's handler tracing has begun.
const (
	spanRead    = "preconditions.read"    // what the store knows was read
	spanWait    = "preconditions.wait"    // for other writes
	spanClaim   = "preconditions.claim"   // the store was asked for a claim or a pass
	spanProbe   = "preconditions.probe"   // the origin was asked
	spanForward = "preconditions.forward" // the next handler was at work
	spanSettle  = "preconditions.settle"  // the store was told what became of a write
)

// The attributes that no semantic convention has a name for.
const (
	attributeResource = attribute.Key("preconditions.resource")
	attributeOutcome  = attribute.Key("preconditions.outcome")
	attributeReason   = attribute.Key("preconditions.reason_code")
	attributeFor      = attribute.Key("preconditions.wait.for")
	attributeResult   = attribute.Key("preconditions.probe.result")
	attributeGranted  = attribute.Key("preconditions.claim.granted")
)

// trail makes the spans of one request. The zero value makes none.
type trail struct {
	ctx    context.Context
	parent trace.Span
	tracer trace.Tracer
}

// trailOf returns the trail of a request.
func trailOf(r *http.Request) trail {
	parent := trace.SpanFromContext(r.Context())
	if !parent.IsRecording() {
		return trail{}
	}
	return trail{r.Context(), parent, parent.TracerProvider().Tracer(scope)}
}

// on reports whether spans are made.
func (t *trail) on() bool { return t.tracer != nil }

// add adds a span of something that has ended now.
func (t *trail) add(name string, begun time.Time, err error, attributes ...attribute.KeyValue) {
	_, span := t.tracer.Start(t.ctx, name, trace.WithTimestamp(begun), trace.WithAttributes(attributes...))
	if err != nil {
		span.SetAttributes(attribute.String("error.type", "_OTHER"))
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// StoreRead notes that what the store knows of a resource was read.
func (c *Course) StoreRead(resource string, begun time.Time, err error) {
	if c != nil && c.trail.on() {
		c.trail.add(spanRead, begun, err, attributeResource.String(resource))
	}
}

// Claimed notes that the store was asked for a claim or a pass. That it grants none because
// others write is no error.
func (c *Course) Claimed(resource string, begun time.Time, granted bool, err error) {
	if c != nil && c.trail.on() {
		c.trail.add(spanClaim, begun, err, attributeResource.String(resource), attributeGranted.Bool(granted))
	}
}

// Settled notes that the store was told what became of a write.
func (c *Course) Settled(resource string, begun time.Time, err error) {
	if c != nil && c.trail.on() {
		c.trail.add(spanSettle, begun, err, attributeResource.String(resource))
	}
}

// Forwarded notes that the next handler has served the request.
func (c *Course) Forwarded(r *http.Request, begun time.Time, err error) {
	if c != nil && c.trail.on() {
		c.trail.add(spanForward, begun, err, attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path))
	}
}

// Reported notes the outcome of the request, on the span that Caddy has begun.
func (c *Course) Reported(resource, outcome string, reason Reason) {
	if c != nil && c.trail.on() {
		c.trail.parent.SetAttributes(attributeResource.String(resource), attributeOutcome.String(outcome), attributeReason.String(string(reason)))
	}
}
