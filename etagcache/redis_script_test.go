package etagcache

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
)

// times are the times in the field s.
var times = regexp.MustCompile(`\d{13}`)

// A script that runs twice with the same arguments, as after a lost reply, has its
// effect only once and gives the same answer.
func TestScriptsExecutedTwice(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	ctx := context.Background()
	const hour = 3600_000
	_, replid, _ := strings.Cut(c.Info(ctx, "replication").Val(), "master_replid:")
	c.HSet(ctx, "marker", "format", Format, "id", "generation", "replid", replid[:40], "until", "0")
	state := func(key string) map[string]string {
		fields := c.HGetAll(ctx, key).Val()
		for name, value := range fields {
			// The times differ by the time between the two calls.
			if name[:1] == "v" {
				fields[name] = strings.SplitN(value, " ", 3)[2]
			}
			if name[:1] == "c" || name[:1] == "p" || name == "q" {
				fields[name] = ""
			}
			if name == "s" {
				fields[name] = times.ReplaceAllString(value, "")
			}
		}
		return fields
	}
	spent := func(ids string) string {
		ends := fmt.Sprint(time.Now().Add(time.Hour / 2).UnixMilli())
		return fmt.Sprint(strings.Count(ids, " "), " ", ends, "\n", ends, ids)
	}
	var many []any
	for i := range 2 * MaxSpent {
		many = append(many, fmt.Sprint("t", i))
	}
	present, other := `p - "1"`, `p - "2"`
	tests := []struct {
		name   string
		before []any // fields of the entry
		script *script
		args   []any
		status string
	}{
		{"read", nil, readScript, nil, "OK"},
		{"observe", []any{"e", "1"}, observeScript, []any{"1", "v", "", present, "", "t1", ""}, "OK"},
		{"observe a change", []any{"e", "1", "v:v", "1763769600000 0 " + other}, observeScript, []any{"1", "v", other, present, "", "t1", ""}, "OK"},
		{"observe the backend's tag", []any{"e", "1"}, observeScript, []any{"1", "v", "", present, "", "t1", `W/"1"`}, "OK"},
		{"observe that it is gone", []any{"e", "1", "v:v", "1763769600000 0 " + present, "b:v", `W/"1"`}, observeScript, []any{"1", "v", present, present, "", "t1", ""}, "OK"},
		{"observe a contradiction", []any{"e", "1", "v:v", "1763769600000 0 " + other}, observeScript, []any{"1", "v", "", present, "", "t1", ""}, "STALE"},
		{"observe late", []any{"e", "2"}, observeScript, []any{"1", "v", "", present, "", "t1", ""}, "STALE"},
		{"observe a spent state", []any{"e", "1", "s", spent(" t1")}, observeScript, []any{"1", "v", "", present, "", "t1", ""}, "SPENT"},
		{"observe in doubt", []any{"e", "1", "s", spent(" *")}, observeScript, []any{"1", "v", "", present, "", "", ""}, "SPENT"},
		{"claim", []any{"e", "1"}, claimScript, []any{"token", "1"}, "OK"},
		{"claim late", []any{"e", "2"}, claimScript, []any{"token", "1"}, "STALE"},
		{"claim after another claim expired", []any{"e", "1", "c:other", "1"}, claimScript, []any{"token", "1"}, "STALE"},
		{"claim while there is a pass", []any{"e", "1", "p:other", "9999999999999"}, claimScript, []any{"token", "1"}, "BUSY"},
		{"pass", []any{"e", "1", "v:v", "1763769600000 0 " + other}, passScript, []any{"token"}, "OK"},
		{"pass beside a pass", []any{"e", "1", "p:other", "9999999999999"}, passScript, []any{"token"}, "OK"},
		{"pass after a claim expired", []any{"e", "1", "c:other", "1", "l", "9999999999999", "v:v", "1763769600000 0 " + other}, passScript, []any{"token"}, "OK"},
		{"renew", []any{"e", "1", "c:token", "9999999999999"}, renewScript, []any{"c:token"}, "OK"},
		{"renew a claim that expired", []any{"e", "1", "c:token", "1"}, renewScript, []any{"c:token"}, "LOST"},
		{"settle", []any{"e", "token", "c:token", "9999999999999"}, settleScript, []any{"c:token", "token.", "", "v", present, "", "t1", "", "", ""}, "OK"},
		{"settle a change", []any{"e", "token", "c:token", "9999999999999", "v:v", "1763769600000 0 " + other}, settleScript, []any{"c:token", "token.", "1", "v", present, "", "t1", "", "receipt", "", "t2"}, "OK"},
		{"settle a change of the backend's tag", []any{"e", "token", "c:token", "9999999999999", "v:v", "1763769600000 0 " + other, "b:v", `W/"1"`}, settleScript, []any{"c:token", "token.", "1", "v", present, "", "t1", "", "receipt", `W/"2"`, "t2"}, "OK"},
		{"settle a proven state", []any{"e", "token", "c:token", "9999999999999", "v:v", "1763769600000 0 " + present}, settleScript, []any{"c:token", "token.", "1", "v", present, "", "t1", "1", "", ""}, "OK"},
		{"settle what was announced", []any{"e", "token", "p:token", "9999999999999", "h", "t1"}, settleScript, []any{"p:token", "token.", "1", "", "", "", "", "", "", ""}, "OK"},
		{"spend", []any{"e", "token", "c:token", "9999999999999", "s", spent(" t1")}, spendScript, []any{"c:token", "t1", "t2"}, "OK"},
		{"spend more than is kept", []any{"e", "token", "c:token", "9999999999999"}, spendScript, append([]any{"c:token"}, many...), "OK"},
		{"spend late", []any{"e", "token.", "c:token", "1"}, spendScript, []any{"c:token", "t1"}, "LOST"},
		{"settle a pass", []any{"e", "token", "p:token", "9999999999999", "v:v", "1763769600000 0 " + other}, settleScript, []any{"p:token", "token.", "1", "", "", "", "", "", "", ""}, "OK"},
		{"settle a claim that expired", []any{"e", "token", "c:token", "1"}, settleScript, []any{"c:token", "token.", "", "v", present, "", "t1", "", "", ""}, "LOST"},
		{"invalidate during a claim", []any{"e", "token", "c:token", "9999999999999", "v:v", "1763769600000 0 " + other}, invalidateScript, nil, "OK"},
		{"invalidate", []any{"e", "1", "v:v", "1763769600000 0 " + other}, invalidateScript, nil, "OK"},
		{"wait", []any{"e", "1", "c:token", "9999999999999"}, waitScript, []any{"1", ""}, "OK"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key := fmt.Sprint(i)
			if test.before != nil {
				c.HSet(ctx, key, append(test.before, "g", "generation")...)
			}
			args := append([]any{"fresh", "1", 0, 0, hour, hour, "channel", 24 * hour}, test.args...)
			var replies [2]reply
			var states [2]map[string]string
			for i := range replies {
				values, err := test.script.Run(ctx, c, []string{key, "marker"}, args...).Slice()
				if err != nil {
					t.Fatal(err)
				}
				replies[i], states[i] = values, state(key)
			}
			for _, r := range replies {
				if status, _ := r.text(0); status != test.status {
					t.Errorf("got %q, want %s", r, test.status)
				}
			}
			if !reflect.DeepEqual(states[0], states[1]) {
				t.Errorf("first %v, then %v", states[0], states[1])
			}
			if len(replies[0]) > 2 && replies[0][1] != replies[1][1] {
				t.Errorf("first %q, then %q", replies[0], replies[1])
			}
		})
	}
}
