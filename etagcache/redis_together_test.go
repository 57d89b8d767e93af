package etagcache

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// heldServer takes the place of the network. It notes the size of each batch, and answers when it
// is let go.
type heldServer struct {
	redis.Hook
	goOn chan struct{}

	mu      sync.Mutex
	batches []int
}

// together returns a together whose commands go to the server.
func (s *heldServer) together(t *testing.T) *together {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, Dialer: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("this test has no network")
	}})
	client.AddHook(s)
	t.Cleanup(func() { _ = client.Close() })
	return &together{client: client}
}

func (s *heldServer) DialHook(redis.DialHook) redis.DialHook { return nil }

func (s *heldServer) ProcessHook(redis.ProcessHook) redis.ProcessHook { return nil }

func (s *heldServer) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		s.mu.Lock()
		s.batches = append(s.batches, len(cmds))
		s.mu.Unlock()
		var err error
		select {
		case <-s.goOn:
		case <-ctx.Done():
			err = ctx.Err()
		}
		for _, cmd := range cmds {
			if cmd.Args()[1] == "odd" {
				cmd.SetErr(errOdd)
				continue
			}
			cmd.SetErr(err)
			if cmd, ok := cmd.(*redis.StringCmd); ok {
				cmd.SetVal("reply to " + cmd.Args()[1].(string))
			}
		}
		return err
	}
}

var errOdd = errors.New("odd")

// ask sends one command with an argument, and returns its reply.
func ask(ctx context.Context, t *together, arg string) (string, error) {
	cmd := redis.NewStringCmd(ctx, "get", arg)
	if err := t.do(ctx, cmd); err != nil {
		return "", err
	}
	return cmd.Result()
}

// What comes in while batches are under way goes out in one, and everybody gets the reply to
// their own command, or its error.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &heldServer{goOn: make(chan struct{})}
		all := s.together(t)
		var group sync.WaitGroup
		send := func(arg string) {
			group.Go(func() {
				reply, err := ask(t.Context(), all, arg)
				switch {
				case arg == "odd" && !errors.Is(err, errOdd):
					t.Errorf("got the error %v", err)
				case arg != "odd" && (err != nil || reply != "reply to "+arg):
					t.Errorf("%s: got %q, %v", arg, reply, err)
				}
			})
		}
		for i := range maxUnderway {
			send(strconv.Itoa(i))
		}
		synctest.Wait()
		for i := range 9 {
			send("late " + strconv.Itoa(i))
		}
		send("odd")
		synctest.Wait()
		close(s.goOn)
		group.Wait()
		if len(s.batches) != maxUnderway+1 || s.batches[maxUnderway] != 10 {
			t.Errorf("the batches had %d commands", s.batches)
		}
		if all.underway != 0 || len(all.queue) > 0 {
			t.Errorf("%d batches under way, %d callers in the queue", all.underway, len(all.queue))
		}
	})
}

// The server is inspected once for all who need that in a batch, and not for others.
func TestTogetherInspectsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &heldServer{goOn: make(chan struct{})}
		all := s.together(t)
		var group sync.WaitGroup
		for i := range maxUnderway {
			group.Go(func() { _, _ = ask(t.Context(), all, strconv.Itoa(i)) })
			synctest.Wait()
		}
		inspected := make([]*inspection, 3)
		for i := range inspected {
			group.Go(func() {
				cmd := redis.NewStringCmd(t.Context(), "get", "read")
				var err error
				if inspected[i], err = all.inspect(t.Context(), cmd); err != nil || cmd.Val() != "reply to read" {
					t.Errorf("got %q, %v", cmd.Val(), err)
				}
			})
			group.Go(func() { _, _ = ask(t.Context(), all, "other") })
		}
		synctest.Wait()
		close(s.goOn)
		group.Wait()
		if want := []int{1, 1, 2*len(inspected) + 2}; !slices.Equal(s.batches, want) {
			t.Errorf("the batches had %d commands, want %d", s.batches, want)
		}
		if one := inspected[0]; one.info.Val() != "reply to replication" || inspected[1] != one || inspected[2] != one {
			t.Errorf("the server said %q, and the inspections are %p", one.info.Val(), inspected)
		}
	})
}

// No caller waits longer than its context lasts, however long others are under way, and
// nobody is forgotten because of it.
func TestTogetherGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &heldServer{goOn: make(chan struct{})}
		all := s.together(t)
		const timeout = time.Second
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 37 * time.Millisecond)
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				_, err := ask(ctx, all, strconv.Itoa(i))
				if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took != timeout {
					t.Errorf("call %d ended after %s with %v", i, took, err)
				}
			})
		}
		group.Wait()
		close(s.goOn)
		if reply, err := ask(t.Context(), all, "after"); reply != "reply to after" {
			t.Errorf("after all have given up: got %q, %v", reply, err)
		}
		if all.underway != 0 || len(all.queue) > 0 {
			t.Errorf("%d batches under way, %d callers in the queue", all.underway, len(all.queue))
		}
	})
}
