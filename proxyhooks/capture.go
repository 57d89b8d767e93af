package proxyhooks

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Reading receives what a [Capture] finds out about the response to a GET or HEAD.
type Reading interface {
	// Label is called once with what the final response showed, before any of it is
	// sent. It is not called for a 101 (Switching Protocols), nor if next fails before
	// anything can be sent. It may edit the header. It reports whether to send the
	// response. If not, the Capture drops the response, and the caller of Serve answers
	// instead.
	//
	// If the content takes longer than the Capture's patience, Label is called on a
	// different goroutine while next runs. Label must then not change anything that next
	// may use at the same time, other than the header that it is given. If it panics
	// there, Serve panics with the same value.
	Label(status int, header http.Header, s Shown) (send bool)

	// Late is called with what became known only after Label: the tag of content that
	// was passed on without being buffered. It is also called, without Label, if a
	// handler reports an absent representation as an error.
	Late(o validator.Observed)
}

// Shown is what a response showed by the time its header section was about to be
// sent.
type Shown struct {
	validator.Observed

	// Known reports whether the response describes the current representation. It
	// is false for a 206 (Partial Content), a redirect or an error, for example;
	// then Observed contains nothing but a modification date.
	Known bool

	// Untagged reports that a tag exists but can't be made now, because its content
	// isn't at hand: the content is too large, too slow or a stream, or the method is
	// HEAD.
	Untagged bool

	// Hashed reports that content that isn't at hand is hashed on the way to the client, so
	// that Late tells its tag.
	Hashed bool

	// Versioned reports that the tag is the version that the store counts.
	Versioned bool

	// Cached reports that a cache gave the response, as far as the header section says.
	// The origin may have changed since, so what the response shows may be out of date.
	// It still describes the response itself.
	Cached bool

	// Content is the whole content, if it was buffered, [Capture.BufferParts] or
	// [Capture.BufferItems] asks for it, and the caller may send parts of it or insert
	// members into it. Otherwise it is nil. It is valid until Label returns, and after
	// that, until [Capture.Close], only if Label returned false.
	Content []byte

	// Spooled is the whole content, if it was too large for Content and was spooled
	// because of [Capture.BufferParts]. Otherwise it is nil. It is valid until
	// [Capture.Close].
	Spooled *io.SectionReader

	// Exact reports that different content always has a different tag, so the
	// caller may send parts of the content under the tag.
	Exact bool
}

// Capture is the response writer for one GET or HEAD. It buffers content, up to a
// limit and for a limited time, until the tag of that content is known. Everything else
// passes through untouched: informational responses, upgrades, event streams, and any
// response whose validators are known from its header section.
//
// The handler sees a header of its own. The Capture copies it to the client's header when
// the handler sends a header section, and copies the trailer fields at the end.
type Capture struct {
	caddyhttp.ResponseWriterWrapper

	// BufferParts makes the Capture buffer content so that parts of it can be sent,
	// even if the tag is already known. It has no effect if the tag is the backend's
	// own, because the backend can send parts of that itself. If the tag has to be made
	// from content that is too large to be buffered, the content goes to a temporary
	// file. That needs room: at most 64 MiB, and 16 such files at once.
	BufferParts bool

	// BufferItems makes the Capture buffer the content of a response to GET, even if
	// the tag is already known, provided that members may be inserted into it (see
	// [AcceptsInsertions]).
	BufferItems bool

	// Patience is how long a response may be held back once its header section is
	// there. Zero means [DefaultPatience]. When it is over, the response is labelled
	// without its content (see [Shown.Untagged]), what has arrived is sent, and the rest
	// passes through. The content of a response that was dropped is read for no longer
	// than that, either.
	Patience time.Duration

	// SkipLarge makes the Capture pass on content that exceeds the limit of its Deriver
	// without hashing it, unless that content goes to a temporary file.
	SkipLarge bool

	// SpoolPatience is the same for content that goes to a temporary file. Zero means
	// ten seconds.
	SpoolPatience time.Duration

	deriver Deriver
	reading Reading
	isHead  bool
	asked   time.Time // when the request was sent

	holdback

	// While content is buffered, the lock of the holdback protects these. Then only the
	// handler's goroutine uses them.
	derivation     Derivation
	cached         bool    // see Shown.Cached
	arrived        int64   // how much content the handler has written
	window         *window // the part to send, or nil
	discardedBytes int64
}

// maxDiscarded is how much content of a dropped response is read. Reading it to the
// end lets the backend's connection be reused; beyond this, the connection is cut.
const maxDiscarded = 256 << 10

var _ interface {
	http.ResponseWriter
	io.ReaderFrom
	FlushError() error
	Unwrap() http.ResponseWriter
} = (*Capture)(nil)

