package storeshare

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

func TestBreaker(t *testing.T) {
	// Calls to a store that doesn't answer, that refuses at once, that answers.
	frozen := func() error { time.Sleep(250 * time.Millisecond); return etagcache.ErrUnavailable }
	refusing := func() error { return etagcache.ErrUnavailable }
	busy := func() error { time.Sleep(250 * time.Millisecond); return etagcache.ErrBusy }
	well := func() error { return nil }

	called := func(b *breaker, call func() error) (asked bool, err error) {
		err = b.do(func() error { asked = true; return call() })
		return asked, err
	}
	trip := func(t *testing.T) *breaker {
		t.Helper()
		b := newBreaker()
		for range maxSlowFailures {
			if asked, _ := called(b, frozen); !asked {
				t.Fatal("not asked")
			}
		}
		return b
	}
	for name, rule := range map[string]func(t *testing.T){
		"a store that doesn't answer is left alone, and requests fail at once": func(t *testing.T) {
			b := trip(t)
			begun := time.Now()
			if asked, err := called(b, frozen); asked || !errors.Is(err, etagcache.ErrUnavailable) || time.Since(begun) > 0 {
				t.Errorf("asked: %v, %v", asked, err)
			}
		},
		"after a rest one request asks on behalf of all": func(t *testing.T) {
			b := trip(t)
			time.Sleep(breakerRest + 1) // by the test's own clock
			trial := make(chan struct{})
			go func() {
				defer close(trial)
				_, _ = called(b, frozen)
			}()
			synctest.Wait()
			if asked, _ := called(b, well); asked {
				t.Error("a second request asked")
			}
			<-trial
		},
		"once that request is answered, all ask again": func(t *testing.T) {
			b := trip(t)
			time.Sleep(breakerRest + 1)
			for range 3 {
				if asked, err := called(b, well); !asked || err != nil {
					t.Errorf("asked: %v, %v", asked, err)
				}
			}
		},
		"a store that refuses at once is asked every time": func(t *testing.T) {
			b := newBreaker()
			for range 10 * maxSlowFailures {
				if asked, _ := called(b, refusing); !asked {
					t.Fatal("not asked")
				}
			}
		},
		"an answer is not a failure, however slow, and ends a row of failures": func(t *testing.T) {
			b := newBreaker()
			for range 10 {
				for range maxSlowFailures - 1 {
					_, _ = called(b, frozen)
				}
				if asked, err := called(b, busy); !asked || !errors.Is(err, etagcache.ErrBusy) {
					t.Fatalf("asked: %v, %v", asked, err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, rule) })
	}
}
