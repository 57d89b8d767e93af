package resource

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// keyOf returns the key of the resource that a request is for.
func keyOf(template, host, target string) string {
	r := httptest.NewRequest("GET", target, nil)
	r.Host = host
	repl := caddy.NewReplacer()
	caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
	return Template(template).Key(repl)
}

// The default of the option key.
const defaultKey = "{http.request.host}{http.request.uri.path}"

// requestAt returns a write that the client sends to a URL.
func requestAt(url string, header http.Header) *Request {
	r := httptest.NewRequest("PUT", url, nil)
	if r.URL.Scheme == "https" {
		r.TLS = new(tls.ConnectionState)
	}
	r.URL.Scheme, r.URL.Host, r.Header = "", "", header
	return NewRequest(caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil))
}

// All spellings that some backend takes for one path have one key.
func TestSpellingsShareAKey(t *testing.T) {
	tests := []struct {
		name         string
		host, target string
	}{
		{"as it is", "example.com", "/docs/plan"},
		{"case of the host", "Example.COM", "/docs/plan"},
		{"port", "example.com:8080", "/docs/plan"},
		{"default port", "example.com:80", "/docs/plan"},
		{"host as a fully qualified name", "example.com.", "/docs/plan"},
		{"host as a fully qualified name, with port", "EXAMPLE.com.:443", "/docs/plan"},
		{"query", "example.com", "/docs/plan?draft=1"},
		{"empty query", "example.com", "/docs/plan?"},
		{"empty segments", "example.com", "//docs///plan"},
		{"dot segments", "example.com", "/a/../docs/./plan"},
		{"dot segments above the root", "example.com", "/../../docs/plan"},
		{"slash at the end", "example.com", "/docs/plan/"},
		{"dot at the end", "example.com", "/docs/plan/."},
		{"needless escapes", "example.com", "/d%6Fcs/pl%61n"},
		{"case of the path", "example.com", "/Docs/PLAN"},
		{"escaped slash", "example.com", "/docs%2Fplan"},
		{"escaped dot segments", "example.com", "/a/%2e%2E/docs/plan"},
		{"port of TLS", "example.com:443", "/docs/plan"},
		{"empty port", "example.com:", "/docs/plan"},
		{"backslash", "example.com", `/docs%5Cplan`},
		{"backslash and dot segment", "example.com", `/docs/x%5C..%5Cplan`},
		{"path parameter", "example.com", "/docs/plan;jsessionid=1A2B"},
		{"path parameters", "example.com", "/docs;a=b/plan;c;d="},
		{"path parameter of a dot segment", "example.com", "/docs/x/..;a=b/plan"},
		{"escaped semicolon", "example.com", "/docs/plan%3Ba=b"},
		{"dots at the end of a name", "example.com", "/docs/plan.."},
		{"spaces at the end of a name", "example.com", "/docs%20%20/plan%20"},
		{"dots and spaces at the end of a name", "example.com", "/docs/plan%20.%20."},
		{"line feed at the end of a name", "example.com", "/docs/plan%0A"},
		{"white space at the end of a name", "example.com", "/docs/plan%0D%0A.%09"},
		{"plus sign for a space", "example.com", "/docs+/plan%2B+"},
		{"dot segment with a space", "example.com", "/docs/x/..%20/plan"},
		{"NUL", "example.com", "/docs/plan%00.html"},
		{"index of a directory", "example.com", "/docs/plan/index.html"},
		{"another index", "example.com", "/docs/plan/Index.PHP"},
		{"index of IIS", "example.com", "/docs/plan/Default.aspx"},
		{"front controller", "example.com", "/index.php/docs/plan"},
		{"front controller further down", "example.com", "/docs/index.php/plan"},
		{"dot segment after an index", "example.com", "/docs/index.html/../plan"},
		{"dot segment after a path parameter", "example.com", "/docs/;x/../plan"},
		{"session of ASP.NET", "example.com", "/(S(lit3py55t21z5v55vlm25s55))/docs/plan"},
		{"sessions of ASP.NET", "example.com", "/(X(1)S(lit3py55t21z5v55vlm25s55))/docs/plan"},
	}
	for _, tt := range tests {
		if got, want := keyOf(defaultKey, tt.host, tt.target), "example.com/docs/plan"; got != want {
			t.Errorf("%s: the key of %s%s is %s, want %s", tt.name, tt.host, tt.target, got, want)
		}
	}
}

