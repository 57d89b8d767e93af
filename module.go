// Package preconditions is a Caddy HTTP handler that enforces the preconditions of
// RFC 9110 (If-Match, If-None-Match, If-Unmodified-Since) in front of backends
// that have none, so that no two clients overwrite each other's changes.
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

	_ "github.com/caddy-preconditions/preconditions/internal/admin" // the admin API and the commands
	"github.com/caddy-preconditions/preconditions/internal/advice"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/gateway"
	"github.com/caddy-preconditions/preconditions/internal/history"
	_ "github.com/caddy-preconditions/preconditions/internal/proxycommand" // the command precondition-proxy
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/stores"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler enforces HTTP preconditions in front of a backend that has none.
//
// It gives every representation an ETag and remembers the current ones in a
// store, which any number of Caddy nodes can share. When a conditional write
// comes (a request with If-Match, If-None-Match or If-Unmodified-Since) and its
// condition is false, the handler refuses it with 412 (Precondition Failed), and
// the backend never hears of it. Of several writers that compete with the same
// tag, exactly one gets through. When the handler can't be sure, it refuses with
// 503 (Service Unavailable) and Retry-After.
//
// All writers of a resource must come through handlers that share a store.
// Otherwise `verify` must be `passing`, which is the default, or `all`.
//
// Placeholders, which are set when the outcome of the request is known, and are
// empty if they don't apply:
//
// Placeholder | Description
// ------------|------------
// `{http.preconditions.outcome}` | What became of the request: `bypassed`, `read`, `unmodified`, `passed`, `failed`, `required`, `conflict`, `unverifiable`, `unavailable` or `unconditional`
// `{http.preconditions.reason}` | Why, in a few words
// `{http.preconditions.condition}` | The request field that decided, such as `If-Match`
// `{http.preconditions.provided_etag}` | The value of that field, as the client sent it
// `{http.preconditions.current_etag}` | The current entity tag, if it is known and `disclose` is on
// `{http.preconditions.resource}` | The key of the resource
// `{http.preconditions.problem}` | The problem details (RFC 9457) of a refusal, for `errors` = `caddy`
type Handler struct {
	// Where validators and claims are kept. The default, `memory`, serves one
	// process. Nodes that serve the same resources need a store that they share,
	// such as `redis`.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=http.preconditions.stores inline_key=module"`

	// Which protocol on top of HTTP clients and the backend speak. With `s3`, that of Amazon
	// S3, the handler knows which operation a request stands for, and learns from the
	// answers what an object is now, and an object has one key whether its bucket is named
	// in the path or in the host. It makes `aws` the default of `signed`, `upstream`
	// alone that of `etag`, and `s3` that of `errors`. `webdav` evaluates the entity tags in
	// the If field of RFC 4918, the tags in answers to PROPFIND and REPORT are those of a
	// GET, and any DELETE, MOVE or COPY changes everything below its target. Default: none.
	Profile Profile `json:"profile,omitempty"`

	// With the profile `s3`, the hosts of the store itself, such as `s3.example.com`, where
	// clients name the bucket in the path, or in front of the host. Without them, nobody can tell
	// the two from each other, unless the host is an address or has no dot. Default: none.
	S3Hosts []string `json:"s3_hosts,omitempty"`

	// What identifies a resource: a text with placeholders. Requests with equal
	// keys wait for each other's writes. In the host, the port and the path, the
	// handler removes differences that backends ignore: case, percent-encoding,
	// empty segments, `.` and `..`, slashes, dots and white space at the end, `+`
	// for a space, path parameters, backslashes, the name of a directory's index,
	// a dot at the end of the host, and the default port of the scheme. A write is
	// refused with 400 if its query has a parameter of the key more than once, or in
	// a spelling that only some backends read. Default:
	// `{http.request.host}{http.request.uri.path}`.
	Key string `json:"key,omitempty"`

	// Where entity tags come from. The sources are tried in order, and the first
	// that yields a tag counts. If none does, the response goes out without a tag.
	// Default: `upstream`, then `body`.
	ETag []ETagSource `json:"etag,omitempty"`

	// What a weak tag in If-Match means. With `refuse` (default), it never matches, as RFC
	// 9110 says. With `accept`, `W/"x"` counts as `"x"`: a proxy or CDN in front that
	// compresses responses weakens every tag, and no save would succeed. It doesn't match
	// a current tag that is weak itself. Must be `refuse` if `upstream` is the only source
	// of tags.
	WeakTags string `json:"weak_tags,omitempty"`

	// A key for all hashes that the handler makes tags of. It prevents anybody from guessing
	// content and checking the guess against a tag. Placeholders are replaced when
	// the config is loaded. All nodes need the same secret. When it changes, all
	// tags change. Default: none.
	Secret string `json:"secret,omitempty"`

	// Request fields that the backend's responses depend on although the backend
	// doesn't say so. The handler treats every response as if it named them in
	// Vary, and sends it that way. A tag is good only for writes with the same
	// values, except in fields that negotiate content: those whose names begin with
	// Accept or end in Version, Format, Language, Lang or Locale. Default: none.
	Vary []string `json:"vary,omitempty"`

	// How many bytes of content are kept in memory. For a response, this is what
	// the handler holds back to know the tag before it sends anything; one that is
	// longer, or takes longer than half a second after its header section, streams
	// through without a tag, unless its header section is enough. It is then hashed
	// only if its tag is stored already; otherwise the origin is asked once somebody
	// needs the tag. If a part of it
	// is asked for under a condition, it goes to a temporary file. For
	// a request, content beyond it goes to a temporary file before other writers
	// must wait.
	// Default: 1 MiB.
	Buffer int64 `json:"buffer,omitempty"`

	// How many bytes of content all requests of this process may keep in memory
	// together. Beyond that, responses stream through without a tag made from their
	// content, and the content of requests goes to temporary files. The bytes of all
	// handlers count, and each handler goes by its own bound, so give all of them the same
	// one. Must be at least `buffer`. Default: an eighth of GOMEMLIMIT if that is set, or
	// else 256 MiB.
	BufferTotal int64 `json:"buffer_total,omitempty"`

	// Methods that need a condition. Without one they are refused with 428
	// (Precondition Required). Default: none. (In a Caddyfile, `require` without
	// methods means PUT, PATCH and DELETE.)
	Require []string `json:"require,omitempty"`

	// When the handler confirms the condition of a write at the origin, by sending
	// a GET of its own. `passing` (default): before it lets a write through.
	// `all`: also before it refuses one, so that clients learn nothing that they
	// may not read. `never`: all writers come through this handler, so there is
	// nothing to confirm. A duration: as `passing`, but only if the validator was
	// last stored longer ago than that. With the source `version` it is `never`,
	// and can't be anything else.
	Verify string `json:"verify,omitempty"`

	// Who answers a GET or HEAD whose If-None-Match names the current tag. `origin`
	// (default): the origin is asked. `store`: if the store knows the tag, the client gets
	// 304 without the origin. That is so only if this node has seen a response with that
	// tag within the last minute, neither request has credentials unless that response is
	// `public`, it doesn't forbid caches to use it unasked, nothing is in flight, and the
	// request says nothing else, such as `Cache-Control` or Range. Needs `verify` =
	// `never`: every writer must come through this handler. Can't be used with
	// `unconditional` = `forward`, or with `version` as the only source of tags.
	Reads string `json:"reads,omitempty"`

	// In which schemes clients sign their requests over header fields. Such a request is
	// forwarded untouched, and so is its answer. `aws`: AWS Signature Version 4, also in
	// the query of a URL. `rfc9421`: HTTP message signatures (RFC 9421). `cavage`: the
	// drafts before it. `gcs`: Google Cloud Storage (GOOG4). `azure`: SharedKey of Azure
	// Storage. The condition of a signed write is confirmed at the origin without the
	// signature; if the origin shows nothing without one, the write is refused, unless
	// `verify` is `never`, or a duration that hasn't passed. Default: none; a request that
	// says it is signed is then handled like any other.
	Signed []string `json:"signed,omitempty"`

	// Which other resources a write changes. While such a write is in flight, no
	// condition on one of them is found true. Below a path that is given with
	// `/**` at its end, DELETE, MOVE and COPY also change everything below their
	// target.
	Affects []Affects `json:"affects,omitempty"`

	// Which resource the conditions of a write are about, if that isn't its
	// target. The conditions are evaluated for that resource, and the write claims
	// it. What a POST creates may be named by members of its JSON content.
	Guards []Guards `json:"guards,omitempty"`

	// Where clients send the version that a write depends on, if not in If-Match. It counts
	// as If-Match: the value is an entity tag, with its quotes or without them, and in
	// JSON also a whole number. An empty one counts as none. A request that has the place
	// more than once, or something else there, is refused with 400. Beside If-Match, both
	// must hold. Reads have no such condition. The backend gets the request without it,
	// unless `keep` is set. Default: none.
	Condition []Condition `json:"condition,omitempty"`

	// Where lists contain items that are resources of their own. On GET, each of
	// these items gets its current tag as a member, which clients can use in
	// If-Match. This needs the source `json` or `body`, and JSON content of at most
	// `buffer` bytes. The tag of such a list has a mark at its end; conditions
	// accept it with or without the mark.
	Items []Items `json:"items,omitempty"`

	// When the answer to a successful write carries the new ETag. `verbatim`
	// (default): if a PUT was stored exactly as it was sent, or if the answer has a
	// strong tag of the backend's own that `upstream` makes the tag of the resource.
	// The handler checks either with another GET to the origin. `always`: after any
	// conditional write, whatever that GET shows. `answer`: the answers to PUT and
	// PATCH show what a GET would show now, so their tag is made from them, without a
	// GET. Where an answer can't show that, such as a 204, it is as `always`. So is
	// every answer for ten minutes if the origin shows something else than an answer
	// did. With `verify` = `never`, answers that show something else can cost an
	// update. The answer to a write that created a resource elsewhere (201 with
	// Location) gets the tag of that. `off`: never, which saves the GET.
	WriteETag string `json:"write_etag,omitempty"`

	// Whether a conditional write that has succeeded succeeds again if the client
	// repeats it, because the answer was lost. Otherwise it would be refused for
	// the change that it made itself. The repetition gets the same status and the
	// new ETag. It must have the same conditions, content and fields, except those
	// that change from one try to the next, and come from the same client. This costs a GET to the origin for each
	// write. If two clients write the same content, neither can tell which of them
	// wrote it. Default: false.
	Replay bool `json:"replay,omitempty"`

	// The statuses of answers after which the backend may still apply a write: a queue,
	// a platform or a CDN gives them, and the application goes on. Other writes then
	// wait until the lease is over, unless the answer has the field
	// `Preconditions-Settled: ?1`. A digit stands for a class, such as 5 for all 5xx.
	// 499, statuses outside 100 to 599, and errors of the proxy always count as no
	// answer. If the list is empty, nothing else does. (In a Caddyfile: `unanswered
	// none`.) Default: 202, 502, 503, 504, 520 to 530, 598 and 599. A list replaces
	// the default.
	Unanswered UnansweredStatuses `json:"unanswered,omitzero"`

	// How long a write may keep others out without a sign of life from its node.
	// It is also the time after which a write without an answer can no longer
	// land. Default: 30s.
	Lease caddy.Duration `json:"lease,omitempty"`

	// How long a write waits for the one before it. After that it is refused with
	// 503. The time of a `grace` that is no longer than this doesn't count. Also how long a list waits for what the origin says about its items.
	// After that it is sent without their tags. Default: 10s.
	Wait caddy.Duration `json:"wait,omitempty"`

	// How long no write is let through after the store has lost data, for example
	// because it was restarted without persistence, and when it is used for the
	// first time, unless nothing can be lost. All nodes use that time to tell the store what they are writing.
	// It must be at least a quarter of the lease, and longer if operations of the
	// store may take long. The default, a third of the lease (or more for such a
	// store), covers the loss of the store alone. Set it to the lease to also cover a
	// node that crashed shortly before.
	Grace caddy.Duration `json:"grace,omitempty"`

	// How long the origin may show the past after a write, because it reads from
	// replicas that lag behind, or because there is a cache in between. For that
	// long, a tag that a write has replaced is spent: no condition on it is found
	// true, whatever the origin shows. So is the tag from before a write that failed
	// with a 5xx, which may have changed something. Content that comes back within
	// that time is taken for the past, too, unless the write itself proves that it is
	// current. 0s means that the origin always shows the present: set it if the
	// backend has neither replicas nor caches. Must not be longer than the retention.
	// Default: the lease.
	Lag *caddy.Duration `json:"lag,omitempty"`

	// After how long an unused resource is forgotten, which costs no more than
	// asking the origin for it again. Must be longer than the lease. Default: 24h.
	Retention caddy.Duration `json:"retention,omitempty"`

	// `enforce` (default), or `report`: let everything through, and only log and
	// count what would have been refused.
	Mode string `json:"mode,omitempty"`

	// How refusals are sent. `problem` (default) writes problem details (RFC
	// 9457). `s3` writes errors as Amazon S3 does, and `webdav` as WebDAV servers do (RFC
	// 4918). `template` writes what the template in `errors_file` makes, for clients that
	// read something else. `caddy` returns an error for `handle_errors`.
	Errors string `json:"errors,omitempty"`

	// The file with the template of refusals, for `errors` = `template`. The path may
	// be relative to the working directory. Placeholders in it are replaced, and the file
	// is read, when the config is loaded. In JSON, XML and HTML, the values that the
	// template inserts are escaped.
	ErrorsFile string `json:"errors_file,omitempty"`

	// The Content-Type of these refusals: JSON, XML, HTML or plain text, in UTF-8.
	// Default: what the name of the file ends in says: `.json`, `.xml`, `.html` or
	// `.txt`.
	ErrorsType string `json:"errors_type,omitempty"`

	// Whether refusals contain the current validators. Default: true.
	Disclose *bool `json:"disclose,omitempty"`

	// Adds the field `Preconditions-Status` to every response: it explains to developers how
	// their request was treated, in the form of RFC 9211. The value is the name of this
	// handler in the field, such as `caddy`. The field has no entity tags. Default: none.
	// (In a Caddyfile, `status_field` without a name means `caddy`.)
	StatusField string `json:"status_field,omitempty"`

	// What happens to writes without a condition. With `serialize` (default), they
	// and conditional writes wait for each other. With `forward`, they go through
	// at once, and only mark the resource as changed.
	Unconditional string `json:"unconditional,omitempty"`

	// What happens to writes if servers disagree about where their path leads, as with
	// `/docs//../plan`, `/docs/a;/../plan` or `//docs/plan`. With `refuse` (default), they
	// get 400 (Bad Request). With `forward`, they are treated like all others, as the
	// option `key` says: choose it only if the backend reads such paths in that way, or
	// takes each spelling for a resource of its own.
	UnclearPaths string `json:"unclear_paths,omitempty"`

	// What to do while the store is out of reach.
	StoreDown *StoreDown `json:"store_down,omitempty"`

	gateway      *gateway.Gateway
	store        *storeshare.Membership
	storeTimeout time.Duration // of one operation; 0 if the store doesn't say
}

