package proxyhooks

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const leaseLength = 60 * time.Second

var (
	errLost = errors.New("lost")
	errAway = errors.New("away")
)

// renewals runs a lease until it is lost or stopped. The i-th renewal returns
// result(i). It returns when the renewals began and when the lease was lost, since the
// beginning.
func renewals(t *testing.T, taken time.Duration, until time.Duration, result func(i int) error) (made []time.Duration, lost time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var l *Lease
		renew := func(ctx context.Context) error {
			made = append(made, time.Since(begun))
			return result(len(made))
		}
		l = KeepLease(begun.Add(-taken), leaseLength, renew, func(err error) bool { return errors.Is(err, errLost) })
		select {
		case <-l.Context().Done():
			lost = time.Since(begun)
			if context.Cause(l.Context()) != ErrLeaseLost || !l.Lost() {
				t.Errorf("lost: %t, cause %v", l.Lost(), context.Cause(l.Context()))
			}
			l.Stop()
		case <-time.After(until):
			l.Stop()
			if l.Lost() || l.Context().Err() != nil {
				t.Error("a stopped lease is lost")
			}
		}
		n := len(made)
		time.Sleep(10 * leaseLength)
		if len(made) != n {
			t.Error("renewed after its end")
		}
	})
	return made, lost
}

// Once the store answers again, a lease is renewed within the time that RenewedWithin
// says, whenever that happens and however long each call takes.
func TestRenewedWithin(t *testing.T) {
	for _, length := range []time.Duration{time.Second, 3 * time.Second, 30 * time.Second} {
		for _, timeout := range []time.Duration{0, 10 * time.Millisecond, 250 * time.Millisecond} {
			for part := range 40 {
				synctest.Test(t, func(t *testing.T) {
					begun := time.Now()
					back := begun.Add(length * time.Duration(part) / 80)
					renewed := make(chan time.Time, 100)
					l := KeepLease(begun, length, func(context.Context) error {
						broken := time.Now().Before(back)
						time.Sleep(timeout)
						if broken && !time.Now().Before(back) {
							return errAway
						}
						if !broken {
							renewed <- time.Now()
						}
						return nil
					}, func(error) bool { return false })
					defer l.Stop()
					if took, most := (<-renewed).Sub(back), RenewedWithin(length, timeout); took > most {
						t.Errorf("length %v, timeout %v: renewed %v after the store was back, want at most %v", length, timeout, took, most)
					}
				})
			}
		}
	}
}

func seconds(s ...int) []time.Duration {
	out := make([]time.Duration, len(s))
	for i := range s {
		out[i] = time.Duration(s[i]) * time.Second
	}
	return out
}

// TestLease: when a lease is renewed, and when it is lost.
func TestLease(t *testing.T) {
	ok := func(int) error { return nil }
	for _, test := range []struct {
		name   string
		taken  time.Duration // before the beginning
		result func(i int) error
		made   []time.Duration
		lost   time.Duration
	}{
		{"is renewed every sixth", 0, ok, seconds(10, 20, 30, 40, 50, 60, 70, 80, 90), 0},
		{"is renewed a sixth after it was taken", 4 * time.Second, ok, seconds(6, 16, 26, 36, 46, 56, 66, 76, 86, 96), 0},
		{"is renewed at once if it was taken long ago", 30 * time.Second, ok, seconds(0, 10, 20, 30, 40, 50, 60, 70, 80, 90), 0},
		{"is lost when the store says so", 0, func(i int) error {
			if i == 3 {
				return errLost
			}
			return nil
		}, seconds(10, 20, 30), 30 * time.Second},
		{"is lost after two thirds without a renewal", 0, func(int) error { return errAway }, seconds(10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40), 40 * time.Second},
		{"is lost two thirds after the last renewal", 0, func(i int) error {
			if i <= 2 {
				return nil
			}
			return errAway
		}, seconds(10, 20, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60), 60 * time.Second},
		{"survives failures in between", 0, func(i int) error {
			if i%4 != 0 {
				return errAway
			}
			return nil
		}, seconds(10, 12, 14, 16, 26, 28, 30, 32, 42, 44, 46, 48, 58, 60, 62, 64, 74, 76, 78, 80, 90, 92, 94, 96), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			made, lost := renewals(t, test.taken, 99*time.Second, test.result)
			if !slices.Equal(made, test.made) || lost != test.lost {
				t.Errorf("renewed at %v, lost at %v", made, lost)
			}
		})
	}
}

