package storeshare

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

const wait = 10 * time.Second

// waitInVain waits for others until that takes too long, and returns how long it took.
func waitInVain(t *testing.T, s *Share, used time.Duration) (took, usedThen time.Duration) {
	t.Helper()
	begun := time.Now()
	waiting, stop := s.Losses.Patiently(t.Context(), wait, used)
	below, cancel := context.WithTimeout(waiting, time.Hour)
	defer cancel()
	<-below.Done()
	if err := below.Err(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
	return time.Since(begun), stop()
}

// The time of a grace doesn't count as waiting for others, unless the grace is longer than
// a write waits.
func TestGraceDoesNotCountAsWaiting(t *testing.T) {
	grace := func(s *Share, left time.Duration) { s.Losses.heard(etagcache.Grace{Left: left}) }
	for name, tt := range map[string]struct {
		happens func(s *Share)
		used    time.Duration
		want    time.Duration
	}{
		"no grace":                         {func(*Share) {}, 0, wait},
		"some of the wait was used before": {func(*Share) {}, 4 * time.Second, 6 * time.Second},
		"a grace is running": {func(s *Share) {
			grace(s, wait)
			time.Sleep(3 * time.Second)
			grace(s, 7*time.Second)
		}, 0, 7*time.Second + wait},
		"a grace is running, and some was used": {func(s *Share) { grace(s, wait) }, 4 * time.Second, wait + 6*time.Second},
		"a grace is over": {func(s *Share) {
			grace(s, wait)
			time.Sleep(wait)
		}, 0, wait},
		"a grace begins meanwhile": {func(s *Share) {
			time.AfterFunc(9*time.Second, func() { grace(s, 5*time.Second) })
		}, 0, wait + 5*time.Second},
		"a grace seems a little longer, because replies take time": {func(s *Share) {
			grace(s, wait)
			time.AfterFunc(5*time.Second, func() { grace(s, 5*time.Second+100*time.Millisecond) })
		}, 0, 2*wait + 100*time.Millisecond},
		"a grace is longer than a write waits":    {func(s *Share) { grace(s, time.Hour) }, 0, wait},
		"a long grace is over before a write has": {func(s *Share) { grace(s, time.Hour); time.Sleep(time.Hour - time.Second) }, 0, wait + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(etagcache.NewMemory(0), zap.NewNop())
				tt.happens(s)
				took, used := waitInVain(t, s, tt.used)
				if took != tt.want || used != wait {
					t.Errorf("it took %v and used %v, want %v and %v", took, used, tt.want, wait)
				}
			})
		})
	}
}

// A write stops waiting when its client goes away.
func TestPatienceEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(etagcache.NewMemory(0), zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		waiting, stop := s.Losses.Patiently(ctx, wait, 0)
		time.AfterFunc(time.Second, cancel)
		<-waiting.Done()
		if used := stop(); !errors.Is(waiting.Err(), context.Canceled) || used != time.Second {
			t.Errorf("got error %v after %v", waiting.Err(), used)
		}
	})
}

// The beginning and the end of a grace are logged once each, however many hear of it, and so
// are those of the next one.
func TestGraceIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		s := New(etagcache.NewMemory(0), zap.New(core))
		for range 2 {
			until := time.Now().Add(wait)
			for range 3 {
				s.Losses.heard(etagcache.Grace{Left: time.Until(until), Loss: etagcache.Replaced})
				time.Sleep(time.Second)
			}
			if g, running := s.Losses.Grace(); !running || g.Left != wait-3*time.Second || g.Loss != etagcache.Replaced {
				t.Errorf("got %+v, %v", g, running)
			}
			lines := logs.TakeAll()
			if len(lines) != 1 || lines[0].Level != zapcore.WarnLevel {
				t.Fatalf("got %+v", lines)
			}
			fields := lines[0].ContextMap()
			if at, _ := fields["until"].(time.Time); !at.Equal(until) || fields["reason"] != etagcache.Replaced.String() {
				t.Errorf("got %v", fields)
			}
			time.Sleep(wait)
			if _, running := s.Losses.Grace(); running {
				t.Error("the grace isn't over")
			}
			s.Losses.heard(etagcache.Grace{})
			if lines := logs.TakeAll(); len(lines) != 1 || lines[0].Level != zapcore.WarnLevel || lines[0].Message != "the grace is over: writes pass again" {
				t.Errorf("at the end: got %+v", lines)
			}
		}
	})
}

// The end of a grace that becomes longer is logged when it comes.
func TestEndOfAGraceIsLoggedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		s := New(etagcache.NewMemory(0), zap.New(core))
		s.Losses.heard(etagcache.Grace{Left: wait})
		time.Sleep(wait - time.Second)
		s.Losses.heard(etagcache.Grace{Left: wait})
		time.Sleep(wait - time.Second)
		if n := logs.Len(); n != 1 {
			t.Errorf("logged %d lines before the end", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := logs.Len(); n != 2 {
			t.Errorf("logged %d lines", n)
		}
	})
}

// attendedStore counts how often it is attended.
type attendedStore struct {
	etagcache.Store
	terms chan etagcache.Terms
}

func (s *attendedStore) Attend(ctx context.Context, terms func() etagcache.Terms, heard func(etagcache.Grace, error)) {
	s.terms <- terms()
	heard(etagcache.Grace{}, etagcache.ErrUnavailable)
	heard(etagcache.Grace{Left: time.Second}, nil)
	<-ctx.Done()
}

// A share contacts its store although no request comes, with the terms of all handlers.
// A config that is only validated leaves the store alone.
func TestShareAttendsItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &attendedStore{etagcache.NewMemory(0), make(chan etagcache.Terms, 10)}
		o := &opener{key: t.Name(), store: store}
		join := func(grace time.Duration) *Membership {
			m, err := Join(o, User{Terms: etagcache.Terms{Lease: 3 * grace, Grace: grace}, Config: Config{ID: new(int)}}, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		leave(t, join(time.Second))
		time.Sleep(time.Minute)
		if len(store.terms) != 0 {
			t.Error("a validated config contacted the store")
		}
		a, b := join(time.Second), join(2*time.Second)
		if got, want := <-store.terms, (etagcache.Terms{Lease: 6 * time.Second, Grace: 2 * time.Second}); got != want {
			t.Errorf("got %+v", got)
		}
		synctest.Wait()
		if _, running := a.share.Losses.Grace(); !running {
			t.Error("the share hasn't heard of the grace")
		}
		leave(t, a)
		leave(t, b)
		synctest.Wait()
		if len(store.terms) != 0 {
			t.Error("the store was attended twice")
		}
	})
}