func TestDifferentResourcesHaveDifferentKeys(t *testing.T) {
	seen := make(map[string]string)
	for _, target := range []struct{ host, path string }{
		{"example.com", "/"},
		{"example.com", "/docs"},
		{"example.com", "/docs/plan"},
		{"example.com", "/docs/%20plan"},
		{"example.com", "/docs/plan%252F"},
		{"example.com", "/docs/plan.txt"},
		{"example.com", "/docs/.plan"},
		{"example.com", "/docs/...plan"},
		{"example.com", "/docs/plan%3Fdraft=1"}, // no query
		{"example.com", "/docs/pl%0Aan"},
		{"example.com", "/docs/plan%7F"},
		{"example.com", "/docs/pl%C3%A4n"},
		{"example.com", "/docs/index"},
		{"example.com", "/docs/indexes.html"},
		{"example.com", "/docs/(plan)"},
		{"example.com", "/docs/(a(plan)"},
		{"example.com", "/docs/(b(plan))"},
		{"example.org", "/docs/plan"},
		{"docs.example.com", "/plan"},
		{"192.0.2.1", "/"},
		{"[2001:db8::1]:80", "/"},
	} {
		name := target.host + target.path
		key := keyOf(defaultKey, target.host, target.path)
		if other, taken := seen[key]; taken {
			t.Errorf("%s and %s share the key %s", name, other, key)
		}
		seen[key] = name
	}
}

// Neither the case of a letter nor its composition counts. A plus sign may be a
// space.
func TestLettersShareAKey(t *testing.T) {
	for _, tt := range []struct{ one, other string }{
		{"/pl%C3%A4n", "/PL%C3%84N"},
		{"/pl%C3%A4n", "/pla%CC%88n"}, // a and a combining diaeresis
		{"/pl%C3%84n", "/plA%CC%88N"},
		{"/%CF%82", "/%CF%83"}, // ς, σ
		{"/%CF%82", "/%CE%A3"}, // ς, Σ
		{"/%E4", "/%C4"},       // of ISO 8859-1
		{"/my%20plan", "/my+plan"},
		{"/my%20plan", "/my%2Bplan"},
		{"/%FF%FE", "/%EF%BF%BD"}, // not UTF-8: decoders replace it by one character or by two
		{"/a%E4%B8b", "/a%EF%BF%BD%EF%BF%BDb"},
	} {
		if one, other := keyOf(defaultKey, "h", tt.one), keyOf(defaultKey, "h", tt.other); one != other {
			t.Errorf("%s has the key %s, and %s has %s", tt.one, one, tt.other, other)
		}
	}
}

// Where the port counts, the port of the scheme doesn't.
func TestHostsShareAKey(t *testing.T) {
	const http, https = "http", "https"
	for _, tt := range []struct{ scheme, host, want string }{
		{http, "Example.com", "example.com"},
		{http, "example.com.", "example.com"},
		{http, "example.com:80", "example.com"},
		{http, "EXAMPLE.com.:80", "example.com"},
		{http, "example.com:", "example.com"},
		{https, "example.com:443", "example.com"},
		{https, "example.com.:443", "example.com"},
		{https, "example.com:80", "example.com:80"},
		{http, "example.com:443", "example.com:443"},
		{http, "Example.com.:8080", "example.com:8080"},
		{http, "[2001:DB8::1]", "2001:db8::1"},
		{http, "[2001:db8::1]:80", "2001:db8::1"},
		{http, "[2001:db8::1]:8080", "[2001:db8::1]:8080"},
		{http, "192.0.2.1:80", "192.0.2.1"},
	} {
		if got := foldHostPort(tt.scheme, tt.host); got != tt.want {
			t.Errorf("%s://%s: got %s, want %s", tt.scheme, tt.host, got, tt.want)
		}
		target := tt.scheme + "://" + tt.host + "/"
		r := httptest.NewRequest("GET", target, nil)
		repl := caddy.NewReplacer()
		caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
		if got := Template("{http.request.hostport}").Key(repl); got != tt.want {
			t.Errorf("%s: got %s, want %s", target, got, tt.want)
		}
		_, port, _ := net.SplitHostPort(tt.want)
		if got := Template("{http.request.port}").Key(repl); got != port {
			t.Errorf("%s: got the port %q, want %q", target, got, port)
		}
	}
	if got, want := keyOf("{http.request.host}", "[2001:DB8::1]", "/"), keyOf("{http.request.host}", "[2001:db8::1]:80", "/"); got != want {
		t.Errorf("got %s with a port, and %s without", want, got)
	}
}

