package proxyhooks

import (
	"cmp"
	"context"
	"io"
	"maps"
	"math"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultPatience is how long a response may be held back once its header section is
// there.
//
// A backend that renders a response before it sends it lets the content follow the header
// section within milliseconds. What takes the time is the network: half a second is enough
// for a full buffer of 1 MiB at 20 Mbit/s, with some lost packets. A response that takes
// longer is a stream, or is written bit by bit, and the client waits for its beginning.
// With half a second, the beginning arrives before the client has waited for a second.
const DefaultPatience = 500 * time.Millisecond

// holdback is a response that is held back until it is complete, for a limited time. A
// response writer adds what it does with the response, and calls the methods.
//
// While content is held back, a timer may send the response from a goroutine of its own.
// Before and after that, only the goroutine of the handler uses the response, as it would
// without a holdback.
type holdback struct {
	client http.ResponseWriter
	cancel context.CancelFunc // aborts the request to the backend

	mu       sync.Mutex // protects everything below
	mode     holdMode
	status   int         // of the final response; zero until it is there
	header   http.Header // the handler's, see handlerHeader
	buffered pieces
	short    bool           // whether no more may be held
	returned bool           // whether the handler has, so nothing more will come
	spool    *responseSpool // has the content in place of buffered, if it isn't nil
	timer    *time.Timer
	panicked any   // the value of a panic on the timer's goroutine
	sendErr  error // of what the timer sent
}

type holdMode uint8

const (
	waiting    holdMode = iota // for the final header section
	buffering                  // content is kept back
	passing                    // content goes to the client as it arrives
	discarding                 // the response is dropped: the caller answers instead
	ended                      // the handler has returned, or a panic is on its way
)

// handlerHeader returns the header that the handler sees. It is not the client's: a
// handler may change its header at any time, to set trailer fields for example, and the
// timer labels and sends the client's header meanwhile. It also keeps the trailer fields
// of a response that was dropped away from the response that replaces it.
func (h *holdback) handlerHeader() http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.header == nil {
		// The lines are still those of the client's header, which gets others before it is sent.
		if h.header = maps.Clone(h.client.Header()); h.header == nil {
			h.header = make(http.Header)
		}
	}
	return h.header
}

// commitHeader makes the client's header the same as the handler's. What the handler
// changes after the final header section has no effect then, except for trailer fields.
func (h *holdback) commitHeader() {
	if h.header == nil {
		h.header = cloneHeader(h.client.Header())
		return
	}
	header := h.client.Header()
	clear(header)
	n := 0
	for _, lines := range h.header {
		n += len(lines)
	}
	all := make([]string, 0, n) // the handler may still change its own lines
	for name, lines := range h.header {
		if lines == nil {
			header[name] = nil // which means something to the proxy
			continue
		}
		first := len(all)
		all = append(all, lines...)
		header[name] = all[first:len(all):len(all)]
	}
}

// commitTrailers copies the trailer fields that the handler has set to the client's header.
func (h *holdback) commitTrailers() { h.copyTrailers(h.client.Header()) }

// copyTrailers copies the trailer fields that the handler has set, in both ways that
// [http.ResponseWriter] knows.
func (h *holdback) copyTrailers(header http.Header) {
	for _, line := range h.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t"))
			if lines, set := h.header[name]; set {
				header[name] = lines
			}
		}
	}
	for name, lines := range h.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			header[name] = lines
		}
	}
}

// hold starts to hold content back. If that still goes on when patience is over, it calls
// losePatience on the timer's goroutine, with the lock held. It keeps the value of a panic
// there for the handler's goroutine, and cuts the backend off.
func (h *holdback) hold(patience time.Duration, holder interface{ losePatience() }) {
	h.mode = buffering
	if patience == math.MaxInt64 {
		return
	}
	h.timer = time.AfterFunc(cmp.Or(patience, DefaultPatience), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.mode != buffering {
			return
		}
		if p := recovered(holder.losePatience); p != nil {
			h.panicked, h.mode = p, ended
			h.cancel()
		}
	})
}

// unhold ends the holding back and stops its timer. A timer that fired would block on the
// lock for as long as the caller holds it, which may be for a call of the store.
func (h *holdback) unhold() {
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mode = ended
}

// keep appends p to the content that is held back, if no more than limit bytes result.
func (h *holdback) keep(p []byte, limit int64) bool {
	if h.buffered.size+int64(len(p)) > limit {
		return false
	}
	h.short = !h.buffered.write(p)
	return !h.short
}

// send sends the header section and the content that was held back.
func (h *holdback) send() error {
	h.announceLength()
	h.client.WriteHeader(h.status)
	if h.spool != nil {
		defer h.spool.close()
		_, err := io.Copy(h.client, h.spool.content())
		return err
	}
	return h.buffered.sendTo(h.client)
}

// announceLength says how long the content is, if all of it is there and nothing follows it.
// Otherwise net/http would send it in chunks, with one more write to the connection.
func (h *holdback) announceLength() {
	header := h.client.Header()
	if !h.returned || h.buffered.size == 0 || header["Content-Length"] != nil || header["Transfer-Encoding"] != nil || header["Trailer"] != nil {
		return
	}
	for name := range header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return
		}
	}
	header["Content-Length"] = []string{strconv.FormatInt(h.buffered.size, 10)}
}

// flush flushes what was sent on the timer's goroutine, because the handler may not write
// again for a long time.
func (h *holdback) flush() {
	if h.sendErr == nil {
		_ = http.NewResponseController(h.client).Flush() // not every writer can
	}
}

// current returns the mode.
func (h *holdback) current() holdMode {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mode
}

// conclude is called when the handler has returned err or panicked with p. From then on,
// nothing is sent. It passes on the panic or the error, unless the response was dropped
// and that may be why.
func (h *holdback) conclude(p any, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := h.mode
	h.unhold() // if the timer has fired, it finds the mode changed
	if last == waiting {
		h.commitHeader() // whoever answers instead goes on with these fields
	}
	switch {
	case h.panicked != nil:
		panic(h.panicked)
	case last == discarding && (p == nil || p == http.ErrAbortHandler): // the proxy panics when it is cut off
		return nil
	case p != nil:
		panic(p)
	default:
		return err
	}
}

// cloneHeader returns a copy of h that isn't nil.
func cloneHeader(h http.Header) http.Header {
	if h == nil {
		return make(http.Header)
	}
	return h.Clone()
}

// recovered runs f and returns the value that it panics with, or nil.
func recovered(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}
