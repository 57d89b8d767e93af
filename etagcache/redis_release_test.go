package etagcache

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// released records, by token, when each attempt to give a grant back was made.
type released struct {
	mu    sync.Mutex
	tries map[string][]time.Time
}

func (r *released) note(g Grant) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tries == nil {
		r.tries = map[string][]time.Time{}
	}
	r.tries[g.Token] = append(r.tries[g.Token], time.Now())
	return len(r.tries[g.Token])
}

func (r *released) of(token string) []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries[token]
}

func TestReleases(t *testing.T) {
	terms := Terms{Lease: 32 * time.Second}
	t.Run("each grant is tried until it succeeds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var r released
			l := newReleases(func(g Grant, _ Terms) error {
				if r.note(g) < len(g.Token) {
					return ErrUnavailable
				}
				return nil
			})
			defer l.close()
			begun := time.Now()
			for _, token := range []string{"1", "22", "333"} {
				l.add(Grant{Token: token}, terms)
			}
			synctest.Wait()
			if n := len(r.of("22")); n != 1 {
				t.Errorf("%d tries at once", n)
			}
			time.Sleep(terms.Lease)
			synctest.Wait()
			for _, token := range []string{"1", "22", "333"} {
				if n := len(r.of(token)); n != len(token) {
					t.Fatalf("%s: %d tries", token, n)
				}
			}
			if took := r.of("333")[2].Sub(begun); took != 3*time.Second {
				t.Errorf("the third try came after %v", took)
			}
		})
	})
	t.Run("no grant is tried for longer than a lease", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var r released
			l := newReleases(func(g Grant, _ Terms) error { r.note(g); return ErrLost })
			defer l.close()
			begun := time.Now()
			l.add(Grant{Token: "x"}, terms)
			time.Sleep(10 * terms.Lease)
			synctest.Wait()
			tries := r.of("x")
			if len(tries) != releaseTries {
				t.Fatalf("%d tries", len(tries))
			}
			if took := tries[len(tries)-1].Sub(begun); took < terms.Lease/2 || took >= terms.Lease {
				t.Errorf("the last try came after %v", took)
			}
			// A later grant is tried, too.
			l.add(Grant{Token: "y"}, terms)
			synctest.Wait()
			if len(r.of("y")) != 1 {
				t.Error("the later grant was not tried")
			}
		})
	})
	t.Run("the number of grants is bounded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var r released
			store := make(chan error)
			l := newReleases(func(g Grant, _ Terms) error { r.note(g); return <-store })
			for i := range 10 * maxReleases {
				l.add(Grant{Token: fmt.Sprint(i)}, terms)
				synctest.Wait()
			}
			if n := len(l.pending); n != maxReleases {
				t.Errorf("%d grants are pending", n)
			}
			close(store)
			synctest.Wait()
			if n := len(r.tries); n != maxReleases {
				t.Errorf("%d grants were tried", n)
			}
			l.close()
		})
	})
	t.Run("close ends the attempts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var r released
			l := newReleases(func(g Grant, _ Terms) error { r.note(g); return ErrUnavailable })
			l.add(Grant{Token: "x"}, terms)
			synctest.Wait()
			l.close()
			time.Sleep(terms.Lease)
			synctest.Wait()
			if n := len(r.of("x")); n != 1 {
				t.Errorf("%d tries", n)
			}
			newReleases(nil).close() // with nothing pending
		})
	})
}

func TestUnsent(t *testing.T) {
	_, refused := net.Dial("tcp", "127.0.0.1:0")
	for _, test := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("%w: %w", ErrUnavailable, refused), true},
		{fmt.Errorf("%w: %w", ErrUnavailable, redis.ErrPoolTimeout), true},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, false},
		{&net.OpError{Op: "write", Err: errors.New("reset")}, false},
		{ErrUnavailable, false},
	} {
		if got := unsent(test.err); got != test.want {
			t.Errorf("%v: got %v", test.err, got)
		}
	}
}
