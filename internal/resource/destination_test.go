package resource

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// moveTo returns a MOVE of http://example.com/x/a to what the lines of Destination name.
func moveTo(lines ...string) *Request {
	r := requestAt("http://example.com/x/a", http.Header{"Destination": lines})
	r.Request.Method = "MOVE"
	return NewRequest(r.Request)
}

// A Destination counts with every path on this host that some backend may find in it,
// whatever its scheme and host. If nobody can foresee what a backend finds, the request
// is unclear.
func TestDestinations(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line, want string
	}{
		{"", ""},
		{"/b", "/b"},
		{"/b/%C3%A4%2f;p=1,2/", "/b/%C3%A4%2f;p=1,2/"},
		{"http://example.com/b", "/b"},
		{"HTTPS://EXAMPLE.com.:8443/b", "/b"},
		{"http://example.com:/b", "/b"},
		{"http://example.com", "/"},
		{"http://example.org/b", "/b"}, // nginx takes it if its server_name begins like that
		{"http://[2001:db8::1]/b", "/b"},
		{"http://[2001:db8::1]:80/b", "/b"},
		{"http://ann@example.com/b", "/b"},
		{"http://ann:secret@example.com:80/b", "/b"},
		{"dav+ssl://example.com/b", "/b"},
		{"b", "/b /x/b"},
		{"b/c?d", "/b/c /b/c%3Fd /x/b/c /x/b/c%3Fd"},
		{"//example.org/b", "//example.org/b /b"},
		{"http://example.com//example.org/b", "//example.org/b /b"},
		{"/b?c", "/b /b%3Fc"},
		{"/b#c", "/b /b%23c"},
		{"/b?c#d", "/b /b%3Fc%23d"},

		{"http://127.0.0.1:x/b", "unclear"}, // nginx looks for the next slash
		{"http://example.com:80:80/b", "unclear"},
		{"http://2001:db8::1/b", "unclear"},
		{"http://[2001:db8::1/b", "unclear"},
		{"http://[/b", "unclear"},
		{"http://[x]/b", "unclear"},
		{"http://[::1]x/b", "unclear"},
		{"http://[fe80::1%25eth0]/b", "unclear"},
		{"http://a@b@example.com/b", "unclear"},
		{"http://a%2fb@example.com/b", "unclear"},
		{"http://@/b", "unclear"},
		{"http://exam ple.com/b", "unclear"},
		{"http://exam%20ple.com/b", "unclear"},
		{"http://example.com?/b", "unclear"},
		{"http://example.com#/b", "unclear"},
		{"http://ex\xc3\xa4mple.com/b", "unclear"},
		{"http:///b", "unclear"}, // browsers take b for the host
		{"http:/b", "unclear"},
		{"http:b", "unclear"},
		{"mailto:b", "unclear"},
		{"://example.com/b", "unclear"},
		{"1http://example.com/b", "unclear"},
		{`http:\\example.com\b`, "unclear"},
		{`/b\c`, "unclear"},
		{"///b", "unclear"},
		{"//", "unclear"},
		{"//a:b/c", "unclear"},
		{"http://example.com///b", "unclear"},
		{"/b%", "unclear"},
		{"/b%zz", "unclear"}, // nginx drops the percent sign
		{"/b%4", "unclear"},
		{"/b%00c", "unclear"},
		{"/b%0ac", "unclear"},
		{"/b c", "unclear"},
		{"/b\tc", "unclear"},
		{"/b\x00c", "unclear"},
		{"/[b", "unclear"},
		{"/b|c", "unclear"},
		{"</b>", "unclear"},
		{"/\xe4", "unclear"},
		{"/c/../b", "unclear"},
		{"/c//../b", "unclear"},
		{"/c/%2e%2E/b", "unclear"},
		{"/c%2f..%5cb", "unclear"},
		{"/c/..;x/b", "unclear"},
		{"/c/%252e%252E/b", "unclear"},
		{"/c/%C0%AE%C0%AE/b", "unclear"},
		{"/c;x%2Fb", "unclear"},
		{"/c?/../b", "unclear"},
		{"/./b", "unclear"},
		{"../b", "unclear"},
		{"/b?http://example.com/c", "unclear"},
		{"?b", "unclear"},
		{"#b", "unclear"},
	} {
		r := moveTo(tt.line)
		var targets []string
		for _, u := range r.Destinations {
			targets = append(targets, u.EscapedPath())
		}
		slices.Sort(targets)
		got := strings.Join(slices.Compact(targets), " ")
		if r.Unclear != "" {
			got += "unclear"
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
		}
	}
}