// NewCapture returns a Capture that writes to w, derives validators with d and reports
// them to reading. It buffers at most d.Limit bytes.
func NewCapture(w http.ResponseWriter, d Deriver, reading Reading) *Capture {
	return &Capture{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		deriver:               d,
		reading:               reading,
		holdback:              holdback{client: w, cancel: func() {}, buffered: pieces{memory: d.Memory}},
	}
}

// Serve runs next and returns when the response has been sent or dropped. It returns
// the error of next, unless the response was dropped. It passes on a panic of next,
// except [http.ErrAbortHandler] if the response was dropped. A Capture serves only once.
func (c *Capture) Serve(next caddyhttp.Handler, r *http.Request) (err error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c.cancel, c.isHead, c.asked = cancel, r.Method == http.MethodHead, time.Now()
	defer func() { err = c.conclude(recover(), err) }()
	if err := next.ServeHTTP(c, r.WithContext(ctx)); err != nil {
		if c.current() == waiting {
			c.observeError(err)
		}
		return err
	}
	return c.finish()
}

// observeError reports an absent representation that a handler signalled with an
// error, which is how file_server says 404. Other errors show nothing.
func (c *Capture) observeError(err error) {
	handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok {
		return
	}
	derivation, known := c.deriver.FromHeader(handlerErr.StatusCode, nil, c.asked)
	if known && derivation.State == validator.Absent {
		c.reading.Late(derivation.Observed)
	}
}

// WriteHeader decides, at the first final status, what to do with the response.
func (c *Capture) WriteHeader(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode != waiting {
		return
	}
	c.commitHeader()
	if status >= 200 {
		c.status = status
		c.begin()
		return
	}
	if status == http.StatusSwitchingProtocols {
		c.mode = passing
	}
	c.client.WriteHeader(status)
}

// begin labels the final response, or starts to buffer it.
func (c *Capture) begin() {
	header := c.client.Header()
	c.cached = fromCache(header)
	derivation, known := c.deriver.FromHeader(c.status, header, c.asked)
	c.derivation = derivation
	var s Shown
	switch needsContent := derivation.Need == NeedContent; {
	case c.isHead && (needsContent || derivation.headMayDiffer), needsContent && MustNotBuffer(header):
		c.derivation.giveUp()
		s = c.shown(true)
		s.Untagged = true
	case !needsContent && !c.buffersForParts() && !c.buffersForItems():
		s = c.shown(known)
	case c.deriver.TooLarge(header):
		c.derivation.skipJSON()
		if c.beginSpool() {
			return
		}
		s = c.shown(true)
	default:
		c.hold(c.Patience, c)
		return
	}
	_ = c.label(s) // nothing is buffered yet, so no write can fail
}

// buffersForParts reports whether to buffer the content so that parts of it can be
// sent.
func (c *Capture) buffersForParts() bool {
	return c.BufferParts && c.status == http.StatusOK && c.mayBuffer() &&
		!c.derivation.Own && c.derivation.ETag.Valid
}

// buffersForItems reports whether to buffer the content so that members can be
// inserted into its items.
func (c *Capture) buffersForItems() bool {
	return c.BufferItems && AcceptsInsertions(c.status, c.client.Header()) && c.mayBuffer()
}

// mayBuffer reports whether there is content that may be buffered, as far as the
// header section says.
func (c *Capture) mayBuffer() bool {
	header := c.client.Header()
	return !c.isHead && !MustNotBuffer(header) && !c.deriver.TooLarge(header)
}

// shown returns what the response has shown so far.
func (c *Capture) shown(known bool) Shown {
	untagged := c.derivation.Need == NeedContent
	if untagged && skipsHash(c) {
		c.derivation.giveUp()
	}
	return Shown{
		Observed:  c.derivation.Observed,
		Known:     known,
		Untagged:  untagged,
		Hashed:    c.derivation.Need == NeedContent,
		Versioned: c.derivation.Need == NeedVersion,
		Cached:    c.cached,
		Exact:     c.derivation.exact() && !c.deriver.IsShared(c.derivation.ETag),
	}
}

// skipsHash reports whether content that passes by is too large to be hashed.
func skipsHash(c *Capture) bool {
	return c.SkipLarge && (c.arrived > c.deriver.Limit || c.deriver.TooLarge(c.client.Header()))
}

// label lets the Reading label the response, then sends what there is of it, or drops it.
func (c *Capture) label(s Shown) error {
	c.unhold() // should Label panic, it must not be called again
	header := c.client.Header()
	if c.reading.Label(c.status, header, s) {
		c.mode = passing
		if c.window != nil {
			return c.window.begin(c)
		}
		return c.send()
	}
	if s.Content == nil {
		c.buffered.recycle()
	}
	c.discard()
	return nil
}