// Keys are printable, whatever they are made of.
func TestKeysArePrintable(t *testing.T) {
	for _, target := range []string{"/a%0D%0AX:%20y", "/a%1B%5B31m", "/a%00b", "/%FF%0A%FE", "/a%C2%85", "/?q=%00%0A%FF"} {
		key := keyOf("{http.request.uri.path}{http.request.uri.query.q}", "h", target)
		if !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
			t.Errorf("%s: got %q", target, key)
		}
	}
}

// The key of a request is the one that its template makes, however the host and the path are
// spelled.
func FuzzOwnKey(f *testing.F) {
	for _, host := range []string{"example.com", "example.com:8080", "Example.com", "example.com.", "[::1]", "::1", "127.0.0.1:80", "a:b", "", ":80", "a_b", "é"} {
		for _, path := range []string{"/", "/documents/1", "/Documents", "/a//b", "/a/", "/index.html", "/a%2Fb", "/a b", "/..", "", "/" + strings.Repeat("a", maxKey)} {
			f.Add(host, path)
		}
	}
	f.Fuzz(func(t *testing.T, host, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.URL.Path = host, path
		request := NewRequest(caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil))
		if got, want := HostAndPath.ownKey(request), HostAndPath.Key(request.Replacer); got != want {
			t.Errorf("%q, %q: %q, want %q", host, path, got, want)
		}
	})
}

// Folding is idempotent, and it doesn't matter how a path is split.
func FuzzFoldPath(f *testing.F) {
	for _, path := range []string{
		"", "/", "/a/../b", `/a\..\b`, "/a;x/..;y/b", "/index.php/a. ./(S(x))/b", "/a\x00/../b", "/Ä/ς", "/a+\n./b",
		"/documents/1", "/d.e/index.html", "/a./b", "/a..b", "/default.x", "/.a", "/a/.", "/a/",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		folded := foldPath(path)
		if other := foldAnyPath(path); other != folded {
			t.Errorf("%q: %q at first look, but %q", path, folded, other)
		}
		if again := foldPath(folded); again != folded {
			t.Errorf("%q: %q, and then %q", path, folded, again)
		}
		if spelled := "/" + strings.Join(Segments(path), "/"); foldPath(spelled) != folded {
			t.Errorf("%q: %q, but segment by segment %q", path, folded, foldPath(spelled))
		}
		for _, other := range []string{"//" + path, "/." + "/" + path, "/x/../" + path, path + "/", path + "/."} {
			if strings.HasPrefix(path, "/") && foldPath(other) != folded {
				t.Errorf("%q: %q, but %q: %q", path, folded, other, foldPath(other))
			}
		}
	})
}

