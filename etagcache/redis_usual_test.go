package etagcache

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// Where a short cut takes a decision, it has the same effect and gives the same reply as the
// script that it spares, whatever is stored.
func TestShortCutsAgreeWithTheScripts(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	c := redis.NewClient(&redis.Options{Addr: m.Addr(), DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	now := time.UnixMilli(1763769600000)
	m.SetTime(now)
	taken := make(map[string]int)
	for seed := range uint64(6000) {
		s := situation{Rand: rand.New(rand.NewPCG(seed, 0)), now: now.UnixMilli()}
		name := quick[s.IntN(len(quick))]
		before, marker, args := s.entry(name), s.marker(), s.args(name)
		run := func(text string) outcome {
			m.FlushAll()
			put(t, c, "k", before)
			put(t, c, "marker", marker)
			if err := c.PExpire(t.Context(), "k", time.Duration(100+s.now%7)*time.Second).Err(); err != nil {
				t.Fatal(err)
			}
			return outcomeOf(t, c, text, args, s.now)
		}
		short := run(beginning() + shortCut(name) + "return { 'NONE' }")
		if reply, _ := short.reply.([]any); len(reply) == 1 && reply[0] == "NONE" {
			if !reflect.DeepEqual(short.fields, before) {
				t.Fatalf("seed %d: %s gives up, but %v became %v", seed, name, before, short.fields)
			}
			continue
		}
		taken[name]++
		if full := run(beginning() + source("generation", "prelude", "identity", "spent", "entry", name)); !reflect.DeepEqual(short, full) {
			t.Fatalf("seed %d: %s of %q with %q:\n got %+v\nwant %+v", seed, name, before, args, short, full)
		}
	}
	for _, name := range quick {
		if taken[name] < 40 {
			t.Errorf("%s took the short cut %d times", name, taken[name])
		}
	}
}

// quick are the scripts that begin with a short cut.
var quick = []string{"claim", "observe", "pass", "read", "settle", "spend"}

// What usually happens takes the short cuts: each script looks at the marker only once.
func TestShortCutsAreTaken(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client, err := RedisConfig{Addresses: []string{s.Addr}, Timeout: 5 * time.Second}.Client()
	if err != nil {
		t.Fatal(err)
	}
	store := NewRedis(client, RedisOptions{Timeout: 5 * time.Second})
	defer store.Close()
	ctx := t.Context()
	terms := Terms{Lease: time.Minute, Retention: time.Hour, Brief: time.Minute, Lag: time.Minute}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func() Entry {
		e, err := store.Read(ctx, "k", terms)
		must(err)
		return e
	}
	read()
	must(s.Client().ConfigResetStat(ctx).Err())
	_, err = store.Read(ctx, "other", terms)
	must(err)
	expectShortCuts(t, s, "creation", 2) // one of them by the plain read
	for i := range 5 {
		before := read()
		o := Observation{Variant: "v", Vary: "accept"}
		o.State, o.ETag.Opaque, o.ETag.Valid = 2, fmt.Sprint(i), true
		must(s.Client().ConfigResetStat(ctx).Err())
		must(store.Observe(ctx, "k", before, o, terms))
		grant, _, err := store.Claim(ctx, "k", before.Epoch, terms)
		must(err)
		must(store.Spend(ctx, grant, []string{fmt.Sprint("t", i)}, terms))
		must(store.Settle(ctx, grant, Settlement{Replaced: []string{o.Identity(), "!" + o.Identity()}}, terms))
		grant, _, err = store.Pass(ctx, "k", terms)
		must(err)
		must(store.Settle(ctx, grant, Settlement{}, terms))
		expectShortCuts(t, s, fmt.Sprint("write ", i), 6)
	}
}

func expectShortCuts(t *testing.T, s *redistest.Server, what string, calls int) {
	t.Helper()
	stats := s.Client().Info(t.Context(), "commandstats").Val()
	if !strings.Contains(stats, fmt.Sprintf("cmdstat_hmget:calls=%d,", calls)) {
		t.Errorf("%s: more than the short cuts:\n%s", what, stats)
	}
}

// outcome is what a script has left and returned. Spent states are decoded: the field s may
// say the same in several ways.
type outcome struct {
	fields map[string]string
	spent  Entry
	ttl    time.Duration
	reply  any
}

func outcomeOf(t *testing.T, c *redis.Client, text string, args []any, now int64) (o outcome) {
	t.Helper()
	var err error
	if o.reply, err = c.Eval(t.Context(), text, []string{"k", "marker"}, args...).Result(); err != nil {
		t.Fatal(err)
	}
	o.fields = c.HGetAll(t.Context(), "k").Val()
	o.ttl = c.PTTL(t.Context(), "k").Val()
	if values, ok := o.reply.([]any); ok && len(values) >= firstVariant {
		e, err := reply(values).entry()
		if err != nil {
			t.Fatal(err)
		}
		o.reply = InOrder(e)
	}
	if none, _ := o.reply.([]any); len(none) == 1 && none[0] == "NONE" {
		return o
	}
	if !o.spent.setSpent(o.fields["s"], now, now+int64(time.Hour)) {
		t.Fatalf("unreadable: %q", o.fields["s"])
	}
	o.spent = InOrder(o.spent)
	delete(o.fields, "s")
	return o
}

func put(t *testing.T, c *redis.Client, key string, fields map[string]string) {
	t.Helper()
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if err := c.HSet(context.Background(), key, field, fields[field]).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// situation draws what is stored and what a script is asked for.
type situation struct {
	*rand.Rand
	now int64
}

// seldom reports true once in n times.
func (s situation) seldom(n int) bool { return s.IntN(n) == 0 }

func (s situation) marker() map[string]string {
	m := map[string]string{
		"format": fmt.Sprint(Format), "id": "id", "replid": strings.Repeat("0", 40), "from": fmt.Sprint(s.now - 60_000), "until": fmt.Sprint(s.now - 50_000),
		"grace": "10000", "lag": "30000", "why": "empty",
	}
	if s.seldom(20) {
		m["until"] = fmt.Sprint(s.now + 1000)
	}
	if s.seldom(20) {
		m["lag"] = "20000"
	}
	if s.seldom(4) {
		m["lag"] = "3600000"
	}
	if s.seldom(20) {
		field := slices.Sorted(maps.Keys(m))[s.IntN(len(m))]
		m[field] = s.odd()
	}
	if m["format"] != fmt.Sprint(Format) {
		m["format"] = fmt.Sprint(Format)
	}
	return m
}

// odd returns what nobody stores.
func (s situation) odd() string {
	return []string{"", "x", "0", "-1", "inf", "9999999999999", "99999999999999999", "1 2 p"}[s.IntN(8)]
}

func (s situation) identity() string {
	return []string{"t1", "t2", "t11", "absent", "!t1", "*"}[s.IntN(6)]
}

func (s situation) value() string {
	return fmt.Sprint(s.now-int64(s.IntN(5000)), " ", s.IntN(3)*1000, " ", s.packed())
}

func (s situation) packed() string {
	return []string{`p - "1"`, `po - "2"`, `po 1763769600 W/"1"`, `pw 1763769600 `, `p - `, `a - `, `u - `}[s.IntN(7)]
}

func (s situation) entry(name string) map[string]string {
	if name == "read" && !s.seldom(10) {
		return map[string]string{}
	}
	m := map[string]string{"e": "e1", "g": "id", "y": "accept"}
	for _, variant := range []string{"v", "w"}[:s.IntN(3)] {
		m["v:"+variant] = s.value()
		if s.seldom(3) {
			m["b:"+variant] = `W/"b"`
		}
	}
	if s.seldom(2) {
		m["s"] = s.spent()
	}
	if name == "settle" || name == "spend" || s.seldom(3) {
		kind := "c:"
		if s.seldom(3) {
			kind = "p:"
			m["h"] = s.identity()
		}
		m[kind+"e1"] = fmt.Sprintf("%d.%07d", s.now+int64(s.IntN(12))*3000-1000, 30000)
		m["l"] = []string{"30001", "20001", "3600001"}[s.IntN(3)]
		if s.seldom(8) {
			m[kind+"other"] = fmt.Sprintf("%d.%07d", s.now+20_000, 30000)
		}
	}
	more := map[string]string{
		"w": "1", "q": fmt.Sprint(s.now + 500), "u": "e1", "d": fmt.Sprint(s.now - 7000 + int64(s.IntN(9000))), "r": "receipt", "h": "t1 t2", "l": "30001",
	}
	for _, field := range []string{"w", "q", "u", "d", "r", "h", "l"} {
		if s.seldom(6) {
			m[field] = more[field]
		}
	}
	if s.seldom(15) {
		m[slices.Sorted(maps.Keys(m))[s.IntN(len(m))]] = s.odd()
	}
	return m
}

// spent returns a field s, with lines that are over.
func (s situation) spent() string {
	at, n, lines := s.now-3000, 0, ""
	for range 1 + s.IntN(6) {
		at += int64(s.IntN(4)) * 1000
		lines += fmt.Sprint("\n", at)
		for range 1 + s.IntN(3) {
			lines += " " + s.identity()
			n++
		}
	}
	return fmt.Sprint(n, " ", at, lines)
}

func (s situation) args(name string) []any {
	epoch := "e1"
	if s.seldom(8) {
		epoch = "e0"
	}
	heard := 10000
	if s.seldom(10) {
		heard = 0
	}
	lag := []int{30000, 20000, 0, 3600000}[s.IntN(4)]
	common := []any{"fresh", "", 10000, heard, 30000, lag, "channel", []string{"86400000 60000", "86400000", "50000 1000"}[s.IntN(3)]}
	kind := []string{"c:", "c:", "c:", "p:"}[s.IntN(4)]
	observed, vary, tag := s.packed(), []string{"accept", "accept", "cookie"}[s.IntN(3)], []string{"", `W/"b"`}[s.IntN(2)]
	id := s.identity()
	switch name {
	case "read":
		return common
	case "pass":
		return append(common, "token")
	case "claim":
		args := append(common, "token", epoch)
		for range []int{0, 0, 1, 1, 2}[s.IntN(5)] {
			args = append(args, s.identity())
		}
		return args
	case "spend":
		args := append(common, kind+epoch)
		for range []int{1, 1, 1, 0, 2}[s.IntN(5)] {
			args = append(args, s.identity())
		}
		return args
	case "observe":
		return append(common, epoch, "v", []string{"", observed, `p - "1"`}[s.IntN(3)], observed, vary, id, tag)
	default:
		changed := []string{"1", "1", ""}[s.IntN(3)]
		if s.seldom(2) {
			observed, tag = "", ""
		}
		args := append(common, kind+epoch, epoch+".", changed, "v", observed, vary, id, []string{"", "1"}[s.IntN(2)], []string{"", "receipt2"}[s.IntN(2)], tag)
		for range s.IntN(3) {
			args = append(args, s.identity())
		}
		return args
	}
}