// TestLeaseStopWaits: Stop waits for a renewal that is under way.
func TestLeaseStopWaits(t *testing.T) {
	begun, end, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	done := false
	l := KeepLease(time.Now().Add(-time.Minute), 5*time.Minute, func(context.Context) error {
		close(begun)
		<-end
		done = true
		return nil
	}, func(error) bool { return false })
	<-begun
	go func() {
		l.Stop()
		close(stopped)
	}()
	close(end)
	<-stopped
	if !done {
		t.Error("the renewal is still running")
	}
	l.Stop()
}

// TestLeaseLostDuringRenewal: a lease is lost before the store considers it expired,
// even while a renewal waits for the store.
func TestLeaseLostDuringRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, answered := time.Now(), make(chan struct{})
		l := KeepLease(begun, leaseLength, func(context.Context) error {
			defer close(answered)
			time.Sleep(2 * leaseLength)
			return errAway
		}, func(error) bool { return false })
		<-l.Context().Done()
		if lost := time.Since(begun); lost != 50*time.Second || context.Cause(l.Context()) != ErrLeaseLost {
			t.Errorf("lost at %v, cause %v", lost, context.Cause(l.Context()))
		}
		<-answered
		synctest.Wait()
		l.Stop()
	})
}

// TestLeaseExpiredUnnoticed: a lease that expired while the process was suspended isn't
// renewed.
func TestLeaseExpiredUnnoticed(t *testing.T) {
	l := KeepLease(time.Now().Add(-time.Hour), time.Hour, func(context.Context) error {
		t.Error("renewed")
		return nil
	}, func(error) bool { return false })
	<-l.Context().Done()
	if l.Stop(); !l.Lost() {
		t.Error("not lost")
	}
}

// TestLeaseRunOut: a lease that runs out is renewed for the time that is left, until it
// is lost.
func TestLeaseRunOut(t *testing.T) {
	for _, test := range []struct {
		name    string
		results []error // then nil
		want    []time.Duration
	}{
		{"the store answers", nil, seconds(50, 40, 30, 20, 10)},
		{"out of reach at first", []error{errAway, errAway}, seconds(50, 48, 46, 36, 26, 16, 6)},
		{"lost", []error{errLost}, seconds(50)},
		{"lost later", []error{nil, errAway, errLost}, seconds(50, 40, 38)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				renewed := 0
				l := KeepLease(time.Now(), leaseLength, func(context.Context) error {
					renewed++
					return nil
				}, func(err error) bool { return errors.Is(err, errLost) })
				time.Sleep(15 * time.Second)
				var left []time.Duration
				l.Expire(func(d time.Duration) error {
					left = append(left, d)
					if len(left) > len(test.results) {
						return nil
					}
					return test.results[len(left)-1]
				})
				time.Sleep(10 * leaseLength)
				synctest.Wait()
				if !slices.Equal(left, test.want) {
					t.Errorf("got %v, want %v", left, test.want)
				}
				if renewed != 1 {
					t.Errorf("renewed %d times in full", renewed)
				}
			})
		})
	}
}

// TestLeaseOfAProcessThatStoodStill: whether a lease is lost is a question for the clock. The
// timers of a process that was stopped may not have run yet when it goes on, and those of a
// machine that was suspended have lost the time.
func TestLeaseOfAProcessThatStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stood := time.Duration(0)
		now := func() time.Time { return time.Now().Round(0).Add(stood) }
		l := keepLease(now, now(), leaseLength, func(context.Context) error { return nil }, func(error) bool { return false })
		defer l.Stop()
		stood = leaseLength*5/6 - 1
		if l.Lost() {
			t.Error("lost too early")
		}
		stood++
		if !l.Lost() || context.Cause(l.Context()) != ErrLeaseLost {
			t.Errorf("lost: %t, cause %v", l.Lost(), context.Cause(l.Context()))
		}
		time.Sleep(leaseLength)
		if stood = 0; !l.Lost() {
			t.Error("a lost lease came back")
		}
	})
}

// TestStoppedLease: a lease that was stopped in time isn't lost later.
func TestStoppedLease(t *testing.T) {
	stood := time.Duration(0)
	now := func() time.Time { return time.Now().Add(stood) }
	l := keepLease(now, now(), leaseLength, func(context.Context) error { return nil }, func(error) bool { return false })
	l.Stop()
	if stood = time.Hour; l.Lost() {
		t.Error("lost after it was stopped")
	}
}