// Only the host, the port and the path are folded: nobody knows what the rest means.
func TestKeyTemplate(t *testing.T) {
	tests := []struct{ template, want string }{
		{"fixed", "fixed"},
		{"{http.request.host}", "example.com"},
		{"{http.request.hostport}", "example.com:8080"},
		{"{http.request.uri.path}", "/a/b"},
		{"{http.request.orig_uri.path}", "/a/b"},
		{"{http.request.uri.path}?{http.request.uri.query}", "/a/b?Q=//1"},
		{"{http.request.header.X-Tenant}{http.request.uri.path}", "Ann//1/a/b"},
		{"{http.request.header.X-None}{http.request.uri.path}", "/a/b"},
		{"{no.such.placeholder}/x", "/x"},
		{`\{literal\}`, "{literal}"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "//a/./b/?Q=//1", nil)
		r.URL.Path, r.URL.RawPath, r.URL.Host = "//a/./b/", "", "" // NewRequest takes //a for a host
		r.RequestURI = "//a/./b/?Q=//1"
		r.Host = "EXAMPLE.com:8080"
		r.Header.Set("X-Tenant", "Ann//1")
		repl := caddy.NewReplacer()
		caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), nil)
		if got := Template(tt.template).Key(repl); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.template, got, tt.want)
		}
	}
}

// A resource has the same key as the target of a request and as something that a
// request for a different resource changes.
func TestKeyFromElsewhere(t *testing.T) {
	templates := []string{
		defaultKey, "{http.request.hostport}{http.request.uri.path}", "{http.request.host}{http.request.orig_uri.path}",
		"{http.request.uri}", "{http.request.uri.query.id}{http.vars.tenant}", "{http.request.uri.path.1}",
	}
	for _, template := range templates {
		for _, target := range []string{"/", "/docs/plan", "/Docs//plan/?id=7", "/docs/a%2Fb?id=%20", "/docs/%7Eann"} {
			at := func(target string) *Request {
				r := httptest.NewRequest("PUT", target, nil)
				r.Host = "Example.com:8080"
				r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), nil)
				caddyhttp.SetVar(r.Context(), "tenant", "a")
				return NewRequest(r)
			}
			own, namer := at(target), &Namer{Template: Template(template)}
			if got, want := namer.Key(at("/other?id=x"), own.URL, own.URL), namer.Own(own).Key; got != want {
				t.Errorf("%s of %s is %q from elsewhere, want %q", template, target, got, want)
			}
		}
	}
}

// A group belongs to an origin, as far as the keys of resources tell origins apart
// (RFC 9875, section 2.1), and shares its key with nothing else.
func TestGroupKey(t *testing.T) {
	const hostport = "{http.request.scheme}://{http.request.hostport}{http.request.uri.path}"
	at := func(template, url, name string) string {
		return Template(template).GroupKey(requestAt(url, nil).Replacer, name)
	}
	for _, tt := range []struct {
		name               string
		template, url      string
		otherURL, otherKey string // the group and its origin
		same               bool
	}{
		{"another path", defaultKey, "http://example.com/a", "http://example.com/b?c", "cars", true},
		{"another spelling of the host", defaultKey, "http://example.com/a", "http://EXAMPLE.com./a", "cars", true},
		{"another host", defaultKey, "http://example.com/a", "http://example.org/a", "cars", false},
		{"another name", defaultKey, "http://example.com/a", "http://example.com/a", "Cars", false},
		{"a port that keys don't have", defaultKey, "http://example.com/a", "https://example.com:8443/a", "cars", true},
		{"a port that they have", hostport, "http://example.com/a", "http://example.com:8080/a", "cars", false},
		{"a scheme that they have", hostport, "http://example.com/a", "https://example.com/a", "cars", false},
		{"no host in keys", "{http.request.uri.path}", "http://example.com/a", "http://example.org/a", "cars", true},
	} {
		if got, want := at(tt.template, tt.otherURL, tt.otherKey), at(tt.template, tt.url, "cars"); (got == want) != tt.same {
			t.Errorf("%s: the keys are %q and %q", tt.name, got, want)
		}
	}
	if got := len(at(defaultKey, "http://"+strings.Repeat("a", 1000)+"/", "cars")); got > maxKey+65 {
		t.Errorf("the key has %d bytes", got)
	}
	for _, host := range []string{"group ", "group example.com", "group example.com cars"} {
		key := keyOf("{http.request.uri.query.id}", "example.com", "/?id="+strings.ReplaceAll(host, " ", "%20"))
		if strings.HasPrefix(key, groupPrefix) {
			t.Errorf("a resource has the key %q", key)
		}
	}
}
