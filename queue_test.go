package preconditions

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueues(t *testing.T) {
	enter := func(t *testing.T, q *queues, ctx context.Context) func() {
		t.Helper()
		leave, _, err := q.enter(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}

	t.Run("writes have their turn in the order in which they came", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			q := newQueues()
			leave := enter(t, q, t.Context())
			var order []int
			for i := range 10 {
				go func() {
					leave, waited, err := q.enter(t.Context(), "k")
					if err != nil || !waited {
						t.Errorf("got %v, %v", waited, err)
						return
					}
					order = append(order, i)
					leave()
				}()
				synctest.Wait() // until it stands in line
			}
			leave()
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
		defer enter(t, q, t.Context())()
		leave, waited, err := q.enter(t.Context(), "other")
		if err != nil || waited {
			t.Fatalf("got %v, %v", waited, err)
		}
		leave()
	})
	t.Run("who gives up leaves the line", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			q := newQueues()
			leave := enter(t, q, t.Context())
			impatient, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go func() {
				if _, _, err := q.enter(impatient, "k"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			}()
			synctest.Wait()
			patient := make(chan struct{})
			go func() {
				defer close(patient)
				enter(t, q, t.Context())()
			}()
			time.Sleep(2 * time.Second) // by the test's own clock
			leave()
			<-patient
			if len(q.byKey) != 0 {
				t.Error("a queue is left")
			}
		})
	})
	t.Run("the line is bounded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			q := newQueues()
			leave := enter(t, q, t.Context())
			for range maxQueue {
				go func() { enter(t, q, t.Context())() }()
			}
			synctest.Wait()
			if _, _, err := q.enter(t.Context(), "k"); !errors.Is(err, errQueueFull) {
				t.Errorf("got %v", err)
			}
			leave()
			synctest.Wait()
		})
	})
}
