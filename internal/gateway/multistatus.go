package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/multistatus"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// WebDAV clients learn entity tags from the answers to PROPFIND and REPORT, and send them in
// If-Match and If. So each tag there must be the one that a GET gives (RFC 4918, section
// 15.6). The answer is kept until it is complete, and changed on its way to the client.

// describesMembers reports whether the answer to a request may contain the tags of resources.
func (g *Gateway) describesMembers(r *resource.Request) bool {
	return g.Namer.WebDAV && g.enforces() && r.Class == resource.Other && !r.Signed && (r.Method == "PROPFIND" || r.Method == "REPORT")
}

// describeMembers forwards a PROPFIND or REPORT, and changes the properties in its answer.
func describeMembers(x *exchange) error {
	x.responder.Report(answer.Bypassed, "")
	defer x.cross.end()
	asked := new(beginning)
	if x.r.ContentLength != 0 && x.r.Body != nil {
		defer func(body io.ReadCloser) { x.r.Body = body }(x.r.Body)
		asked.ReadCloser = x.r.Body
		x.r.Body = asked
	}
	m := &collection{exchange: x, base: untouched(x.r), begun: time.Now(), left: maxMemberProbes}
	if view, err := x.reader.Read(); err == nil {
		m.began = view.Entry().Now
	}
	w := &multistatusWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: x.rw},
		spool:                 answerSpool{memory: x.memory, limit: x.Buffer},
	}
	defer w.spool.close()
	restore := proxyhooks.EditHeader(x.r.Header, map[string][]string{"Accept-Encoding": {"identity"}})
	err := x.next.ServeHTTP(w, x.r)
	restore()
	if err != nil || !w.holds {
		return err
	}
	m.asked = multistatus.ReadAsked(x.r.Method, asked.content())
	return m.answer(w)
}

// answer sends the answer with its changes. If they can't be made, a part of it would make
// clients believe that something was deleted, so they get nothing, or see that the answer
// breaks off.
func (m *collection) answer(w *multistatusWriter) error {
	header := m.rw.Header()
	if m.asked.Names {
		m.rw.WriteHeader(http.StatusMultiStatus)
		_, err := io.Copy(m.rw, w.spool.content())
		return err
	}
	m.header = header.Clone()
	out := &lateWriter{w: m.rw, before: func() {
		answer.RemoveContentMetadata(header)
		m.rw.WriteHeader(http.StatusMultiStatus)
	}}
	err := multistatus.Rewrite(out, w.spool.content(), m.change)
	switch {
	case err == nil:
		return nil
	case m.request.Gone():
		return errGone
	}
	why := "the properties of this answer can't be told: " + err.Error()
	m.Logger.Warn(why, zap.String("resource", m.plan.Subject.Key))
	if out.begun {
		panic(http.ErrAbortHandler)
	}
	refusal := m.responder.CannotTell(why).As(telemetry.PropertiesNotKnown)
	if incomplete := new(incompleteError); !errors.As(err, &incomplete) {
		refusal.Status, refusal.RetryAfter = http.StatusBadGateway, 0
	}
	answer.RemoveRepresentationMetadata(header)
	return m.responder.Refuse(refusal)
}

// lateWriter calls before when something is written for the first time.
type lateWriter struct {
	w      io.Writer
	before func()
	begun  bool
}

func (w *lateWriter) Write(p []byte) (int, error) {
	if !w.begun {
		w.begun = true
		w.before()
	}
	return w.w.Write(p)
}

// multistatusWriter holds an answer back if it is a multistatus. All others pass.
type multistatusWriter struct {
	*caddyhttp.ResponseWriterWrapper
	spool       answerSpool
	wroteHeader bool
	holds       bool
}

func (w *multistatusWriter) WriteHeader(status int) {
	switch {
	case w.wroteHeader:
		return
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	w.wroteHeader = true
	if w.holds = status == http.StatusMultiStatus && isXML(w.Header()); !w.holds {
		w.ResponseWriterWrapper.WriteHeader(status)
	}
}

func (w *multistatusWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.holds {
		return w.spool.Write(p)
	}
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *multistatusWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// FlushError implements what http.ResponseController looks for.
func (w *multistatusWriter) FlushError() error {
	if w.holds {
		return nil
	}
	return http.NewResponseController(w.ResponseWriterWrapper).Flush()
}

// isXML reports whether the media type says that the content is XML.
func isXML(h http.Header) bool {
	mediatype, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return mediatype == "application/xml" || mediatype == "text/xml" || strings.HasSuffix(mediatype, "+xml")
}

// beginning keeps the beginning of a request's content. It may still be read when the answer
// is there.
type beginning struct {
	io.ReadCloser
	mu   sync.Mutex
	kept []byte
}

// maxBeginning is how much of it is kept. Clients name the properties before the resources.
const maxBeginning = 64 << 10

func (b *beginning) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, p[:min(n, maxBeginning-len(b.kept))]...)
	return n, err
}

func (b *beginning) content() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept
}
