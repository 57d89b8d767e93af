package etagcache

import (
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

func FuzzPack(f *testing.F) {
	f.Add(byte(0), false, false, int64(0), false, "", false, false)
	f.Add(byte(1), false, false, int64(0), false, "", false, false)
	f.Add(byte(2), true, true, int64(1763769600), true, `a "b" W/`, true, true)
	f.Add(byte(2), true, false, int64(-62135596800), true, "\x80\xff\n", false, true)
	f.Fuzz(func(t *testing.T, state byte, own, weakDate bool, date int64, dated bool, opaque string, weak, tagged bool) {
		o := fuzzedObserved(state, own, weakDate, date, dated, opaque, weak, tagged)
		packed := pack(o)
		got, err := unpack(packed)
		if err != nil {
			t.Fatalf("%q: %v", packed, err)
		}
		if !got.Equal(o) {
			t.Fatalf("%q: got %+v, want %+v", packed, got, o)
		}
		if again := pack(got); again != packed {
			t.Fatalf("%q is %q the second time", packed, again)
		}
	})
}

// fuzzedObserved returns the observation that a fuzzer's arguments describe.
func fuzzedObserved(state byte, own, weakDate bool, date int64, dated bool, opaque string, weak, tagged bool) validator.Observed {
	o := validator.Observed{Own: own}
	o.State = validator.State(state % 3)
	o.WeakDate = weakDate
	if dated {
		o.LastModified = time.Unix(date, 0)
	}
	if tagged {
		o.ETag = validator.ETag{Opaque: opaque, Weak: weak, Valid: true}
	}
	return o
}

func FuzzPackTag(f *testing.F) {
	f.Add("", false, false)
	f.Add("", true, true)
	f.Add(`a "b" W/`, true, true)
	f.Fuzz(func(t *testing.T, opaque string, weak, valid bool) {
		var tag validator.ETag
		if valid {
			tag = validator.ETag{Opaque: opaque, Weak: weak, Valid: true}
		}
		if got, ok := unpackTag(packTag(tag)); !ok || got != tag {
			t.Errorf("%q: got %+v, %v", packTag(tag), got, ok)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	for _, s := range []string{
		"", "u", "u - ", "p 0 ", `po 1763769600 "a"`, `pow 1 W/""`, `p - W/"`, `p - "`,
		"x - ", "p  ", "p + ", "pwo - ", `p 01 ""`, "p 1 a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := unpack(s)
		if err != nil {
			return
		}
		got, err := unpack(pack(o))
		if err != nil || !got.Equal(o) {
			t.Fatalf("%q: got %+v and %v, want %+v", s, got, err, o)
		}
	})
}
