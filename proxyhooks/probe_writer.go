package proxyhooks

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// maxProbeBody bounds the content of an answer that a Probed keeps.
const maxProbeBody = 64 << 10

// probeWriter is the response writer of a probe. It sends nothing anywhere. Its Write
// never fails: the proxy would take that for a client that disconnected, and panic.
type probeWriter struct {
	deriver Deriver
	isHead  bool                    // whether the probe is a HEAD
	content io.Writer               // receives a copy of the content, or nil
	limit   int64                   // of the content, if above zero
	cancel  context.CancelCauseFunc // aborts the request to the backend

	asked       time.Time // when the probe began
	header      http.Header
	wroteHeader bool
	status      int
	derivation  Derivation
	known       bool
	inHeader    bool // see Probed.InHeader
	cached      bool
	read        int64        // bytes of content
	buffered    pieces       // the content, as long as JSON sources need it
	body        bytes.Buffer // see Probed.Body
	timer       *time.Timer  // to stop content that isn't needed, or nil
	stopped     atomic.Bool
}

func (w *probeWriter) Header() http.Header { return w.header }

func (w *probeWriter) WriteHeader(status int) {
	if w.wroteHeader || status < 200 {
		return
	}
	w.wroteHeader, w.status = true, status
	w.derivation, w.known = w.deriver.FromHeader(status, w.header, w.asked)
	w.inHeader = w.known && w.derivation.isInHeader()
	w.cached = fromCache(w.header)
	switch {
	case w.isHead:
		if w.known = w.inHeader; !w.known {
			w.derivation.giveUp()
		}
	case mustStream(w.header):
		w.stop()
	case w.known && !w.needsContent():
		w.timer = time.AfterFunc(DefaultPatience, w.stop)
	}
}

// needsContent reports whether anybody needs the content of a Known answer.
func (w *probeWriter) needsContent() bool {
	return w.content != nil || w.derivation.Need == NeedContent
}

func (w *probeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.read += int64(len(p))
	if w.known && w.content != nil && !w.stopped.Load() {
		if _, err := w.content.Write(p); err != nil {
			w.stop()
		}
	}
	if len(w.derivation.jsonTags) > 0 {
		w.buffer(p)
	}
	if w.derivation.Need == NeedContent {
		w.derivation.write(p)
		if w.limit > 0 && w.read > w.limit {
			w.stop()
		}
		return len(p), nil
	}
	if !w.known || w.deriver.BodyOfAbsent && w.derivation.State == validator.Absent {
		w.keepBody(p[:min(len(p), maxProbeBody-w.body.Len())])
	}
	if (!w.known || w.content == nil) && w.read > maxDiscarded {
		w.stop()
	}
	return len(p), nil
}

// buffer keeps content for JSON sources, but no more than a Capture would buffer.
func (w *probeWriter) buffer(p []byte) {
	if w.read > w.deriver.Limit {
		w.buffered.drop()
		w.derivation.skipJSON()
	} else if !w.stopped.Load() && !w.buffered.write(p) {
		w.stop() // the sources after JSON would yield a different tag
	}
}

// keepBody keeps content to relay, unless there is no room for it. The client may hold on
// to that.
func (w *probeWriter) keepBody(p []byte) {
	if w.deriver.Memory.Take(int64(len(p))) {
		w.body.Write(p)
	}
}

// stop cuts the answer off: the rest of the content isn't needed, or is too much. It may
// be called on any goroutine.
func (w *probeWriter) stop() {
	w.stopped.Store(true)
	w.cancel(nil)
}

// end is called when the handler has returned. It reports whether the answer was cut off.
func (w *probeWriter) end() bool {
	if w.timer != nil {
		w.timer.Stop()
	}
	return w.stopped.Load()
}

func (w *probeWriter) FlushError() error { return nil }

func (w *probeWriter) result() Probed {
	if !w.stopped.Load() {
		content, done := w.buffered.copied()
		w.derivation.finish(content)
		done()
	}
	return Probed{
		Status: w.status, Header: w.header,
		Observed: w.derivation.Observed, Known: w.known, Versioned: w.derivation.Need == NeedVersion,
		Untagged: w.derivation.Need == NeedContent,
		InHeader: w.inHeader, Length: w.read,
		Cached: w.cached, Body: w.body.Bytes(),
	}
}
