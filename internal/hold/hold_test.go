package hold

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// Whatever is called, and however often, each grant ends once.
func TestEndsOnce(t *testing.T) {
	release := func(h *Holds) { h.Release(nil) }
	settle := func(h *Holds) { h.Settle(proxyhooks.Applied, etagcache.Settlement{}) }
	for name, calls := range map[string][]func(*Holds){
		"release, release": {release, release},
		"settle, release":  {settle, release},
		"release, settle":  {release, settle},
		"settle, settle":   {settle, settle},
	} {
		t.Run(name, func(t *testing.T) {
			store := newSpy()
			h := newNode(store).claim(t, planFor("m", changed("a"), shared("z")))
			store.take()
			for _, call := range calls {
				call(h)
			}
			store.expect(t, "settle z", "settle a", "settle m")
		})
	}
	t.Run("nothing was taken", func(t *testing.T) {
		store := newSpy()
		newNode(store).write(t).Release(nil)
		store.expect(t)
	})
}

// What is known of the subject at the end: after a release what was known before,
// and what the origin showed; after a settlement what it says. What was known of the other
// resources is still known if the backend hasn't written.
func TestEnd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		end     func(*Holds)
		want    string // tag of the subject
		receipt string
		others  string
	}{
		{"released", func(h *Holds) { h.Release(nil) }, "old", "", "old"},
		{"released, and seen", func(h *Holds) { h.Release(observation("seen")) }, "seen", "", "old"},
		{"refused by the backend", func(h *Holds) {
			h.Settle(proxyhooks.Refused, etagcache.Settlement{Unchanged: true})
		}, "old", "", "old"},
		{"applied", func(h *Holds) { h.Settle(proxyhooks.Applied, etagcache.Settlement{}) }, "", "", ""},
		{"applied, and seen", func(h *Holds) {
			h.Settle(proxyhooks.Applied, etagcache.Settlement{Observation: observation("new"), Receipt: "r"})
		}, "new", "r", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(newSpy())
			n.see(t, "m", "old")
			n.see(t, "a", "old")
			n.see(t, "z", "old")
			h := n.claim(t, planFor("m", changed("a"), exclusive("z")))
			tt.end(h)
			if got := n.entry(t, "m"); n.knownTag(t, "m") != tt.want || got.Receipt != tt.receipt || got.Busy != 0 {
				t.Errorf("known: %q, receipt %q, busy %s", n.knownTag(t, "m"), got.Receipt, got.Busy)
			}
			for _, key := range []string{"a", "z"} {
				if got := n.knownTag(t, key); got != tt.others {
					t.Errorf("%s is known as %q, want %q", key, got, tt.others)
				}
			}
		})
	}
}

// Only a claim on the subject makes sure that what is seen afterwards is the
// write's own doing.
func TestClaimed(t *testing.T) {
	n := newNode(newSpy())
	none := n.write(t)
	claim, pass := n.claim(t, planFor("a")), n.pass(t, planFor("b", exclusive("l")))
	if none.Claimed() || !claim.Claimed() || pass.Claimed() {
		t.Errorf("claimed: %v, %v, %v", none.Claimed(), claim.Claimed(), pass.Claimed())
	}
	if got := n.entry(t, "a").Epoch; claim.Token() != got {
		t.Errorf("the token is %q, and the epoch of the claim is %q", claim.Token(), got)
	}
	claim.Release(nil)
	pass.Release(nil)
}

// A client that goes away doesn't keep the store from being told.
func TestClientGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := newNode(newSpy())
	h := New(ctx, n.Share, storeshare.Client{}, terms, zap.NewNop(), nil)
	if err := h.AcquirePass(ctx, planFor("a", changed("b"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	h.Release(nil)
	if n.busy(t, "a") || n.busy(t, "b") {
		t.Error("still held")
	}
}

// What is held stays held for as long as it takes.
func TestKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(newSpy())
		h := n.claim(t, planFor("m", changed("a"), exclusive("z")))
		time.Sleep(10 * lease)
		if h.Lost() || !n.busy(t, "m") || !n.busy(t, "a") || !n.busy(t, "z") {
			t.Errorf("lost: %v", h.Lost())
		}
		h.Release(nil)
		if n.busy(t, "m") || n.busy(t, "a") || n.busy(t, "z") {
			t.Error("not released")
		}
	})
}

