// Package preconditions is a Caddy HTTP handler that enforces the preconditions
// of RFC 9110 (If-Match, If-None-Match, If-Unmodified-Since) in front of
// backends that have none, so that no two clients overwrite each other's
// changes.
package preconditions

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler enforces HTTP preconditions in front of a backend that has none.
//
// It gives every representation an ETag, remembers the current ones in a store
// that any number of Caddy nodes can share, refuses a conditional write (a
// request with If-Match, If-None-Match or If-Unmodified-Since) with 412
// (Precondition Failed) when its condition is false, and lets exactly one of
// several competing writes through. When it can't be sure, it refuses with 503
// (Service Unavailable) and Retry-After.
//
// All writers of a resource must come through handlers that share a store, or
// else `verify` must be `passing`, which it is by default, or `all`.
//
// Placeholders, set once the request's outcome is known, and empty where there is
// no such thing:
//
// Placeholder | Description
// ------------|------------
// `{http.preconditions.outcome}` | What became of the request: `bypassed`, `read`, `unmodified`, `passed`, `failed`, `required`, `conflict`, `unverifiable`, `unavailable` or `unconditional`
// `{http.preconditions.reason}` | Why, in a few words
// `{http.preconditions.condition}` | The request field that decided, such as `If-Match`
// `{http.preconditions.provided_etag}` | That field's value, as sent
// `{http.preconditions.current_etag}` | The current entity tag, if it is known and `disclose` is on
// `{http.preconditions.resource}` | The key of the resource
// `{http.preconditions.problem}` | The problem details (RFC 9457) of a refusal, for `errors` = `caddy`
type Handler struct {
	// Where validators and claims are kept. Default: `memory`, which serves
	// one process; nodes that share resources must share a store, such as
	// `redis`.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=http.preconditions.stores inline_key=module"`

	// What identifies a resource: a text with placeholders. Requests with
	// equal keys wait for each other's writes. Host, hostport and path are made
	// equal for spellings that backends take for one: case, percent-encoding,
	// empty, `.` and `..` segments, a slash, dots and white space at the end, `+` for a
	// space, path parameters, backslashes, the name of a directory's index, a dot at
	// the end of the host, and the port of the scheme. Default:
	// `{http.request.host}{http.request.uri.path}`.
	Key string `json:"key,omitempty"`

	// Where entity tags come from: sources that are tried in order, until one
	// yields. Where none does, the response goes out without a tag. Default:
	// `upstream`, then `body`.
	ETag []ETagSource `json:"etag,omitempty"`

	// A key for all tags that are made here, so that nobody can guess content
	// and see from its tag whether the guess is right. Placeholders are
	// replaced when the config is loaded. All nodes must have the same; with
	// another one, all tags change. Default: none.
	Secret string `json:"secret,omitempty"`

	// Request fields by which the backend's responses vary, though it doesn't
	// say so: they count, and are sent, as if every response named them in
	// Vary. Default: none.
	Vary []string `json:"vary,omitempty"`

	// How many bytes of content are held in memory: of a response, to know its
	// tag before it is sent (a longer one streams through without a tag, unless
	// its header section is enough), and of a request, to have it complete before other writers must wait.
	// Default: 1 MiB.
	Buffer int64 `json:"buffer,omitempty"`

	// Methods that are refused with 428 (Precondition Required) if they come
	// without a condition. Default: none. (In a Caddyfile, `require` without
	// methods means PUT, PATCH and DELETE.)
	Require []string `json:"require,omitempty"`

	// When a write's condition is confirmed at the origin, by a GET that the
	// handler itself sends: `passing` (default), before the write is let
	// through; `all`, also before it is refused, so that a client learns
	// nothing that it may not read; `never`, when all writers come through
	// this handler; or a duration, if the validator was last stored longer ago
	// than that. With the source `version` it is `never`, and can't be anything
	// else.
	Verify string `json:"verify,omitempty"`

	// Which other resources a write changes. No condition on one of them is
	// found true while such a write is in flight. Below a path that is given with
	// `/**` at its end, DELETE, MOVE and COPY also change all that is below what
	// they name.
	Affects []Affects `json:"affects,omitempty"`

	// Which resource the conditions of a write are about, if that is another one
	// than its target: they are evaluated for it, and it is claimed.
	Guards []Guards `json:"guards,omitempty"`

	// Where lists show resources of their own: on GET, each gets its current tag
	// as a member, which is good for If-Match. Needs the source `json` or `body`,
	// and JSON content of at most `buffer` bytes. The tag of such a list has a mark
	// at its end, without which it is as good in conditions.
	Items []Items `json:"items,omitempty"`

	// The new ETag on the answer to a conditional write that succeeded:
	// `verbatim` (default) sends it if a PUT was stored exactly as it was sent,
	// of which another GET to the origin makes sure; `always` sends the one that
	// this GET shows, also where the backend has stored something else; `off`
	// sends none, and saves the GET.
	WriteETag string `json:"write_etag,omitempty"`

	// Whether a conditional write that has succeeded, and that is sent again
	// because its answer was lost, succeeds again, with the same status and the
	// new ETag, rather than being refused for the change that it made itself. It
	// must come from the same user, with the same conditions and the same
	// content, and the same Idempotency-Key, if it has one. It costs a GET to the
	// origin per write. Two clients can't tell then which of them wrote, if both
	// wrote the same. Default: false.
	Replay bool `json:"replay,omitempty"`

	// How long a write may keep others out without a sign of life from its
	// node. It is also the time after which a write that got no answer is
	// taken to be dead. Default: 30s.
	Lease caddy.Duration `json:"lease,omitempty"`

	// How long a write waits for the one before it, until it is refused with
	// 503, and a list for what the origin says of its items, until it is sent
	// without their tags. Default: 10s.
	Wait caddy.Duration `json:"wait,omitempty"`

	// How long no write is let through after the store has lost data, as when it
	// was restarted without persistence, and when it is used for the first time:
	// long enough for all nodes to tell it what they are writing. The default,
	// a third of the lease, covers the loss of the store alone; set it to the
	// lease to cover the crash of a node shortly before.
	Grace caddy.Duration `json:"grace,omitempty"`

	// After how long a resource that isn't used is forgotten, which costs no
	// more than asking the origin again. Must be longer than the lease.
	// Default: 24h.
	Retention caddy.Duration `json:"retention,omitempty"`

	// `enforce` (default), or `report`: let everything through, and only log
	// and count what would have been refused.
	Mode string `json:"mode,omitempty"`

	// How refusals are sent: `problem` (default) writes problem details (RFC
	// 9457); `caddy` returns an error for `handle_errors`.
	Errors string `json:"errors,omitempty"`

	// Whether refusals tell the current validators. Default: true.
	Disclose *bool `json:"disclose,omitempty"`

	// What writes without a condition do: `serialize` (default) makes them wait
	// for a conditional write in flight, and the other way round; `forward`
	// lets them through at once, and only marks the resource as changed.
	Unconditional string `json:"unconditional,omitempty"`

	// What to do while the store is out of reach.
	StoreDown *StoreDown `json:"store_down,omitempty"`

	opener   StoreOpener
	store    *sharedStore
	storeKey string
	deriver  proxyhooks.Deriver
	scheme   string
	vary     string // as it is stored
	verify   verification
	terms    etagcache.Terms
	affects  []pathRule
	trees    []pathPattern // the roots of what may change as a whole
	guards   []pathRule
	items    []itemRule
	logger   *zap.Logger
}

