package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// HEAD has proved itself once it has shown, of one resource, what GET shows in two states. It
// has to do so again after a minute, after it lacked something, and after it said something
// else.
func TestHeadProof(t *testing.T) {
	begun := time.Now()
	agree := func(target, opaque string) func(*heads, time.Time) {
		return func(h *heads, now time.Time) { h.agree("kind", target, tag(opaque), false, now) }
	}
	forget := func(h *heads, _ time.Time) { h.forget("kind") }
	lack := func(h *heads, now time.Time) { h.lack("kind", now) }
	contradict := func(h *heads, now time.Time) { h.contradict(now); h.add("kind") }
	giveUp := func(h *heads, _ time.Time) { h.giveUp() }
	bypass := func(h *heads, _ time.Time) { h.bypass() }
	show := func(h *heads, now time.Time) { h.agree("kind", "/a", tag("9"), true, now) }
	again := func(h *heads, _ time.Time) { h.add("kind") }
	type events []func(*heads, time.Time)
	proved := events{agree("/a", "1"), agree("/a", "2")}
	for name, tt := range map[string]struct {
		events events
		after  time.Duration
		want   headUse
	}{
		"nothing yet":                               {nil, 0, headOnTrial},
		"one state":                                 {events{agree("/a", "1")}, 0, headOnTrial},
		"the same state twice":                      {events{agree("/a", "1"), agree("/a", "1")}, 0, headOnTrial},
		"two states of two resources":               {events{agree("/a", "1"), agree("/b", "2")}, 0, headOnTrial},
		"two states":                                {proved, 0, headProved},
		"two states, and back":                      {append(slices.Clone(proved), agree("/a", "1")), 0, headProved},
		"a minute ago":                              {proved, proofLasts, headOnTrial},
		"just under a minute ago":                   {proved, proofLasts - 1, headProved},
		"it was proved, and agreed since":           {append(slices.Clone(proved), agree("/b", "7")), 0, headProved},
		"it said something else meanwhile, perhaps": {append(slices.Clone(proved), forget), 0, headOnTrial},
		"one state before that, one after it":       {events{agree("/a", "1"), forget, agree("/a", "2")}, 0, headOnTrial},
		"it does harm":                              {append(slices.Clone(proved), giveUp), 2 * disbeliefLasts, headUnused},
		"somebody writes past the handler":          {append(slices.Clone(proved), bypass), 0, headOnTrial},
		"HEAD has shown that before":                {append(slices.Clone(proved), show, bypass), 0, headProved},
		"HEAD shows that":                           {append(slices.Clone(proved), bypass, show), 0, headProved},
		"it showed that, but nothing else":          {events{show, bypass}, 0, headOnTrial},
		"it showed that before it was forgotten":    {append(events{show, forget, bypass}, proved...), 0, headOnTrial},
		"it lacked something":                       {append(slices.Clone(proved), lack), 0, headUnused},
		"it lacked something long ago":              {append(slices.Clone(proved), lack), disbeliefLasts, headOnTrial},
		"it said something else":                    {append(slices.Clone(proved), contradict), 0, headUnused},
		"it said something else long ago":           {append(slices.Clone(proved), contradict), disbeliefLasts, headUnused},
	} {
		t.Run(name, func(t *testing.T) {
			h := new(heads)
			if h.any() || h.use("kind", "/a", begun) != headUnused {
				t.Error("a HEAD is sent although no GET had content that is of no use")
			}
			h.add("kind")
			for _, event := range tt.events {
				event(h, begun)
			}
			if got := h.use("kind", "/a", begun.Add(tt.after)); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
			if h.use("another kind", "/a", begun.Add(tt.after)) != headUnused {
				t.Error("what one kind has proved counts for another")
			}
			again(h, begun) // changes nothing
			if got := h.use("kind", "/a", begun.Add(tt.after)); got != tt.want {
				t.Errorf("taken up again: got %d, want %d", got, tt.want)
			}
		})
	}
}

// HEADs that are sent only to be compared are few, whatever clients do, and so is what is
// remembered.
func TestHeadTrials(t *testing.T) {
	h, now := new(heads), time.Now()
	h.add("kind")
	trials := func() (n int) {
		for i := range 1000 {
			target := fmt.Sprint("/", i)
			if h.use("kind", target, now) == headOnTrial {
				n++
				h.agree("kind", target, tag("1"), false, now)
			}
		}
		return n
	}
	if n := trials(); n != maxTried {
		t.Errorf("%d trials", n)
	}
	if n := trials(); n != maxTried { // of the same ones
		t.Errorf("%d trials", n)
	}
	for range 100 {
		h.use("kind", "/0", now)
	}
	if n := trials(); n != 0 {
		t.Errorf("%d trials", n)
	}
	now = now.Add(trialPeriod)
	if h.use("kind", "/0", now) != headOnTrial {
		t.Error("what was begun doesn't go on")
	}
	h.agree("kind", "/0", tag("2"), false, now)
	if h.use("kind", "/999", now) != headProved {
		t.Error("nothing was proved")
	}
	for i := range 2 * maxHeadKinds {
		h.add(fmt.Sprint(i))
	}
	if n := len(h.kinds); n != maxHeadKinds {
		t.Errorf("%d kinds are remembered", n)
	}
}

