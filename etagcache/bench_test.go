package etagcache_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

func BenchmarkMemory(b *testing.B) {
	bench(b, etagcache.NewMemory(10_000))
}

func BenchmarkRedis(b *testing.B) {
	bench(b, open(b, plain(redistest.Start(b)), ""))
}

func bench(b *testing.B, s etagcache.Store) {
	const resources = 1000
	ctx := b.Context()
	keys := make([]string, resources)
	for i := range keys {
		keys[i] = fmt.Sprintf("https://example.com/documents/%d", i)
		e, err := s.Read(ctx, keys[i], day)
		if err == nil {
			err = s.Observe(ctx, keys[i], e, observation(""), day)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Read", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Read(ctx, keys[i%resources], day); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ReadParallel", func(b *testing.B) {
		var n atomic.Uint32
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Read(ctx, keys[n.Add(1)%resources], day); err != nil {
					b.Error(err)
				}
			}
		})
	})
	save := func(b *testing.B, key string, t etagcache.Terms) {
		o := observation("")
		e, err := s.Read(ctx, key, t)
		if err == nil {
			o.ETag.Opaque = e.Epoch // unlike any before
			err = s.Observe(ctx, key, e, o, t)
		}
		var g etagcache.Grant
		if err == nil {
			e, err = s.Read(ctx, key, t)
		}
		if err == nil {
			g, _, err = s.Claim(ctx, key, e.Epoch, t)
		}
		if err == nil {
			err = s.Settle(ctx, g, etagcache.Settlement{}, t)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Save", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			save(b, "k", day)
		}
	})
	b.Run("SaveOften", func(b *testing.B) { // 64 earlier states are spent all the time
		b.ReportAllocs()
		lagging := day
		lagging.Lag = time.Hour
		for range 64 {
			save(b, "often", lagging)
		}
		for b.Loop() {
			save(b, "often", day)
		}
	})
}
