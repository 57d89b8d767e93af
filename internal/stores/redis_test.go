package stores

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A reload that changes any field of a Redis store opens a new store.
func TestRedisKey(t *testing.T) {
	base := func() *Redis { return &Redis{Address: []string{"localhost:1"}, TLS: new(RedisTLS)} }
	keys := map[string]string{base().StoreKey(): "nothing"}
	differs := func(field string, s *Redis) {
		t.Helper()
		key := s.StoreKey()
		if other, taken := keys[key]; taken {
			t.Errorf("%s and %s have the same key", field, other)
		}
		keys[key] = field
	}
	setEach := func(name string, value reflect.Value, s func() (*Redis, reflect.Value)) {
		for i := range value.NumField() {
			if !value.Type().Field(i).IsExported() {
				continue
			}
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
	setEach("", reflect.ValueOf(Redis{}), func() (*Redis, reflect.Value) {
		s := base()
		return s, reflect.ValueOf(s).Elem()
	})
	setEach("TLS.", reflect.ValueOf(RedisTLS{}), func() (*Redis, reflect.Value) {
		s := base()
		return s, reflect.ValueOf(s.TLS).Elem()
	})
	if again := base().StoreKey(); keys[again] != "nothing" {
		t.Error("the key of the same configuration differs")
	}
}

// So does a reload after a file that a field names has changed: certificates are
// renewed in place.
func TestRedisKeyOfFiles(t *testing.T) {
	dir := t.TempDir()
	ca, certificate, key := filepath.Join(dir, "ca"), filepath.Join(dir, "certificate"), filepath.Join(dir, "key")
	s := &Redis{TLS: &RedisTLS{CA: ca, Certificate: certificate, Key: key}}
	seen := map[string]bool{s.StoreKey(): true} // OpenStore reports files that don't exist
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

// Neither the key of a store nor an error reveals a password.
func TestRedisPasswordStaysSecret(t *testing.T) {
	const secret = "pa55word"
	for _, s := range []*Redis{
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
	s := &Redis{
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
		t.Error("the configuration itself was changed")
	}
}
