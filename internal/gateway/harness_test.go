package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// events are what happens at the store, at the origin and at the client, in order.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, fmt.Sprintf(format, args...))
}

// take returns the events so far, and forgets them.
func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}

// spyStore is a memory store. It records what was granted, what was ended, and what
// was invalidated.
type spyStore struct {
	etagcache.Store
	*events
	fail func(call string) error // such as "claim /a", if not nil
}

func (s *spyStore) failing(call string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(call)
}

func (s *spyStore) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	if err := s.failing("read " + key); err != nil {
		return etagcache.Entry{}, err
	}
	return s.Store.Read(ctx, key, t)
}

func (s *spyStore) Claim(ctx context.Context, key, epoch string, t etagcache.Terms, replaces ...string) (etagcache.Grant, etagcache.Entry, error) {
	if err := s.failing("claim " + key); err != nil {
		return etagcache.Grant{}, etagcache.Entry{}, err
	}
	grant, entry, err := s.Store.Claim(ctx, key, epoch, t, replaces...)
	if err == nil {
		s.add("claim %s", key)
	}
	return grant, entry, err
}

func (s *spyStore) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	if err := s.failing("pass " + key); err != nil {
		return etagcache.Grant{}, etagcache.Entry{}, err
	}
	grant, entry, err := s.Store.Pass(ctx, key, t)
	if err == nil {
		s.add("pass %s", key)
	}
	return grant, entry, err
}

func (s *spyStore) Renew(ctx context.Context, g etagcache.Grant, t etagcache.Terms) error {
	if err := s.failing("renew " + g.Key); err != nil {
		return err
	}
	return s.Store.Renew(ctx, g, t)
}

func (s *spyStore) Settle(ctx context.Context, g etagcache.Grant, settlement etagcache.Settlement, t etagcache.Terms) error {
	s.add("settle %s", g.Key)
	if err := s.failing("settle " + g.Key); err != nil {
		return err
	}
	err := s.Store.Settle(ctx, g, settlement, t)
	if settlement.Next != nil && settlement.Next.Token != "" {
		s.add("claim %s", g.Key)
	}
	return err
}

func (s *spyStore) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	if err := s.failing("invalidate " + key); err != nil {
		return err
	}
	s.add("invalidate %s", key)
	return s.Store.Invalidate(ctx, key, t)
}

// client is a response writer that records when the client sees the status.
type client struct {
	*httptest.ResponseRecorder
	*events
	answered bool
}

func (c *client) WriteHeader(status int) {
	if !c.answered {
		c.answered = true
		c.add("answer %d", status)
	}
	c.ResponseRecorder.WriteHeader(status)
}

func (c *client) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.ResponseRecorder.Write(p)
}

// site is a gateway with a store and an origin.
type site struct {
	*Gateway
	*events
	store *spyStore
	share *storeshare.Share

	// origin answers what reaches the next handler.
	origin func(w http.ResponseWriter, r *http.Request) error

	// begin is the error with which a write can't begin.
	begin error

	// goneAt is the call of the store at which the client goes away, if any.
	goneAt string
}

// newSite returns a site whose origin shows "content" and answers writes with 204.
func newSite() *site {
	all := new(events)
	store := &spyStore{Store: etagcache.NewMemory(0), events: all}
	namer := &resource.Namer{Template: "{http.request.uri.path}"}
	deriver := proxyhooks.Deriver{
		Sources: []proxyhooks.Source{{Kind: proxyhooks.SourceUpstream}, {Kind: proxyhooks.SourceBody}},
		Limit:   1 << 10,
	}
	return &site{
		Gateway: &Gateway{
			Config: &knowledge.Config{
				Deriver: deriver, Scheme: deriver.Scheme(), Template: namer.Template,
				Terms: etagcache.Terms{Lease: time.Minute, Retention: time.Hour},
			},
			Namer:     namer,
			Rules:     &relation.Rules{Namer: namer},
			Answers:   &answer.Config{Mode: answer.Enforce, Disclose: true, RetryAfter: 5 * time.Second, Logger: zap.NewNop()},
			WriteETag: WriteETagOff,
			Buffer:    deriver.Limit, BufferTotal: 64 << 20,
			Wait:   10 * time.Second,
			Logger: zap.NewNop(),
		},
		events: all,
		store:  store,
		share:  storeshare.New(store, zap.NewNop()),
		origin: answering("content", http.StatusNoContent),
	}
}

