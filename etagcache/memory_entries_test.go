package etagcache

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Entries are found by their keys, although the keys of others have the same hash, and
// whichever come and go.
func TestEntriesWithTheSameHash(t *testing.T) {
	all := newEntries(0)
	all.hash = func(key string) uint32 { return uint32(len(key)) }
	r := rand.New(rand.NewPCG(1, 2))
	epochs := make(map[string]string)
	now := time.Now()
	for range 5_000 {
		key := fmt.Sprint(r.IntN(2_000))
		e := all.find(key, now)
		if epoch := epochs[key]; (e == nil) != (epoch == "") || e != nil && (e.key != key || e.epoch != epoch) {
			t.Fatalf("%s: got %+v, and the epoch was %q", key, e, epoch)
		}
		if e != nil && r.IntN(2) == 0 {
			all.remove(e)
			delete(epochs, key)
			continue
		}
		e = all.findOrCreate(key, now)
		epochs[key] = e.epoch
		all.keep(e, now, Terms{Retention: time.Hour})
	}
	found := 0
	for number := range all.beginningWith("1") {
		if key := string(packedKey(all.content(number))); epochs[key] == "" || key[0] != '1' {
			t.Errorf("%q is there", key)
		}
		found++
	}
	for key := range epochs {
		if key[0] == '1' {
			found--
		}
		all.remove(all.find(key, now))
	}
	if found != 0 || all.len() != 0 || len(all.index) != 0 || all.bytes != 0 {
		t.Errorf("%d too many were found, and %d of %d bytes are left", found, all.len(), all.bytes)
	}
}
