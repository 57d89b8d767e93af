package proxyhooks

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// maxProbeBody bounds the content of an answer that a Probed keeps.
const maxProbeBody = 64 << 10

// probeWriter is the response writer of a probe. It sends nothing anywhere. Its Write
// never fails: the proxy would take that for a client that disconnected, and panic.
type probeWriter struct {
	deriver Deriver
	content io.Writer          // receives a copy of the content, or nil
	limit   int64              // of the content, if above zero
	cancel  context.CancelFunc // aborts the request to the backend

	header      http.Header
	wroteHeader bool
	status      int
	derivation  Derivation
	known       bool
	read        int64        // bytes of content
	buffered    bytes.Buffer // the content, as long as JSON sources need it
	body        bytes.Buffer // see Probed.Body
	stopped     bool
}

func (w *probeWriter) Header() http.Header { return w.header }

func (w *probeWriter) WriteHeader(status int) {
	if w.wroteHeader || status < 200 {
		return
	}
	w.wroteHeader, w.status = true, status
	w.derivation, w.known = w.deriver.FromHeader(status, w.header, time.Now())
	if mustStream(w.header) {
		w.stop()
	}
}

func (w *probeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.read += int64(len(p))
	if w.known && w.content != nil && !w.stopped {
		if _, err := w.content.Write(p); err != nil {
			w.stop()
		}
	}
	if len(w.derivation.jsonTags) > 0 {
		w.buffer(p)
	}
	switch {
	case w.derivation.Need == NeedContent:
		w.derivation.write(p)
		if w.limit > 0 && w.read > w.limit {
			w.stop()
		}
	case w.known:
		if w.content == nil && w.read > maxDiscarded {
			w.stop()
		}
	default:
		w.body.Write(p[:min(len(p), maxProbeBody-w.body.Len())])
	}
	return len(p), nil
}

// buffer keeps content for JSON sources, but no more than a Capture would buffer.
func (w *probeWriter) buffer(p []byte) {
	if w.read <= w.deriver.Limit {
		w.buffered.Write(p)
		return
	}
	w.buffered = bytes.Buffer{}
	w.derivation.skipJSON()
}

// stop cuts the answer off: the rest of the content isn't needed, or is too much.
func (w *probeWriter) stop() {
	w.stopped = true
	w.cancel()
}

func (w *probeWriter) FlushError() error { return nil }

func (w *probeWriter) result() Probed {
	if !w.stopped {
		w.derivation.finish(w.buffered.Bytes())
	}
	return Probed{
		Status: w.status, Header: w.header,
		Observed: w.derivation.Observed, Known: w.known, Versioned: w.derivation.Need == NeedVersion,
		Body: w.body.Bytes(),
	}
}
