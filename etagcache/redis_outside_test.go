package etagcache_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// outside marks an entry as changed, as a job or trigger does that has only a Redis
// client.
func outside(t *testing.T, s *redistest.Server, key string) {
	t.Helper()
	if err := s.Client().HDel(t.Context(), "caddy:preconditions:"+key, "g").Err(); err != nil {
		t.Fatal(err)
	}
}

// Whenever a program deletes the field g of an entry, the store forgets what it
// knew about the resource before. The right to write is not affected.
func TestRedisMarkedFromOutside(t *testing.T) {
	s := redistest.Start(t)
	a, b := open(t, plain(s), ""), open(t, plain(s), "")
	ctx := t.Context()
	o := observation("w")
	changed := etagcache.Settlement{Observation: &o, Receipt: "r"}
	unchanged := etagcache.Settlement{Unchanged: true, Observation: &o}

	nothingKnown := func(t *testing.T, key string) {
		t.Helper()
		e, err := b.Read(ctx, key, day)
		if err != nil || len(e.Variants) != 0 || e.Receipt != "" {
			t.Errorf("got %+v, %v", e, err)
		}
	}
	claimed := func(t *testing.T, key string) {
		t.Helper()
		e, err := b.Read(ctx, key, day)
		same(t, err, nil)
		if _, _, err = b.Claim(ctx, key, e.Epoch, day); e.Busy <= 0 {
			t.Errorf("got %+v", e)
		}
		same(t, err, etagcache.ErrBusy)
	}

	t.Run("at rest", func(t *testing.T) {
		before := seen(t, a, "k1")
		outside(t, s, "k1")
		unknown(t, a, "k1", before)
		nothingKnown(t, "k1")
	})
	t.Run("while a response is on its way", func(t *testing.T) {
		before := seen(t, a, "k2")
		outside(t, s, "k2")
		same(t, a.Observe(ctx, "k2", before, o, day), etagcache.ErrStale)
		nothingKnown(t, "k2")
	})
	for name, end := range map[string]etagcache.Settlement{"that succeeds": changed, "that fails": unchanged} {
		t.Run("during a write "+name, func(t *testing.T) {
			key := "k3" + name
			seen(t, a, key)
			grant, _ := claim(t, a, key)
			outside(t, s, key)
			claimed(t, key)
			same(t, a.Renew(ctx, grant, day), nil)
			outside(t, s, key)
			same(t, a.Settle(ctx, grant, end, day), nil)
			nothingKnown(t, key)
		})
		t.Run("just before the end of a write "+name, func(t *testing.T) {
			key := "k4" + name
			seen(t, a, key)
			grant, _ := claim(t, a, key)
			outside(t, s, key)
			same(t, a.Settle(ctx, grant, end, day), nil)
			nothingKnown(t, key)
		})
		t.Run("just after the end of a write "+name, func(t *testing.T) {
			key := "k5" + name
			seen(t, a, key)
			grant, _ := claim(t, a, key)
			same(t, a.Settle(ctx, grant, end, day), nil)
			outside(t, s, key)
			nothingKnown(t, key)
		})
	}
	t.Run("during a pass", func(t *testing.T) {
		pass, e, err := a.Pass(ctx, "k6", day)
		same(t, err, nil)
		outside(t, s, "k6")
		_, _, err = b.Claim(ctx, "k6", e.Epoch, day)
		same(t, err, etagcache.ErrBusy)
		outside(t, s, "k6")
		same(t, a.Renew(ctx, pass, day), nil)
		outside(t, s, "k6")
		same(t, a.Settle(ctx, pass, etagcache.Settlement{}, day), nil)
		nothingKnown(t, "k6")
	})
	t.Run("while somebody waits", func(t *testing.T) {
		grant, e := claim(t, a, "k7")
		waited := make(chan error)
		go func() { waited <- b.Wait(ctx, "k7", e) }()
		outside(t, s, "k7")
		same(t, <-waited, nil)
		same(t, a.Settle(ctx, grant, etagcache.Settlement{}, day), nil)
	})
	t.Run("after a lease expired", func(t *testing.T) {
		seen(t, a, "k8")
		short := day
		short.Lease = time.Millisecond
		e, err := a.Read(ctx, "k8", day)
		same(t, err, nil)
		_, e, err = a.Claim(ctx, "k8", e.Epoch, short)
		same(t, err, nil)
		outside(t, s, "k8")
		same(t, b.Wait(ctx, "k8", e), nil)
		nothingKnown(t, "k8")
	})
	t.Run("without an entry", func(t *testing.T) {
		outside(t, s, "k9")
		if s.Client().Exists(ctx, "caddy:preconditions:k9").Val() != 0 {
			t.Error("an entry was created")
		}
	})
	t.Run("together with an invalidation", func(t *testing.T) {
		before := seen(t, a, "k10")
		outside(t, s, "k10")
		same(t, a.Invalidate(ctx, "k10", day), nil)
		unknown(t, a, "k10", before)
		before = seen(t, a, "k10")
		outside(t, s, "k10")
		n, err := a.InvalidateMatching(ctx, "k10", func(string, bool) bool { return true }, day)
		same(t, err, nil)
		if n != 1 {
			t.Errorf("invalidated %d entries", n)
		}
		unknown(t, a, "k10", before)
	})
	t.Run("with a lag", func(t *testing.T) {
		lagging := day
		lagging.Lag = time.Hour
		seen(t, a, "k11")
		outside(t, s, "k11")
		e, err := b.Read(ctx, "k11", lagging)
		same(t, err, nil)
		if left := e.Spent.Left(observation("v").Identity()); left <= lagging.Lag/2 || left > lagging.Lag+time.Millisecond {
			t.Errorf("got %+v", e)
		}
		same(t, a.Observe(ctx, "k11", e, observation("v"), lagging), etagcache.ErrSpent)
		// A claim that goes on may change the resource as well.
		e = seen(t, a, "k12")
		_, _, err = a.Claim(ctx, "k12", e.Epoch, lagging)
		same(t, err, nil)
		outside(t, s, "k12")
		e, err = b.Read(ctx, "k12", lagging)
		same(t, err, nil)
		if left := e.Spent.Left(observation("v").Identity()); left <= lagging.Lag+lagging.Lease/2 {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("under a hashed name", func(t *testing.T) {
		for _, key := range []string{"generation.example.com/docs/plan", "example.com/" + strings.Repeat("x", 200)} {
			before := seen(t, a, key)
			sum := sha256.Sum256([]byte(key))
			outside(t, s, key[:min(len(key), 168)]+"#"+base64.RawURLEncoding.EncodeToString(sum[:]))
			unknown(t, a, key, before)
		}
	})
	t.Run("with redis-cli", func(t *testing.T) {
		if _, err := exec.LookPath("redis-cli"); err != nil {
			t.Skip("redis-cli isn't installed")
		}
		before := seen(t, a, "example.com/docs/plan")
		cmd := exec.CommandContext(ctx, "redis-cli", "-u", "redis://"+s.Addr, "HDEL", "caddy:preconditions:example.com/docs/plan", "g")
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "1\n" {
			t.Fatalf("%v: %s", err, out)
		}
		unknown(t, a, "example.com/docs/plan", before)
	})
}

// While a program deletes the field again and again, claims still exclude each
// other, and the store still forgets what was read before.
func TestRedisMarkedFromOutsideUnderLoad(t *testing.T) {
	s := redistest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c := s.Client()
		for ctx.Err() == nil {
			for _, name := range c.Keys(ctx, "*&*").Val() {
				_ = c.HDel(ctx, name, "g").Err()
			}
		}
	}()
	stress(t, etagcache.RedisConfig{Addresses: []string{s.Addr}})
	cancel()
	<-stopped
}
