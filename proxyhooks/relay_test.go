package proxyhooks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// unread is a client that takes nothing until it is told to.
type unread struct {
	*recorder
	mu      sync.Mutex
	read    chan struct{}
	begun   bool
	content bytes.Buffer
	flushes int
	panics  bool

	writing, touched bool // whether a write is under way, and whether the header was asked for meanwhile
}

func newUnread(limit int64) *unread {
	u := &unread{recorder: newRecorder(), read: make(chan struct{})}
	u.bufferLimit = limit
	return u
}

func (u *unread) WriteHeader(int) { u.begun = true }

// Header notes what is no good while a write is under way: the writer of the directive encode
// changes its header then.
func (u *unread) Header() http.Header {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.touched = u.touched || u.writing
	return u.recorder.Header()
}

func (u *unread) markWriting(writing bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writing = writing
}

func (u *unread) Write(p []byte) (int, error) {
	u.markWriting(true)
	defer u.markWriting(false)
	<-u.read
	if u.panics {
		panic(errLegacy)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.content.Write(p)
}

func (u *unread) FlushError() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flushes++
	return nil
}

// answerOf returns a handler that sends numbered pieces of content, and the content.
func answerOf(pieces, size int, fields ...string) (h http.HandlerFunc, content string) {
	var b strings.Builder
	for i := range pieces {
		b.WriteString(strings.Repeat(string(rune('a'+i%26)), size))
	}
	content = b.String()
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		for piece := range slices.Chunk([]byte(content), size) {
			_, _ = w.Write(piece)
		}
	}, content
}

// TestForwardIsOverBeforeTheClientReads: the write is settled when the backend is done, whatever
// its client has taken of the answer. The client gets all of it, in order.
func TestForwardIsOverBeforeTheClientReads(t *testing.T) {
	for name, test := range map[string]struct {
		limit  int64
		pieces int
		memory *Memory
	}{
		"in memory":        {10_000, 9, nil},
		"nothing buffered": {0, 9, nil},
		"in a file":        {3_000, 50, nil},
		"no memory":        {3_000, 50, NewMemory(0, nil)},
		"a long answer":    {100_000, 2_000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend, content := answerOf(test.pieces, 1000)
				client := newUnread(test.limit)
				if test.limit > int64(len(content)) {
					client.patience = time.Nanosecond
					send := backend
					backend = func(w http.ResponseWriter, r *http.Request) {
						w.WriteHeader(200)
						time.Sleep(time.Second)
						send(w, r)
					}
				}
				done := make(chan error)
				how := usual
				how.Memory = test.memory
				go func() {
					done <- Forward(context.Background(), handler(backend), client, newRequest("PUT", nil), how, client)
				}()
				time.Sleep(time.Minute)
				synctest.Wait()
				if client.fate(t) != Applied || !client.begun || client.content.Len() > 0 || client.touched {
					t.Errorf("%q, %d bytes, touched: %v", client.events, client.content.Len(), client.touched)
				}
				close(client.read)
				if err := <-done; err != nil || client.content.String() != content {
					t.Errorf("got %d bytes of %d, %v", client.content.Len(), len(content), err)
				}
			})
		})
	}
	if n := len(answerRoom); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// TestForwardWaitsForTheClient: if there is no room for what the client hasn't read, the write
// is over only once the client has read it.
func TestForwardWaitsForTheClient(t *testing.T) {
	for range maxSpools {
		spool := newResponseSpool(answerRoom)
		defer spool.close()
	}
	synctest.Test(t, func(t *testing.T) {
		backend, content := answerOf(50, 1000)
		client := newUnread(3000)
		done := make(chan error)
		go func() {
			done <- Forward(context.Background(), handler(backend), client, newRequest("PUT", nil), usual, client)
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(client.fates) > 0 {
			t.Errorf("%q", client.events)
		}
		close(client.read)
		if err := <-done; err != nil || client.fate(t) != Applied || client.content.String() != content {
			t.Errorf("%d bytes, %v", client.content.Len(), err)
		}
	})
}

// TestForwardRelays: what a backend sends bit by bit reaches a client that reads as it comes, and
// is flushed.
func TestForwardRelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newUnread(0)
		close(client.read)
		err := Forward(context.Background(), handler(func(w http.ResponseWriter, _ *http.Request) {
			for i := range 100 {
				_, _ = io.WriteString(w, "event\n")
				_ = http.NewResponseController(w).Flush()
				if got := client.content.Len(); got != (i+1)*len("event\n") || client.flushes <= i {
					t.Fatalf("after %d events, the client has %d bytes", i+1, got)
				}
				time.Sleep(time.Second)
			}
		}), client, newRequest("POST", nil), usual, client)
		if err != nil || client.fate(t) != Applied {
			t.Errorf("%v, %q", err, client.events)
		}
	})
}

// TestForwardRelayPanics: a panic of the client's writer is passed on after the write is settled.
func TestForwardRelayPanics(t *testing.T) {
	client := newUnread(0)
	client.panics = true
	close(client.read)
	backend, _ := answerOf(3, 1000)
	p := recovered(func() {
		_ = Forward(context.Background(), handler(backend), client, newRequest("PUT", nil), usual, client)
	})
	if err, _ := p.(error); !errors.Is(err, errLegacy) || client.fate(t) != Applied {
		t.Errorf("%v, %q", p, client.events)
	}
}

// TestForwardRelayEndsWithABrokenAnswer: an answer that breaks off leaves the write unanswered, and
// the client gets what there was.
func TestForwardRelayEndsWithABrokenAnswer(t *testing.T) {
	client := newUnread(0)
	close(client.read)
	p := recovered(func() {
		_ = Forward(context.Background(), handler(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "begin")
			panic(http.ErrAbortHandler)
		}), client, newRequest("PUT", nil), usual, client)
	})
	if p != http.ErrAbortHandler || client.fate(t) != Unanswered || client.content.String() != "begin" {
		t.Errorf("%v, %q, %q", p, client.events, client.content.String())
	}
}