// StoreDown says what to do while the store is out of reach.
type StoreDown struct {
	// What happens to conditional writes: `refuse` (default) with 503, or `forward`
	// if the condition holds at the origin. Two writes may then overwrite each
	// other.
	Conditional string `json:"conditional,omitempty"`

	// What happens to writes without a condition: `forward` (default) or `refuse`.
	// What was forwarded is marked as changed before the store is used again.
	Unconditional string `json:"unconditional,omitempty"`

	// The Retry-After of such refusals. Default: 5s.
	RetryAfter caddy.Duration `json:"retry_after,omitempty"`
}

// UnansweredStatuses are the numbers of the option unanswered: statuses, or the first
// digits of classes.
type UnansweredStatuses []int

// UnmarshalJSON implements json.Unmarshaler. It refuses the words of a Caddyfile.
func (u *UnansweredStatuses) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, (*[]int)(u)); err != nil {
		return errors.New("unanswered: must be a list of numbers, such as [202, 5]; [] means none")
	}
	return nil
}

// StoreOpener is the interface of the modules in the namespace
// http.preconditions.stores.
type StoreOpener = storeshare.Opener

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.preconditions",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets the defaults, checks the options and takes a share of the store. It
// doesn't use the network.
func (h *Handler) Provision(ctx caddy.Context) error {
	var opener StoreOpener = stores.NewMemory()
	if h.StoreRaw != nil {
		mod, err := ctx.LoadModule(h, "StoreRaw")
		if err != nil {
			return fmt.Errorf("loading the store: %w", err)
		}
		opener = mod.(StoreOpener)
	}
	h.storeTimeout = timeoutOf(opener)
	given := *h
	h.setDefaults()
	if err := h.check(); err != nil {
		return h.withUnit(err)
	}
	warnOfSigned(h, ctx.Logger())
	advise(ctx, *h, given)
	var err error
	if h.gateway, err = h.newGateway(ctx.Logger()); err != nil {
		return err
	}
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	events, err := telemetry.NewEmitter(ctx)
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	h.gateway.Answers.Observer = answer.NewObserver(advice.Name(server), h.gateway.Answers.Mode, ctx.Logger(), events)
	h.gateway.Answers.History = history.For(advice.Name(server), h.Mode)
	if err := telemetry.Register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if err := storeshare.RegisterMetrics(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	user := storeshare.User{Terms: h.gateway.Terms, Template: h.Key, Naming: h.naming(), Config: configOf(ctx), Events: events}
	if h.store, err = storeshare.Join(opener, user, ctx.Logger()); err != nil {
		return err
	}
	h.gateway.Store = h.store
	return nil
}

// advise warns of what is valid but can hardly be meant. Given are the options as they were
// configured.
func advise(ctx caddy.Context, h, given Handler) {
	verify, _ := verification(h.Verify)
	options := advice.Options{
		Key: resource.Template(h.Key), Require: h.Require,
		Lease: time.Duration(h.Lease), Wait: time.Duration(h.Wait), Grace: time.Duration(h.Grace),
		Retention: time.Duration(h.Retention), FreshFor: verify.FreshFor, StoreTimeout: h.storeTimeout,
		Given:    advice.Given{Lease: given.Lease > 0, Wait: given.Wait > 0, Grace: given.Grace > 0},
		Versions: versionsOf(h, given),
	}
	for _, sentence := range options.Of() {
		ctx.Logger().Warn(sentence)
	}
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	said, route := advice.Site(server, defaultKey)
	for _, sentence := range said {
		ctx.Logger().Warn(sentence, zap.Strings("listen", server.Listen), zap.Int("route", route))
	}
}

// timeoutOf returns how long one operation of a store may take, if it says so.
func timeoutOf(opener StoreOpener) time.Duration {
	if t, ok := opener.(interface{ OperationTimeout() time.Duration }); ok {
		return t.OperationTimeout()
	}
	return 0
}

// naming returns a text that is the same for handlers whose writes claim the same keys.
func (h *Handler) naming() string {
	text, err := json.Marshal([]any{h.Key, h.Affects, h.Guards, h.Condition, h.Profile == ProfileWebDAV})
	if err != nil {
		panic(err) // can't happen: these are texts
	}
	return string(text)
}

// withUnit adds to an error about a duration that a number in JSON counts nanoseconds, if
// that explains the error: nobody means less than a millisecond.
func (h *Handler) withUnit(err error) error {
	option, ok := errors.AsType[*optionError](err)
	if !ok {
		return err
	}
	given := map[string]caddy.Duration{
		"lease": h.Lease, "wait": h.Wait, "grace": h.Grace, "retention": h.Retention, "lag": *h.Lag, "store_down": h.StoreDown.RetryAfter,
	}[option.option]
	if given > 0 && given < caddy.Duration(time.Millisecond) {
		return fmt.Errorf("%w (a JSON number counts nanoseconds: write a text with a unit, such as \"5s\")", err)
	}
	return err
}

// configOf returns what identifies the config that ctx belongs to, and the one that
// serves now: each has file systems of its own.
func configOf(ctx caddy.Context) storeshare.Config {
	active := caddy.ActiveContext()
	return storeshare.Config{ID: ctx.FileSystems(), Previous: active.FileSystems()}
}

// Cleanup gives the share of the store back. Requests that are still being served
// keep it open.
func (h *Handler) Cleanup() error {
	if h.store == nil {
		return nil
	}
	return h.store.Leave()
}

// ServeHTTP enforces the preconditions of a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return h.gateway.ServeHTTP(w, r, next)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
