package gateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/multistatus"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// WebDAV clients learn entity tags from the answers to PROPFIND, REPORT and SEARCH, and send them in
// If-Match and If. So each tag there must be the one that a GET gives (RFC 4918, section
// 15.6). The answer is changed on its way to the client. Once the origin has to be asked about
// a member, the rest of the answer is kept until it is complete.

// describesMembers reports whether the answer to a request may contain the tags of resources.
func (g *Gateway) describesMembers(r *resource.Request) bool {
	return g.Namer.WebDAV && g.enforces() && r.Class == resource.Other && !r.Signed &&
		(r.Method == "PROPFIND" || r.Method == "REPORT" || r.Method == "SEARCH")
}

// describeMembers forwards such a request, and changes the properties in its answer.
func describeMembers(x *exchange) error {
	x.responder.Report(answer.Bypassed, "")
	defer x.cross.end()
	asked := new(beginning)
	if x.r.ContentLength != 0 && x.r.Body != nil {
		defer func(body io.ReadCloser) { x.r.Body = body }(x.r.Body)
		asked.ReadCloser = x.r.Body
		x.r.Body = asked
	}
	m := &collection{exchange: apart(x), base: untouched(x.r), begun: time.Now(), left: maxMemberProbes}
	if view, err := x.reader.Read(); err == nil {
		m.began = view.Entry().Now
	}
	w := &multistatusWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: x.rw},
		members:               m,
		asked:                 asked,
	}
	restore := proxyhooks.EditHeader(x.r.Header, map[string][]string{"Accept-Encoding": {"identity"}})
	broken, failed := serveWhole(x, w)
	restore()
	var err error
	if w.pipe != nil {
		defer w.pipe.close()
		end := io.EOF
		if failed != nil || broken != nil {
			end = errBrokenOff
		}
		w.pipe.finish(end)
		err = <-w.rewritten
	}
	nothing := w.pipe == nil || !w.out.begun && errors.Is(err, errBrokenOff) // of it was sent by us
	switch {
	case broken != nil && (nothing || broken != http.ErrAbortHandler):
		panic(broken)
	case nothing:
		return failed
	}
	return m.conclude(w.out, err)
}

// apart returns the exchange with a copy of the request, which can be read while the handlers
// behind this one change the request.
func apart(x *exchange) *exchange {
	own, request := *x, *x.request
	own.r = proxyhooks.Isolate(x.r, x.rw)
	request.Request = own.r
	request.Replacer = own.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	own.request = &request
	return &own
}

// errBrokenOff says that the backend's answer has no end.
var errBrokenOff = errors.New("the backend's answer broke off")

// errCoded says that the backend doesn't respect Accept-Encoding: identity.
var errCoded = errors.New("it has a content coding, which the backend wasn't asked for")

// serveWhole calls the next handler. Broken is what it panics with.
func serveWhole(x *exchange, w http.ResponseWriter) (broken any, failed error) {
	defer func() { broken = recover() }()
	return nil, x.next.ServeHTTP(w, x.r)
}

// rewrite changes the answer that comes through a pipe, and sends it.
func (m *collection) rewrite(out *multistatusSender, pipe *answerPipe) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v}
		}
		if err != nil {
			pipe.abandon(err)
		}
	}()
	if coding := m.header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return errCoded
	}
	return multistatus.Rewrite(out, pipe, func(responses []*multistatus.Response) error {
		out.flush()
		return m.change(responses, pipe)
	})
}

// panicked is a panic of another goroutine.
type panicked struct{ value any }

func (p *panicked) Error() string { return fmt.Sprint("panic: ", p.value) }

// conclude ends the answer, which was sent unless there is an error. If the changes can't be
// made, a part of the answer would make clients believe that something was deleted, so they get
// nothing, or see that the answer breaks off.
func (m *collection) conclude(out *multistatusSender, err error) error {
	if p, ok := errors.AsType[*panicked](err); ok {
		panic(p.value)
	}
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
	refusal.Detail = "The properties of this answer can't be told: " + err.Error() + "."
	if incomplete := new(incompleteError); !errors.As(err, &incomplete) {
		refusal.Status, refusal.RetryAfter = http.StatusBadGateway, 0
	}
	answer.RemoveRepresentationMetadata(m.rw.Header())
	return m.responder.Refuse(refusal)
}

// multistatusSender sends what becomes of the answer.
type multistatusSender struct {
	rw    http.ResponseWriter
	begun bool
}

func (s *multistatusSender) Write(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.rw.WriteHeader(http.StatusMultiStatus)
	}
	return s.rw.Write(p)
}

// flush sends at once what was written.
func (s *multistatusSender) flush() {
	if s.begun {
		_ = http.NewResponseController(s.rw).Flush()
	}
}

// multistatusWriter has an answer changed if it is a multistatus. All others pass.
type multistatusWriter struct {
	*caddyhttp.ResponseWriterWrapper
	members     *collection
	asked       *beginning
	wroteHeader bool

	// If the answer is changed:
	pipe      *answerPipe
	out       *multistatusSender
	rewritten chan error
	ignored   http.Header // what is put in the header from then on
}

func (w *multistatusWriter) Header() http.Header {
	if w.pipe != nil {
		return w.ignored
	}
	return w.ResponseWriterWrapper.Header()
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
	m, header := w.members, w.Header()
	if status == http.StatusMultiStatus && isXML(header) {
		// What the backend has read of the request was read here.
		m.asked = multistatus.ReadAsked(m.r.Method, w.asked.content())
	}
	if status != http.StatusMultiStatus || !isXML(header) || m.asked.Names {
		w.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	m.header = header.Clone()
	answer.RemoveContentMetadata(header)
	delete(header, "Trailer")
	w.ignored = make(http.Header)
	w.out = &multistatusSender{rw: m.rw}
	w.rewritten = make(chan error, 1)
	w.pipe = newAnswerPipe(m.memory, m.Buffer)
	go func() { w.rewritten <- m.rewrite(w.out, w.pipe) }()
}

func (w *multistatusWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.pipe != nil {
		return w.pipe.Write(p)
	}
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *multistatusWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// FlushError implements what http.ResponseController looks for.
func (w *multistatusWriter) FlushError() error {
	if w.pipe != nil {
		return nil
	}
	return http.NewResponseController(w.ResponseWriterWrapper).Flush()
}

// isXML reports whether the media type says that the content is XML. A multistatus without one
// is.
func isXML(h http.Header) bool {
	if h.Get("Content-Type") == "" {
		return true
	}
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