// The backend may still perform a write that it hasn't answered. So what is held
// stays held for one lease from then on, and no longer.
func TestUnanswered(t *testing.T) {
	for _, key := range []string{"m", "a"} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(newSpy())
			n.see(t, "m", "old")
			h := n.claim(t, planFor("m", changed("a")))
			time.Sleep(900 * time.Millisecond) // before the first renewal
			h.Settle(proxyhooks.Unanswered, etagcache.Settlement{Unchanged: true})
			time.Sleep(lease - time.Millisecond)
			if !n.busy(t, key) {
				t.Errorf("%s ended early", key)
			}
			time.Sleep(time.Millisecond)
			if n.busy(t, key) || n.knownTag(t, key) != "" {
				t.Errorf("%s: busy: %v, known: %q", key, n.busy(t, key), n.knownTag(t, key))
			}
			time.Sleep(lease)
			if n.busy(t, key) {
				t.Errorf("%s is held again", key)
			}
		})
	}
}

// If the store forgets a write that wasn't answered, the rest of its lease is
// restored.
func TestUnansweredIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		h := newNode(store).claim(t, planFor("a"))
		store.take()
		h.Settle(proxyhooks.Unanswered, etagcache.Settlement{})
		store.expect(t, "renew a")
		time.Sleep(lease / 2)
		if renewed := len(store.take()); renewed < 2 {
			t.Errorf("renewed %d times", renewed)
		}
		time.Sleep(lease)
		store.take()
		time.Sleep(lease)
		store.expect(t) // it has run out
	})
}

// If a claim was lost, others may have seen what was there before the write. So
// what is known is dropped again, unless the write changed nothing.
func TestLostClaim(t *testing.T) {
	for name, tt := range map[string]struct {
		fate proxyhooks.Fate
		want string
	}{
		"applied":    {proxyhooks.Applied, ""},
		"unanswered": {proxyhooks.Unanswered, ""},
		"refused":    {proxyhooks.Refused, "seen by others"},
	} {
		for _, key := range []string{"m", "a"} {
			t.Run(name+" "+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newSpy()
					n := newNode(store)
					h := n.claim(t, planFor("m", changed("a")))
					store.failWith(failing("renew", etagcache.ErrUnavailable))
					time.Sleep(2 * lease)
					if !h.Lost() {
						t.Fatal("not lost")
					}
					store.failWith(nil)
					n.see(t, key, "seen by others")
					h.Settle(tt.fate, etagcache.Settlement{Unchanged: true, Observation: observation("mine")})
					if got := n.knownTag(t, key); got != tt.want {
						t.Errorf("known: %q, want %q", got, tt.want)
					}
				})
			})
		}
	}
}

// A settlement that fails for a different reason than a lost claim drops nothing:
// the claim is still there.
func TestFailedSettlement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		n := newNode(store)
		h := n.claim(t, planFor("a"))
		epoch := n.entry(t, "a").Epoch
		store.failWith(failing("settle", etagcache.ErrUnavailable))
		h.Settle(proxyhooks.Applied, etagcache.Settlement{})
		if got := n.entry(t, "a"); got.Epoch != epoch || got.Busy == 0 {
			t.Errorf("the epoch moved: %v, busy %s", got.Epoch != epoch, got.Busy)
		}
		time.Sleep(lease)
		if n.busy(t, "a") {
			t.Error("renewed after its end")
		}
	})
}

