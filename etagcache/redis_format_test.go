package etagcache_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// If a version with a different format uses the store, no call does anything.
func TestRedisRefusesADifferentFormat(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	ctx := t.Context()
	grant, _ := claim(t, store, "k")
	s.Client().HSet(ctx, "caddy:preconditions:generation", "format", "1")
	before := s.Client().HGetAll(ctx, "caddy:preconditions:k").Val()
	for name, call := range map[string]func() error{
		"read":       func() error { _, err := store.Read(ctx, "k", day); return err },
		"observe":    func() error { return store.Observe(ctx, "k", etagcache.Entry{}, observation("v"), day) },
		"claim":      func() error { _, _, err := store.Claim(ctx, "k", "", day); return err },
		"pass":       func() error { _, _, err := store.Pass(ctx, "k", day); return err },
		"renew":      func() error { return store.Renew(ctx, grant, day) },
		"settle":     func() error { return store.Settle(ctx, grant, etagcache.Settlement{}, day) },
		"spend":      func() error { return store.Spend(ctx, grant, []string{"x"}, day) },
		"wait":       func() error { return store.Wait(ctx, "k", etagcache.Entry{}) },
		"invalidate": func() error { return store.Invalidate(ctx, "k", day) },
		"invalidate matching": func() error {
			_, err := store.InvalidateMatching(ctx, "", func(string, bool) bool { return true }, day)
			return err
		},
		"invalidate all": func() error { return store.InvalidateAll(ctx, day) },
	} {
		if err := call(); !errors.Is(err, etagcache.ErrIncompatible) || !strings.Contains(err.Error(), "its format is 1, and here it is 2") {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	if after := s.Client().HGetAll(ctx, "caddy:preconditions:k").Val(); len(after) != len(before) || after["e"] != before["e"] {
		t.Errorf("the entry was %v and is %v", before, after)
	}
}

// Versions from before there were numbers have format 1. If one of them uses the store, this
// one doesn't.
func TestRedisRefusesAFormatWithoutANumber(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	before := epochOf(t, store, "k")
	same(t, s.Client().HDel(t.Context(), "caddy:preconditions:generation", "format").Err(), nil)
	for what, call := range map[string]func() error{
		"read":  func() error { _, err := store.Read(t.Context(), "k", day); return err },
		"claim": func() error { _, _, err := store.Claim(t.Context(), "k", before, day); return err },
	} {
		if err := call(); !errors.Is(err, etagcache.ErrIncompatible) || !strings.Contains(err.Error(), "its format is 1, and here it is 2") {
			t.Errorf("%s: got error %v", what, err)
		}
	}
	if n := s.Client().HExists(t.Context(), "caddy:preconditions:generation", "format").Val(); n {
		t.Error("the marker got a number")
	}
}

// What nobody can read counts for nothing if it is a validator, and for the longest
// possible time if it is a claim or a spent state. None of it makes a resource
// unwritable for longer than that.
func TestRedisUnreadableFields(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	ctx := t.Context()
	terms := day
	terms.Lag = time.Minute
	for _, value := range []string{"", "x", "1 2 ", "1 2 z - \"y\"", "1 2 p - y", "1 2 p x \"y\"", "x y p - \"y\"", "\x00\xff"} {
		s.Client().FlushDB(ctx)
		epochOf(t, store, "k")
		same(t, s.Client().HSet(ctx, "caddy:preconditions:k", "v:v", value).Err(), nil)
		e, err := store.Read(ctx, "k", terms)
		if err != nil || len(e.Variants) != 0 {
			t.Fatalf("%q: got %+v, %v", value, e, err)
		}
		if err := store.Observe(ctx, "k", e, observation("v"), terms); err != nil { // two readers may have raced
			same(t, err, etagcache.ErrStale)
			seen(t, store, "k")
		}
		if e, err = store.Read(ctx, "k", terms); err != nil || len(e.Variants) != 1 {
			t.Fatalf("%q: got %+v, %v", value, e, err)
		}

		same(t, s.Client().HSet(ctx, "caddy:preconditions:k", "v:w", value, "b:v", "x").Err(), nil)
		grant, e, err := store.Claim(ctx, "k", e.Epoch, terms)
		same(t, err, nil)
		same(t, store.Settle(ctx, grant, etagcache.Settlement{}, terms), nil)
		if e, err = store.Read(ctx, "k", terms); err != nil || e.Doubt == 0 {
			t.Fatalf("%q: what a write replaced is unknown, but the entry is %+v, %v", value, e, err)
		}
	}
	brief := terms
	brief.Lease = time.Second
	for _, field := range []string{"c:x", "p:x"} {
		for value, most := range map[string]time.Duration{
			"x": brief.Lease, "inf": brief.Lease, "nan": brief.Lease, "-1": brief.Lease, "": brief.Lease,
			"99999999999999999999": brief.Lease, "99999999999999.9999999": brief.Lease, "9999999999999+": brief.Lease, `9999999999999 0 p - "x"`: brief.Lease,
			"9999999999999": 2 * time.Hour, "9999999999999.9999999": 9999999 * time.Millisecond,
		} {
			s.Client().FlushDB(ctx)
			epochOf(t, store, "k")
			same(t, s.Client().HSet(ctx, "caddy:preconditions:k", field, value, "q", "x", "d", "x", "l", "inf").Err(), nil)
			for range 2 {
				e, err := store.Read(ctx, "k", brief)
				if err != nil || e.Busy <= 0 || e.Busy > most {
					t.Fatalf("%s %q: got %+v, %v", field, value, e, err)
				}
				_, _, err = store.Claim(ctx, "k", e.Epoch, brief)
				same(t, err, etagcache.ErrBusy)
			}
		}
	}
	for _, field := range []string{"from", "until", "grace", "lag", "spent"} {
		for _, value := range []string{"", "x", "inf", "nan", "-1", "99999999999999999999"} {
			s.Client().FlushDB(ctx)
			graced := open(t, plain(s), "")
			epochOf(t, graced, "k")
			same(t, s.Client().HSet(ctx, "caddy:preconditions:generation", field, value).Err(), nil)
			e, err := graced.Read(ctx, "k", brief)
			if grace := field == "grace" && value == "99999999999999999999"; err != nil || e.Busy != 0 && !grace {
				t.Fatalf("%s %q: got %+v, %v", field, value, e, err)
			}
		}
	}
	s.Client().FlushDB(ctx)
	epochOf(t, store, "k")
	for value, id := range map[string]string{
		"1 9999999999999999\n9999999999999999 x":     "x",
		"1 9999999999999\n9999999999999 x":           "x",
		"1 9999999999999\n9999999999999 x\n99999999": "x", // and anything
		"1 x\nx y": "", "x": "", "\n": "", "1 9999999999999": "", "1 9999999999999\n": "",
	} {
		same(t, s.Client().HSet(ctx, "caddy:preconditions:k", "s", value).Err(), nil)
		for range 2 {
			e, err := store.Read(ctx, "k", terms)
			left := e.Doubt
			if id != "" {
				left = e.Spent.Left(id)
			}
			if most := terms.Lag + time.Second; err != nil || left <= 0 || left > most || e.Doubt > most {
				t.Fatalf("%q: got %+v, %v", value, e, err)
			}
		}
	}
}

// A server that is a replica, also one that was the master before, is no store.
func TestRedisReplicaIsRefused(t *testing.T) {
	s := redistest.Start(t)
	store := open(t, plain(s), "")
	before := seen(t, store, "k")
	same(t, s.Client().ConfigSet(t.Context(), "replica-read-only", "no").Err(), nil)
	same(t, s.Client().Do(t.Context(), "REPLICAOF", "127.0.0.1", "9").Err(), nil)
	_, err := store.Read(t.Context(), "k", day)
	unavailable(t, err)
	_, _, err = store.Claim(t.Context(), "k", before.Epoch, day)
	unavailable(t, err)
	if !strings.Contains(err.Error(), "the role of the server is slave, not master") {
		t.Errorf("got error %v", err)
	}
	same(t, s.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(), nil)
	unknown(t, store, "k", before)
}

// A store that can't tell whether it has lost data says so once, at the first contact, and
// how to change that.
func TestRedisThatCannotTellALoss(t *testing.T) {
	s := redistest.Start(t, "--user", "gate", "on", ">secret", "~*", "&*", "+@all", "-info")
	for user, want := range map[string]int32{"gate": 1, "": 0} {
		c := plain(s)
		if user != "" {
			c.Username, c.Password = user, "secret"
		}
		var warned atomic.Int32
		store := openWith(t, c, etagcache.RedisOptions{Warn: func(err error) {
			same(t, err, etagcache.ErrBlind)
			if !strings.Contains(err.Error(), "ACL SETUSER <user> +info") {
				t.Errorf("the warning doesn't say what to do: %v", err)
			}
			warned.Add(1)
		}})
		for range 2 {
			epochOf(t, store, "k")
		}
		if got := warned.Load(); got != want {
			t.Errorf("user %q: %d warnings, want %d", user, got, want)
		}
	}
}
