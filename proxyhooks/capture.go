package proxyhooks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Reading receives what a Capture finds out about the response to a GET or
// HEAD.
type Reading interface {
	// Label is called exactly once for a final response, before anything of
	// it is sent, with what it showed. It may edit the header. It reports
	// whether the response is to be sent; if not, it is dropped, and the
	// caller of Serve answers instead.
	Label(status int, header http.Header, s Shown) (send bool)

	// Late is called with what only became known after Label: the tag of
	// content that passed without being held back, or an absence that a
	// handler reported as an error.
	Late(o validator.Observed)
}

// Shown is what a response showed when its header section was about to be sent.
type Shown struct {
	validator.Observed
	// Known is false where the response says nothing about the representation.
	Known bool
	// Untagged tells that a tag could be made of content that isn't at hand:
	// it is too large, a stream, or left out because the method is HEAD.
	Untagged bool
	// Versioned tells that the tag is the store's own version.
	Versioned bool
	// Content is the whole content, if it was held back, and parts of it may be
	// sent or members put into it.
	Content []byte
	// Exact tells that parts of it may be sent: no other content has its tag.
	Exact bool
}

// Capture is the response writer of a read. It holds content back, up to a
// limit, until its tag is known, and lets everything else through untouched:
// informational responses, upgrades, event streams, and whatever needs no
// content to be labelled.
type Capture struct {
	*caddyhttp.ResponseWriterWrapper

	// HoldParts has content held back also where that isn't needed to know the
	// tag, if the tag isn't the backend's own, so that parts can be sent of it.
	HoldParts bool

	// HoldItems has the content of a response to GET held back, also where that
	// isn't needed to know the tag, if members may be put into it.
	HoldItems bool

	deriver Deriver
	reading Reading
	head    bool
	cancel  context.CancelFunc

	mode    captureMode
	status  int
	derived Derivation
	held    bytes.Buffer
	dropped int64
	waste   http.Header // where next finds the header of what is dropped
}

type captureMode uint8

const (
	waiting  captureMode = iota // for the final header section
	holding                     // content is held back
	passing                     // content goes to the client as it comes
	dropping                    // content is discarded: somebody else answers
)

// maxDropped is how much of a response that nobody wants is read, so that the
// backend's connection can be used again, before it is cut instead.
const maxDropped = 256 << 10

var _ interface {
	http.ResponseWriter
	io.ReaderFrom
	FlushError() error
	Unwrap() http.ResponseWriter
} = (*Capture)(nil)

// NewCapture returns a writer around w that holds at most d.Limit bytes back.
func NewCapture(w http.ResponseWriter, d Deriver, reading Reading) *Capture {
	return &Capture{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		deriver:               d,
		reading:               reading,
	}
}

