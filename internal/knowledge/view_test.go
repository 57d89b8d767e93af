package knowledge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

var terms = etagcache.Terms{Lease: time.Minute, Retention: time.Hour}

// countingStore counts reads, and fails those of some keys.
type countingStore struct {
	etagcache.Store
	reads atomic.Int32
	fail  func(key string) bool
}

func (s *countingStore) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	s.reads.Add(1)
	if s.fail != nil && s.fail(key) {
		return etagcache.Entry{}, etagcache.ErrUnavailable
	}
	return s.Store.Read(ctx, key, t)
}

// site is one handler with its store.
type site struct {
	*Config
	store *countingStore
	share *storeshare.Share
	namer *resource.Namer
}

// newSite returns a site. Roots are the trees that may change as a whole.
func newSite(t *testing.T, roots ...string) *site {
	t.Helper()
	store := &countingStore{Store: etagcache.NewMemory(0)}
	s := &site{store: store, share: storeshare.New(store, zap.NewNop()), namer: &resource.Namer{Template: "{http.request.uri.path}"}}
	for _, root := range roots {
		pattern, err := resource.ParsePattern(root)
		if err != nil {
			t.Fatal(err)
		}
		s.namer.Roots = append(s.namer.Roots, pattern)
	}
	s.Config = &Config{Template: s.namer.Template, Terms: terms}
	return s
}

// versioned makes the site derive tags from the versions that the store counts.
func (s *site) versioned() *site {
	s.Deriver.Sources = []proxyhooks.Source{{Kind: proxyhooks.SourceVersion}}
	return s
}

// reader returns the reader of a request such as "GET /a" with fields such as
// "Accept: text/plain". A path after an arrow is what an earlier handler made of
// the first.
func (s *site) reader(ctx context.Context, line string, fields ...string) *Reader {
	method, target, _ := strings.Cut(line, " ")
	target, rewritten, _ := strings.Cut(target, " > ")
	r := httptest.NewRequest(method, target, nil).WithContext(ctx)
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		r.Header.Add(name, value)
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil)
	if rewritten != "" {
		r.URL.Path = rewritten
	}
	request := resource.NewRequest(r, resource.RFC9421)
	return &Reader{Config: s.Config, Share: s.share, Request: request, Subject: s.namer.Own(request)}
}

// read returns what is known of a resource.
func (s *site) read(t *testing.T, line string, fields ...string) View {
	t.Helper()
	v, err := s.reader(t.Context(), line, fields...).Read()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// see stores what a response with some fields showed. It reads first, as a request
// does.
func (s *site) see(t *testing.T, line string, o validator.Observed, lines ...string) {
	t.Helper()
	v := s.read(t, line)
	observation, ok := v.Observation(o, header(lines...))
	if !ok {
		t.Fatal("no observation")
	}
	if err := v.Store(observation); err != nil {
		t.Fatal(err)
	}
}

// seeTwice stores what a response showed under the groups that it names: the first
// time, these aren't known yet.
func (s *site) seeTwice(t *testing.T, line string, o validator.Observed, lines ...string) {
	t.Helper()
	s.see(t, line, o, lines...)
	s.see(t, line, o, lines...)
}

func header(lines ...string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h[name] = append(h[name], value)
	}
	return h
}

func tag(opaque string) validator.ETag { return validator.ETag{Opaque: opaque, Valid: true} }

func present(opaque string) validator.Observed {
	return validator.Observed{Representation: validator.Representation{State: validator.Present, ETag: tag(opaque)}}
}

