package storeshare

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueues(t *testing.T) {
	acquire := func(t *testing.T, q *Queues, ctx context.Context) func() {
		t.Helper()
		release, _, err := q.Acquire(ctx, "k", Client{})
		if err != nil {
			t.Fatal(err)
		}
		return release
	}

	t.Run("writes have their turn in the order in which they came", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			q := newQueues()
			release := acquire(t, q, t.Context())
			var order []int
			for i := range 10 {
				go func() {
					release, waited, err := q.Acquire(t.Context(), "k", Client{})
					if err != nil || !waited {
						t.Errorf("got %v, %v", waited, err)
						return
					}
					order = append(order, i)
					release()
				}()
				synctest.Wait() // until it stands in line
			}
			release()
			synctest.Wait()
			for i, got := range order {
				if got != i {
					t.Fatalf("got order %v", order)
				}
			}
			if len(order) != 10 || len(q.byKey) != 0 {
				t.Errorf("%d had their turn, %d queues are left", len(order), len(q.byKey))
			}
		})
	})
	t.Run("other resources don't wait", func(t *testing.T) {
		q := newQueues()
		defer acquire(t, q, t.Context())()
		release, waited, err := q.Acquire(t.Context(), "other", Client{})
		if err != nil || waited {
			t.Fatalf("got %v, %v", waited, err)
		}
		release()
	})
	t.Run("a write that gives up leaves the line", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			q := newQueues()
			release := acquire(t, q, t.Context())
			impatient, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go func() {
				if _, _, err := q.Acquire(impatient, "k", Client{}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			}()
			synctest.Wait()
			patient := make(chan struct{})
			go func() {
				defer close(patient)
				acquire(t, q, t.Context())()
			}()
			time.Sleep(2 * time.Second) // by the test's own clock
			release()
			<-patient
			if len(q.byKey) != 0 {
				t.Error("a queue is left")
			}
		})
	})
	t.Run("the length of the line is limited", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			q := newQueues()
			release := acquire(t, q, t.Context())
			for range maxQueue {
				go func() { acquire(t, q, t.Context())() }()
			}
			synctest.Wait()
			if _, _, err := q.Acquire(t.Context(), "k", Client{}); !errors.Is(err, ErrQueueFull) {
				t.Errorf("got %v", err)
			}
			release()
			synctest.Wait()
		})
	})
}