// A loss before there is a claim on the subject counts, too. A renewal that the
// store didn't answer is no loss yet.
func TestLost(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{{etagcache.ErrLost, true}, {etagcache.ErrUnavailable, false}} {
		synctest.Test(t, func(t *testing.T) {
			store := newSpy()
			n := newNode(store)
			h := n.write(t)
			unwanted := func(*etagcache.Entry) (Wish, error) { return Wish{}, nil }
			if _, err := h.AcquireClaim(t.Context(), planFor("m", changed("a")), n.entry(t, "m"), unwanted); err != nil {
				t.Fatal(err)
			}
			store.failWith(failing("renew", tt.err))
			time.Sleep(2 * time.Second)
			if h.Lost() != tt.want {
				t.Errorf("%v: lost: %v", tt.err, h.Lost())
			}
			store.failWith(nil)
			time.Sleep(lease)
			if h.Lost() != tt.want {
				t.Errorf("%v: lost later: %v", tt.err, h.Lost())
			}
			h.Release(nil)
		})
	}
}

// Each end that the store wasn't told of is logged with its resource, and no other.
func TestLoggedEnds(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	store := newSpy()
	share := storeshare.New(store, zap.NewNop())
	for _, tt := range []struct {
		call string
		fate proxyhooks.Fate
		want []string
	}{
		{"", proxyhooks.Applied, nil},
		{"", proxyhooks.Unanswered, nil},
		{"settle a", proxyhooks.Applied, []string{"a"}},
		{"settle", proxyhooks.Refused, []string{"b", "a"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			store.failWith(nil)
			h := New(t.Context(), share, storeshare.Client{}, terms, zap.New(core), nil)
			if err := h.AcquirePass(t.Context(), planFor("a", changed("b"))); err != nil {
				t.Fatal(err)
			}
			store.failWith(failing(tt.call, etagcache.ErrUnavailable))
			h.Settle(tt.fate, etagcache.Settlement{})
			var got []string
			for _, line := range logs.TakeAll() {
				if line.Level != zapcore.WarnLevel {
					t.Errorf("level %s", line.Level)
				}
				got = append(got, line.ContextMap()["resource"].(string))
			}
			if len(got) != len(tt.want) || len(got) > 0 && (got[0] != tt.want[0] || got[len(got)-1] != tt.want[len(got)-1]) {
				t.Errorf("%q: logged %q, want %q", tt.call, got, tt.want)
			}
			time.Sleep(2 * lease)
		})
	}
}

// A loss is noticed at once, whichever grant it is.
func TestUntilLost(t *testing.T) {
	for _, tt := range []struct {
		plan        relation.Plan
		lost        string
		subjectLost bool
	}{
		{planFor("m"), "renew m", true},
		{planFor("m", changed("a"), shared("z")), "renew m", true},
		{planFor("m", changed("a"), shared("z")), "renew a", false},
		{planFor("m", changed("a"), shared("z")), "renew z", false},
		{planFor("m", changed("a"), shared("z")), "renew", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := newSpy()
			h := newNode(store).claim(t, tt.plan)
			store.failWith(failing(tt.lost, etagcache.ErrLost))
			ctx, stop := h.UntilLost()
			defer stop()
			synctest.Wait()
			if h.Lost() || ctx.Err() != nil {
				t.Fatalf("lost before a renewal: %v, %v", h.Lost(), ctx.Err())
			}
			time.Sleep(2 * time.Second)
			if !h.Lost() || !errors.Is(context.Cause(ctx), proxyhooks.ErrLeaseLost) {
				t.Errorf("%s: lost: %v, %v", tt.lost, h.Lost(), context.Cause(ctx))
			}
			if got := h.SubjectLost(); (got.Err() != nil) != tt.subjectLost ||
				tt.subjectLost && !errors.Is(context.Cause(got), proxyhooks.ErrLeaseLost) {
				t.Errorf("%s: the subject: %v", tt.lost, context.Cause(got))
			}
			store.failWith(nil)
			h.Release(nil)
		})
	}
}