// ETagSource is one place where entity tags come from.
type ETagSource struct {
	// `upstream`: the backend's own ETag, if it is strong (a weak one is of no
	// use to If-Match). `header`: a hash of a response field, such as
	// `X-Version`. `json`: a hash of values in JSON content of at most `buffer`
	// bytes, such as a version number. `modified`: a hash of Last-Modified and
	// Content-Length, once the second of the change is over. `body`: a hash of
	// the content. `version`: a counter of the store's own, which moves with
	// every write that comes through here; no content is read. All hashes
	// include Content-Type, Content-Encoding and Content-Language. No source
	// can follow `body` or `version`, which always yield.
	Source string `json:"source"`

	// For `header`: the name of the response field. If that is absent or empty,
	// the next source is tried.
	Field string `json:"field,omitempty"`

	// For `json`: JSON pointers (RFC 6901), such as `/version`. If one points
	// at nothing, or the content is no JSON, the next source is tried.
	Pointers []string `json:"pointers,omitempty"`
}

// StoreDown says what to do while the store is out of reach.
type StoreDown struct {
	// Conditional writes: `refuse` (default) with 503, or `forward`, if the
	// condition holds at the origin; two of them may then overwrite each other.
	Conditional string `json:"conditional,omitempty"`

	// Writes without a condition: `forward` (default), or `refuse`. What was
	// forwarded is marked as changed before the store is used again.
	Unconditional string `json:"unconditional,omitempty"`

	// The Retry-After of such refusals. Default: 5s.
	RetryAfter caddy.Duration `json:"retry_after,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.preconditions",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Defaults, as documented at the fields.
const (
	defaultKey        = "{http.request.host}{http.request.uri.path}"
	defaultBuffer     = 1 << 20
	defaultLease      = caddy.Duration(30 * time.Second)
	defaultWait       = caddy.Duration(10 * time.Second)
	defaultRetention  = caddy.Duration(24 * time.Hour)
	defaultRetryAfter = caddy.Duration(5 * time.Second)
)

var defaultSources = []proxyhooks.Kind{proxyhooks.Upstream, proxyhooks.Body}

// Provision sets the defaults and takes its share of the store. It does not
// touch the network.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.setDefaults()
	if err := h.check(); err != nil {
		return err
	}
	var err error
	if h.deriver, err = h.newDeriver(); err != nil {
		return err
	}
	h.scheme = h.deriver.Scheme()
	h.vary, _ = varyNames(h.Vary)
	h.verify, _ = parseVerification(h.Verify)
	h.terms = etagcache.Terms{
		Lease:     time.Duration(h.Lease),
		Retention: time.Duration(h.Retention),
		Grace:     time.Duration(h.Grace),
	}
	h.affects, _ = affectsRules(h.Affects)
	h.guards, _ = guardsRules(h.Guards)
	h.trees = treeRoots(h.affects)
	h.items, _ = itemRules(h.Items)
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}

	h.opener = &MemoryStore{MaxEntries: defaultMaxEntries}
	if h.StoreRaw != nil {
		mod, err := ctx.LoadModule(h, "StoreRaw")
		if err != nil {
			return fmt.Errorf("loading the store: %w", err)
		}
		h.opener = mod.(StoreOpener)
	}
	h.store, h.storeKey, err = acquireStore(h.opener, h.logger)
	if err != nil {
		return err
	}
	h.store.join(h)
	return nil
}

func (h *Handler) newDeriver() (proxyhooks.Deriver, error) {
	d := proxyhooks.Deriver{Limit: h.Buffer}
	d.Sources, _ = sources(h.ETag)
	if h.Secret == "" {
		return d, nil
	}
	secret, err := caddy.NewReplacer().ReplaceOrErr(h.Secret, true, true)
	if err != nil || secret == "" {
		// The error would tell part of a secret with braces in it.
		return d, &optionError{"secret", errors.New("a placeholder is unknown or empty")}
	}
	d.Secret = []byte(secret)
	return d, nil
}

func (h *Handler) setDefaults() {
	setDefault(&h.Key, defaultKey)
	setDefault(&h.Buffer, defaultBuffer)
	setDefault(&h.WriteETag, writeETagVerbatim)
	setDefault(&h.Lease, defaultLease)
	setDefault(&h.Wait, defaultWait)
	setDefault(&h.Grace, h.Lease/3)
	setDefault(&h.Retention, defaultRetention)
	setDefault(&h.Mode, modeEnforce)
	setDefault(&h.Errors, errorsProblem)
	setDefault(&h.Unconditional, unconditionalSerialize)
	if h.Disclose == nil {
		h.Disclose = new(true)
	}
	if h.ETag == nil {
		for _, s := range defaultSources {
			h.ETag = append(h.ETag, ETagSource{Source: string(s)})
		}
	}
	if h.versioned() {
		setDefault(&h.Verify, verifyNever)
	}
	setDefault(&h.Verify, verifyPassing)
	if h.StoreDown == nil {
		h.StoreDown = new(StoreDown)
	}
	setDefault(&h.StoreDown.Conditional, storeDownRefuse)
	setDefault(&h.StoreDown.Unconditional, storeDownForward)
	setDefault(&h.StoreDown.RetryAfter, defaultRetryAfter)
}

func setDefault[T comparable](field *T, value T) {
	if zero := *new(T); *field == zero {
		*field = value
	}
}

// Cleanup gives the share of the store back. Requests that are still being
// served keep it open.
func (h *Handler) Cleanup() error {
	if h.storeKey == "" {
		return nil
	}
	h.store.part(h)
	_, err := stores.Delete(h.storeKey)
	return err
}

// enter has the handler's store stay open until the function that it returns is
// called. To those who come when it is closed already, it returns a handler that
// has opened it again: when Caddy cleans a handler up, requests may still be on
// their way to it, such as those that it authenticates.
func (h *Handler) enter() (entered *Handler, leave func(), err error) {
	if leave, open := h.store.enter(); open {
		return h, leave, nil
	}
	late := new(*h)
	if late.store, late.storeKey, err = shareStore(h.opener, h.logger); err != nil {
		return nil, nil, fmt.Errorf("opening the store again: %w", err)
	}
	return late, func() { _ = late.Cleanup() }, nil
}

// ServeHTTP enforces the preconditions of r.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	// Methods that neither select nor modify a representation have no
	// preconditions (RFC 9110, section 13.2.1), and upgrades have no response.
	class, method := classify(r)
	x := newExchange(h, w, r, next, method)
	if class == classOther || x.nested() {
		x.report(outcomeBypassed, "")
		return next.ServeHTTP(w, r)
	}

	// A target such as `x:http://host/path` has no path to tell the resource by.
	if r.URL.Opaque != "" && h.Mode != modeReport {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("the request target is no http URL"))
	}

	// The store outlives the handler while requests use it.
	entered, leave, err := h.enter()
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	defer leave()
	x.h = entered

	// More conditions than any honest client sends are not even looked at.
	if x.tooMany() && h.Mode != modeReport {
		return x.refuse(x.tooLarge())
	}

	if class == classWrite {
		// It may be about another resource, and change more than one.
		if x.conditional() {
			x.guard()
		}
		x.affect()
	}

	switch {
	case class == classRead:
		// Labelled with its tag, and compared with that of this very response.
		return x.read()
	case h.Mode == modeReport:
		// Let through, but looked at.
		return x.reportWrite()
	case x.conditional():
		// Evaluated before the backend hears of it, and made alone.
		return x.writeConditional()
	case x.mustBeConditional():
		return x.refuse(x.required())
	default:
		// In turn with conditional writes.
		return x.writeUnconditional()
	}
}

// mustBeConditional reports whether the request's method needs a condition.
func (x *exchange) mustBeConditional() bool {
	return x.does(x.h.Require...)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
