package gateway

import (
	"context"
	"crypto/sha256"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// A script of another origin can read an answer only if the answer allows that origin (Fetch
// standard, CORS check), and only those of its fields that it exposes. Who may read what is
// the backend's business: an answer made here says what the backend says.

// The fields of that protocol.
const (
	allowOrigin      = "Access-Control-Allow-Origin"
	allowCredentials = "Access-Control-Allow-Credentials"
	allowMethods     = "Access-Control-Allow-Methods"
	allowHeaders     = "Access-Control-Allow-Headers"
	exposeHeaders    = "Access-Control-Expose-Headers"
	requestMethod    = "Access-Control-Request-Method"
	requestHeaders   = "Access-Control-Request-Headers"
)

// exposedFields are the response fields that clients of this handler read.
var exposedFields = []string{"ETag", "Last-Modified", "Retry-After", "Preference-Applied", "Content-Location"}

// allowedFields are the request fields that this handler understands.
var allowedFields = []string{
	"If-Match", "If-None-Match", "If-Unmodified-Since", "If-Modified-Since", "If-Range", "Prefer", "Idempotency-Key",
}

// crossOrigin is the response writer of a request. It does what scripts of other origins need
// to read the answer. A nil crossOrigin does nothing.
type crossOrigin struct {
	caddyhttp.ResponseWriterWrapper
	policies *policies
	next     caddyhttp.Handler
	request  *resource.Request
	base     *http.Request // before next changed it
	origin   string        // of the script, or empty

	made        bool // the answer is the handler's own
	wroteHeader bool
}

// newCrossOrigin returns the response writer of a request, for answers to go through to w.
func newCrossOrigin(g *Gateway, w http.ResponseWriter, r *resource.Request, next caddyhttp.Handler) *crossOrigin {
	c := &crossOrigin{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		next:                  next, request: r, base: r.Request,
	}
	if g.Learned != nil {
		c.policies = &g.Learned.policies
	}
	if lines := r.Fields["Origin"]; len(lines) == 1 && isOrigin(lines[0]) {
		c.origin = lines[0]
	}
	return c
}

// isOrigin reports whether a text may be an origin, or null.
func isOrigin(text string) bool {
	const maxOrigin = 300
	return text != "" && len(text) <= maxOrigin && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == ',' })
}

// crossOriginOf returns the crossOrigin that w is, or nil.
func crossOriginOf(w http.ResponseWriter) *crossOrigin {
	c, _ := w.(*crossOrigin)
	return c
}

