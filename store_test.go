package preconditions

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

// fakeStore is a memory store that can be away, and remembers what it was asked.
type fakeStore struct {
	etagcache.Store
	err         error // if not nil, what every call fails with
	closed      int
	invalidated []string
	reads       int

	invalidating func(key string) // if not nil, called by Invalidate
}

func newFakeStore() *fakeStore { return &fakeStore{Store: etagcache.NewMemory(0)} }

func (f *fakeStore) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	f.reads++
	if f.err != nil {
		return etagcache.Entry{}, f.err
	}
	return f.Store.Read(ctx, key, t)
}

func (f *fakeStore) Invalidate(ctx context.Context, key string, t etagcache.Terms) error {
	if f.err != nil {
		return f.err
	}
	f.invalidated = append(f.invalidated, key)
	if f.invalidating != nil {
		f.invalidating(key)
	}
	return f.Store.Invalidate(ctx, key, t)
}

func (f *fakeStore) Close() error {
	f.closed++
	return nil
}

// opener opens a store that is there already.
type opener struct {
	key    string
	store  etagcache.Store
	err    error
	opened int
}

func (o *opener) StoreKey() string { return o.key }

func (o *opener) OpenStore() (etagcache.Store, error) {
	o.opened++
	return o.store, o.err
}

// release gives a share of a store back, as Cleanup does.
func release(t *testing.T, key string) {
	t.Helper()
	if err := (&Handler{storeKey: key, store: newSharedStore(nil)}).Cleanup(); err != nil {
		t.Fatal(err)
	}
}

