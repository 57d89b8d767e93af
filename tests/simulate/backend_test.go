package simulate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// document is what the backend has at one path. The lock of the run protects it.
type document struct {
	*run
	path     string
	versions []version // the last one is the present
}

// version is a state that a document has had.
type version struct {
	content string // none if it was absent
	since   time.Time
}

func (d *document) now() string { return d.at(time.Now()).content }

// at returns the version at a time.
func (d *document) at(t time.Time) version {
	for i := len(d.versions) - 1; i >= 0; i-- {
		if !d.versions[i].since.After(t) {
			return d.versions[i]
		}
	}
	return version{}
}

// modified returns the date of a version as a file system has it: by a clock that ticks.
func (v version) modified() string {
	return v.since.Add(-4 * time.Millisecond).UTC().Format(http.TimeFormat)
}

var errNodeDown = caddyhttp.Error(http.StatusBadGateway, errors.New("the node is down"))

// origin is the handler behind the gateway: the proxy, the network and the backend. It
// ignores conditions.
func (n *node) origin(w http.ResponseWriter, q *http.Request) error {
	o := q.Context().Value(opKey{}).(*op)
	if q.Method == http.MethodGet {
		return o.readFrom(w, q.Context())
	}
	return o.writeTo(w, q)
}

// readFrom reads the document at the origin.
func (o *op) readFrom(w http.ResponseWriter, ctx context.Context) error {
	s := o.steps.next("asks the origin")
	o.mu.Lock()
	asOf := time.Now()
	if lag := o.plan.lag; lag > 0 && o.steps.rand.IntN(2) == 0 {
		asOf = asOf.Add(-time.Duration(o.steps.rand.Int64N(int64(lag))))
	}
	shown := o.docs[o.path].at(asOf)
	o.mu.Unlock()
	o.tell("the origin shows %q", shown.content)
	if up := o.steps.next("hears of the origin").up; !up {
		return errNodeDown
	}
	switch {
	case ctx.Err() != nil:
		w.WriteHeader(proxyhooks.StatusClientClosedRequest) // as the proxy does
	case s.wrong.kind == originFails:
		w.WriteHeader(http.StatusServiceUnavailable)
	case shown.content == "":
		w.WriteHeader(http.StatusNotFound)
	default:
		if o.plan.dates {
			w.Header().Set("Last-Modified", shown.modified())
		}
		_, err := io.WriteString(w, shown.content)
		return err
	}
	return nil
}

// writeTo sends a write to the backend, as the proxy does.
func (o *op) writeTo(w http.ResponseWriter, q *http.Request) error {
	ctx := q.Context()
	switch s := o.steps.next(connects); {
	case !s.up:
		return errNodeDown
	case s.wrong.kind == originFails:
		return caddyhttp.Error(http.StatusBadGateway, &net.OpError{Op: "dial", Err: io.EOF})
	}
	trace := httptrace.ContextClientTrace(ctx)
	trace.GetConn("backend")
	if !o.blind {
		trace.GotConn(httptrace.GotConnInfo{})
		if ctx.Err() != nil {
			return o.cut(w)
		}
	}
	j := o.send()
	trace.WroteHeaders()
	if err := o.sendContent(q.Body); err != nil {
		o.tell("the content breaks off: %s", err)
		return caddyhttp.Error(http.StatusBadGateway, err)
	}
	go j.work()
	select {
	case <-j.header:
	case <-ctx.Done():
	}
	return o.relay(ctx, w, j, trace)
}

// send sends the first byte of a write.
func (o *op) send() *job {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = true
	o.note("the request goes to the backend")
	return &job{
		op: o, header: make(chan struct{}), end: make(chan struct{}), status: o.answer.status,
		timely: time.Now().Before(o.lease) || !o.conditional,
	}
}

// sendContent sends the content, with a step in the middle.
func (o *op) sendContent(body io.Reader) error {
	if o.blind || body == nil {
		return nil
	}
	half := make([]byte, len(o.content)/2)
	n, err := io.ReadFull(body, half)
	if err != nil {
		return err
	}
	if len(half) > 0 && !o.steps.next(sends).up {
		return io.ErrUnexpectedEOF
	}
	rest, err := io.ReadAll(body)
	if err == nil && !bytes.Equal(append(half[:n], rest...), []byte(o.content)) {
		panic("the backend gets different content")
	}
	return err
}

// relay passes the backend's answer on.
func (o *op) relay(ctx context.Context, w http.ResponseWriter, j *job, trace *httptrace.ClientTrace) error {
	if !o.steps.next(hearsOfBackend).up {
		j.cut()
		return errNodeDown
	}
	if ctx.Err() != nil {
		j.cut()
		return o.cut(w)
	}
	status := o.mutant.status(j.statusNow())
	if status == 0 {
		o.tell("the backend gives no answer")
		return caddyhttp.Error(http.StatusBadGateway, io.ErrUnexpectedEOF)
	}
	trace.GotFirstResponseByte()
	if !hasContent(status) {
		w.WriteHeader(status)
		return nil
	}
	w.Header().Set("Content-Length", "6")
	w.WriteHeader(status)
	if o.hasty {
		_, err := io.WriteString(w, "answer")
		return err
	}
	if _, err := io.WriteString(w, "ans"); err != nil {
		return err
	}
	select {
	case <-j.end:
	case <-ctx.Done():
	}
	if !o.steps.next("hears the end of the answer").up || ctx.Err() != nil || j.broken() {
		j.cut()
		o.tell("the answer breaks off")
		panic(http.ErrAbortHandler) // as the proxy does
	}
	_, err := io.WriteString(w, "wer")
	return err
}

// cut is the proxy's reaction to the end of the request.
func (o *op) cut(w http.ResponseWriter) error {
	o.tell("the connection to the backend is cut")
	w.WriteHeader(proxyhooks.StatusClientClosedRequest)
	return nil
}

func hasContent(status int) bool { return status != http.StatusNoContent }

// job is a write at the backend. The backend works on it whatever becomes of the node.
type job struct {
	*op
	header, end chan struct{} // closed when the header section and the end are there
	timely      bool          // it was sent while the store kept the claim

	// run.mu protects these.
	status    int // of the answer; zero if there is none
	brokenOff bool
	isCut     bool
}

func (j *job) work() {
	a := j.answer
	if a.applies == beforeEnd && !hasContent(a.status) {
		a.applies = beforeHeader
	}
	time.Sleep(a.waits[0])
	if a.applies == beforeHeader {
		j.apply()
	}
	close(j.header)
	time.Sleep(a.waits[1])
	if a.applies == beforeEnd {
		j.apply()
	}
	if a.breaksOff {
		j.breakOff()
	}
	close(j.end)
	time.Sleep(a.waits[2])
	if a.applies == afterEnd {
		j.apply()
	}
}

// apply applies the write, unless the backend has given up on it: when its connection was
// cut, or when the lease is over. A backend that takes longer is beyond what is promised.
func (j *job) apply() {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.isCut && j.answer.stopsWhenCut:
		j.note("the backend gives up, because the connection was cut")
	case j.timely && !j.lease.After(time.Now()):
		j.note("the backend gives up, because the lease is over")
	default:
		j.docs[j.path].apply(j.op)
		return
	}
	j.status, j.brokenOff = 0, true
}

func (j *job) cut() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.isCut = true
}

func (j *job) statusNow() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.status
}

func (j *job) breakOff() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.brokenOff = true
}

func (j *job) broken() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.brokenOff
}