// Nobody knows which of several field lines counts. A method that has no Destination isn't
// refused for one.
func TestDestinationsOrNone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method string
		lines  []string
		clear  bool
		found  int
	}{
		{"MOVE", nil, true, 0},
		{"MOVE", []string{"/b"}, true, 2},
		{"MOVE", []string{"/b", "/b"}, false, 4},
		{"COPY", []string{"/b", "/c"}, false, 4},
		{"COPY", []string{"/b", "%"}, false, 2},
		{"copy", []string{"/b"}, true, 2},
		{"RENAME", []string{"/b"}, true, 2},
		{"RENAME", []string{"%"}, false, 0},
		{"PUT", []string{"%", "%"}, true, 0},
		{"GET", []string{"%"}, true, 0},
		{"PROPFIND", []string{"%"}, true, 0},
	} {
		r := moveTo(tt.lines...)
		r.Request.Method = tt.method
		r = NewRequest(r.Request)
		if (r.Unclear == "") != tt.clear || len(r.Destinations) != tt.found {
			t.Errorf("%s to %q: %d targets, %q", tt.method, tt.lines, len(r.Destinations), r.Unclear)
		}
	}
}

// paths returns the paths of destinations, in order.
func paths(r *Request) string {
	var all []string
	for _, u := range r.Destinations {
		all = append(all, u.EscapedPath())
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// A reference without a slash may be below any part of the target: Swift resolves it against
// the account. Below too many, nobody can foresee what it means.
func TestDestinationsBelow(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/v1/account/c/o":                "/d/p /v1/account/c/d/p /v1/account/d/p /v1/d/p",
		"/" + strings.Repeat("a/", 100):  "unclear",
		"/v1/o?prefix=/x/":               "/d/p /v1/d/p",
		"/v1/account/c/" + "?x=/" + "o/": "/d/p /v1/account/c/d/p /v1/account/d/p /v1/d/p",
	} {
		r := requestAt("http://example.com"+target, http.Header{"Destination": {"d/p"}})
		r.Request.Method = "COPY"
		r = NewRequest(r.Request)
		got := paths(r)
		if r.Unclear != "" {
			got = "unclear"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
}

// A PUT may move something to its target that a field names.
func TestRenameSources(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ method, name, line, want string }{
		{"PUT", "X-Amz-Rename-Source", "old", "/bucket/old /old"},
		{"PUT", "X-Amz-Rename-Source", "/old", "/old"},
		{"PUT", "X-Amz-Rename-Source", "bucket/old%20one", "/bucket/bucket/old%20one /bucket/old%20one /old%20one"},
		{"PUT", "X-Ms-Rename-Source", "/bucket/dir/old?sig=x%2F", "/bucket/dir/old /bucket/dir/old%3Fsig=x%2F /dir/old /dir/old%3Fsig=x%2F"},
		{"PUT", "X-Ms-File-Rename-Source", "https://a.file.example/share/old", "/old /share/old"},
		{"POST", "X-Ms-Rename-Source", "/old", "/old"},
		{"PUT", "X-Amz-Rename-Source", "", ""},
		{"PUT", "X-Amz-Rename-Source", "a/../old", "unclear"},
		{"PUT", "X-Amz-Rename-Source", "/a/..%2Fold", "unclear"},
		{"GET", "X-Amz-Rename-Source", "/a/../old", ""},
		{"PUT", "X-Amz-Copy-Source", "/old", ""}, // it stays as it is
	} {
		r := requestAt("http://example.com/bucket/new", http.Header{tt.name: {tt.line}})
		r.Request.Method = tt.method
		r = NewRequest(r.Request)
		got := paths(r)
		if r.Unclear != "" {
			got = "unclear"
		}
		if got != tt.want {
			t.Errorf("%s with %s: %s: got %q, want %q", tt.method, tt.name, tt.line, got, tt.want)
		}
	}
}

// decodeLeniently decodes what is percent-encoded. What is malformed stays or, as in
// nginx, loses its percent sign.
func decodeLeniently(path string, drop bool) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b.WriteByte(path[i])
		} else if i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]) {
			decoded, _ := url.PathUnescape(path[i : i+3])
			b.WriteString(decoded)
			i += 2
		} else if !drop {
			b.WriteByte('%')
		}
	}
	return b.String()
}

