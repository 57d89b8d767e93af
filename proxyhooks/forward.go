package proxyhooks

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Answer is the backend's answer to a write.
type Answer struct {
	Status int         // zero if there is no answer
	Header http.Header // the client's, which may be edited until Passed

	// Passed reports that the client has seen the beginning of the answer.
	Passed bool

	// Redirected reports that one backend has redirected the client with a 301, 302 or 303,
	// and that nothing else is known to have happened to the write. The answer is that
	// backend's own. A write that was performed may be answered like this, and so may one
	// that was refused.
	Redirected bool

	// Complete reports that the whole answer is in Content. The backend is then free
	// for another request, even if it handles one at a time.
	Complete bool
	Content  []byte
}

// Forwarding says how a write is forwarded.
type Forwarding struct {
	// Linger is how long a write goes on whose client has disconnected once its content
	// has been forwarded.
	Linger time.Duration

	// Unanswered are the statuses of answers after which the backend may go on with the
	// write. Nil means DefaultUnanswered. 499 and what isn't from 100 to 599 belong to
	// them in any case.
	Unanswered Statuses

	// KeepSettled leaves SettledField on an answer, if that settles the whole write. It is
	// for a write that came from a handler which also reads the field.
	KeepSettled bool

	// Memory counts what is buffered of the answer. If there is no room for it, the answer is
	// passed on. May be nil.
	Memory *Memory
}

// Writing receives what became of a write that is forwarded.
type Writing interface {
	// Held reports whether the write may still go on. It is asked before anything is sent,
	// and whenever content is read. It must not block.
	Held() bool

	// BufferLimit is called once, if the backend answers. It returns how many bytes of the
	// content may be buffered until the answer is complete, and for how long after the
	// header section. A negative limit means that the answer is not buffered at all. Zero
	// patience means [DefaultPatience].
	BufferLimit(status int, header http.Header) (limit int64, patience time.Duration)

	// Pass is called at most once, if the answer goes to the client before it is complete:
	// its content is too large, takes too long, or must not be buffered. It may edit the
	// header. The backend may still be working on the write.
	//
	// If the content takes longer than the patience of BufferLimit, Pass is called on a
	// different goroutine while next runs. It must then not change anything that next may
	// use at the same time, other than the header of the answer. If it panics there,
	// Forward panics with the same value.
	Pass(a Answer)

	// Settle is called exactly once: when the answer is complete, or when there won't be
	// more of it. Unless Pass was called, the client hasn't seen the answer then, Settle
	// may edit the header, and it reports whether to send the answer. If not, Forward
	// drops the answer or the error, and the caller of Forward answers instead.
	Settle(a Answer, f Fate) (send bool)
}

// Forward runs next on a write, and returns when the answer has been sent or dropped.
// It returns the error of next, unless the answer was dropped. It passes on a panic of
// next after the write is settled, except [http.ErrAbortHandler] if the answer was dropped.
//
// A write is over when its answer is complete: the backend may go on working after it has
// sent the header section. If the answer breaks off, the write is [Unanswered].
//
// Some statuses say nothing about the write (Forwarding.Unanswered), unless the backend adds
// [SettledField]. The answer that the client gets is not the only one that counts: a handler
// may show it something else than the backend has said, and the proxy may have tried several
// backends. The fate of the write is what follows from all of them together.
//
// A client that disconnects once its content has been forwarded doesn't cut the backend
// short: the write goes on for a while, so that its fate becomes known. The end
// of ctx ends the write at once. Because of that, ctx must not be derived from the
// context of r; it is usually the context of a [Lease].
func Forward(ctx context.Context, next caddyhttp.Handler, w http.ResponseWriter, r *http.Request, how Forwarding, writing Writing) (err error) {
	client := r.Context()
	forwarded, cancel := context.WithCancelCause(WithValuesOf(ctx, client))
	defer cancel(nil)

	content := r.Body
	body := trackBody(r)
	defer context.AfterFunc(client, func() {
		if body.complete() {
			select {
			case <-time.After(how.Linger):
			case <-forwarded.Done():
			}
		}
		cancel(context.Cause(client))
	})()

	if how.Unanswered == nil {
		how.Unanswered = usuallyUnanswered
	}
	sent, restore := newAttempts(r, how.Unanswered, func() {
		if !writing.Held() {
			cancel(ErrLeaseLost)
		}
	})
	defer restore()
	answer := newAnswerWriter(w, writing, sent, func() { cancel(nil) })
	answer.keepSettled, answer.buffered.memory = how.KeepSettled, how.Memory
	answer.jams = r.ProtoMajor == 2
	defer func() { answer.buffered.drop() }()
	if !writing.Held() {
		answer.notSent()
		return answer.conclude(nil, ErrLeaseLost)
	}
	guarded := guardBody(r, writing.Held)
	defer func() {
		removeSettled(w.Header()) // Caddy's error routes go on with it
	}()
	defer func() {
		p := recover()
		if p != nil || err != nil {
			answer.abandon(err)
		}
		defer func() { err = answer.conclude(p, err) }()
		answer.relay.close()
	}()
	sent.forwarded = r.WithContext(sent.trace(forwarded))
	sent.allowRepetition(content, guarded, body)
	if err := next.ServeHTTP(answer, sent.forwarded); err != nil {
		return err
	}
	return answer.finish()
}

// WithValuesOf returns ctx with the values of a different context, too.
func WithValuesOf(ctx, values context.Context) context.Context {
	return contextWithValues{ctx, values}
}

type contextWithValues struct {
	context.Context //nolint:containedctx // it is one
	values          context.Context
}

func (c contextWithValues) Value(key any) any {
	if value := c.Context.Value(key); value != nil {
		return value
	}
	return c.values.Value(key)
}