// Whatever HEAD lacks, adds or says differently is held against it, unless the GET tells
// nothing either.
func TestCompareHead(t *testing.T) {
	fields := http.Header{"Content-Type": {"text/plain"}, "Vary": {"Accept"}, "Date": {"now"}, "X-Request-Id": {"1"}}
	got := proxyhooks.Probed{Status: 200, Header: fields, Observed: present("1"), Known: true, InHeader: true, Length: 1}
	got.Observed.LastModified = time.Unix(1, 0)
	with := func(name, value string) func(*proxyhooks.Probed) {
		return func(p *proxyhooks.Probed) {
			p.Header = maps.Clone(fields)
			p.Header[name] = []string{value}
		}
	}
	unknown := func(status int) func(*proxyhooks.Probed) {
		return func(p *proxyhooks.Probed) { *p = proxyhooks.Probed{Status: status, Header: http.Header{}} }
	}
	unanswered := func(p *proxyhooks.Probed) { *p = proxyhooks.Probed{Err: http.ErrHandlerTimeout} }
	absent := func(p *proxyhooks.Probed) {
		p.Status, p.InHeader, p.Observed = 404, false, validator.Observed{Representation: validator.Representation{State: validator.Absent}}
	}
	byContent := func(p *proxyhooks.Probed) { p.InHeader = false }
	cached := func(p *proxyhooks.Probed) { p.Cached = true }
	same := func(*proxyhooks.Probed) {}
	for _, tt := range []struct {
		name      string
		head, got func(*proxyhooks.Probed)
		took      time.Duration
		want      headVerdict
	}{
		{"the same", same, same, 0, headAgrees},
		{"another time and number", with("Date", "then"), with("X-Request-Id", "2"), slowHead, headAgrees},
		{"a date that isn't weak any more", func(p *proxyhooks.Probed) { p.Observed.WeakDate = true }, same, 0, headAgrees},
		{"slower", same, same, slowHead + time.Second, headLacks},
		{"no answer", unanswered, same, 0, headLacks},
		{"405", unknown(405), same, 0, headLacks},
		{"204", func(p *proxyhooks.Probed) { p.Status = 204 }, same, 0, headLacks},
		{"a cache", cached, same, 0, headLacks},
		{"a cache for GET", same, cached, 0, headLacks},
		{"a different type", with("Content-Type", "text/html"), same, 0, headLacks},
		{"a group", with("Cache-Groups", `"a"`), same, 0, headLacks},
		{"a group only for GET", same, with("Cache-Groups", `"a"`), 0, headLacks},
		{"for scripts", with("Access-Control-Allow-Origin", "*"), same, 0, headLacks},
		{"a different tag", func(p *proxyhooks.Probed) { p.Observed.ETag = tag("2") }, same, 0, headContradicts},
		{"a tag of a different source", func(p *proxyhooks.Probed) { p.Observed.Own = true }, same, 0, headContradicts},
		{"a different tag of the backend's", func(p *proxyhooks.Probed) { p.Observed.Backend = weak("2") }, same, 0, headContradicts},
		{"a different date", func(p *proxyhooks.Probed) { p.Observed.LastModified = time.Unix(2, 0) }, same, 0, headContradicts},
		{"what is gone", same, absent, 0, headContradicts},
		{"what nobody may see", same, unknown(403), 0, headLacks},
		{"a tag that is made from content", same, byContent, 0, headContradicts},
		{"no tag, which is made from content", unknown(200), byContent, 0, headLacks},
		{"gone on both", unknown(404), absent, 0, headIncomparable},
		{"forbidden on both", unknown(403), unknown(403), 0, headIncomparable},
		{"no answer to GET", same, unanswered, 0, headIncomparable},
	} {
		head, get := got, got
		tt.head(&head)
		tt.got(&get)
		if verdict := compareHead(head, get, tt.took, 0); verdict != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, verdict, tt.want)
		}
	}
}

// What a HEAD might not be answered like the GET for, or has no use for, isn't asked for with
// HEAD. Resources of one directory with one extension are of one kind, and a query makes a
// kind of its own.
func TestKindOfHead(t *testing.T) {
	s := newSite()
	s.Learned = NewLearned(0)
	kind := func(line string, change func(*resource.Request)) string {
		x, _ := s.exchangeOf(requestOf(t.Context(), line))
		if change != nil {
			change(x.request)
		}
		name, ok := x.origin.kind()
		if !ok {
			return "none"
		}
		return name
	}
	for want, lines := range map[string][]string{
		"example.com /docs/*?":          {"PUT /docs/1", "DELETE /docs/2"},
		"example.com /docs/*.json?":     {"PUT /docs/a.json", "PUT /docs/b.json"},
		"example.com /docs/*.json?v=2":  {"PUT /docs/a.json?v=2"},
		"example.com /*?":               {"PUT /a", "PUT /docs"},
		"example.com /docs/archive/*?x": {"PUT /docs/archive/1?x"},
	} {
		for _, line := range lines {
			if got := kind(line, nil); got != want {
				t.Errorf("%s: %q, want %q", line, got, want)
			}
		}
	}
	for name, change := range map[string]func(*resource.Request){
		"unasked":  func(r *resource.Request) { r.Unasked = true },
		"signed":   func(r *resource.Request) { r.Signed = true },
		"one-time": func(r *resource.Request) { r.OneTime = []string{"Authorization"} },
	} {
		if got := kind("PUT /a", change); got != "none" {
			t.Errorf("%s: %s", name, got)
		}
	}
	s.Verify.Refused = true
	if got := kind("PUT /a", nil); got != "none" {
		t.Errorf("verify all: %s", got)
	}
}
