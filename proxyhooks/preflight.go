package proxyhooks

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// maxPreflight is how much content of an answer to a preflight is read, for the sake of the
// connection only.
const maxPreflight = 64 << 10

// Preflight asks the origin what a browser asks before it sends r for a script of another
// origin (Fetch standard, CORS-preflight request). It runs next on an OPTIONS request for
// the same target, with these fields and no others, and returns the answer. The status is
// zero if the origin doesn't answer.
//
// Like [Probe], it leaves no trace. The end of ctx, in which the values that Caddy keeps in
// the context of r must be, cuts it off.
func Preflight(ctx context.Context, next caddyhttp.Handler, r *http.Request, fields http.Header) (status int, header http.Header) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &headerWriter{header: make(http.Header), cancel: cancel}
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
		status, header = w.status, w.sent
	}()
	preflight := r.Clone(untracedContext{ctx})
	preflight.Method, preflight.Header = http.MethodOptions, fields
	preflight.Body, preflight.GetBody, preflight.ContentLength = http.NoBody, nil, 0
	preflight.TransferEncoding, preflight.Trailer = nil, nil
	err := next.ServeHTTP(w, isolate(preflight, originalOf(r), w))
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		w.WriteHeader(handlerErr.StatusCode)
	} else if err == nil && ctx.Err() == nil {
		w.WriteHeader(http.StatusOK)
	}
	return w.status, w.sent
}

// headerWriter keeps the header section of an answer, and drops its content.
type headerWriter struct {
	header   http.Header // the handlers' own
	status   int
	sent     http.Header
	received int
	cancel   func()
}

func (w *headerWriter) Header() http.Header { return w.header }

func (w *headerWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *headerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.received += len(p); w.received > maxPreflight {
		w.cancel()
		return 0, context.Canceled
	}
	return len(p), nil
}

// FlushError lets handlers flush.
func (*headerWriter) FlushError() error { return nil }
