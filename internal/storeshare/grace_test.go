package storeshare

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// termsStore records the grace of each call.
type termsStore struct {
	etagcache.Store
	graces []time.Duration
}

func (s *termsStore) Read(_ context.Context, _ string, t etagcache.Terms) (etagcache.Entry, error) {
	s.graces = append(s.graces, t.Grace)
	return etagcache.Entry{}, nil
}

func (s *termsStore) Observe(_ context.Context, _ string, _ etagcache.Entry, _ etagcache.Observation, t etagcache.Terms) error {
	s.graces = append(s.graces, t.Grace)
	return nil
}

func (s *termsStore) Claim(_ context.Context, _, _ string, t etagcache.Terms, replaces ...string) (g etagcache.Grant, e etagcache.Entry, err error) {
	s.graces = append(s.graces, t.Grace)
	return g, e, nil
}

func (s *termsStore) Pass(_ context.Context, _ string, t etagcache.Terms) (g etagcache.Grant, e etagcache.Entry, err error) {
	s.graces = append(s.graces, t.Grace)
	return g, e, nil
}

func (s *termsStore) Renew(_ context.Context, _ etagcache.Grant, t etagcache.Terms) error {
	s.graces = append(s.graces, t.Grace)
	return nil
}

func (s *termsStore) Settle(_ context.Context, _ etagcache.Grant, _ etagcache.Settlement, t etagcache.Terms) error {
	s.graces = append(s.graces, t.Grace)
	return nil
}

func (s *termsStore) Spend(_ context.Context, _ etagcache.Grant, _ []string, t etagcache.Terms) error {
	s.graces = append(s.graces, t.Grace)
	return nil
}

func (s *termsStore) Invalidate(_ context.Context, _ string, t etagcache.Terms) error {
	s.graces = append(s.graces, t.Grace)
	return nil
}

func (s *termsStore) InvalidateMatching(_ context.Context, _ string, _ func(string, bool) bool, t etagcache.Terms) (int, error) {
	s.graces = append(s.graces, t.Grace)
	return 0, nil
}

func (s *termsStore) InvalidateAll(_ context.Context, t etagcache.Terms) error {
	s.graces = append(s.graces, t.Grace)
	return nil
}

// Whichever handler makes the first call after the store has lost its data, the grace
// is long enough for the claims of every handler, also of one whose writes have
// outlived its config.
func TestTheLongestGraceCounts(t *testing.T) {
	store := &termsStore{Store: etagcache.NewMemory(0)}
	o := &opener{key: t.Name(), store: store}
	ctx, short := t.Context(), etagcache.Terms{Lease: 3 * time.Second, Grace: time.Second}
	expect := func(when string, want time.Duration, s *Share) {
		t.Helper()
		store.graces = nil
		_, _ = s.Read(ctx, "a", short)
		_ = s.Observe(ctx, "a", etagcache.Entry{}, etagcache.Observation{}, short)
		_, _, _ = s.Claim(ctx, "a", "", short)
		_, _, _ = s.Pass(ctx, "a", short)
		_ = s.Renew(ctx, etagcache.Grant{}, short)
		_ = s.Settle(ctx, etagcache.Grant{}, etagcache.Settlement{}, short)
		_ = s.Spend(ctx, etagcache.Grant{}, nil, short)
		_ = s.Invalidate(ctx, "a", short)
		_, _ = s.InvalidateMatching(ctx, "a", nil, short)
		_ = s.InvalidateAll(ctx, short)
		if len(store.graces) != 10 {
			t.Fatalf("%d calls reached the store", len(store.graces))
		}
		for i, grace := range store.graces {
			if grace != want {
				t.Errorf("%s, call %d: a grace of %v, want %v", when, i, grace, want)
			}
		}
	}
	handler := func(config *int, grace time.Duration) *Membership {
		t.Helper()
		terms := short
		terms.Grace = grace
		m, err := Join(o, User{Terms: terms, Config: Config{ID: config}}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	old, current := new(int), new(int)
	one := handler(current, time.Second)
	expect("alone", time.Second, one.share)
	two := handler(old, 20*time.Second)
	expect("beside a patient handler", 20*time.Second, one.share)
	w, err := two.Begin(ctx, "", two.share)
	if err != nil {
		t.Fatal(err)
	}
	leave(t, two)
	expect("while a write of the patient handler is in flight", 20*time.Second, one.share)
	w.End()
	expect("when it has ended", time.Second, one.share)
	leave(t, one)
}
