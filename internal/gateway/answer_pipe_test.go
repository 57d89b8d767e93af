package gateway

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// The backend waits while the client is slow: no more than the limit is held in memory. When
// all of the answer has to be kept, it goes on.
func TestAnswerPipe(t *testing.T) {
	t.Parallel()
	const limit = 100 << 10
	content := []byte(strings.Repeat("0123456789abcdef", limit/4))
	for _, tt := range []struct {
		name  string
		total int64 // the memory of all exchanges
		held  int
	}{
		{"room for everything", 1 << 40, limit},
		{"no room", 1, minWindow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory := proxyhooks.NewMemory(tt.total, nil)
				defer memory.Close()
				p := newAnswerPipe(memory, limit)
				defer p.close()
				done := make(chan error, 1)
				go func() {
					_, err := p.Write(content)
					p.finish(io.EOF)
					done <- err
				}()
				synctest.Wait()
				if p.kept.Len() != tt.held {
					t.Errorf("%d bytes are held, want %d", p.kept.Len(), tt.held)
				}
				first := make([]byte, 1000)
				if _, err := io.ReadFull(p, first); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if p.kept.Len() != tt.held || p.file != nil {
					t.Errorf("%d bytes are held, want %d", p.kept.Len(), tt.held)
				}
				if err := p.keepAll(); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil || p.kept.Len() > limit || p.file == nil {
					t.Errorf("%v, and %d bytes are held", err, p.kept.Len())
				}
				rest, err := io.ReadAll(p)
				if err != nil || string(first)+string(rest) != string(content) {
					t.Errorf("%v: %d bytes, want %d", err, len(first)+len(rest), len(content))
				}
			})
		})
	}
}

// Who writes hears that nobody reads any more, and who reads, that the answer broke off.
func TestAnswerPipeEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, gone := newAnswerPipe(nil, 0), errors.New("gone")
		done := make(chan error, 1)
		go func() {
			_, err := p.Write(make([]byte, 1<<20))
			done <- err
		}()
		synctest.Wait()
		p.abandon(gone)
		if err := <-done; !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
		p.finish(errBrokenOff)
		if err := p.keepAll(); !errors.Is(err, errBrokenOff) {
			t.Errorf("got %v", err)
		}
		if _, err := io.Copy(io.Discard, p); !errors.Is(err, errBrokenOff) {
			t.Errorf("got %v", err)
		}
	})
}
