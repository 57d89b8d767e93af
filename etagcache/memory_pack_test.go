package etagcache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// An entry that is packed and unpacked again is the same, whatever it knows.
func TestPackedEntryIsTheSame(t *testing.T) {
	base := time.Now()
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string { return strings.Repeat("x", r.IntN(3)*r.IntN(200)) + fmt.Sprint(r.IntN(1000)) }
	some := func() bool { return r.IntN(2) == 0 }
	at := func() time.Time {
		if r.IntN(4) == 0 {
			return time.Time{}
		}
		return base.Add(time.Duration(r.Int64N(int64(48*time.Hour))) - time.Hour)
	}
	tag := func() validator.ETag {
		if some() {
			return validator.ETag{}
		}
		return validator.ETag{Opaque: strings.Repeat("y", r.IntN(3)), Weak: some(), Valid: true}
	}
	for range 2_000 {
		e := entry{key: text(), epoch: text(), spent: spentStates{base: base}}
		if some() {
			e.vary, e.receipt, e.latest = text(), text(), at().Round(0)
		}
		if some() {
			e.claimed, e.lag, e.quiet, e.reserved = some(), time.Duration(r.IntN(100)), text(), at()
			for range r.IntN(3) + 1 {
				e.leases = append(e.leases, leaseEnd{text(), at()})
			}
		}
		if some() {
			for range r.IntN(4) + 1 {
				e.spent.list = e.spent.list.add(text(), r.Int64(), some())
			}
		}
		for range r.IntN(4) {
			v := variant{key: text(), stored: at(), since: base.Add(time.Duration(r.Int64N(int64(time.Hour)))).Round(0)}
			v.State, v.Own, v.WeakDate, v.ETag, v.Backend = validator.State(r.IntN(3)), some(), some(), tag(), tag()
			if some() {
				v.LastModified = time.Unix(r.Int64N(1<<33), 0).UTC()
			}
			e.variants = append(e.variants, v)
		}
		p := packer{base: base}
		packEntry(&p, &e)
		if !hasKey(p.b, e.key) || !hasPrefix(p.b, e.key[:len(e.key)/2]) || hasKey(p.b, e.key+"x") {
			t.Errorf("the key of %+v isn't found", e)
		}
		unpacked := entry{variants: make([]variant, 3)}
		unpackEntry(base, p.b, &unpacked)
		if len(unpacked.variants) == 0 {
			unpacked.variants = nil
		}
		again := packer{base: base}
		packEntry(&again, &unpacked)
		if !reflect.DeepEqual(e, unpacked) || !bytes.Equal(p.b, again.b) {
			t.Fatalf("%+v became %+v", e, unpacked)
		}
	}
}