// WriteHeader implements http.ResponseWriter.
func (c *crossOrigin) WriteHeader(status int) {
	if !c.wroteHeader && status >= 200 {
		c.wroteHeader = true
		c.complete(status)
	}
	c.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (c *crossOrigin) Write(p []byte) (int, error) {
	c.begin()
	return c.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (c *crossOrigin) ReadFrom(r io.Reader) (int64, error) {
	c.begin()
	return c.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError flushes, for http.ResponseController.
func (c *crossOrigin) FlushError() error {
	c.begin()
	return http.NewResponseController(c.ResponseWriter).Flush()
}

func (c *crossOrigin) begin() {
	if !c.wroteHeader {
		c.WriteHeader(http.StatusOK)
	}
}

// end completes the header of an answer without content that nobody has begun.
func (c *crossOrigin) end() {
	if c != nil && !c.wroteHeader {
		c.complete(http.StatusOK)
	}
}

// complete completes the header of an answer. An answer to a signed request stays as the
// backend made it.
func (c *crossOrigin) complete(status int) {
	header := c.Header()
	if !c.made {
		c.learn(status, header, c.request.OriginalTarget)
	}
	if c.request.Signed && !isPreflight(c.request) {
		return
	}
	if status == http.StatusNotModified {
		c.Allow(header) // some servers leave out of a 304 what they put on everything else
	}
	if isPreflight(c.request) {
		c.allowFields(status, header)
	}
	expose(header)
}

// Allow puts on an answer that the handler makes what the backend last said about the origin
// of the request.
func (c *crossOrigin) Allow(header http.Header) {
	if c == nil {
		return
	}
	c.made = true
	if p, ok := c.policy(); ok && p.allows(c.origin) && header[allowOrigin] == nil {
		p.putOn(header)
	}
	expose(header)
}

// expose exposes the fields of an answer that clients of this handler read, if the answer
// allows any origin to read something.
func expose(header http.Header) {
	if header[allowOrigin] != nil && !wildcard(header, exposeHeaders) {
		addMembers(header, exposeHeaders, exposedFields)
	}
}

// forwardedAs says that next may change the request from now on, and what it was before.
func (c *crossOrigin) forwardedAs(before *http.Request) {
	if c != nil {
		c.base = before
	}
}

// isPreflight reports whether a browser asks what a script may send.
func isPreflight(r *resource.Request) bool {
	return r.Method == http.MethodOptions && r.Fields["Origin"] != nil && r.Fields[requestMethod] != nil
}

// allowFields adds to the answer to a preflight the fields that it asks for and that this
// handler understands, if the backend lets the origin send that method.
func (c *crossOrigin) allowFields(status int, header http.Header) {
	methods, method := members(header[allowMethods]), c.request.Fields.Get(requestMethod)
	switch {
	case status/100 != 2, !policyOf(header).allows(c.origin), wildcard(header, allowHeaders):
	case isSimple(method), slices.Contains(methods, method), slices.Contains(methods, "*"):
		asked := members(c.request.Fields[requestHeaders])
		addMembers(header, allowHeaders, slices.DeleteFunc(slices.Clone(allowedFields), func(name string) bool {
			return !containsFold(asked, name)
		}))
	}
}

// isSimple reports whether scripts may use a method everywhere.
func isSimple(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodPost
}

// wildcard reports whether a field stands for all names. With credentials, * is a name like
// any other.
func wildcard(header http.Header, field string) bool {
	return !allowsCredentials(header) && slices.Contains(members(header[field]), "*")
}

// members returns the members of a list.
func members(lines []string) (all []string) {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if member = strings.Trim(member, " \t"); member != "" {
				all = append(all, member)
			}
		}
	}
	return all
}

func containsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(member string) bool { return strings.EqualFold(member, name) })
}

// addMembers adds names to a list, which becomes one line, unless the list has all of them.
func addMembers(header http.Header, field string, names []string) {
	all := members(header[field])
	known := len(all)
	for _, name := range names {
		if !containsFold(all, name) {
			all = append(all, name)
		}
	}
	if len(all) > known {
		header[field] = []string{strings.Join(all, ", ")}
	}
}

// The kinds of requests whose answers are remembered.
const (
	aRead      = "read"
	aWrite     = "write"
	aPreflight = "preflight"
)

// key returns the key of what the backend says about a target to a kind of requests of an
// origin, or of none.
func (c *crossOrigin) key(kind, origin, target string) (key policyKey) {
	h, fields, scheme := sha256.New(), c.request.Fields, "http"
	if c.request.TLS != nil {
		scheme = "https"
	}
	hashList(h, kind, origin, scheme, c.request.Host, target)
	if kind != aPreflight {
		hashList(h, fields["Cookie"]...)
		hashList(h, fields["Authorization"]...)
		hashList(h, certificate(c.request.Request))
	}
	h.Sum(key[:0])
	return key
}

// learns reports whether anything can be learned from answers to the request.
func (c *crossOrigin) learns() bool {
	return c != nil && c.policies != nil && (c.origin != "" || c.request.Fields["Origin"] == nil)
}

// learn remembers what an answer says. An error without a policy says nothing: many servers
// put the fields on successes only. Nor does a 304.
func (c *crossOrigin) learn(status int, header http.Header, target string) {
	if !c.learns() {
		return
	}
	var kind string
	switch {
	case isPreflight(c.request):
		kind = aPreflight
	case c.request.Class == resource.Read:
		kind = aRead
	case c.request.Class == resource.Write:
		kind = aWrite
	default:
		return
	}
	c.learnAs(kind, status, header, target)
}