// discard drops the rest of the response, if there is any.
func (c *Capture) discard() {
	c.mode = discarding
	switch {
	case c.returned:
	case mustStream(c.client.Header()):
		c.cancel()
	default:
		c.timer = time.AfterFunc(cmp.Or(c.Patience, DefaultPatience), c.cancel)
	}
}

// shownInPart returns what the response has shown, and goes on without the rest.
func shownInPart(c *Capture) Shown {
	s := c.shown(true)
	if len(c.derivation.jsonTags) > 0 {
		// The sources after JSON would yield a tag that the same content doesn't have when
		// it is read faster, or when there is room for it.
		c.derivation.giveUp()
		s.Hashed = false
	}
	return s
}

// losePatience labels and sends the response when the content takes too long. It runs on
// the timer's goroutine.
func (c *Capture) losePatience() {
	c.sendErr = c.label(shownInPart(c))
	switch c.mode {
	case passing:
		c.flush()
	case discarding:
		c.cancel()
	}
}

// Header returns the handler's header.
func (c *Capture) Header() http.Header { return c.handlerHeader() }

// Write buffers p, passes it on or discards it. It never fails for a response that was
// dropped.
func (c *Capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	mode, err := c.buffer(p)
	switch {
	case err != nil:
		return 0, err
	case mode == passing:
		if c.derivation.Need == NeedContent && skipsHash(c) {
			c.derivation.giveUp() // only now is it known to be that large
		}
		c.derivation.write(p)
		if c.window != nil {
			return len(p), c.window.pass(c, p)
		}
		return c.client.Write(p)
	case mode != buffering:
		if c.discardedBytes += int64(len(p)); c.discardedBytes > maxDiscarded {
			c.cancel()
		}
	}
	return len(p), nil
}

// buffer buffers p if content is still held back and p fits. Otherwise it returns what to
// do with p instead.
func (c *Capture) buffer(p []byte) (holdMode, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrived += int64(len(p))
	switch {
	case c.mode != buffering:
		return c.mode, c.sendErr
	case c.spool == nil && c.keep(p, c.deriver.Limit), c.spool != nil && c.spool.write(p):
		c.derivation.write(p)
		return buffering, nil
	case c.short && len(c.derivation.jsonTags) > 0:
		err := c.label(shownInPart(c))
		return c.mode, err
	default:
		c.derivation.skipJSON()
		if c.spool == nil && c.beginSpool() && c.spool.write(p) {
			c.derivation.write(p)
			return buffering, nil
		}
		err := c.label(c.shown(true))
		return c.mode, err
	}
}

// ReadFrom copies from r through Write if the content must be hashed, buffered or
// discarded. Otherwise it uses the ReadFrom of the underlying writer.
func (c *Capture) ReadFrom(r io.Reader) (int64, error) {
	c.WriteHeader(http.StatusOK)
	if c.current() == passing && c.derivation.Need != NeedContent && c.window == nil {
		return c.ResponseWriterWrapper.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// FlushError flushes what was passed on. Buffered content stays buffered, because the
// proxy also flushes responses that are no streams.
func (c *Capture) FlushError() error {
	c.WriteHeader(http.StatusOK)
	if c.current() == passing {
		return http.NewResponseController(c.client).Flush()
	}
	return nil
}

// finish completes the derivation and sends what was buffered.
func (c *Capture) finish() error {
	c.WriteHeader(http.StatusOK)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returned = true
	if c.mode == buffering || c.mode == passing {
		c.commitTrailers()
	}
	late := c.mode == passing && c.derivation.Need == NeedContent
	finishDerivation(c)
	if late {
		c.reading.Late(c.derivation.Observed)
	}
	if c.mode != buffering {
		return c.sendErr
	}
	s := c.shown(true)
	switch {
	case c.spool != nil:
		s.Spooled = c.spool.content()
	case s.Exact && c.BufferParts, c.buffersForItems():
		s.Content = c.buffered.bytes()
	}
	return c.label(s)
}

// finishDerivation completes the derivation when the content has ended.
func finishDerivation(c *Capture) {
	if len(c.derivation.jsonTags) == 0 {
		c.derivation.finish(nil)
		return
	}
	content, done := c.buffered.copied()
	defer done()
	c.derivation.finish(content)
}

// Close ends the use of [Shown.Content] and [Shown.Spooled]. It may only be called after
// Serve.
func (c *Capture) Close() {
	c.spool.close()
	c.buffered.recycle()
}
