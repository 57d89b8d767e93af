package proxyhooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// DefaultProbeTimeout is how long a probe may take if its context has no deadline. Proxies
// wait about as long for a backend. Others may wait for the claim under which a probe runs.
const DefaultProbeTimeout = 30 * time.Second

// ErrProbeTimeout is the error of a probe that took longer than [DefaultProbeTimeout]. It
// is a [context.Canceled], so a proxy takes it for a client that disconnected and doesn't
// count it as a failure of its backend.
var ErrProbeTimeout = fmt.Errorf("the origin took longer than %s: %w", DefaultProbeTimeout, context.Canceled)

// Probed is the answer to a probe.
type Probed struct {
	Status int         // zero if there is no answer
	Header http.Header // the probe's own, which the caller may change

	// Observed is what the answer showed, if Known.
	Observed validator.Observed

	// Known reports whether the answer describes the current representation. A 403 or
	// a 502 doesn't, for example.
	Known bool

	// Versioned reports that the tag is the version that the store counts.
	Versioned bool

	// Untagged reports that a tag exists but wasn't made, because the probe stopped
	// before the end of the content.
	Untagged bool
	// InHeader reports that the answer has a tag that was made from its header section, out
	// of fields that a response to HEAD has, too, if the backend does as RFC 9110, section
	// 9.3.2, says.
	InHeader bool
	// Length is how many bytes of content were read.
	Length int64

	// Cached reports that a cache answered in place of the origin, as far as the header
	// section says: Age, Cache-Status (RFC 9211), X-Cache, X-Cache-Status, X-Proxy-Cache,
	// CF-Cache-Status or X-Varnish. A cache that ignores no-cache does that. The answer may
	// be out of date, so nothing must be learned from it: neither that a condition holds,
	// nor that it doesn't.
	Cached bool

	// Body is the content of an answer that isn't Known, to be relayed to the client. With
	// [Deriver.BodyOfAbsent], a 404 or 410 has one too. It contains at most the first 64 KiB.
	Body []byte

	// Err says why there is no answer. It is nil if there is one, whatever its status.
	Err error
}

// Probe asks the origin for the current representation that r selects. It runs next on
// a GET for the same target, with the client's own credentials but without its
// preconditions and Range. It reads the content to make the tag, and drops it. It asks
// caches on the way for the response of the origin (RFC 9111, section 5.2.1.4), in place
// of the client's own Cache-Control; [Probed.Cached] reports those that answered all the
// same.
//
// The probe has its own copy of everything that handlers keep on a request: replacer,
// variables, route groups and log fields. Neither the client's response nor the request
// that follows can show that it took place.
//
// If limit is above zero, Probe stops after more than limit bytes of content. It always
// stops at a response that may never end. The result then has no tag if the tag had to
// be made from the content. Content that isn't needed is read for the sake of the
// connection only: up to 256 KiB, and, of a Known answer, for [DefaultPatience].
//
// The end of ctx cuts the probe off. If ctx has no deadline, that happens after
// [DefaultProbeTimeout]. The values that Caddy keeps in the context of r must be in ctx
// too.
func Probe(ctx context.Context, next caddyhttp.Handler, r *http.Request, d Deriver, limit int64) Probed {
	return probe(ctx, next, r, &probeWriter{deriver: d, limit: limit})
}

// ProbeContent is like [Probe] without a limit, but also writes the content of a Known
// answer to content. If content returns an error, the probe stops.
func ProbeContent(ctx context.Context, next caddyhttp.Handler, r *http.Request, d Deriver, content io.Writer) Probed {
	return probe(ctx, next, r, &probeWriter{deriver: d, content: content})
}

// ProbeHead is like [Probe], but asks with HEAD, so that no content is sent. The answer is
// Known only if it is [Probed.InHeader]: a 404, for example, may say that the backend
// has no HEAD.
func ProbeHead(ctx context.Context, next caddyhttp.Handler, r *http.Request, d Deriver) Probed {
	return probe(ctx, next, r, &probeWriter{deriver: d, isHead: true})
}

func probe(ctx context.Context, next caddyhttp.Handler, r *http.Request, w *probeWriter) (p Probed) {
	_, limited := ctx.Deadline()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !limited {
		defer time.AfterFunc(DefaultProbeTimeout, func() { cancel(ErrProbeTimeout) }).Stop()
	}
	w.buffered.memory, w.buffered.probe = w.deriver.Memory, true
	defer w.buffered.release()
	w.asked, w.header, w.cancel = time.Now(), make(http.Header), cancel
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			p = Probed{Err: cmp.Or(context.Cause(ctx), errBrokenOff)}
		}
		if w.end() {
			p = w.result()
		}
	}()
	if err := next.ServeHTTP(w, probeRequest(ctx, w, r)); err != nil {
		handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err)
		if !ok || handlerErr.StatusCode == 0 || w.wroteHeader {
			return Probed{Err: err}
		}
		w.WriteHeader(handlerErr.StatusCode)
	}
	if ctx.Err() != nil {
		return Probed{Err: context.Cause(ctx)}
	}
	w.WriteHeader(http.StatusOK)
	return w.result()
}

var errBrokenOff = errors.New("the answer broke off")
