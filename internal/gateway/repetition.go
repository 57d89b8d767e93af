package gateway

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A receipt is for the client that has made the write, and nobody knows by what a backend
// tells its clients apart: Authorization, Cookie, X-Api-Key, a field that a proxy adds, a
// certificate, an address. So two requests are the same only if everything is the same but
// what a client, or a proxy in between, changes from one try to the next.

// changingFields are those fields, besides the conditions. None of them says who sends a
// request.
var changingFields = fieldSet(
	// The message and the connection.
	"Connection", "Content-Length", "Date", "Expect", "Http2-Settings", "Keep-Alive", "Max-Forwards", "Priority",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	// The software on the way.
	"Cdn-Loop", "Fastly-Ff", "User-Agent", "Via", "X-Forwarded-Server", "X-Served-By", "X-Timer", "X-Varnish",
	// The answer that the client would like.
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Pragma", "Prefer",
	// Conditions that say nothing about a write, or count in a different way.
	"If-Match", "If-None-Match", "If-Unmodified-Since", "If-Modified-Since", "If-Range",
	// Traces and numbers of requests.
	"Baggage", "Correlation-Context", "Elastic-Apm-Traceparent", "Newrelic", "Request-Id", "Sentry-Trace", "Traceparent",
	"Tracestate", "Uber-Trace-Id", "B3", "Cf-Ray", "X-Amz-Cf-Id", "X-Amzn-Trace-Id", "X-Azure-Ref", "X-Client-Request-Id",
	"X-Cloud-Trace-Context", "X-Correlation-Id", "X-Ms-Client-Request-Id", "X-Ot-Span-Context", "X-Queue-Start",
	"X-Request-Id", "X-Request-Start", "X-Trace-Id", "X-Transaction-Id", "X-Unique-Id",
	// Numbers of tries.
	"Amz-Sdk-Request", "Retry-Attempt", "X-Envoy-Attempt-Count", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Retry",
	"X-Retry-Attempt", "X-Retry-Count", "X-Stainless-Retry-Count",
	// The claim of a handler further out.
	holderField,
)

// changingPrefixes are what the names of more such fields begin with.
var changingPrefixes = [...]string{"Sec-Ch-", "Sec-Fetch-", "X-B3-", "X-Datadog-"}

// addressFields are the fields in which proxies say where a request comes from. A client
// that changes the network has a different address, and an answer may get lost thereby.
var addressFields = fieldSet(
	"Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Ipcountry", "Fastly-Client-Ip", "Fly-Client-Ip", "Forwarded",
	"True-Client-Ip", "X-Appengine-User-Ip", "X-Azure-Clientip", "X-Azure-Socketip", "X-Client-Ip",
	"X-Cluster-Client-Ip", "X-Envoy-External-Address", "X-Forwarded-For", "X-Original-Forwarded-For", "X-Real-Ip",
)

func fieldSet(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// requestDigest identifies a request, except for its content.
func requestDigest(x *exchange) string {
	h := sha256.New()
	c, cert := x.request.Conditions, certificate(x.r)
	user, _ := x.request.Replacer.GetString("http.auth.user.id")
	hashList(h, x.r.Method, x.plan.Subject.CurrentTarget, x.request.OriginalTarget)
	for _, lines := range [][]string{c.IfMatch, c.IfNoneMatch, c.IfUnmodifiedSince, {user}, {cert}} {
		hashList(h, lines...)
	}
	fields := x.request.Fields
	known := user+cert != "" || fields["Authorization"] != nil || fields["Cookie"] != nil || fields["Idempotency-Key"] != nil
	if !known {
		hashList(h, address(x.r))
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !mayChange(name) && !(known && addressFields[name]) {
			hashList(h, append([]string{name}, fields[name]...)...)
		}
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// hashList adds a list of texts without control characters to a hash.
func hashList(h hash.Hash, texts ...string) {
	for _, text := range texts {
		h.Write([]byte(text))
		h.Write([]byte{0})
	}
	h.Write([]byte{1})
}

// mayChange reports whether a field may change from one try to the next.
func mayChange(name string) bool {
	return changingFields[name] || slices.ContainsFunc(changingPrefixes[:], func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// certificate returns a digest of the certificate that the client has shown, or nothing.
func certificate(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// address returns the address from which a request comes, without the port.
func address(r *http.Request) string {
	client, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if client != "" {
		return client
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return cmp.Or(host, r.RemoteAddr)
}