// Enter implements Store.
func (s *site) Enter() (*storeshare.Share, func(), error) { return s.share, func() {}, nil }

// Begin implements Store.
func (s *site) Begin(context.Context, string, *storeshare.Share) (*storeshare.Write, error) {
	return nil, s.begin
}

// Count implements Store.
func (*site) Count(string) *storeshare.Write { return nil }

// next is the next handler. It records the methods that reach it.
func (s *site) next() caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		s.add("%s %s", r.Method, r.URL.Path)
		return s.origin(w, r)
	})
}

// answering is an origin that shows content, and answers writes with a status.
func answering(content string, status int) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			_, err := w.Write([]byte(content))
			return err
		}
		w.WriteHeader(status)
		return nil
	}
}

// refusing is an origin that answers a GET with a status, and fields such as
// "Name: value".
func refusing(status int, lines ...string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(name, value)
		}
		w.WriteHeader(status)
		_, err := w.Write([]byte("the origin's own words"))
		return err
	}
}

// affects adds a rule such as "/a /b".
func (s *site) affects(t *testing.T, words ...string) {
	t.Helper()
	rule, err := relation.ParseRule(words[0], words[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	s.Rules.Affects = append(s.Rules.Affects, rule)
	s.Namer.Roots = append(s.Namer.Roots, rule.Roots()...)
}

// guards adds a rule such as "/a /b".
func (s *site) guards(t *testing.T, from, to string) {
	t.Helper()
	rule, err := relation.ParseRule(from, to)
	if err != nil {
		t.Fatal(err)
	}
	s.Rules.Guards = append(s.Rules.Guards, rule)
}

// requestOf makes a request as Caddy passes it to handlers, from a line such as
// "PUT /a" and fields such as "If-Match: *".
func requestOf(ctx context.Context, line string, fields ...string) *http.Request {
	method, target, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, target, nil).WithContext(ctx)
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil)
}

// serve serves a request. It returns what the client got.
func (s *site) serve(r *http.Request) (*client, error) {
	w := &client{ResponseRecorder: httptest.NewRecorder(), events: s.events}
	gateway := *s.Gateway
	gateway.Store = s
	return w, gateway.ServeHTTP(w, r, s.next())
}

// exchangeOf returns a request on its way through the gateway.
func (s *site) exchangeOf(r *http.Request) (*exchange, *client) {
	w := &client{ResponseRecorder: httptest.NewRecorder(), events: s.events}
	request := resource.NewRequest(r, s.Signed...)
	target := s.Namer.Own(request)
	return s.newExchange(s.share, w, &carried{Gateway: s.Gateway, request: request}, target, s.next(), s.newResponder(w, request, target)), w
}

// tagOf reads a resource, and returns the tag that the client got.
func (s *site) tagOf(t *testing.T, path string) string {
	t.Helper()
	w, err := s.serve(requestOf(t.Context(), "GET "+path))
	if err != nil || w.Header().Get("Etag") == "" {
		t.Fatalf("%v, %v", err, w.Header())
	}
	s.take()
	return w.Header().Get("Etag")
}

// outcome returns the outcome that was reported for a request.
func outcome(r *http.Request) string {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll("{http.preconditions.outcome}", "none")
}

// releasedBeforeAnswered holds events to the rule that each grant ends once, before
// the client sees a status.
func releasedBeforeAnswered(t *testing.T, list []string) {
	t.Helper()
	held := make(map[string]int)
	for _, event := range list {
		call, key, _ := strings.Cut(event, " ")
		switch call {
		case "claim", "pass":
			held[key]++
		case "settle":
			if held[key]--; held[key] < 0 {
				t.Errorf("%s ended once too often: %q", key, list)
			}
		case "answer":
			for key, n := range held {
				if n != 0 {
					t.Errorf("%s is held while the client is answered: %q", key, list)
				}
			}
		}
	}
	for key, n := range held {
		if n > 0 {
			t.Errorf("%s was never ended: %q", key, list)
		}
	}
}

func expectEvents(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func tag(opaque string) validator.ETag { return validator.ETag{Opaque: opaque, Valid: true} }

func weak(opaque string) validator.ETag {
	return validator.ETag{Opaque: opaque, Valid: true, Weak: true}
}

func present(opaque string) validator.Observed {
	return validator.Observed{Representation: validator.Representation{State: validator.Present, ETag: tag(opaque)}}
}