// A date is the end of the second in which the store first saw the state, and is
// weak until then (RFC 9110, section 8.8.2.2).
func TestDated(t *testing.T) {
	second := time.Date(2025, 11, 3, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return second.Add(d) }
	known := func(since time.Time) etagcache.Stored { return etagcache.Stored{Observed: present("a"), Since: since} }
	edited := func(edit func(*etagcache.Stored)) etagcache.Stored {
		k := known(second)
		edit(&k)
		return k
	}
	own := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		now   time.Time
		o     validator.Observed
		known etagcache.Stored
		date  time.Time // zero for none
		weak  bool
	}{
		{"known since the second began, which is over", at(time.Second), present("a"), known(second), at(time.Second), false},
		{"known since its end, which is over", at(time.Second), present("a"), known(at(time.Second - 1)), at(time.Second), false},
		{"known since the second began, which isn't over", at(time.Second - 1), present("a"), known(second), at(time.Second), true},
		{"known since the middle", at(time.Second), present("a"), known(at(time.Second / 2)), at(time.Second), false},
		{"known for long", at(time.Hour), present("a"), known(at(time.Second / 2)), at(time.Second), false},
		{"known since now", second, present("a"), known(second), at(time.Second), true},
		{"in a different zone", at(time.Second), present("a"), known(second.In(time.FixedZone("x", 5400))), at(time.Second), false},
		{"not known before", at(time.Second / 2), present("a"), etagcache.Stored{}, at(time.Second), true},
		{"different before", at(time.Hour), present("b"), known(second), at(time.Hour + time.Second), true},
		{"absent before", at(time.Hour), present("a"), edited(func(k *etagcache.Stored) { k.State = validator.Absent }), at(time.Hour + time.Second), true},
		{"the tag was the backend's before", at(time.Hour), present("a"), edited(func(k *etagcache.Stored) { k.Own = true }), at(time.Hour + time.Second), true},
		{"since when isn't known", at(time.Hour), present("a"), known(time.Time{}), at(time.Hour + time.Second), true},
		{"the backend has a date", at(time.Hour), with(present("a"), func(o *validator.Observed) { o.LastModified = own }), known(second), own, false},
		{"the backend has a weak date", at(time.Hour), with(present("a"), func(o *validator.Observed) { o.LastModified, o.WeakDate = own, true }), known(second), own, true},
		{"no tag", at(time.Hour), with(present("a"), func(o *validator.Observed) { o.ETag = validator.ETag{} }), known(second), time.Time{}, false},
		{"absent", at(time.Hour), with(present("a"), func(o *validator.Observed) { o.State = validator.Absent }), known(second), time.Time{}, false},
		{"known, and the clock was set back", at(-time.Hour), present("a"), known(second), at(time.Second), true},
		{"different before, and the clock was set back", at(-time.Hour), present("b"), known(second), at(2 * time.Second), true},
		{"not known before, and the clock was set back", at(-time.Hour), present("b"), etagcache.Stored{}, at(2 * time.Second), true},
		{"the store wasn't asked", time.Time{}, present("a"), known(second), time.Time{}, false},
	} {
		v := View{entry: &etagcache.Entry{Now: tt.now}}
		if tt.now.Before(second) {
			v.entry.Latest = second
		}
		got := v.Dated(tt.o, tt.known)
		if got.LastModified != tt.date || got.WeakDate != tt.weak {
			t.Errorf("%s: %s, weak: %v, want %s, %v", tt.name, got.LastModified, got.WeakDate, tt.date, tt.weak)
		}
		if got.State != tt.o.State || got.ETag != tt.o.ETag {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
}

func with(o validator.Observed, edit func(*validator.Observed)) validator.Observed {
	edit(&o)
	return o
}

// If a state has a strong date at a time, then every later state has a later date, even if the
// clock was set back before that time.
func TestDatesDiffer(t *testing.T) {
	const step = 250 * time.Millisecond
	begun := time.Date(2025, 11, 3, 12, 0, 0, 0, time.UTC)
	dated := func(now time.Time, since time.Time) validator.Representation {
		v := View{entry: &etagcache.Entry{Now: now}}
		return v.Dated(present("a"), etagcache.Stored{Observed: present("a"), Since: since})
	}
	strong := 0
	for first := range 12 {
		for shown := range 24 {
			since, now := begun.Add(time.Duration(first)*step), begun.Add(time.Duration(shown)*step)
			one := dated(now, since)
			if one.WeakDate {
				continue
			}
			strong++
			for _, later := range []time.Duration{1, step, time.Second} {
				changed := now.Add(later)
				if two := dated(changed.Add(time.Hour), changed); !two.LastModified.After(one.LastModified) {
					t.Errorf("known since %s: %s at %s; known since %s: %s", since, one.LastModified, now, changed, two.LastModified)
				}
			}
		}
	}
	if strong == 0 {
		t.Error("no date is strong")
	}
}

// What was seen is known, to the request that selects the same representation.
func TestSeen(t *testing.T) {
	s := newSite(t)
	s.see(t, "GET /a", present("1"))
	if v := s.read(t, "GET /a"); !v.Stored().Equal(present("1")) || !v.Counts() || v.Busy() {
		t.Errorf("got %+v", v.Stored())
	}
	for _, line := range []string{"GET /b", "GET /a?q", "GET /public/a > /a"} {
		if got := s.read(t, line).Stored(); got.State != validator.Unknown {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

// A representation is known by the fields that responses vary by: those that the
// backend names, and those that the configuration names (RFC 9110, section 12.5.5).
func TestVariants(t *testing.T) {
	s := newSite(t)
	s.Vary = "x-user"
	v := s.read(t, "GET /a", "Accept: text/plain", "X-User: me")
	o, ok := v.Observation(present("1"), header("Vary: Accept"))
	if !ok || o.Vary != "accept,x-user" {
		t.Fatalf("%v, vary %q", ok, o.Vary)
	}
	if err := v.Store(o); err != nil {
		t.Fatal(err)
	}
	for fields, known := range map[string]bool{
		"Accept: text/plain, X-User: me":                 true,
		"Accept: text/plain, X-User: me, X-Other: field": true,
		"Accept: text/html, X-User: me":                  false,
		"Accept: text/plain, X-User: you":                false,
	} {
		v := s.read(t, "GET /a", strings.Split(fields, ", ")...)
		if got := v.Stored().State == validator.Present; got != known {
			t.Errorf("%s: known: %v", fields, got)
		}
	}
	if _, ok := v.Variant(o.Variant); ok {
		t.Error("an earlier view knows what was stored later")
	}
	if stored, ok := s.read(t, "GET /a").Variant(o.Variant); !ok || !stored.Equal(present("1")) {
		t.Errorf("%v, %+v", ok, stored)
	}
	for _, vary := range []string{"Vary: *", "Vary: " + strings.Repeat("x", proxyhooks.MaxVary+1)} {
		if _, ok := v.Observation(present("1"), header(vary)); ok {
			t.Errorf("%.10s: an observation of a representation that can't be told apart", vary)
		}
	}
}

// A signed request selects the coding that its client accepts. Every other request
// reaches the backend with the identity coding, so for these all are the same.
func TestSignedVariant(t *testing.T) {
	s := newSite(t)
	variant := func(fields ...string) string {
		o, _ := s.reader(t.Context(), "GET /a", fields...).variantOf(present("1"))
		return o
	}
	plain, signed := variant(), variant("Signature-Input: x")
	if variant("Accept-Encoding: gzip") != plain {
		t.Error("the coding that a client accepts counts")
	}
	if signed == plain || variant("Signature-Input: x", "Accept-Encoding: gzip") == signed {
		t.Error("the coding that the client of a signed request accepts doesn't count")
	}
}

// variantOf returns the variant of an observation, made by a view that knows
// nothing.
func (r *Reader) variantOf(o validator.Observed) (string, bool) {
	observation, ok := View{Reader: r}.Observation(o, nil)
	return observation.Variant, ok
}

// Tags of handlers that make them differently are never compared.
func TestScheme(t *testing.T) {
	s := newSite(t)
	one, _ := s.reader(t.Context(), "GET /a").variantOf(present("1"))
	s.Scheme = "body"
	if two, _ := s.reader(t.Context(), "GET /a").variantOf(present("1")); two == one {
		t.Error("the scheme doesn't count")
	}
}

// While a write is in flight, the view says so.
func TestBusy(t *testing.T) {
	s := newSite(t)
	v := s.read(t, "GET /a")
	if _, _, err := s.share.Claim(t.Context(), "/a", v.Entry().Epoch, terms); err != nil {
		t.Fatal(err)
	}
	if v.Busy() || !s.read(t, "GET /a").Busy() {
		t.Errorf("busy: %v before, %v now", v.Busy(), s.read(t, "GET /a").Busy())
	}
}

// An observation is stored under the epoch of its view and no later one, also when
// the client has gone away.
func TestStore(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	v, err := s.reader(ctx, "GET /a").Read()
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	o, _ := v.Observation(present("1"), nil)
	if err := v.Store(o); err != nil {
		t.Errorf("the client has gone away: %v", err)
	}
	if err := s.share.Invalidate(t.Context(), "/a", terms); err != nil {
		t.Fatal(err)
	}
	if err := v.Store(o); !errors.Is(err, etagcache.ErrStale) {
		t.Errorf("the epoch has moved: %v", err)
	}
}

// What is stored counts only while the epochs of the groups are those under which
// it was seen (RFC 9875). The first response that names a group only makes the
// group known.
func TestGroups(t *testing.T) {
	s := newSite(t)
	const cars = `Cache-Groups: "cars"`
	s.see(t, "GET /a", present("1"), cars)
	if v := s.read(t, "GET /a"); v.Counts() || v.Stored().State != validator.Unknown {
		t.Errorf("counts before the epoch of its group was read: %+v", v.Stored())
	}
	s.see(t, "GET /a", present("1"), cars)
	s.see(t, "GET /b", present("1"), `Cache-Groups: "vans"`)
	s.see(t, "GET /b", present("1"), `Cache-Groups: "vans"`)
	v := s.read(t, "GET /a")
	if !v.Counts() || !v.Stored().Equal(present("1")) {
		t.Errorf("counts: %v, %+v", v.Counts(), v.Stored())
	}
	if err := s.share.Invalidate(t.Context(), "group cars", terms); err != nil {
		t.Fatal(err)
	}
	nothingKnown(t, "its group has changed", s.read(t, "PUT /a", `If-Match: "1"`))
	if v := s.read(t, "GET /b"); !v.Counts() {
		t.Error("a different group has changed")
	}
	s.see(t, "GET /a", present("2"), cars)
	if v := s.read(t, "GET /a"); !v.Stored().Equal(present("2")) {
		t.Errorf("after the change: %+v", v.Stored())
	}
}

// nothingKnown holds an outdated view to knowing nothing, in whatever way it is
// asked. The request must have a condition.
func nothingKnown(t *testing.T, name string, v View) {
	t.Helper()
	if v.Counts() || v.Stored().State != validator.Unknown || v.Selected().Stored().State != validator.Unknown {
		t.Errorf("%s: counts: %v, %+v, %+v", name, v.Counts(), v.Stored(), v.Selected().Stored())
	}
	for _, variant := range v.Entry().Variants {
		if _, ok := v.Variant(variant.Key); ok {
			t.Errorf("%s: the variant %s is known", name, variant.Key)
		}
	}
	if _, _, res := v.EvaluateStored(); res.Verdict != validator.Unverifiable {
		t.Errorf("%s: the condition is %s", name, res.Verdict)
	}
}

// While a group is being changed, nothing of its resources counts: nobody knows
// whether the backend has made the change.
func TestGroupInFlight(t *testing.T) {
	s := newSite(t)
	s.seeTwice(t, "GET /a", present("1"), `Cache-Groups: "cars"`)
	grant, _, err := s.share.Pass(t.Context(), "group cars", terms)
	if err != nil {
		t.Fatal(err)
	}
	s.see(t, "GET /a", present("2"), `Cache-Groups: "cars"`)
	nothingKnown(t, "during the change", s.read(t, "PUT /a", `If-Match: "2"`))
	if err := s.share.Settle(t.Context(), grant, etagcache.Settlement{}, terms); err != nil {
		t.Fatal(err)
	}
	nothingKnown(t, "after the change", s.read(t, "PUT /a", `If-Match: "2"`))
}

// A resource in a tree belongs to the subtree epochs of its ancestors, whatever
// responses say. Where there is no tree, none is read.
func TestSubtrees(t *testing.T) {
	s := newSite(t, "/docs")
	s.see(t, "GET /docs/a/b", present("1"))
	s.see(t, "GET /docs/c", present("1"))
	if v := s.read(t, "GET /docs/a/b"); !v.Stored().Equal(present("1")) {
		t.Fatalf("got %+v", v.Stored())
	}
	if err := s.share.Invalidate(t.Context(), "age /docs/a", terms); err != nil {
		t.Fatal(err)
	}
	nothingKnown(t, "the subtree has changed", s.read(t, "PUT /docs/a/b", "If-Match: *"))
	if v := s.read(t, "GET /docs/c"); !v.Counts() {
		t.Error("a different subtree has changed")
	}
	if err := s.share.Invalidate(t.Context(), "age /docs", terms); err != nil {
		t.Fatal(err)
	}
	nothingKnown(t, "the tree has changed", s.read(t, "PUT /docs/c", "If-Match: *"))

	s.store.reads.Store(0)
	s.read(t, "GET /other")
	if got := s.store.reads.Load(); got != 1 {
		t.Errorf("%d reads outside of the tree", got)
	}
}

// If a resource belongs to too many groups, those that it was in before are
// dropped, but never the subtrees that it is in.
func TestSubtreesAreNeverDropped(t *testing.T) {
	s := newSite(t, "/docs")
	s.seeTwice(t, "GET /docs/a", present("1"), groups(maxGroups-1))
	v := s.read(t, "GET /docs/a")
	if !v.Counts() {
		t.Fatal("as many groups as fit don't count")
	}
	o, ok := v.Observation(present("1"), header(strings.Replace(groups(maxGroups-1), `"0"`, `"new"`, 1)))
	if want := ";%7F0=" + v.groups[subtreeName(0)]; !ok || v.groups[subtreeName(0)] == "" || !strings.HasSuffix(o.Vary, want) {
		t.Errorf("%v, %q, want %q at the end", ok, o.Vary, want)
	}
	if got := strings.Count(o.Vary, ";"); got != maxGroups {
		t.Errorf("%d groups and subtrees", got)
	}
}

// Confirm reads the groups once more. If one has changed since the view was made,
// nothing is known.
func TestConfirm(t *testing.T) {
	for name, tt := range map[string]struct {
		line   string
		change string
		counts bool
	}{
		"nothing has changed":       {"PUT /a", "", true},
		"its group has changed":     {"PUT /a", "group cars", false},
		"its subtree has changed":   {"PUT /docs/a", "age /docs", false},
		"a different group changed": {"PUT /a", "group vans", true},
	} {
		s := newSite(t, "/docs")
		s.seeTwice(t, "GET "+strings.Fields(tt.line)[1], present("1"), `Cache-Groups: "cars"`)
		if _, err := s.share.Read(t.Context(), "group vans", terms); err != nil {
			t.Fatal(err)
		}
		v := s.read(t, tt.line, `If-Match: "1"`)
		if tt.change != "" {
			if err := s.share.Invalidate(t.Context(), tt.change, terms); err != nil {
				t.Fatal(err)
			}
		}
		if !v.Counts() {
			t.Errorf("%s: doesn't count before", name)
		}
		confirmed, err := v.Confirm()
		if err != nil {
			t.Fatal(err)
		}
		if !tt.counts {
			nothingKnown(t, name, confirmed)
		} else if !confirmed.Counts() || !confirmed.Stored().Equal(present("1")) {
			t.Errorf("%s: %+v", name, confirmed.Stored())
		}
		if confirmed.Entry().Epoch != v.Entry().Epoch {
			t.Errorf("%s: a different epoch", name)
		}
	}
}

// A resource without groups needs no confirmation: its entry says it all.
func TestConfirmNothing(t *testing.T) {
	s := newSite(t)
	s.see(t, "GET /a", present("1"))
	v := s.read(t, "GET /a")
	s.store.reads.Store(0)
	confirmed, err := v.Confirm()
	if err != nil || !confirmed.Stored().Equal(present("1")) {
		t.Errorf("%v, %+v", err, confirmed.Stored())
	}
	if got := s.store.reads.Load(); got != 0 {
		t.Errorf("%d reads", got)
	}
}

// If the store can't be asked, nothing is known.
func TestUnreadable(t *testing.T) {
	s := newSite(t)
	s.seeTwice(t, "GET /a", present("1"), `Cache-Groups: "cars", "vans"`)
	r := s.reader(t.Context(), "PUT /a", `If-Match: "1"`)
	before, err := r.Read()
	if err != nil || !before.Counts() {
		t.Fatalf("%v, counts: %v", err, before.Counts())
	}
	s.store.fail = func(key string) bool { return key == "group vans" }
	v, err := r.Read()
	if !errors.Is(err, etagcache.ErrUnavailable) {
		t.Errorf("one group can't be read: %v", err)
	}
	nothingKnown(t, "one group can't be read", v)
	v, err = before.Confirm()
	if !errors.Is(err, etagcache.ErrUnavailable) {
		t.Errorf("one group can't be confirmed: %v", err)
	}
	nothingKnown(t, "one group can't be confirmed", v)
	if _, ok := r.Recent(); ok {
		t.Error("the entry that was seen last counts without its groups")
	}
	s.store.fail = func(string) bool { return true }
	if v, err = r.Read(); !errors.Is(err, etagcache.ErrUnavailable) || v.Stored().State != validator.Unknown {
		t.Errorf("nothing can be read: %v, %+v", err, v.Stored())
	}
}

// Groups are read even if the client has gone away: what its response showed is
// still worth storing.
func TestGroupsAreReadForNobody(t *testing.T) {
	s := newSite(t)
	s.seeTwice(t, "GET /a", present("1"), `Cache-Groups: "cars"`)
	ctx, cancel := context.WithCancel(t.Context())
	r := s.reader(ctx, "GET /a")
	v, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if v, err = v.Confirm(); err != nil || !v.Counts() {
		t.Errorf("%v, counts: %v", err, v.Counts())
	}
}

// Recent is what this node saw last of the resource, with the groups as they are
// now.
func TestRecent(t *testing.T) {
	s := newSite(t)
	r := s.reader(t.Context(), "PUT /a", `If-Match: "1"`)
	if _, ok := r.Recent(); ok {
		t.Error("something is remembered of what was never seen")
	}
	s.seeTwice(t, "GET /a", present("1"), `Cache-Groups: "cars"`)
	s.read(t, "GET /a")
	s.store.reads.Store(0)
	v, ok := r.Recent()
	if !ok || !v.Stored().Equal(present("1")) || s.store.reads.Load() != 1 {
		t.Errorf("%v, %+v, %d reads", ok, v.Stored(), s.store.reads.Load())
	}
	// A change by a different node shows in the store alone.
	if err := s.store.Store.Invalidate(t.Context(), "/a", terms); err != nil {
		t.Fatal(err)
	}
	if v, ok := r.Recent(); !ok || !v.Stored().Equal(present("1")) {
		t.Errorf("%v, %+v", ok, v.Stored())
	}
	if err := s.store.Store.Invalidate(t.Context(), "group cars", terms); err != nil {
		t.Fatal(err)
	}
	v, ok = r.Recent()
	if !ok {
		t.Error("not remembered")
	}
	nothingKnown(t, "the group has changed", v)
}

// An observation names the fields that select the representation, and the groups
// with the epochs that were read before the response.
func TestObservation(t *testing.T) {
	s := newSite(t)
	v := s.read(t, "GET /a")
	for _, tt := range []struct {
		lines []string
		vary  string
		ok    bool
	}{
		{nil, "", true},
		{[]string{"Vary: Accept"}, "accept", true},
		{[]string{`Cache-Groups: "cars"`}, ";cars=", true},
		{[]string{"Vary: Accept", `Cache-Groups: "cars"`}, "accept;cars=", true},
		{[]string{"Vary: *", `Cache-Groups: "cars"`}, ";cars=", false},
		{[]string{"Vary: Accept", groups(maxGroups)}, "", true},
		{[]string{"Vary: Accept", groups(maxGroups + 1)}, "", false},
		{[]string{`Cache-Groups: "` + strings.Repeat("x", resource.MaxGroupName+1) + `"`}, "", false},
	} {
		o, ok := v.Observation(present("1"), header(tt.lines...))
		if ok != tt.ok || tt.vary != "" && o.Vary != tt.vary || !o.Equal(present("1")) {
			t.Errorf("%.60q: %v, %q", tt.lines, ok, o.Vary)
		}
		if got := v.TooManyGroups(header(tt.lines...)); got != (!tt.ok && tt.vary == "") {
			t.Errorf("%.60q: too many groups: %v", tt.lines, got)
		}
	}
	s.seeTwice(t, "GET /a", present("1"), `Cache-Groups: "cars"`)
	entry, err := s.share.Read(t.Context(), "group cars", terms)
	if err != nil {
		t.Fatal(err)
	}
	o, ok := s.read(t, "GET /a").Observation(present("1"), nil)
	if want := ";cars=" + entry.Epoch; !ok || o.Vary != want {
		t.Errorf("%v, %q, want %q", ok, o.Vary, want)
	}
}

// groups returns a field that names n groups.
func groups(n int) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf(`"%d"`, i))
	}
	return "Cache-Groups: " + strings.Join(names, ", ")
}

// A version is the tag that the representation has already, or one that belongs to
// the epoch, the groups and the variant. There is none if what is stored of it
// wouldn't count.
func TestVersioned(t *testing.T) {
	s := newSite(t, "/docs").versioned()
	untagged := with(present(""), func(o *validator.Observed) { o.ETag = validator.ETag{} })
	v := s.read(t, "GET /a")
	made := v.Versioned(untagged, nil, validator.Observed{}, "epoch").ETag
	if !made.Valid || made.Weak {
		t.Fatalf("the tag is %s", made)
	}
	for name, tt := range map[string]struct {
		view  View
		lines []string
		known validator.Observed
		epoch string
		want  validator.ETag // or any other than made, if it is valid without a text
	}{
		"once more":                    {v, nil, validator.Observed{}, "epoch", made},
		"in a different epoch":         {v, nil, validator.Observed{}, "epoch2", tag("")},
		"of a different variant":       {s.read(t, "GET /a?q"), nil, validator.Observed{}, "epoch", tag("")},
		"in a tree":                    {s.read(t, "GET /docs/a"), nil, validator.Observed{}, "epoch", tag("")},
		"known":                        {v, nil, present("known"), "epoch", tag("known")},
		"known without a tag":          {v, nil, untagged, "epoch", made},
		"known to be absent":           {v, nil, with(present("x"), func(o *validator.Observed) { o.State = validator.Absent }), "epoch", made},
		"in a group that isn't known":  {v, []string{`Cache-Groups: "cars"`}, validator.Observed{}, "epoch", validator.ETag{}},
		"known, in such a group":       {v, []string{`Cache-Groups: "cars"`}, present("known"), "epoch", validator.ETag{}},
		"varying by more than is told": {v, []string{"Vary: *"}, validator.Observed{}, "epoch", validator.ETag{}},
		"in too many groups":           {v, []string{groups(maxGroups + 1)}, validator.Observed{}, "epoch", validator.ETag{}},
	} {
		got := tt.view.Versioned(untagged, header(tt.lines...), tt.known, tt.epoch).ETag
		if tt.want == tag("") && (!got.Valid || got == made) || tt.want != tag("") && got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// A version doesn't come back after its group or subtree has changed.
func TestVersionOfAGroup(t *testing.T) {
	for line, change := range map[string]string{"GET /a": "group cars", "GET /docs/a": "age /docs"} {
		s := newSite(t, "/docs").versioned()
		s.seeTwice(t, line, present("1"), `Cache-Groups: "cars"`)
		made := func() validator.ETag {
			return s.read(t, line).Versioned(validator.Observed{}, header(`Cache-Groups: "cars"`), validator.Observed{}, "epoch").ETag
		}
		before := made()
		if err := s.share.Invalidate(t.Context(), change, terms); err != nil {
			t.Fatal(err)
		}
		if after := made(); !before.Valid || !after.Valid || after == before {
			t.Errorf("%s: %s before, %s after", line, before, after)
		}
	}
}

// Evaluate compares with the date that the handler made, too.
func TestEvaluateWithDate(t *testing.T) {
	now := time.Date(2025, 11, 3, 12, 0, 0, 0, time.UTC)
	s := newSite(t)
	r := s.reader(t.Context(), "PUT /a", "If-Unmodified-Since: "+validator.FormatDate(now))
	known := etagcache.Stored{Observed: present("1"), Since: now.Add(-time.Second)}
	for at, want := range map[time.Duration]validator.Verdict{0: validator.True, -1: validator.Unverifiable} {
		v := View{Reader: r, entry: &etagcache.Entry{Now: now.Add(at)}}
		if got := v.Evaluate(known.Observed, known).Verdict; got != want {
			t.Errorf("%s after its second: %s, want %s", at, got, want)
		}
	}
}
