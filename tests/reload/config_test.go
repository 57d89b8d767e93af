package reload

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// validateJSON loads and provisions a handler with the given JSON members without
// starting anything.
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
		`"etag": [{"source": "json", "pointers": ["/version"], "form": "weak"}, {"source": "json", "pointers": ["/version"], "form": "hash"}, {"source": "version"}]`,
		`"etag": [{"source": "header", "field": "X-Version", "form": "verbatim"}, {"source": "body"}], "secret": "a"`,
		`"weak_tags": "refuse"`, `"weak_tags": "accept"`, `"weak_tags": "refuse", "etag": [{"source": "upstream"}]`,
		`"vary": []`,
		`"vary": ["Accept", "accept", "X-Tenant"]`,
		`"secret": "a"`,
		`"secret": "{env.PATH}"`,
		`"buffer": 1`,
		`"buffer": 1073741824`,
		`"require": ["PUT", "FROBNICATE"]`,
		`"verify": "passing"`, `"verify": "all"`, `"verify": "never"`, `"verify": "1ns"`, `"verify": "1d"`,
		`"reads": "origin"`, `"reads": "store", "verify": "never"`, `"reads": "store", "verify": "never", "etag": [{"source": "body"}]`,
		`"condition": [{"place": "json", "name": "/etag"}, {"place": "query", "name": "rev", "keep": true}, {"place": "header", "name": "X-Version"}]`,
		`"guards": [{"path": "/a/*", "resource": "/b/*/{id}"}]`,
		`"lease": "1s"`, `"lease": 1000000000`, `"lease": "1h"`,
		`"wait": "1ms"`, `"wait": "1h"`,
		`"grace": "7500ms"`, `"grace": "250ms", "lease": "1s"`, `"lease": "1s", "store": {"module": "redis"}`, `"store": {"module": "redis", "timeout": "1m"}`,
		`"signed": []`, `"signed": ["aws", "rfc9421", "cavage", "gcs", "azure"]`,
		`"retention": "7d"`, `"lease": "1s", "retention": "1001ms"`,
		`"mode": "enforce"`, `"mode": "report"`,
		`"errors": "problem"`, `"errors": "s3"`, `"errors": "caddy"`, `"profile": "s3"`, `"profile": "webdav"`,
		`"disclose": true`, `"disclose": false`,
		`"unanswered": null`, `"unanswered": []`, `"unanswered": [5]`, `"unanswered": [202, 207, 404, 412, 503]`,
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

// Nobody means a few nanoseconds: a number in JSON that is a duration needs a unit.
func TestJSONNumberOfNanoseconds(t *testing.T) {
	const hint = `(a JSON number counts nanoseconds: write a text with a unit, such as "`
	for members, want := range map[string]bool{
		`"lease": 30`:                      true,
		`"wait": 10`:                       true,
		`"grace": 5`:                       true,
		`"retention": 3600`:                true,
		`"lag": 5`:                         true,
		`"store_down": {"retry_after": 5}`: true,
		`"store": {"module": "redis", "timeout": 250}`: true,
		`"grace": 1000000`:                              false,
		`"grace": "5s"`:                                 false,
		`"grace": -1`:                                   false,
		`"lease": "2h"`:                                 false,
		`"lease": "2h", "grace": 5`:                     false,
		`"store_down": {"retry_after": "500ms"}`:        false,
		`"store": {"module": "redis", "timeout": "2m"}`: false,
		`"store": {"module": "redis", "timeout": -1}`:   false,
	} {
		if err := validateJSON(t, members); err == nil || strings.Contains(err.Error(), hint) != want {
			t.Errorf("%s: got %v, with the hint: %v", members, err, want)
		}
	}
}

