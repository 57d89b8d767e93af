package storeshare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// until waits until over is closed, or ctx has ended.
func until(ctx context.Context, over chan struct{}) error {
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The store is asked once for all who wait in a lobby for the same write, and only as long as
// anybody waits.
func TestLobby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby()
		var asked, ended atomic.Int32
		over := make(chan struct{})
		wait := func(ctx context.Context) error {
			asked.Add(1)
			defer ended.Add(1)
			return until(ctx, over)
		}
		var mu sync.Mutex
		var got []string
		for i, epoch := range []string{"e1", "e1", "e1", "e2", "e3"} {
			patience := map[string]time.Duration{"e1": time.Duration(i+1) * time.Second, "e2": time.Hour, "e3": time.Second}[epoch]
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			go func() {
				err := l.Wait(ctx, "k", epoch, Client{}, wait)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprintf("%d: %v", i, err))
			}()
			synctest.Wait()
		}
		time.Sleep(1500 * time.Millisecond) // the first one and the last have left
		if asked.Load() != 3 || ended.Load() != 1 {
			t.Errorf("asked %d times for three epochs, of which %d ended", asked.Load(), ended.Load())
		}
		close(over)
		synctest.Wait()
		slices.Sort(got)
		if want := []string{"0: context deadline exceeded", "1: <nil>", "2: <nil>", "3: <nil>", "4: context deadline exceeded"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if len(l.byKey) != 0 {
			t.Error("a lobby is left")
		}
	})
	t.Run("the error of the store", func(t *testing.T) {
		l, away := newLobby(), errors.New("away")
		if err := l.Wait(t.Context(), "k", "e", Client{}, func(context.Context) error { return away }); !errors.Is(err, away) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("who has to give way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, over := newLobby(), make(chan struct{})
			wait := func(ctx context.Context) error { return until(ctx, over) }
			var refused, done atomic.Int32
			for range maxQueue + 10 {
				go func() {
					switch err := l.Wait(t.Context(), "k", "e", Client{Identity: 1}, wait); {
					case errors.Is(err, ErrQueueFull):
						refused.Add(1)
					case err == nil:
						done.Add(1)
					}
				}()
				synctest.Wait()
			}
			go func() {
				if err := l.Wait(t.Context(), "k", "e", Client{Identity: 2}, wait); err != nil {
					t.Errorf("the owner gets %v", err)
				}
			}()
			synctest.Wait()
			close(over)
			synctest.Wait()
			if refused.Load() != 11 || done.Load() != maxQueue-1 || len(l.byKey) != 0 {
				t.Errorf("%d were refused, %d waited, %d lobbies are left", refused.Load(), done.Load(), len(l.byKey))
			}
		})
	})
}
