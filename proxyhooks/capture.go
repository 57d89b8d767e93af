package proxyhooks

import (
	"bytes"
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
	// isn't at hand: the content is too large or a stream, or the method is HEAD.
	Untagged bool

	// Versioned reports that the tag is the version that the store counts.
	Versioned bool

	// Content is the whole content, if it was buffered and the caller may send
	// parts of it or insert members into it. Otherwise it is nil. It is valid until
	// Label returns, and after that only if Label returned false.
	Content []byte

	// Exact reports that different content always has a different tag, so the
	// caller may send parts of Content under the tag.
	Exact bool
}

// Capture is the response writer for one GET or HEAD. It buffers content, up to a
// limit, until the tag of that content is known. Everything else passes through
// untouched: informational responses, upgrades, event streams, and any response
// whose validators are known from its header section.
type Capture struct {
	*caddyhttp.ResponseWriterWrapper

	// BufferParts makes the Capture buffer content so that parts of it can be sent,
	// even if the tag is already known. It has no effect if the tag is the backend's
	// own, because the backend can send parts of that itself.
	BufferParts bool

	// BufferItems makes the Capture buffer the content of a response to GET, even if
	// the tag is already known, provided that members may be inserted into it (see
	// [AcceptsInsertions]).
	BufferItems bool

	deriver Deriver
	reading Reading
	isHead  bool
	cancel  context.CancelFunc // aborts the request to the backend

	mode            captureMode
	status          int
	derivation      Derivation
	buffered        bytes.Buffer
	discardedBytes  int64
	discardedHeader http.Header // what next gets to see and change after a drop
}

type captureMode uint8

const (
	waiting    captureMode = iota // for the final header section
	buffering                     // content is kept back
	passing                       // content goes to the client as it arrives
	discarding                    // the response is dropped: the caller answers instead
)

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
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		deriver:               d,
		reading:               reading,
	}
}

// Serve runs next and returns when the response has been sent or dropped. It returns
// the error of next, unless the response was dropped. It passes on a panic of next,
// except [http.ErrAbortHandler] if the response was dropped. A Capture serves only once.
func (c *Capture) Serve(next caddyhttp.Handler, r *http.Request) (err error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c.cancel, c.isHead = cancel, r.Method == http.MethodHead
	defer func() {
		// The proxy panics when a dropped response is cut off.
		if c.mode == discarding {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
			err = nil
		}
	}()
	if err := next.ServeHTTP(c, r.WithContext(ctx)); err != nil {
		if c.mode == waiting {
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
	derivation, known := c.deriver.FromHeader(handlerErr.StatusCode, nil, time.Now())
	if known && derivation.State == validator.Absent {
		c.reading.Late(derivation.Observed)
	}
}

// WriteHeader decides, at the first final status, what to do with the response.
func (c *Capture) WriteHeader(status int) {
	if c.mode != waiting {
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		c.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	c.status = status
	header := c.Header()
	if status == http.StatusSwitchingProtocols {
		c.mode = passing
		c.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	var known bool
	c.derivation, known = c.deriver.FromHeader(status, header, time.Now())
	switch needsContent := c.derivation.Need == NeedContent; {
	case c.isHead && (needsContent || c.derivation.headMayDiffer), needsContent && mustNotBuffer(header):
		c.derivation = Derivation{Observed: withoutTag(c.derivation.Observed)}
		c.label(Shown{Observed: c.derivation.Observed, Known: true, Untagged: true})
	case !needsContent && !c.buffersForParts() && !c.buffersForItems():
		c.label(c.shown(known))
	case c.deriver.TooLarge(header):
		c.derivation.skipJSON()
		c.label(c.shown(true))
	default:
		c.mode = buffering
	}
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
	return c.BufferItems && AcceptsInsertions(c.status, c.Header()) && c.mayBuffer()
}

// mayBuffer reports whether there is content that may be buffered, as far as the
// header section says.
func (c *Capture) mayBuffer() bool {
	return !c.isHead && !mustNotBuffer(c.Header()) && !c.deriver.TooLarge(c.Header())
}

// shown returns what the response has shown so far.
func (c *Capture) shown(known bool) Shown {
	return Shown{
		Observed:  c.derivation.Observed,
		Known:     known,
		Untagged:  c.derivation.Need == NeedContent,
		Versioned: c.derivation.Need == NeedVersion,
	}
}

// withoutTag returns o without its tag.
func withoutTag(o validator.Observed) validator.Observed {
	o.ETag, o.Own = validator.ETag{}, false
	return o
}

// label lets the Reading label the response, then sends its header section or drops
// it.
func (c *Capture) label(s Shown) {
	header := c.Header()
	if !c.reading.Label(c.status, header, s) {
		c.mode = discarding
		c.buffered.Reset()
		if mustStream(header) {
			c.cancel()
		}
		return
	}
	c.mode = passing
	c.ResponseWriterWrapper.WriteHeader(c.status)
}

// Header returns the client's header. If the response was dropped, it returns a
// different one: trailer fields of the dropped response must not end up in the
// response that replaces it.
func (c *Capture) Header() http.Header {
	if c.mode != discarding {
		return c.ResponseWriterWrapper.Header()
	}
	if c.discardedHeader == nil {
		c.discardedHeader = make(http.Header)
	}
	return c.discardedHeader
}

// Write buffers p, passes it on or discards it. It never fails for a response that was
// dropped.
func (c *Capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if c.mode == discarding {
		if c.discardedBytes += int64(len(p)); c.discardedBytes > maxDiscarded {
			c.cancel()
		}
		return len(p), nil
	}
	c.derivation.write(p)
	if c.mode == buffering {
		if int64(c.buffered.Len()+len(p)) <= c.deriver.Limit {
			return c.buffered.Write(p)
		}
		c.derivation.skipJSON()
		c.label(c.shown(true))
		if c.mode == discarding {
			return len(p), nil
		}
		if _, err := c.buffered.WriteTo(c.ResponseWriterWrapper); err != nil {
			return 0, err
		}
	}
	return c.ResponseWriterWrapper.Write(p)
}

// ReadFrom copies from r through Write if the content must be hashed, buffered or
// discarded. Otherwise it uses the ReadFrom of the underlying writer.
func (c *Capture) ReadFrom(r io.Reader) (int64, error) {
	c.WriteHeader(http.StatusOK)
	if c.mode == passing && c.derivation.Need != NeedContent {
		return c.ResponseWriterWrapper.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// FlushError flushes what was passed on. Buffered content stays buffered, because the
// proxy also flushes responses that are no streams.
func (c *Capture) FlushError() error {
	c.WriteHeader(http.StatusOK)
	if c.mode == passing {
		return http.NewResponseController(c.ResponseWriterWrapper).Flush()
	}
	return nil
}

// finish completes the derivation and sends what was buffered.
func (c *Capture) finish() error {
	c.WriteHeader(http.StatusOK)
	late := c.mode == passing && c.derivation.Need == NeedContent
	c.derivation.finish(c.buffered.Bytes())
	if late {
		c.reading.Late(c.derivation.Observed)
	}
	if c.mode != buffering {
		return nil
	}
	s := c.shown(true)
	if s.Exact = c.derivation.exact(); s.Exact || c.buffersForItems() {
		s.Content = c.buffered.Bytes()
	}
	c.label(s)
	if c.mode == discarding {
		return nil
	}
	_, err := c.buffered.WriteTo(c.ResponseWriterWrapper)
	return err
}