// An error in the JSON config is refused with a message that names the option.
func TestJSONIsRefused(t *testing.T) {
	tests := []struct{ members, want string }{
		{`"etag": []`, "etag: at least one source is needed"},
		{`"etag": [{}]`, `etag: unknown source "": must be upstream, header, json, modified, body or version`},
		{`"etag": [{"source": "json"}]`, `etag: source json needs pointers, and no other source has any`},
		{`"etag": [{"source": "body", "pointers": ["/version"]}]`, `etag: source json needs pointers, and no other source has any`},
		{`"etag": [{"source": "header"}]`, `etag: source header needs a field, and no other source has one`},
		{`"etag": [{"source": "modified", "field": "X-Date"}]`, `etag: source header needs a field, and no other source has one`},
		{`"etag": [{"source": "header", "field": "X-Version:"}]`, `etag: "X-Version:" is not a field name`},
		{`"etag": [{"source": "json", "pointers": ["/a", "b"]}]`, `etag: JSON pointer "b" must be empty or begin with /`},
		{`"etag": [{"source": "json", "pointers": "/a"}]`, `etag`},
		{`"etag": [{"source": "version"}, {"source": "body"}]`, "etag: source body is never tried after version"},
		{`"etag": [{"source": "version"}], "verify": "all"`, "verify: with etag version there is nothing to verify at the origin"},
		{`"etag": [{"source": "body", "form": "hash"}]`, "etag: only the sources header and json have a form"},
		{`"etag": [{"source": "header", "field": "X-Version", "form": "Weak"}]`, `etag: form must be hash or verbatim or weak, not "Weak" (did you mean weak?)`},
		{`"etag": [{"source": "json", "pointers": ["/a", "/b"], "form": "verbatim"}]`, "etag: source json takes one JSON pointer with verbatim"},
		{`"etag": [{"source": "json", "pointers": ["/a"], "form": "verbatim"}, {"source": "upstream"}]`, "etag: source upstream can't be used beside json /a verbatim"},
		{`"etag": [{"source": "header", "field": "A", "form": "weak"}], "secret": "a"`, "secret: has no effect with source header A weak alone"},
		{`"weak_tags": "strip"`, `weak_tags: must be refuse or accept, not "strip"`},
		{`"weak_tags": true`, "weak_tags"},
		{`"weak_tags": "accept", "etag": [{"source": "upstream"}]`, "weak_tags: with etag upstream alone"},
		{`"vary": ["*"]`, "vary: must name request fields"},
		{`"vary": ["Accept-Encoding"]`, "vary: Accept-Encoding makes no difference"},
		{`"vary": ["a b"]`, `vary: "a b" is not a field name`},
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
		{`"require": ["GET"]`, "require: GET is not a write method"},
		{`"require": ["put"]`, `require: "put" is not a method`},
		{`"require": ["PUT", "PUT"]`, "require: PUT is given twice"},
		{`"verify": "sometimes"`, "verify: must be passing, all, never or a duration"},
		{`"verify": "0s"`, "verify: must be"},
		{`"verify": 5`, "verify"},
		{`"reads": "cache"`, `reads: must be origin or store, not "cache"`},
		{`"reads": "store"`, "reads: store needs verify never beside it"},
		{`"reads": "store", "verify": "never", "unconditional": "forward"`, "reads: store needs to know which writes are in flight"},
		{`"reads": "store", "etag": [{"source": "version"}]`, "reads: store needs tags that are made from responses"},
		{`"signed": ["sigv4"]`, `signed: must be aws or rfc9421 or cavage or gcs or azure, not "sigv4"`},
		{`"signed": ["aws", "aws"]`, "signed: aws is given twice"},
		{`"signed": "aws"`, "signed"},
		{`"lease": "999ms"`, "lease: must be between 1s and 1h"},
		{`"lease": -1`, "lease: must be between 1s and 1h"},
		{`"lease": "2h"`, "lease: must be between 1s and 1h"},
		{`"wait": -1`, "wait: must be between 1ms and 1h"},
		{`"wait": "2h"`, "wait: must be between 1ms and 1h"},
		{`"grace": -1`, "grace: must be at least 7.5s: with a lease of 30s, nodes"},
		{`"lag": -1`, "lag: must be between 1ms and 1h, or 0s"},
		{`"lag": "2h"`, "lag: must be between 1ms and 1h, or 0s"},
		{`"lag": "30m", "retention": "10m"`, "retention: must not be shorter than the lag, 30m0s"},
		{`"grace": "7499ms"`, "grace: must be at least 7.5s: with a lease of 30s, nodes"},
		{`"grace": "10s", "store": {"module": "redis", "timeout": "5s"}`, "grace: must be at least 11s: with a lease of 30s and a store timeout of 5s, nodes"},
		{`"grace": "2h"`, "grace: must be at least 7.5s and at most 1h"},
		{`"retention": "30s"`, "retention: must be longer than the lease, 30s"},
		{`"retention": -1`, "retention: must be longer"},
		{`"mode": "observe"`, `mode: must be enforce or report, not "observe"`},
		{`"errors": "xml"`, `errors: must be problem or s3 or webdav or caddy or template, not "xml"`},
		{`"disclose": "off"`, "disclose"},
		{`"unanswered": [0]`, "unanswered: 0 is neither a status from 200 to 599"},
		{`"unanswered": [200]`, "unanswered: 200 says that a write succeeded"},
		{`"unanswered": [503, 5]`, "unanswered: 503 is given twice: 5xx includes it"},
		{`"unanswered": [600]`, "unanswered: 600 is neither a status from 200 to 599 nor the first digit of one"},
		{`"unanswered": [1]`, "unanswered: 1xx isn't a final answer"},
		{`"unanswered": "none"`, "unanswered: must be a list of numbers, such as [202, 5]; [] means none"},
		{`"unanswered": ["5xx"]`, "unanswered: must be a list of numbers, such as [202, 5]; [] means none"},
		{`"unanswered": 503`, "unanswered: must be a list of numbers, such as [202, 5]; [] means none"},
		{`"unconditional": "refuse"`, "unconditional: must be serialize or forward"},
		{`"store_down": {"conditional": "queue"}`, "store_down: conditional: must be refuse or forward"},
		{`"store_down": {"unconditional": "queue"}`, "store_down: unconditional: must be refuse or forward"},
		{`"store_down": {"retry_after": "500ms"}`, "store_down: retry_after: must be between"},
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
		{`"store": {"module": "redis", "tls": {"ca": "../../go.mod"}}`, "go.mod contains no certificate"},
		{`"store": {"module": "redis", "tls": {"certificate": "../../go.mod"}}`, "a certificate needs a key"},
		{`"store": {"module": "redis", "tls": {"key": "../../go.mod"}}`, "a certificate needs a key"},
		{`"store": {"module": "redis", "tls": {"certificate": "../../go.mod", "key": "../../go.mod"}}`, "reading the certificate"},
		{`"store": {"module": "redis", "url": ["{env.NO_SUCH_VARIABLE}"]}`, "redis address 1"},

		{`"affects": [{"path": "a", "resources": ["/b"]}]`, `affects: "a" must begin with a slash`},
		{`"affects": [{"path": "/a"}]`, `affects: needs a path and at least one other path`},
		{`"guards": [{"path": "/a", "resource": "/*"}]`, `guards: "/*" has more * than "/a"`},
		{`"guards": [{"path": "/a", "resource": "/b/x{id}"}]`, `guards: in "/b/x{id}", x{id} would be taken literally`},
		{`"condition": [{"place": "cookie", "name": "rev"}]`, `condition: must be json, query or header, not "cookie"`},
		{`"condition": [{"place": "query"}]`, `condition: query "" must be the name of a parameter`},
		{`"condition": [{"place": "json", "name": "etag"}]`, `condition: json "etag" must be empty or begin with /`},
		{`"condition": [{"place": "header", "name": "If-Match"}]`, `condition: header If-Match has a meaning of its own in HTTP`},
		{`"condition": ["query"]`, "condition"},
		{`"write_etag": "on"`, `write_etag: must be verbatim or always or answer or off, not "on"`},
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
