package proxyhooks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Probed is the answer to a probe.
type Probed struct {
	Status int
	Header http.Header
	// Observed is what the answer showed, if Known.
	Observed validator.Observed
	Known    bool
	// Versioned tells that the tag is the store's own version.
	Versioned bool
	// Body is the content of an answer that shows nothing, so that it can be
	// relayed. It is cut after 64 KiB.
	Body []byte
	// Err tells why there is no answer.
	Err error
}

// Probe asks the origin for the current representation that r selects: it runs
// next on a GET for the same target with the client's own credentials, reads
// the content into the hash and drops it. Everything that handlers keep on a
// request (replacer, variables, route groups, log fields) is the probe's own,
// so that neither the client's response nor the request that follows can tell
// that it took place. With a limit above zero the probe is given up after more
// bytes of content than that, and it always is at a response that may never
// end; what it shows then lacks a tag that had to be made from the content.
func Probe(ctx context.Context, next caddyhttp.Handler, r *http.Request, d Deriver, limit int64) Probed {
	return ask(ctx, next, r, &probeWriter{deriver: d, limit: limit})
}

// ProbeContent does the same without a limit, and writes the content of a
// representation to content. An error from that gives the probe up.
func ProbeContent(ctx context.Context, next caddyhttp.Handler, r *http.Request, d Deriver, content io.Writer) Probed {
	return ask(ctx, next, r, &probeWriter{deriver: d, content: content})
}

func ask(ctx context.Context, next caddyhttp.Handler, r *http.Request, w *probeWriter) (p Probed) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.header, w.cancel = make(http.Header), cancel
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			p = Probed{Err: errors.New("the answer broke off")}
		}
		if w.givenUp {
			p = w.result()
		}
	}()
	err := next.ServeHTTP(w, probeRequest(ctx, w, r))
	if err != nil {
		if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok && he.StatusCode != 0 && !w.wrote {
			w.WriteHeader(he.StatusCode)
		} else {
			return Probed{Err: err}
		}
	}
	if ctx.Err() != nil {
		return Probed{Err: context.Cause(ctx)}
	}
	w.WriteHeader(http.StatusOK)
	return w.result()
}

// probeRequest makes the GET that stands for r.
func probeRequest(ctx context.Context, w http.ResponseWriter, r *http.Request) *http.Request {
	outer, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	original, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)

	pr := r.Clone(ctx)
	pr.Method = http.MethodGet
	pr.Header = probeHeader(r.Header)
	pr.Body, pr.GetBody, pr.ContentLength = http.NoBody, nil, 0
	pr.TransferEncoding, pr.Trailer = nil, nil

	// The placeholders of the original target must name the original target,
	// which PrepareRequest takes from the request.
	current, requestURI := pr.URL, pr.RequestURI
	if original.URL != nil {
		pr.URL, pr.RequestURI = new(*original.URL), original.RequestURI
	}
	repl := caddy.NewReplacer()
	pr = caddyhttp.PrepareRequest(pr, repl, w, server)
	pr.URL, pr.RequestURI = current, requestURI
	maps.Copy(pr.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	if outer != nil {
		// What outer handlers found out (the user, what a matcher captured)
		// holds for the probe too; what belongs to the request doesn't.
		repl.Map(func(key string) (any, bool) {
			if strings.HasPrefix(key, "http.request.") || strings.HasPrefix(key, "http.reverse_proxy.") {
				return nil, false
			}
			return outer.Get(key)
		})
	}
	return pr
}

// probeHeader returns the fields of h that select a representation or
// authorize the client to see it.
func probeHeader(h http.Header) http.Header {
	out := h.Clone()
	for name := range out {
		if strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "If-") {
			delete(out, name)
		}
	}
	for _, name := range [...]string{
		"Transfer-Encoding", "Trailer", "Expect", "Range", "Upgrade", "Connection",
		"Http2-Settings", "Te", "Prefer", "Idempotency-Key", "Want-Content-Digest", "Want-Repr-Digest",
		"X-Http-Method-Override", "X-Method-Override", "X-Http-Method",
	} {
		delete(out, name)
	}
	out["Accept-Encoding"] = []string{"identity"}
	return out
}

// maxProbeBody bounds what a Probed keeps of an answer's content.
const maxProbeBody = 64 << 10

// probeWriter is a response writer that leads nowhere. Its Write never fails:
// the proxy would take that for a client that went away, and panic.
type probeWriter struct {
	header  http.Header
	deriver Deriver
	wrote   bool
	status  int
	derived Derivation
	known   bool
	held    bytes.Buffer // the content, as long as JSON is to be read
	content io.Writer    // where it goes, or nil
	body    bytes.Buffer

	read    int64 // of the content
	limit   int64 // if above zero
	givenUp bool
	cancel  context.CancelFunc
}

func (w *probeWriter) Header() http.Header { return w.header }

func (w *probeWriter) WriteHeader(status int) {
	if w.wrote || status < 200 {
		return
	}
	w.wrote, w.status = true, status
	w.derived, w.known = w.deriver.FromHeader(status, w.header, time.Now())
	if incremental(w.header) {
		w.giveUp()
	}
}

func (w *probeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.read += int64(len(p))
	if w.known && w.content != nil && !w.givenUp {
		if _, err := w.content.Write(p); err != nil {
			w.giveUp()
		}
	}
	if len(w.derived.json) > 0 {
		w.hold(p)
	}
	switch {
	case w.derived.Need == NeedContent:
		w.derived.write(p)
		if w.limit > 0 && w.read > w.limit {
			w.giveUp()
		}
	case w.known:
		if w.content == nil && w.read > maxDropped {
			w.giveUp()
		}
	default:
		w.body.Write(p[:min(len(p), maxProbeBody-w.body.Len())])
	}
	return len(p), nil
}

// hold keeps content for JSON, which doesn't want more than a Capture holds.
func (w *probeWriter) hold(p []byte) {
	if w.read <= w.deriver.Limit {
		w.held.Write(p)
		return
	}
	w.held = bytes.Buffer{}
	w.derived.passJSON()
}

// giveUp cuts the answer off: the rest of the content isn't needed, or there is
// too much of it.
func (w *probeWriter) giveUp() {
	w.givenUp = true
	w.cancel()
}

func (w *probeWriter) FlushError() error { return nil }

func (w *probeWriter) result() Probed {
	if !w.givenUp {
		w.derived.end(w.held.Bytes())
	}
	return Probed{
		Status: w.status, Header: w.header,
		Observed: w.derived.Observed, Known: w.known, Versioned: w.derived.Need == NeedVersion,
		Body: w.body.Bytes(),
	}
}
