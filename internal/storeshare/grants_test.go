package storeshare

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// The claims and passes that this process holds are listed until they are settled, lost, or
// their lease is over, and those that were left behind take no memory for good.
func TestGrantsAreListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		terms := etagcache.Terms{Lease: 10 * time.Second, Retention: time.Hour, Brief: time.Hour}
		ctx := context.Background()
		s := New(etagcache.NewMemory(100_000), zap.NewNop())
		defer s.close()
		o := OpenShare{Share: s}
		entry, err := s.Read(ctx, "b", terms)
		if err != nil {
			t.Fatal(err)
		}
		claim, _, err := s.Claim(ctx, "b", entry.Epoch, terms)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		if _, _, err := s.Pass(ctx, "a", terms); err != nil {
			t.Fatal(err)
		}
		if err := s.Renew(ctx, claim, terms); err != nil {
			t.Fatal(err)
		}
		want := []Held{{Key: "b", Age: 6 * time.Second, Left: 10 * time.Second}, {Key: "a", Pass: true, Left: 10 * time.Second}}
		if got := o.Held(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if err := s.Settle(ctx, claim, etagcache.Settlement{Unchanged: true}, terms); err != nil {
			t.Fatal(err)
		}
		if got := o.Held(); len(got) != 1 || got[0].Key != "a" {
			t.Errorf("got %v", got)
		}
		time.Sleep(10 * time.Second)
		if got := o.Held(); len(got) != 0 {
			t.Errorf("got %v", got)
		}
		for i := range 10 * leastSweep {
			if _, _, err := s.Pass(ctx, fmt.Sprint(i), terms); err != nil {
				t.Fatal(err)
			}
			if i%leastSweep == 0 {
				time.Sleep(terms.Lease)
			}
		}
		if n := len(s.grants.live); n > 2*leastSweep {
			t.Errorf("%d grants are kept", n)
		}
	})
}