// acquire takes a share of a store, as Provision does.
func acquire(t *testing.T, o StoreOpener) (*sharedStore, string) {
	t.Helper()
	s, key, err := acquireStore(o, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

func TestSharedStore(t *testing.T) {
	t.Run("equal keys share a store, which the last one closes", func(t *testing.T) {
		f := newFakeStore()
		o := &opener{key: t.Name(), store: f}
		one, key := acquire(t, o)
		two, _ := acquire(t, &opener{key: t.Name(), store: newFakeStore()})
		if one != two || o.opened != 1 {
			t.Errorf("shared: %v, opened %d times", one == two, o.opened)
		}
		release(t, key)
		if f.closed != 0 {
			t.Error("closed while a handler uses it")
		}
		release(t, key)
		if f.closed != 1 {
			t.Errorf("closed %d times", f.closed)
		}
	})

	t.Run("other keys mean other stores", func(t *testing.T) {
		one, key1 := acquire(t, &opener{key: t.Name() + "1", store: newFakeStore()})
		two, key2 := acquire(t, &opener{key: t.Name() + "2", store: newFakeStore()})
		if one == two {
			t.Error("shared")
		}
		release(t, key1)
		release(t, key2)
	})

	t.Run("a request keeps the store open beyond the last handler", func(t *testing.T) {
		f := newFakeStore()
		s, key := acquire(t, &opener{key: t.Name(), store: f})
		leave1, open1 := s.enter()
		leave2, open2 := s.enter()
		if !open1 || !open2 {
			t.Fatal("not open")
		}
		release(t, key)
		leave1()
		if f.closed != 0 {
			t.Fatal("closed under a running request")
		}
		leave2()
		if f.closed != 1 {
			t.Fatalf("closed %d times", f.closed)
		}
		if _, open := s.enter(); open { // one that was on its way meanwhile
			t.Error("entered a closed store")
		}
	})

	t.Run("a request that comes too late opens the store again, and shares it with the newest config", func(t *testing.T) {
		f, old, newest := newFakeStore(), zap.NewNop(), zap.NewNop()
		o := &opener{key: t.Name(), store: f}
		h := &Handler{opener: o, logger: old}
		var err error
		if h.store, h.storeKey, err = acquireStore(o, old); err != nil {
			t.Fatal(err)
		}
		if err := h.Cleanup(); err != nil {
			t.Fatal(err)
		}
		first, leave1, err := h.enter()
		if err != nil || first.store == h.store || o.opened != 2 || f.closed != 1 {
			t.Fatalf("%v, opened %d times, closed %d times", err, o.opened, f.closed)
		}
		s, key, err := acquireStore(o, newest)
		if err != nil || s != first.store {
			t.Fatalf("%v, shared: %v", err, s == first.store)
		}
		second, leave2, err := h.enter()
		if err != nil || second.store != s || s.logger.Load() != newest {
			t.Errorf("%v, shared: %v, logger of the newest config: %v", err, second.store == s, s.logger.Load() == newest)
		}
		leave1()
		release(t, key)
		if f.closed != 1 {
			t.Error("closed under a running request")
		}
		leave2()
		if f.closed != 2 {
			t.Errorf("closed %d times", f.closed)
		}
	})

	t.Run("a retired store is not handed out again", func(t *testing.T) {
		f := newFakeStore()
		old, key := acquire(t, &opener{key: t.Name(), store: f})
		leave, _ := old.enter()
		release(t, key)
		again, key := acquire(t, &opener{key: key, store: newFakeStore()})
		if again == old {
			t.Error("the retired store is in use again")
		}
		leave()
		if f.closed != 1 {
			t.Errorf("closed %d times", f.closed)
		}
		release(t, key)
	})

	t.Run("a store that can't be opened is not kept, and nothing is given back", func(t *testing.T) {
		broken := errors.New("broken")
		if _, key, err := acquireStore(&opener{key: t.Name(), err: broken}, zap.NewNop()); !errors.Is(err, broken) || key != "" {
			t.Fatalf("got key %q and %v", key, err)
		}
		release(t, "") // Caddy cleans up what failed to be provisioned
		_, key := acquire(t, &opener{key: t.Name(), store: newFakeStore()})
		release(t, key)
	})

	t.Run("nothing is read before what was written without the store is marked", func(t *testing.T) {
		f := newFakeStore()
		s, key := acquire(t, &opener{key: t.Name(), store: f})
		defer release(t, key)
		terms := etagcache.Terms{Lease: 1e9, Retention: 2e9}
		s.journal.once("written")

		f.err = etagcache.ErrUnavailable
		if _, err := s.Read(t.Context(), "other", terms); !errors.Is(err, etagcache.ErrUnavailable) || f.reads != 0 {
			t.Fatalf("got %v after %d reads", err, f.reads)
		}
		f.err = nil
		if _, err := s.Read(t.Context(), "other", terms); err != nil || f.reads != 1 || len(f.invalidated) != 1 || f.invalidated[0] != "written" {
			t.Fatalf("got %v after %d reads, invalidated %v", err, f.reads, f.invalidated)
		}
	})

	t.Run("a write that the store doesn't know of keeps claims waiting", func(t *testing.T) {
		s, key := acquire(t, &opener{key: t.Name(), store: newFakeStore()})
		defer release(t, key)
		terms := etagcache.Terms{Lease: 1e9, Retention: 2e9}
		mustBegin(t, s.journal, "a")
		entry, err := s.Read(t.Context(), "a", terms)
		if err != nil || entry.Busy == 0 {
			t.Fatalf("a is busy for %v, %v", entry.Busy, err)
		}
		if _, entry, err = s.Claim(t.Context(), "a", entry.Epoch, terms); !errors.Is(err, etagcache.ErrBusy) || entry.Busy == 0 {
			t.Fatalf("a is busy for %v, %v", entry.Busy, err)
		}
		if other, err := s.Read(t.Context(), "b", terms); err != nil || other.Busy != 0 {
			t.Fatalf("b is busy for %v, %v", other.Busy, err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Wait(gone, "a", entry); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		go s.journal.end("a")
		if err := s.Wait(t.Context(), "a", entry); err != nil {
			t.Fatal(err)
		}
		if entry, err = s.Read(t.Context(), "a", terms); err != nil || entry.Busy != 0 {
			t.Fatalf("a is busy for %v, %v", entry.Busy, err)
		}
		if _, _, err = s.Claim(t.Context(), "a", entry.Epoch, terms); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a write that ends while the store is told of others lets no claim pass it by", func(t *testing.T) {
		f := newFakeStore()
		s, key := acquire(t, &opener{key: t.Name(), store: f})
		defer release(t, key)
		terms := etagcache.Terms{Lease: 1e9, Retention: 2e9}
		mustBegin(t, s.journal, "a")
		expectFlushed(t, s.journal, "a")
		before, err := f.Read(t.Context(), "a", terms)
		if err != nil {
			t.Fatal(err)
		}
		s.journal.once("b")
		f.invalidating = func(key string) {
			if key == "b" {
				s.journal.end("a")
			}
		}
		for range 2 { // now it is in flight, and now it has ended
			if _, _, err = s.Claim(t.Context(), "a", before.Epoch, terms); err == nil {
				t.Fatal("the claim is for an epoch from before the end of the write")
			}
		}
		if !errors.Is(err, etagcache.ErrStale) {
			t.Fatalf("got %v", err)
		}
	})

	t.Run("whoever comes while the store is told is refused", func(t *testing.T) {
		s, key := acquire(t, &opener{key: t.Name(), store: newFakeStore()})
		defer release(t, key)
		s.journal.once("written")
		s.journal.flushing.Lock()
		defer s.journal.flushing.Unlock()
		_, err := s.Read(t.Context(), "other", etagcache.Terms{Lease: 1e9, Retention: 2e9})
		if !errors.Is(err, etagcache.ErrUnavailable) || !errors.Is(err, errCatchingUp) {
			t.Errorf("got %v", err)
		}
	})
}

// The store's absence is logged when it begins and when it ends, not at every
// request in between.
func TestStoreAwayIsLoggedOnce(t *testing.T) {
	f := newFakeStore()
	s, key := acquire(t, &opener{key: t.Name(), store: f})
	defer release(t, key)
	core, logs := observer.New(zapcore.InfoLevel)
	s.logger.Store(zap.New(core))
	read := func(ctx context.Context) {
		_, _ = s.Read(ctx, "a", etagcache.Terms{Lease: 1e9, Retention: 2e9})
	}
	read(t.Context())
	f.err = etagcache.ErrUnavailable
	read(t.Context())
	read(t.Context())
	f.err = context.Canceled // says nothing about the store
	read(t.Context())
	f.err = nil
	read(t.Context())
	read(t.Context())

	var got []string
	for _, entry := range logs.All() {
		got = append(got, entry.Level.String()+": "+entry.Message)
	}
	if want := []string{"error: the store is out of reach", "info: the store is back"}; !reflect.DeepEqual(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// A reload that changes any field of a Redis store opens another one.
func TestRedisStoreKey(t *testing.T) {
	base := func() *RedisStore { return &RedisStore{Address: []string{"localhost:1"}, TLS: new(RedisTLS)} }
	keys := map[string]string{base().StoreKey(): "nothing"}
	differs := func(field string, s *RedisStore) {
		t.Helper()
		key := s.StoreKey()
		if other, taken := keys[key]; taken {
			t.Errorf("%s and %s have the same key", field, other)
		}
		keys[key] = field
	}
	setEach := func(name string, value reflect.Value, s func() (*RedisStore, reflect.Value)) {
		for i := range value.NumField() {
			store, fields := s()
			switch f := fields.Field(i); f.Kind() {
			case reflect.String:
				f.SetString("x")
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Int, reflect.Int64:
				f.SetInt(7)
			case reflect.Slice:
				f.Set(reflect.ValueOf([]string{"x"}))
			case reflect.Pointer:
				f.SetZero()
			default:
				t.Fatalf("field %s%s is of a kind that this test doesn't know", name, value.Type().Field(i).Name)
			}
			differs(name+value.Type().Field(i).Name, store)
		}
	}
	setEach("", reflect.ValueOf(RedisStore{}), func() (*RedisStore, reflect.Value) {
		s := base()
		return s, reflect.ValueOf(s).Elem()
	})
	setEach("TLS.", reflect.ValueOf(RedisTLS{}), func() (*RedisStore, reflect.Value) {
		s := base()
		return s, reflect.ValueOf(s.TLS).Elem()
	})
	if again := base().StoreKey(); keys[again] != "nothing" {
		t.Error("the key of the same configuration differs")
	}
}

// So does one after a file has changed that a field names: certificates are
// renewed in place.
func TestRedisStoreKeyOfFiles(t *testing.T) {
	dir := t.TempDir()
	ca, certificate, key := filepath.Join(dir, "ca"), filepath.Join(dir, "certificate"), filepath.Join(dir, "key")
	s := &RedisStore{TLS: &RedisTLS{CA: ca, Certificate: certificate, Key: key}}
	seen := map[string]bool{s.StoreKey(): true} // OpenStore says what is wrong with files that aren't there
	for _, file := range []string{ca, certificate, key} {
		for _, content := range []string{"old", "new"} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if seen[s.StoreKey()] {
				t.Errorf("the key is as before, though %s is %s", filepath.Base(file), content)
			}
			seen[s.StoreKey()] = true
		}
	}
}

// Neither the key of a store nor an error tells a password.
func TestRedisPasswordStaysSecret(t *testing.T) {
	const secret = "pa55word"
	for _, s := range []*RedisStore{
		{URL: []string{"redis://ann:" + secret + "@localhost"}},
		{Password: secret},
		{SentinelMaster: "m", SentinelPassword: secret},
		{URL: []string{"redis://ann:" + secret + "@localhost:x:y"}},
		{URL: []string{"redis://ann:" + secret + "%@localhost"}},
		{URL: []string{"http://ann:" + secret + "@localhost"}},
		{URL: []string{"redis://ann:" + secret + "@localhost", "redis://ann:other@localhost"}},
		{URL: []string{"redis://ann:" + secret + "@localhost?" + secret + "=1"}},
		{Address: []string{secret + "@localhost"}},
	} {
		if err := s.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(s.StoreKey(), secret) {
			t.Errorf("the key is %s", s.StoreKey())
		}
		if err := s.Validate(); err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error is %v", err)
		}
	}
}

// Global placeholders are replaced in every text, before the key is made.
func TestRedisPlaceholders(t *testing.T) {
	t.Setenv("PRECONDITIONS_TEST", "value")
	const placeholder = "{env.PRECONDITIONS_TEST}"
	s := &RedisStore{
		URL: []string{placeholder}, Address: []string{placeholder}, Username: placeholder, Password: placeholder,
		SentinelMaster: placeholder, SentinelUsername: placeholder, SentinelPassword: placeholder, Prefix: placeholder,
		TLS: &RedisTLS{CA: placeholder, Certificate: placeholder, Key: placeholder, ServerName: placeholder},
	}
	written := *s.TLS
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "{env") || strings.Count(string(text), `"value"`) != 12 {
		t.Errorf("got %s", text)
	}
	if written.CA != placeholder {
		t.Error("what was written in the config is changed")
	}
}