// learnAs does the same for a kind of requests. The answer to a request that no script sends
// is good for scripts, too, unless it says that it depends on the origin.
func (c *crossOrigin) learnAs(kind string, status int, header http.Header, target string) {
	p := policyOf(header)
	switch {
	case c.origin == "" && (p.origin == "" || p.varies):
	case p.allows(c.origin), status/100 == 2:
		c.policies.put(c.key(kind, c.origin, target), p, maxPolicyAge)
	}
}

// learnProbe remembers what the answer to a probe of a target says.
func (c *crossOrigin) learnProbe(p proxyhooks.Probed, target string) {
	if c.learns() && c.request.OneTime == nil && !p.Cached {
		c.learnAs(aRead, p.Status, p.Header, target)
	}
}

// policy returns what the backend last said. To a write, it may refuse what it allows to a
// read, and the other way around; a read that is allowed shows more than a refusal.
func (c *crossOrigin) policy() (p policy, known bool) {
	if c.origin == "" || c.policies == nil {
		return p, false
	}
	target := c.request.OriginalTarget
	if c.request.Class == resource.Write {
		if p, known = c.policies.get(c.key(aWrite, c.origin, target)); known {
			return p, true
		}
	}
	p, known = c.policies.get(c.key(aRead, c.origin, target))
	if known && (p.allows(c.origin) || c.request.Class == resource.Read) {
		return p, true
	}
	if p, known = c.policies.get(c.key(aRead, "", target)); known && p.allows(c.origin) {
		return p, true
	}
	return c.policies.get(c.key(aPreflight, c.origin, target))
}

// Ask asks the backend, in place of the browser, if nothing is known and a script of another
// origin would otherwise not see the refusal of its request. The answer doesn't depend on
// what is stored, nor on who the user is.
func (c *crossOrigin) Ask() {
	if c == nil || c.origin == "" || c.policies == nil || c.Header()[allowOrigin] != nil ||
		c.request.Gone() || c.request.Unasked || isSameOrigin(c.request, c.origin) {
		return
	}
	if _, known := c.policy(); known {
		return
	}
	key := c.key(aPreflight, c.origin, c.request.OriginalTarget)
	c.policies.once(key, func() {
		// The end of a deadline would count as a failure of the backend.
		ctx, cancel := context.WithCancel(c.base.Context())
		defer cancel()
		defer time.AfterFunc(maxAskTime, cancel).Stop()
		status, header := proxyhooks.Preflight(ctx, c.next, c.base, c.preflight())
		p, age := policyOf(header), maxPolicyAge
		if p.origin == "" && (status == 0 || status >= 500) {
			age = minAskInterval
		}
		c.policies.put(key, p, age)
	})
}

// isSameOrigin reports whether the page that sends the request is one of the host itself.
func isSameOrigin(r *resource.Request, origin string) bool {
	if lines := r.Fields["Sec-Fetch-Site"]; len(lines) == 1 {
		return lines[0] == "same-origin"
	}
	_, host, ok := strings.Cut(origin, "://")
	return ok && strings.EqualFold(host, r.Host)
}

// preflight returns the fields of the preflight that a browser would have sent. It has no
// credentials.
func (c *crossOrigin) preflight() http.Header {
	header := http.Header{"Accept": {"*/*"}, "Origin": {c.origin}, requestMethod: {c.request.Method}}
	var asked []string
	for name, lines := range c.request.Fields {
		switch {
		case addressFields[name], strings.HasPrefix(name, "X-Forwarded-"), name == "User-Agent", name == "Via":
			header[name] = lines // proxies in front of this one, and logs, go by these
		case name == "Content-Type" && !isSimpleType(lines), name == "Authorization", containsFold(allowedFields, name):
			asked = append(asked, strings.ToLower(name))
		}
	}
	if asked != nil {
		slices.Sort(asked)
		header[requestHeaders] = []string{strings.Join(asked, ",")}
	}
	return header
}

// isSimpleType reports whether scripts may send such content everywhere.
func isSimpleType(lines []string) bool {
	kind, _, _ := mime.ParseMediaType(strings.Join(lines, ", "))
	return kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data" || kind == "text/plain"
}