// afterSlash returns text from its first slash, if it has one.
func afterSlash(text string) string {
	if i := strings.IndexByte(text, '/'); i >= 0 {
		return text[i:]
	}
	return ""
}

// destinationReaders are ways in which backends find a path in a Destination field, or
// nothing. None of them compares the host as it should.
var destinationReaders = map[string]func(line string) string{
	"nginx": func(line string) string {
		rest := line
		if !strings.HasPrefix(line, "/") {
			var ok bool
			if rest, ok = strings.CutPrefix(line, "http://example.com"); !ok {
				return ""
			}
		}
		path, _, _ := strings.Cut(afterSlash(rest), "?")
		return decodeLeniently(path, true)
	},
	"a pattern for the host": func(line string) string {
		_, rest, ok := strings.Cut(line, "://")
		if !ok {
			return ""
		}
		return decodeLeniently(afterSlash(rest), false)
	},
	"the path as it is": func(line string) string {
		if !strings.HasPrefix(line, "/") {
			return ""
		}
		return decodeLeniently(line, false)
	},
	"Go": func(line string) string {
		if u, err := url.Parse(line); err == nil && strings.HasPrefix(u.Path, "/") {
			return u.Path
		}
		return ""
	},
	"Python": func(line string) string {
		line = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(strings.TrimLeft(line, "\x00 \x1f"))
		if scheme, rest, ok := strings.Cut(line, ":"); ok && scheme != "" && !strings.ContainsFunc(scheme, func(c rune) bool { return c > 127 || !isAlphanumeric(byte(c)) }) {
			line = rest
		}
		if rest, ok := strings.CutPrefix(line, "//"); ok {
			line = rest[min(len(rest), strings.IndexAny(rest+"/", "/?#")):]
		}
		return decodeLeniently(line[:strings.IndexAny(line+"#", "?#")], false)
	},
	"a browser": func(line string) string {
		line = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.TrimSpace(line))
		scheme, rest, ok := strings.Cut(line, ":")
		if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
			rest, ok = strings.CutPrefix(line, "//")
			if !ok {
				return ""
			}
		}
		rest = strings.TrimLeft(rest, "/")
		rest = rest[min(len(rest), strings.IndexAny(rest+"/", "/?#")):]
		return decodeLeniently(rest[:strings.IndexAny(rest+"#", "?#")], false)
	},
}

// Whatever the client writes, a backend finds no other resource in a Destination than
// the handler does.
func FuzzDestination(f *testing.F) {
	f.Add("http://127.0.0.1:x/docs/victim")
	f.Add("http://example.com/docs/plan%zz?a#b")
	f.Add(`http:\\example.com\docs`)
	f.Add("//user@[::1]:80/docs//a;b/")
	f.Add("plan")
	f.Fuzz(func(t *testing.T, line string) {
		r := moveTo(line)
		if r.Unclear != "" {
			if len(r.Destinations) > 0 {
				t.Errorf("%q is unclear, and leads to %v", line, r.Destinations)
			}
			return
		}
		known := make(map[string]bool)
		for _, u := range r.Destinations {
			known[foldPath(u.Path)] = true
		}
		for reader, read := range destinationReaders {
			if path := read(line); strings.HasPrefix(path, "/") && !known[foldPath(path)] {
				t.Errorf("%s finds %q in %q, and not %v", reader, path, line, r.Destinations)
			}
		}
	})
}
