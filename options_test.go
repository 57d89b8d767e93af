package preconditions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions"
	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// TestCaddyfile adapts what is in testdata/caddyfile. A file holds Caddyfiles,
// each followed by the JSON that it stands for, or by the error that it gives.
func TestCaddyfile(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile/*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	adapted, refused := 0, 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "----------\n")
			if len(parts)%2 != 0 {
				t.Fatal("a Caddyfile has no expectation")
			}
			for i := 0; i < len(parts); i += 2 {
				want := strings.TrimSpace(parts[i+1])
				got, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(parts[i]), map[string]any{"filename": "Caddyfile"})
				switch {
				case strings.HasPrefix(want, "{"):
					adapted++
					expectAdapted(t, got, err, want)
				case err == nil:
					t.Errorf("no error, want %q, for:\n%s", want, parts[i])
				default:
					refused++
					if said := strings.TrimPrefix(err.Error(), "parsing caddyfile tokens for 'preconditions': "); said != want {
						t.Errorf("got  %q\nwant %q\nfor:\n%s", said, want, parts[i])
					}
				}
			}
		})
	}
	if adapted == 0 || refused == 0 {
		t.Fatalf("only %d Caddyfiles were adapted and %d refused", adapted, refused)
	}
}

func expectAdapted(t *testing.T, got []byte, err error, want string) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "\t"); err != nil {
		t.Fatal(err)
	}
	if indented.String() != want {
		t.Errorf("got\n%s\nwant\n%s", indented.String(), want)
	}
}

// validateJSON loads and provisions a handler with the given JSON members, and
// starts nothing.
func validateJSON(t testing.TB, members string) error {
	t.Helper()
	if members != "" {
		members = "," + members
	}
	text := `{
		"admin": {"disabled": true},
		"logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"http": {"servers": {"srv": {
			"listen": ["127.0.0.1:0"],
			"routes": [{"handle": [{"handler": "preconditions"` + members + `}]}]
		}}}}
	}`
	var config caddy.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return caddy.Validate(&config)
}

func TestJSONIsAccepted(t *testing.T) {
	for _, members := range []string{
		``,
		`"store": {"module": "memory"}`,
		`"store": {"module": "memory", "max_entries": 1}`,
		`"store": {"module": "redis"}`,
		`"store": {"module": "redis", "url": ["redis://ann:x@one:1/2"], "prefix": "p:", "timeout": "1s"}`,
		`"store": {"module": "redis", "address": ["one:1"], "username": "ann", "password": "x", "db": 1, "tls": {"server_name": "one", "insecure_skip_verify": true}}`,
		`"store": {"module": "redis", "address": ["one:1"], "sentinel_master": "m", "sentinel_username": "ann", "sentinel_password": "x"}`,
		`"store": {"module": "redis", "address": ["one:1"], "cluster": true}`,
		`"key": "{http.request.uri.path}"`,
		`"etag": [{"source": "upstream"}]`,
		`"etag": [{"source": "upstream"}, {"source": "body"}]`,
		`"etag": [{"source": "header", "field": "X-Version"}, {"source": "header", "field": "X-Revision"}]`,
		`"etag": [{"source": "json", "pointers": [""]}, {"source": "json", "pointers": ["/a", "/b~0~1"]}, {"source": "body"}]`,
		`"etag": [{"source": "upstream"}, {"source": "modified"}, {"source": "version"}]`,
		`"etag": [{"source": "version"}], "verify": "never"`,
		`"vary": []`,
		`"vary": ["Accept", "accept", "X-Tenant"]`,
		`"secret": "a"`,
		`"secret": "{env.PATH}"`,
		`"buffer": 1`,
		`"buffer": 1073741824`,
		`"require": ["PUT", "FROBNICATE"]`,
		`"verify": "passing"`, `"verify": "all"`, `"verify": "never"`, `"verify": "1ns"`, `"verify": "1d"`,
		`"lease": "1s"`, `"lease": 1000000000`, `"lease": "1h"`,
		`"wait": "1ms"`, `"wait": "1h"`,
		`"retention": "7d"`, `"lease": "1s", "retention": "1001ms"`,
		`"mode": "enforce"`, `"mode": "report"`,
		`"errors": "problem"`, `"errors": "caddy"`,
		`"disclose": true`, `"disclose": false`,
		`"unconditional": "serialize"`, `"unconditional": "forward"`,
		`"store_down": {}`,
		`"store_down": {"conditional": "forward", "unconditional": "refuse", "retry_after": "1s"}`,
		`"store_down": {"conditional": "refuse", "unconditional": "forward", "retry_after": "24h"}`,
	} {
		if err := validateJSON(t, members); err != nil {
			t.Errorf("%s: %v", members, err)
		}
	}
}

// What JSON says wrong is refused with the name of the option.
func TestJSONIsRefused(t *testing.T) {
	tests := []struct{ members, want string }{
		{`"etag": []`, "etag: at least one source is needed"},
		{`"etag": [{}]`, `etag: unknown source "": must be upstream, header, json, modified, body or version`},
		{`"etag": [{"source": "json"}]`, `etag: source json needs pointers, and no other has any`},
		{`"etag": [{"source": "body", "pointers": ["/version"]}]`, `etag: source json needs pointers, and no other has any`},
		{`"etag": [{"source": "header"}]`, `etag: source header needs a field, and no other has one`},
		{`"etag": [{"source": "modified", "field": "X-Date"}]`, `etag: source header needs a field, and no other has one`},
		{`"etag": [{"source": "header", "field": "X-Version:"}]`, `etag: "X-Version:" is no field name`},
		{`"etag": [{"source": "json", "pointers": ["/a", "b"]}]`, `etag: JSON pointer "b" must be empty or begin with /`},
		{`"etag": [{"source": "json", "pointers": "/a"}]`, `etag`},
		{`"etag": [{"source": "version"}, {"source": "body"}]`, "etag: source body is never tried after version"},
		{`"etag": [{"source": "version"}], "verify": "all"`, "verify: there is nothing to verify at the origin with etag version"},
		{`"vary": ["*"]`, "vary: must name request fields"},
		{`"vary": ["Accept-Encoding"]`, "vary: Accept-Encoding makes no difference"},
		{`"vary": ["a b"]`, `vary: "a b" is no field name`},
		{`"vary": ["` + strings.Repeat("a", 513) + `"]`, "vary: must have at most 512 bytes"},
		{`"vary": "Accept"`, "vary"},
		{`"secret": "{env.NO_SUCH_VARIABLE}"`, "secret: a placeholder is unknown or empty"},
		{`"secret": "{file./no/such/file}"`, "secret: a placeholder is unknown or empty"},
		{`"secret": "a{b}c"`, "secret: a placeholder is unknown or empty"},
		{`"secret": 7`, "secret"},
		{`"etag": [{"source": "body"}, {"source": "upstream"}]`, "etag: source upstream is never tried after body"},
		{`"etag": [{"source": "upstream"}, {"source": "upstream"}]`, "etag: source upstream is given twice"},
		{`"etag": "body"`, "etag"},
		{`"key": 1`, "key"},
		{`"buffer": -1`, "buffer: must be between"},
		{`"buffer": 1073741825`, "buffer: must be between"},
		{`"buffer": "1MiB"`, "buffer"},
		{`"require": "PUT"`, "require"},
		{`"require": ["GET"]`, "require: GET is no write"},
		{`"require": ["put"]`, `require: "put" is no method`},
		{`"require": ["PUT", "PUT"]`, "require: PUT is given twice"},
		{`"verify": "sometimes"`, "verify: must be passing, all, never or a duration"},
		{`"verify": "0s"`, "verify: must be"},
		{`"verify": 5`, "verify"},
		{`"lease": "999ms"`, "lease: must be between 1s and 1h"},
		{`"lease": -1`, "lease: must be between 1s and 1h"},
		{`"lease": "2h"`, "lease: must be between 1s and 1h"},
		{`"wait": -1`, "wait: must be between 1ms and 1h"},
		{`"wait": "2h"`, "wait: must be between 1ms and 1h"},
		{`"grace": -1`, "grace: must be between 1ms and 1h"},
		{`"grace": "2h"`, "grace: must be between 1ms and 1h"},
		{`"retention": "30s"`, "retention: must be longer than the lease, 30s"},
		{`"retention": -1`, "retention: must be longer"},
		{`"mode": "observe"`, `mode: must be enforce or report, not "observe"`},
		{`"errors": "s3"`, `errors: must be problem or caddy, not "s3"`},
		{`"disclose": "off"`, "disclose"},
		{`"unconditional": "refuse"`, "unconditional: must be serialize or forward"},
		{`"store_down": {"conditional": "queue"}`, "store_down: conditional must be refuse or forward"},
		{`"store_down": {"unconditional": "queue"}`, "store_down: unconditional must be refuse or forward"},
		{`"store_down": {"retry_after": "500ms"}`, "store_down: retry_after must be between"},
		{`"store_down": {"reads": "refuse"}`, `unknown field "reads"`},

		{`"store": {}`, "store"},
		{`"store": {"module": "etcd"}`, "unknown module: http.preconditions.stores.etcd"},
		{`"store": {"module": "memory", "max_entries": -1}`, "max_entries must be at least 1"},
		{`"store": {"module": "memory", "size": 1}`, `unknown field "size"`},
		{`"store": {"module": "redis", "replicas": -1}`, "redis: replicas must be between 0 and 100"},
		{`"store": {"module": "redis", "tls": {"insecure": true}}`, `unknown field "insecure"`},
		{`"store": {"module": "redis", "db": -1}`, "can't be negative"},
		{`"store": {"module": "redis", "timeout": "2m"}`, "redis: timeout must be between 1ms and 1m"},
		{`"store": {"module": "redis", "timeout": -1}`, "redis: timeout must be between 1ms and 1m"},
		{`"store": {"module": "redis", "address": ["a:1:2"]}`, "redis address 1: not host:port"},
		{`"store": {"module": "redis", "cluster": true, "sentinel_master": "m"}`, "redis can't be a cluster and have Sentinels"},
		{`"store": {"module": "redis", "tls": {"ca": "/no/such/file"}}`, "reading the authorities"},
		{`"store": {"module": "redis", "tls": {"ca": "go.mod"}}`, "go.mod holds no certificate"},
		{`"store": {"module": "redis", "tls": {"certificate": "go.mod"}}`, "a certificate needs a key"},
		{`"store": {"module": "redis", "tls": {"key": "go.mod"}}`, "a certificate needs a key"},
		{`"store": {"module": "redis", "tls": {"certificate": "go.mod", "key": "go.mod"}}`, "reading the certificate"},
		{`"store": {"module": "redis", "url": ["{env.NO_SUCH_VARIABLE}"]}`, "redis address 1"},

		{`"affects": [{"path": "a", "resources": ["/b"]}]`, `affects: "a" must begin with a slash`},
		{`"affects": [{"path": "/a"}]`, `affects: needs a path, and at least another one`},
		{`"guards": [{"path": "/a", "resource": "/*"}]`, `guards: "/*" has more * than "/a"`},
		{`"write_etag": "on"`, `write_etag: must be verbatim or always or off, not "on"`},
		{`"Key": "a", "keyy": "b"`, `unknown field "keyy"`},
	}
	for _, tt := range tests {
		err := validateJSON(t, tt.members)
		if err == nil {
			t.Errorf("%s: no error", tt.members)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %q, want %q in it", tt.members, err, tt.want)
		}
	}
}

// watched is a document service, and what it was asked.
func watched(o legacydocs.Options) (*legacydocs.Service, *witness) {
	seen := new(witness)
	before := o.Before
	o.Before = func(r *http.Request) int {
		seen.mu.Lock()
		seen.heard = append(seen.heard, heard{Request: r.Clone(context.Background())})
		seen.mu.Unlock()
		if before != nil {
			return before(r)
		}
		return 0
	}
	return legacydocs.New(o), seen
}

// asks returns how many GETs the backend hears while f runs.
func (b *witness) asks(f func()) int {
	before := len(b.all("GET"))
	f()
	return len(b.all("GET")) - before
}

// Requests whose keys are equal wait for each other; others don't.
func TestOptionKey(t *testing.T) {
	for _, tt := range []struct {
		options string
		status  int
	}{
		{"wait 1ms", 204},
		{"wait 1ms\nkey {http.request.host}/all", 503},
	} {
		t.Run(tt.options, func(t *testing.T) {
			g := newGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.pass})
			bypass(t, docs, "PUT", "/docs/a", "a")
			bypass(t, docs, "PUT", "/docs/b", "b")
			url := site(t, tt.options, docs)
			first := g.send(t.Context(), t, "PUT", url+"/docs/a", "a2", "If-Match", "*")
			send(t, "PUT", url+"/docs/b", "b2", "If-Match", "*").expect(t, tt.status)
			g.open()
			expectResult(t, first, 204)
		})
	}
}

// A key without the host serves one resource under several names.
func TestOptionKeyAcrossHosts(t *testing.T) {
	docs := legacydocs.New(legacydocs.Options{})
	bypass(t, docs, "PUT", "/docs/a", "a")
	port := freeAddress(t)[len("127.0.0.1"):]
	load(t, fmt.Sprintf("http://%s {\npreconditions {\nkey {http.request.uri.path}\nverify never\n}\nreverse_proxy %s\n}\n", port, serve(t, docs)))
	url := "http://127.0.0.1" + port + "/docs/a"
	tag := send(t, "GET", url, "", "Host", "one.example").tag(t)
	send(t, "PUT", url, "b", "Host", "two.example", "If-Match", tag).expect(t, 204)
	send(t, "PUT", url, "c", "Host", "one.example", "If-Match", tag).expect(t, 412)
}

func TestOptionETag(t *testing.T) {
	tests := []struct {
		name    string
		options string
		own     string // the backend's
		minted  bool   // whether the client gets one of ours
		want    string // or else which
	}{
		{"the backend's, if it is strong", "", `"own"`, false, `"own"`},
		{"ours, if the backend's is weak", "", `W/"own"`, true, ""},
		{"ours, if the backend has none", "", "", true, ""},
		{"ours, if the backend's is malformed", "", `own`, true, ""},
		{"upstream only: the backend's", "etag upstream", `"own"`, false, `"own"`},
		{"upstream only: a weak one stays", "etag upstream", `W/"own"`, false, `W/"own"`},
		{"upstream only: none, if the backend has none", "etag upstream", "", false, ""},
		{"body only: ours, though the backend has its own", "etag body", `"own"`, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var fields []string
			if tt.own != "" {
				fields = []string{"ETag", tt.own}
			}
			backend := page("content", fields...)
			url := site(t, tt.options, backend)
			a := send(t, "GET", url, "").expect(t, 200)
			got := a.Header.Get("ETag")
			if tt.minted {
				if got == "" || got == tt.own || got[0] != '"' {
					t.Fatalf("got %s, want one of ours", got)
				}
			} else if got != tt.want {
				t.Fatalf("got %s, want %s", got, tt.want)
			}
			if got == "" || got[0] != '"' {
				// What can't be compared doesn't let a write through, but a read.
				send(t, "PUT", url, "new", "If-Match", `"own"`).expect(t, 412)
				send(t, "PUT", url, "new", "If-Match", `W/"own"`).expect(t, 412)
				send(t, "GET", url, "", "If-None-Match", `"other"`).expect(t, 200)
				if got != "" { // weak comparison (RFC 9110, section 13.1.2)
					if a := send(t, "GET", url, "", "If-None-Match", got).expect(t, 304); a.Header.Get("ETag") != got {
						t.Errorf("ETag: %s", a.Header.Get("ETag"))
					}
				}
				backend.unwritten(t)
				return
			}
			// The tag that was given lets a write through. The backend hears
			// of it only if it is its own.
			send(t, "PUT", url, "new", "If-Match", got).expect(t, 204)
			forwarded := backend.last(t, "PUT").Header.Get("If-Match")
			if tt.minted && forwarded != "" || !tt.minted && forwarded != got {
				t.Errorf("the backend heard If-Match: %s", forwarded)
			}
			if tt.minted && tt.own != "" {
				send(t, "PUT", url, "new", "If-Match", tt.own).expect(t, 412)
			}
		})
	}
}

// A response over the buffer streams through without a tag.
func TestOptionBuffer(t *testing.T) {
	seen := make(chan struct{})
	backend := &witness{answer: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Query().Get("first"))
		if r.URL.Query().Has("second") {
			_ = http.NewResponseController(w).Flush()
			<-seen
			_, _ = io.WriteString(w, r.URL.Query().Get("second"))
		}
	}}
	url := site(t, "buffer 10", backend)

	send(t, "GET", url+"/?first=0123456789", "").expect(t, 200).tag(t)
	if a := send(t, "GET", url+"/?first=0123456789x", "").expect(t, 200); a.Header.Get("ETag") != "" || a.Content != "0123456789x" {
		t.Errorf("got %s and %q", a.Header.Get("ETag"), a.Content)
	}

	r, err := client.Get(url + "/?first=0123456789x&second=y")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	first := make([]byte, 11)
	if _, err := io.ReadFull(r.Body, first); err != nil { // while the backend waits
		t.Fatal(err)
	}
	close(seen)
	rest, err := io.ReadAll(r.Body)
	if err != nil || string(rest) != "y" || r.Header.Get("ETag") != "" {
		t.Errorf("got %q, %v, ETag %s", rest, err, r.Header.Get("ETag"))
	}
}

func TestOptionRequire(t *testing.T) {
	for _, tt := range []struct {
		options string
		refused string // of all the methods below
	}{
		{"", ""},
		{"require", "PUT PATCH DELETE"},
		{"require POST LOCK", "POST LOCK"},
	} {
		t.Run(tt.options, func(t *testing.T) {
			backend := page("content")
			url := site(t, tt.options, backend)
			for _, method := range []string{"PUT", "PATCH", "DELETE", "POST", "LOCK", "GET", "HEAD", "OPTIONS", "PROPFIND"} {
				a := send(t, method, url, "")
				if got, want := a.StatusCode == 428, strings.Contains(" "+tt.refused+" ", " "+method+" "); got != want {
					t.Errorf("%s is refused: %v, want %v", method, got, want)
				}
			}
			if tt.refused != "" {
				// A condition that must be ignored is none, and a method in
				// an override field counts as well, or one in lower case.
				method := strings.Fields(tt.refused)[0]
				send(t, strings.ToLower(method), url, "").expect(t, 428)
				send(t, method, url, "", "If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT").expect(t, 428)
				send(t, "PROPPATCH", url, "", "X-HTTP-Method-Override", method).expect(t, 428)
				send(t, method, url, "", "If-Match", "*").expect(t, 204)
			}
		})
	}
}

// verify says which writes cost a GET.
func TestOptionVerify(t *testing.T) {
	for _, tt := range []struct {
		verify          string
		refused, passed int
	}{
		{"passing", 0, 1},
		{"all", 1, 1},
		{"never", 0, 0},
		{"1h", 0, 0},  // stored less than that ago
		{"1ns", 0, 1}, // stored longer than that ago
	} {
		t.Run(tt.verify, func(t *testing.T) {
			backend := page("content")
			url := site(t, "write_etag off\nverify "+tt.verify, backend)
			tag := send(t, "GET", url, "").tag(t)
			if got := backend.asks(func() { send(t, "PUT", url, "x", "If-Match", `"stale"`).expect(t, 412) }); got != tt.refused {
				t.Errorf("a write that is refused costs %d GETs, want %d", got, tt.refused)
			}
			if got := backend.asks(func() { send(t, "PUT", url, "x", "If-Match", tag).expect(t, 204) }); got != tt.passed {
				t.Errorf("a write that passes costs %d GETs, want %d", got, tt.passed)
			}
			if got := backend.asks(func() { send(t, "PUT", url, "x", "If-Match", tag).expect(t, 204) }); got != 1 {
				t.Errorf("a write of what isn't known costs %d GETs, want 1", got)
			}
		})
	}
}

// Wait bounds how long a write waits for the one before it.
func TestOptionWait(t *testing.T) {
	for _, tt := range []struct {
		wait   string
		status int
	}{
		{"1ms", 503},
		{"1m", 412},
	} {
		t.Run(tt.wait, func(t *testing.T) {
			g := newGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.pass})
			bypass(t, docs, "PUT", "/docs/a", "a")
			url := site(t, "wait "+tt.wait, docs) + "/docs/a"
			tag := send(t, "GET", url, "").tag(t)
			first := g.send(t.Context(), t, "PUT", url, "b", "If-Match", tag)
			if tt.status == 412 {
				// whether it comes before or after, it must not overwrite b
				g.open()
			}
			a := send(t, "PUT", url, "c", "If-Match", tag).expect(t, tt.status)
			if got := a.Header.Get("Retry-After"); tt.status == 503 && got != "1" {
				t.Errorf("Retry-After: %s", got)
			}
			g.open()
			expectResult(t, first, 204)
		})
	}
}

// The store is asked for the configured lease, retention and grace.
func TestOptionTerms(t *testing.T) {
	for options, want := range map[string]etagcache.Terms{
		"":                           {Lease: 30 * time.Second, Retention: 24 * time.Hour, Grace: 10 * time.Second},
		"lease 3s\nretention 7d":     {Lease: 3 * time.Second, Retention: 7 * 24 * time.Hour, Grace: time.Second},
		"lease 1s\nretention 1500ms": {Lease: time.Second, Retention: 1500 * time.Millisecond, Grace: time.Second / 3},
		"grace 30s":                  {Lease: 30 * time.Second, Retention: 24 * time.Hour, Grace: 30 * time.Second},
	} {
		t.Run(options, func(t *testing.T) {
			url := site(t, "store test terms\n"+options, page("content"))
			send(t, "PUT", url, "x", "If-Match", "*").expect(t, 204)
			send(t, "PUT", url, "x").expect(t, 204)
			terms := testStores["terms"].terms()
			if len(terms) == 0 {
				t.Fatal("the store wasn't asked")
			}
			for _, got := range terms {
				if got != want {
					t.Errorf("got %v, want %v", got, want)
				}
			}
		})
	}
}

// A write that got no answer keeps others out until its lease is over.
func TestOptionLease(t *testing.T) {
	unanswered := func(t *testing.T, options string) string {
		docs := legacydocs.New(legacydocs.Options{Before: func(r *http.Request) int {
			if r.Header.Get("X-Abort") == r.Method {
				panic(http.ErrAbortHandler)
			}
			return 0
		}})
		bypass(t, docs, "PUT", "/docs/a", "a")
		url := site(t, options, docs) + "/docs/a"
		send(t, "PUT", url, "b", "If-Match", "*", "X-Abort", "PUT").expect(t, 502)
		return url
	}
	t.Run("long", func(t *testing.T) {
		send(t, "PUT", unanswered(t, "lease 1h\nretention 2h\nwait 1ms"), "c", "If-Match", "*").expect(t, 503)
	})
	t.Run("short", func(t *testing.T) {
		send(t, "PUT", unanswered(t, "lease 1s\nwait 1m"), "c", "If-Match", "*").expect(t, 204)
	})
}

// TestLeaseOfTheUnanswered: a write that got no answer may land for a whole lease from
// then on, whatever is left of the one that it had.
func TestLeaseOfTheUnanswered(t *testing.T) {
	m := miniredis.RunT(t)
	begun := time.Now()
	g := newGate()
	docs := legacydocs.New(legacydocs.Options{Before: func(r *http.Request) int {
		g.pass(r)
		if r.Header.Get("X-Abort") == r.Method {
			panic(http.ErrAbortHandler)
		}
		return 0
	}})
	bypass(t, docs, "PUT", "/docs/a", "a")
	url := site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\ngrace 1ms\nlease 1h\nwait 100ms", m.Addr()), docs) + "/docs/a"
	send(t, "PUT", url, "a").expect(t, 204) // once the grace is over
	first := g.send(t.Context(), t, "PUT", url, "b", "If-Match", "*", "X-Abort", "PUT")
	m.SetTime(begun.Add(50 * time.Minute))
	g.open()
	expectResult(t, first, 502)
	m.SetTime(begun.Add(100 * time.Minute))
	send(t, "PUT", url, "c", "If-Match", "*").expect(t, 503)
	m.SetTime(begun.Add(2 * time.Hour))
	send(t, "PUT", url, "c", "If-Match", "*").expect(t, 204)
}

// counted reads the counter of requests with an outcome.
func counted(t testing.TB, metrics, outcome, mode string) int {
	t.Helper()
	name := fmt.Sprintf("caddy_preconditions_requests_total{mode=%q,outcome=%q} ", mode, outcome)
	for line := range strings.Lines(send(t, "GET", metrics, "").expect(t, 200).Content) {
		if value, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no counter %s", name)
	panic("unreachable")
}

// withMetrics are a site with the given directives, and one with the metrics.
func withMetrics(t testing.TB, directives string) (sites, url, metrics string) {
	one, two := freeAddress(t), freeAddress(t)
	sites = fmt.Sprintf("http://%s {\n%s\n}\nhttp://%s {\nmetrics\n}\n", one, directives, two)
	return sites, "http://" + one, "http://" + two
}

// Mode report forwards everything, and tells what would have been refused.
func TestOptionModeReport(t *testing.T) {
	backend := page("content")
	sites, url, metrics := withMetrics(t, guarded("mode report\nrequire", serve(t, backend)))
	load(t, sites)
	tag := send(t, "GET", url, "").tag(t)
	many := strings.Repeat(`"stale",`, 257) + tag
	bypassed := counted(t, metrics, "bypassed", "report") // by other tests of this process
	for _, tt := range []struct {
		method  string
		fields  []string
		outcome string
	}{
		{"PUT", []string{"If-Match", `"stale"`}, "failed"},
		{"PUT", []string{"If-None-Match", "*"}, "failed"},
		{"PUT", []string{"If-Match", tag}, "passed"},
		{"PUT", nil, "required"},
		{"POST", nil, "unconditional"},
		{"GET", []string{"If-Match", `"stale"`}, "failed"},
		{"GET", []string{"If-None-Match", tag}, "unmodified"},
		{"PUT", []string{"If-Match", many}, "unverifiable"},
		{"GET", []string{"If-Match", many}, "unverifiable"},
		{"GET", []string{"If-None-Match", many}, "unverifiable"},
	} {
		writes, before := len(backend.all("PUT", "POST")), counted(t, metrics, tt.outcome, "report")
		a := send(t, tt.method, url, "", tt.fields...).expectOutcome(t, tt.outcome)
		if tt.method != "GET" {
			a.expect(t, 204)
			if len(backend.all("PUT", "POST")) != writes+1 {
				t.Errorf("%s %v was not forwarded once", tt.method, tt.fields)
			}
		} else if a.StatusCode >= 400 {
			t.Errorf("%s %v: got %s", tt.method, tt.fields, a.Status)
		}
		if n := counted(t, metrics, tt.outcome, "report") - before; n != 1 {
			t.Errorf("%s %v: counted %d times as %s", tt.method, tt.fields, n, tt.outcome)
		}
	}
	if n := counted(t, metrics, "failed", "report"); n == 0 || counted(t, metrics, "bypassed", "report") != bypassed {
		t.Errorf("failed: %d", n)
	}
}

// Errors caddy leaves the answer to handle_errors.
func TestOptionErrorsCaddy(t *testing.T) {
	backend := page("content")
	options := "errors caddy\nrequire"
	handled := `
handle_errors {
	header X-Reason "{http.preconditions.condition} {http.preconditions.provided_etag} {http.preconditions.current_etag}"
	header X-Outcome {http.preconditions.outcome}
	respond "{err.status_code} {http.preconditions.problem}"
}`
	url := oneNodeAt(t, guarded(options, serve(t, backend))+handled).first()
	tag := send(t, "GET", url, "").tag(t)

	a := send(t, "PUT", url, "x", "If-Match", `"stale"`).expect(t, 412).expectOutcome(t, "failed")
	status, problem, _ := strings.Cut(a.Content, " ")
	var members map[string]any
	if err := json.Unmarshal([]byte(problem), &members); err != nil {
		t.Fatalf("%v in %q", err, a.Content)
	}
	if status != "412" || members["status"] != 412.0 || members["current_etag"] != tag {
		t.Errorf("got %s and %v", status, members)
	}
	if got, want := a.Header.Get("X-Reason"), `If-Match "stale" `+tag; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := a.Header.Values("ETag"); len(got) != 1 || got[0] != tag {
		t.Errorf("ETag: %v", got)
	}
	if a := send(t, "PUT", url, "x").expect(t, 428); !strings.HasPrefix(a.Content, "428 {") {
		t.Errorf("got %q", a.Content)
	}
	backend.unwritten(t)

	t.Run("without handle_errors there is only the status", func(t *testing.T) {
		url := oneNodeAt(t, guarded(options, serve(t, backend))).first()
		if a := send(t, "PUT", url, "x", "If-Match", `"stale"`).expect(t, 412); a.Content != "" {
			t.Errorf("got %q", a.Content)
		}
	})
}

// Placeholders that have no value are empty, as in an error that is not ours.
func TestPlaceholdersWithoutValue(t *testing.T) {
	url := oneNodeAt(t, guarded("errors caddy", freeAddress(t))+`
handle_errors {
	respond "[{http.preconditions.condition}{http.preconditions.provided_etag}{http.preconditions.current_etag}{http.preconditions.problem}]"
}`).first()
	for _, method := range []string{"GET", "PUT", "OPTIONS"} {
		if a := send(t, method, url, "").expect(t, 502); a.Content != "[]" {
			t.Errorf("%s: got %q", method, a.Content)
		}
	}
}

// Disclose off keeps the current validators out of refusals.
func TestOptionDisclose(t *testing.T) {
	const date = "Thu, 01 Jan 2026 00:00:00 GMT"
	for _, disclose := range []bool{true, false} {
		word := map[bool]string{true: "on", false: "off"}[disclose]
		t.Run(word, func(t *testing.T) {
			backend := page("content", "ETag", `"current"`, "Last-Modified", date)
			url := oneNodeAt(t, "header >X-Current [{http.preconditions.current_etag}]\n"+guarded("disclose "+word, serve(t, backend))).first()
			if a := send(t, "GET", url, "").expect(t, 200); a.Header.Get("Last-Modified") != date {
				t.Fatalf("Last-Modified: %s", a.Header.Get("Last-Modified"))
			}
			for _, fields := range [][]string{
				{"If-Match", `"stale"`},
				{"If-None-Match", "*"},
				{"If-Unmodified-Since", "Wed, 31 Dec 2025 00:00:00 GMT"},
			} {
				a := send(t, "PUT", url, "x", fields...).expect(t, 412)
				disclosed := map[string]bool{
					"the field ETag":           a.Header.Get("ETag") == `"current"`,
					"the field Last-Modified":  a.Header.Get("Last-Modified") == date,
					"the member current_etag":  problemOf(t, a)["current_etag"] == `"current"`,
					"the member last_modified": problemOf(t, a)["last_modified"] == date,
					"the placeholder":          a.Header.Get("X-Current") == `["current"]`,
				}
				for what, is := range disclosed {
					if is != disclose {
						t.Errorf("%v: %s tells: %v, want %v", fields, what, is, disclose)
					}
				}
				if text := fmt.Sprint(a.Header, a.Content); !disclose && (strings.Contains(text, `current"`) || strings.Contains(text, date)) {
					t.Errorf("%v: something tells: %s", fields, text)
				}
			}
		})
	}
}

// Unconditional writes wait for a conditional one, unless they are forwarded at
// once; then they mark the resource as changed.
func TestOptionUnconditional(t *testing.T) {
	for _, tt := range []struct {
		word   string
		status int
	}{
		{"serialize", 503},
		{"forward", 204},
	} {
		t.Run(tt.word, func(t *testing.T) {
			g := newGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.pass})
			bypass(t, docs, "PUT", "/docs/a", "a")
			url := site(t, "verify never\nwait 1ms\nunconditional "+tt.word, docs) + "/docs/a"
			tag := send(t, "GET", url, "").tag(t)
			first := g.send(t.Context(), t, "PUT", url, "b", "If-Match", tag)
			send(t, "PUT", url, "c").expect(t, tt.status)
			g.open()
			expectResult(t, first, 204)

			tag = send(t, "GET", url, "").tag(t)
			send(t, "PUT", url, "d").expect(t, 204)
			send(t, "PUT", url, "e", "If-Match", tag).expect(t, 412)
		})
	}
}

func TestOptionStoreDown(t *testing.T) {
	tests := []struct {
		options                      string
		holds, fails, none, required int // the status of a PUT whose condition holds, …
		retryAfter                   string
	}{
		{"", 503, 503, 204, 204, "5"},
		{"store_down {\nretry_after 7s\n}", 503, 503, 204, 204, "7"},
		{"store_down {\nconditional refuse\nunconditional refuse\n}", 503, 503, 503, 503, "5"},
		{"store_down {\nconditional forward\n}", 204, 412, 204, 204, ""},
		{"store_down {\nconditional forward\nunconditional refuse\nretry_after 1m\n}", 204, 412, 503, 503, "60"},
		{"store_down {\nconditional forward\n}\nunconditional forward", 204, 412, 204, 204, ""},
		{"store_down {\nconditional forward\n}\nrequire", 204, 412, 428, 428, ""},
	}
	for _, tt := range tests {
		t.Run(tt.options, func(t *testing.T) {
			backend := page("content")
			url := site(t, "store redis redis://"+freeAddress(t)+"\n"+tt.options, backend)

			// Reads go on, labelled.
			tag := send(t, "GET", url, "").expect(t, 200).tag(t)
			if got := send(t, "HEAD", url, "").expect(t, 200).tag(t); got != tag {
				t.Errorf("HEAD shows %s, GET %s", got, tag)
			}
			send(t, "GET", url, "", "If-None-Match", tag).expect(t, 304)
			send(t, "GET", url, "", "If-Match", `"stale"`).expect(t, 412)

			for _, write := range []struct {
				status int
				fields []string
			}{
				{tt.holds, []string{"If-Match", tag}},
				{tt.fails, []string{"If-Match", `"stale"`}},
				{tt.none, nil},
				{tt.required, []string{"If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"}},
			} {
				before := len(backend.all("PUT"))
				a := send(t, "PUT", url, "x", write.fields...).expect(t, write.status)
				if got := a.Header.Get("Retry-After"); write.status == 503 && got != tt.retryAfter {
					t.Errorf("%v: Retry-After: %s, want %s", write.fields, got, tt.retryAfter)
				}
				if forwarded := len(backend.all("PUT")) - before; (forwarded == 1) != (write.status == 204) {
					t.Errorf("%v: forwarded %d times", write.fields, forwarded)
				}
			}
		})
	}
}

// leave takes Redis away until the function that it returns is called.
func leave(t testing.TB, m *miniredis.Miniredis) (back func()) {
	m.Close()
	return func() {
		t.Helper()
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
}

// What was written while the store was away is marked as changed before the
// store is trusted again.
func TestStoreAwayAndBack(t *testing.T) {
	for _, options := range []string{"", "unconditional forward", "store_down {\nconditional forward\n}"} {
		t.Run(options, func(t *testing.T) {
			m := miniredis.RunT(t)
			docs := legacydocs.New(legacydocs.Options{})
			bypass(t, docs, "PUT", "/docs/a", "a")
			bypass(t, docs, "PUT", "/docs/b", "b")
			url := site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\ngrace 1ms\nverify never\n%s", m.Addr(), options), docs)
			tagA, tagB := send(t, "GET", url+"/docs/a", "").tag(t), send(t, "GET", url+"/docs/b", "").tag(t)

			back := leave(t, m)
			var fields []string
			if strings.Contains(options, "conditional forward\n}") {
				fields = []string{"If-Match", tagA}
			}
			send(t, "PUT", url+"/docs/a", "a2", fields...).expect(t, 204)
			back()

			send(t, "PUT", url+"/docs/a", "a3", "If-Match", tagA).expect(t, 412)
			send(t, "PUT", url+"/docs/b", "b2", "If-Match", tagB).expect(t, 204) // nothing happened to b
			if got := writesOf(docs, "/docs/a"); len(got) != 2 {
				t.Errorf("a was written %d times, want 2", len(got))
			}
		})
	}
}

// A write that began while the store was away, and is still being made when it
// is back, keeps conditional ones of the same resource waiting, and nobody else.
func TestStoreBackDuringWrite(t *testing.T) {
	m := miniredis.RunT(t)
	g := newGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.pass})
	for i := range 9 {
		bypass(t, docs, "PUT", fmt.Sprintf("/docs/%d", i), "old")
	}
	options := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\ngrace 1ms\nverify never\nwait 100ms", m.Addr())
	url := oneNode(t, options, docs).first()
	tag := send(t, "GET", url+"/docs/0", "").tag(t)

	back := leave(t, m)
	first := g.send(t.Context(), t, "PUT", url+"/docs/0", "new")
	back()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := try(ctx, "PUT", url+"/docs/0", "newer", "If-Match", tag)
	if err != nil {
		t.Fatal(err)
	}
	a.expect(t, 503).expectOutcome(t, "conflict")

	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			to := fmt.Sprintf("%s/docs/%d", url, i+1)
			for range 10 {
				a, err := try(t.Context(), "PUT", to, "new", "If-Match", "*")
				if err != nil || a.StatusCode != 204 {
					t.Errorf("a write of another resource: %v, %v", a.Response, err)
					return
				}
			}
		})
	}
	all.Wait()

	g.open()
	expectResult(t, first, 204)
	send(t, "PUT", url+"/docs/0", "newer", "If-Match", tag).expect(t, 412)
}

// TestForwardedEnds: what was read while a write was in flight that waited for nobody
// counts no more once that has ended, also if the store was away by then.
func TestForwardedEnds(t *testing.T) {
	for _, away := range []bool{false, true} {
		m := miniredis.RunT(t)
		g := newGate()
		docs := legacydocs.New(legacydocs.Options{Before: g.pass})
		url := site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\ngrace 1ms\nverify never\nunconditional forward", m.Addr()), docs) + "/docs/a"
		send(t, "PUT", url, "old", "If-None-Match", "*").expect(t, 201) // once the grace is over
		first := g.send(t.Context(), t, "PUT", url, "new")
		tag := send(t, "GET", url, "").expect(t, 200).tag(t)
		back := func() {}
		if away {
			back = leave(t, m)
		}
		g.open()
		expectResult(t, first, 204)
		back()
		send(t, "PUT", url, "newer", "If-Match", tag).expect(t, 412)
	}
}

// testStore is a store of somebody else's. It keeps validators in memory, by
// the name that the option gives it.
type testStore struct {
	Name string `json:"name"`
}

func init() { caddy.RegisterModule(testStore{}) }

func (testStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.preconditions.stores.test", New: func() caddy.Module { return new(testStore) }}
}

func (s *testStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&s.Name) {
		return d.ArgErr()
	}
	return nil
}

func (s *testStore) StoreKey() string { return "test:" + s.Name }

func (s *testStore) OpenStore() (etagcache.Store, error) {
	o := &openedStore{Store: etagcache.NewMemory(0)}
	testStores[s.Name] = o
	return o, nil
}

// testStores holds the last opened store of each name.
var testStores = map[string]*openedStore{}

// openedStore remembers how it is used.
type openedStore struct {
	etagcache.Store

	mu     sync.Mutex
	asked  []etagcache.Terms
	late   int // calls after Close
	closed bool
}

func (o *openedStore) note(terms etagcache.Terms) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, terms)
	if o.closed {
		o.late++
	}
}

func (o *openedStore) terms() []etagcache.Terms {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked
}

// isClosed returns whether the store was closed, and how often it was used
// after that.
func (o *openedStore) isClosed() (closed bool, late int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed, o.late
}

func (o *openedStore) Read(ctx context.Context, key string, t etagcache.Terms) (etagcache.Entry, error) {
	o.note(t)
	return o.Store.Read(ctx, key, t)
}

func (o *openedStore) Claim(ctx context.Context, key, epoch string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	o.note(t)
	return o.Store.Claim(ctx, key, epoch, t)
}

func (o *openedStore) Pass(ctx context.Context, key string, t etagcache.Terms) (etagcache.Grant, etagcache.Entry, error) {
	o.note(t)
	return o.Store.Pass(ctx, key, t)
}

func (o *openedStore) Settle(ctx context.Context, g etagcache.Grant, s etagcache.Settlement, t etagcache.Terms) error {
	o.note(t)
	return o.Store.Settle(ctx, g, s, t)
}

func (o *openedStore) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.Store.Close()
}

var (
	_ preconditions.StoreOpener = (*testStore)(nil)
	_ caddyfile.Unmarshaler     = (*testStore)(nil)
)
