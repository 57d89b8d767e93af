package telemetry

import (
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// spans is a collector that keeps the spans it is sent.
type spans struct {
	mu   sync.Mutex
	list []*trace.Span
}

// collect starts a collector, and makes Caddys send their spans there.
func collect(t *testing.T) *spans {
	t.Helper()
	s := new(spans)
	address := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(content, &sent); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				s.list = append(s.list, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	return s
}

// of waits for the span of a request with a trace of its own, and returns it and those below.
func (s *spans) of(t *testing.T, id string) (parent *trace.Span, children []*trace.Span) {
	t.Helper()
	caddytest.Eventually(t, "the spans come", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		parent, children = nil, nil
		for _, one := range s.list {
			switch {
			case hex.EncodeToString(one.GetTraceId()) != id:
			case one.GetName() == "request":
				parent = one
			default:
				children = append(children, one)
			}
		}
		return parent != nil
	})
	for _, one := range children {
		if string(one.GetParentSpanId()) != string(parent.GetSpanId()) {
			t.Errorf("%s isn't below the span of the request", one.GetName())
		}
		if one.GetEndTimeUnixNano() < one.GetStartTimeUnixNano() || one.GetStartTimeUnixNano() < parent.GetStartTimeUnixNano() {
			t.Errorf("%s is at an odd time", one.GetName())
		}
	}
	return parent, children
}

// attributes returns the attributes of a span as text.
func attributes(one *trace.Span) map[string]string {
	all := make(map[string]string)
	for _, a := range one.GetAttributes() {
		all[a.GetKey()] = strings.Trim(a.GetValue().String()[strings.Index(a.GetValue().String(), ":")+1:], `"`)
	}
	return all
}

// What a request goes through is spans below the one that the handler tracing has begun.
func TestSpans(t *testing.T) {
	collected := collect(t)
	gate := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: gate.Pass})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", "one")
	text, url := site(t, "wait 50ms", caddytest.Serve(t, docs))
	load(t, "", strings.Replace(text, "{\n", "{\ntracing {\nspan request\n}\n", 1))
	url, key := url+"/docs/a", caddytest.Host(t)+"/docs/a"
	for i, tt := range []struct {
		name   string
		do     func(fields ...string)
		names  []string
		parent map[string]string
		child  string
		want   map[string]string
	}{
		{
			"a write that must be confirmed", func(fields ...string) {
				caddytest.Send(t, "PUT", url, "two", append(fields, "If-Match", "*")...).Expect(t, 204)
			},
			[]string{"preconditions.claim", "preconditions.forward", "preconditions.probe", "preconditions.read", "preconditions.settle"},
			map[string]string{"preconditions.outcome": "passed", "preconditions.reason_code": "none", "preconditions.resource": key},
			"preconditions.probe",
			map[string]string{"http.request.method": "GET", "http.response.status_code": "200", "preconditions.probe.result": "known"},
		},
		{
			"a read", func(fields ...string) { caddytest.Send(t, "GET", url, "", fields...).Expect(t, 200) },
			[]string{"preconditions.forward", "preconditions.read"},
			map[string]string{"preconditions.outcome": "read"},
			"preconditions.forward",
			map[string]string{"http.request.method": "GET", "url.path": "/docs/a"},
		},
		{
			"a refusal", func(fields ...string) {
				caddytest.Send(t, "PUT", url, "two", append(fields, "If-Match", `"old"`)...).Expect(t, 412)
			},
			[]string{"preconditions.read"},
			map[string]string{"preconditions.outcome": "failed", "preconditions.reason_code": "no_match"},
			"preconditions.read",
			map[string]string{"preconditions.resource": key},
		},
		{
			"a write that waits in vain", func(fields ...string) {
				done := gate.Send(t.Context(), t, "PUT", url, "x", "If-Match", "*")
				caddytest.Send(t, "DELETE", url, "", fields...).Expect(t, 503)
				gate.Open()
				caddytest.ExpectResult(t, done, 204)
			},
			[]string{"preconditions.claim", "preconditions.wait"},
			map[string]string{"preconditions.outcome": "conflict", "preconditions.reason_code": "write_in_flight"},
			"preconditions.wait",
			map[string]string{"preconditions.wait.for": "claim"},
		},
	} {
		id := strings.Repeat("0", 31) + string(rune('1'+i))
		tt.do("Traceparent", "00-"+id+"-00f067aa0ba902b7-01")
		parent, children := collected.of(t, id)
		var names []string
		for _, one := range children {
			names = append(names, one.GetName())
			if one.GetName() == tt.child {
				expectAttributes(t, one, tt.want)
			}
		}
		slices.Sort(names)
		if names = slices.Compact(names); !slices.Equal(names, tt.names) {
			t.Errorf("%s: spans %q, want %q", tt.name, names, tt.names)
		}
		expectAttributes(t, parent, tt.parent)
	}
	secretRequests(t, strings.TrimSuffix(url, "/docs/a"))
	caddytest.Eventually(t, "the spans come", func() bool {
		collected.mu.Lock()
		defer collected.mu.Unlock()
		return len(collected.list) > 100
	})
	collected.mu.Lock()
	defer collected.mu.Unlock()
	for _, one := range collected.list {
		if strings.HasPrefix(one.GetName(), "preconditions.") && strings.Contains(one.String(), secret) {
			t.Errorf("a span has a secret: %s", one)
		}
	}
}

func expectAttributes(t *testing.T, one *trace.Span, want map[string]string) {
	t.Helper()
	got := attributes(one)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %s is %q, want %q", one.GetName(), name, got[name], value)
		}
	}
}
