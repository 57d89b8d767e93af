package etagcache

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// The scripts identify what is stored for a variant as the gateways identify what
// they observe.
func FuzzIdentity(f *testing.F) {
	c := redistest.Start(f).Client()
	identity := redis.NewScript(source("identity") + "return identity(ARGV[1])")
	f.Add(byte(0), false, false, int64(0), false, "", false, false)
	f.Add(byte(1), false, false, int64(0), false, "", false, false)
	f.Add(byte(2), false, false, int64(0), false, "", false, false)
	f.Add(byte(2), false, true, int64(1763769600), true, "", false, false)
	f.Add(byte(2), true, true, int64(1763769600), true, `a "b" W/`, true, true)
	f.Add(byte(2), true, false, int64(-62135596801), true, "\x80\xff\n", false, true)
	f.Add(byte(2), true, false, int64(0), false, "W/", false, true)
	f.Add(byte(2), true, false, int64(0), false, "a\x00 \x00b\r\n", true, true)
	f.Add(byte(2), true, false, int64(0), false, "", true, true)
	f.Add(byte(1), true, false, int64(1), true, "x", true, true)
	f.Fuzz(func(t *testing.T, state byte, own, weakDate bool, date int64, dated bool, opaque string, weak, tagged bool) {
		o := fuzzedObserved(state, own, weakDate, date, dated, opaque, weak, tagged)
		got, err := identity.Run(context.Background(), c, []string{"k", "m"},
			"1763769600000 0 "+pack(o)).Text()
		if want := o.Identity(); err != nil || got != want {
			t.Errorf("%q: got %q and %v, want %q", pack(o), got, err, want)
		}
	})
}