// Serve runs next and returns when the response has been sent or dropped.
func (c *Capture) Serve(next caddyhttp.Handler, r *http.Request) (err error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c.cancel, c.head = cancel, r.Method == http.MethodHead
	defer func() {
		// Cutting off a response that is dropped makes the proxy panic.
		if c.mode == dropping {
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

// observeError tells of an absent representation that a handler reported as an
// error, which is how file_server says 404. An error that has no such meaning
// shows nothing.
func (c *Capture) observeError(err error) {
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		if x, ok := c.deriver.FromHeader(he.StatusCode, nil, time.Now()); ok && x.State == validator.Absent {
			c.reading.Late(x.Observed)
		}
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
	c.derived, known = c.deriver.FromHeader(status, header, time.Now())
	switch needsContent := c.derived.Need == NeedContent; {
	case c.head && (needsContent || c.derived.getOnly), needsContent && streams(header):
		c.derived = Derivation{Observed: untagged(c.derived.Observed)}
		c.label(Shown{Observed: c.derived.Observed, Known: true, Untagged: true})
	case !needsContent && !c.mayCut() && !c.mayExtend():
		c.label(c.shown(known))
	case c.deriver.TooLarge(header):
		c.derived.passJSON()
		c.label(c.shown(true))
	default:
		c.mode = holding
	}
}

// mayCut reports whether content is held back for the sake of its parts.
func (c *Capture) mayCut() bool {
	return c.HoldParts && c.status == http.StatusOK && !c.head && !streams(c.Header()) && !c.deriver.TooLarge(c.Header()) &&
		!c.derived.Own && c.derived.ETag.Valid
}

// mayExtend reports whether content is held back for the sake of its items.
func (c *Capture) mayExtend() bool {
	return c.HoldItems && !c.head && Extensible(c.status, c.Header()) && !streams(c.Header()) && !c.deriver.TooLarge(c.Header())
}

// shown returns what the response has shown so far.
func (c *Capture) shown(known bool) Shown {
	return Shown{
		Observed:  c.derived.Observed,
		Known:     known,
		Untagged:  c.derived.Need == NeedContent,
		Versioned: c.derived.Need == NeedVersion,
	}
}

// untagged returns o without the tag.
func untagged(o validator.Observed) validator.Observed {
	o.ETag, o.Own = validator.ETag{}, false
	return o
}

// streams reports whether the response must reach the client piece by piece, or
// ends in trailer fields.
func streams(h http.Header) bool {
	return incremental(h) || h.Get("Trailer") != ""
}

// incremental reports whether the response must reach the client piece by
// piece, because it may take long to end, or never do.
func incremental(h http.Header) bool {
	mediatype, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return mediatype == "text/event-stream" || strings.HasPrefix(mediatype, "application/grpc") ||
		caddyhttp.IsIncremental(h)
}

// label has the response labelled and sends its header section, or drops it.
func (c *Capture) label(s Shown) {
	header := c.Header()
	if !c.reading.Label(c.status, header, s) {
		c.mode = dropping
		c.held.Reset()
		if incremental(header) {
			c.cancel()
		}
		return
	}
	c.mode = passing
	c.ResponseWriterWrapper.WriteHeader(c.status)
}

// Header returns the client's header, except to a handler whose response is
// dropped: its trailer fields would end up in the response that takes its place.
func (c *Capture) Header() http.Header {
	if c.mode != dropping {
		return c.ResponseWriterWrapper.Header()
	}
	if c.waste == nil {
		c.waste = make(http.Header)
	}
	return c.waste
}

func (c *Capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if c.mode == dropping {
		if c.dropped += int64(len(p)); c.dropped > maxDropped {
			c.cancel()
		}
		return len(p), nil
	}
	c.derived.write(p)
	if c.mode == holding {
		if int64(c.held.Len()+len(p)) <= c.deriver.Limit {
			return c.held.Write(p)
		}
		c.derived.passJSON()
		c.label(c.shown(true))
		if c.mode == dropping {
			return len(p), nil
		}
		if _, err := c.held.WriteTo(c.ResponseWriterWrapper); err != nil {
			return 0, err
		}
	}
	return c.ResponseWriterWrapper.Write(p)
}

// ReadFrom keeps io.Copy from going around Write.
func (c *Capture) ReadFrom(r io.Reader) (int64, error) {
	c.WriteHeader(http.StatusOK)
	if c.mode == passing && c.derived.Need != NeedContent {
		return c.ResponseWriterWrapper.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// FlushError flushes what may be sent. What is held back stays so: the proxy
// also flushes responses that are no streams.
func (c *Capture) FlushError() error {
	c.WriteHeader(http.StatusOK)
	if c.mode == passing {
		return http.NewResponseController(c.ResponseWriterWrapper).Flush()
	}
	return nil
}

// finish sends what was held back.
func (c *Capture) finish() error {
	c.WriteHeader(http.StatusOK)
	late := c.mode == passing && c.derived.Need == NeedContent
	c.derived.end(c.held.Bytes())
	if late {
		c.reading.Late(c.derived.Observed)
	}
	if c.mode != holding {
		return nil
	}
	s := c.shown(true)
	if s.Exact = c.derived.exact(); s.Exact || c.mayExtend() {
		s.Content = c.held.Bytes()
	}
	c.label(s)
	if c.mode == dropping {
		return nil
	}
	_, err := c.held.WriteTo(c.ResponseWriterWrapper)
	return err
}
