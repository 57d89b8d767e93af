package resource

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// servers are how servers and frameworks read a request target, written down from their
// documentation and code, apart from the stages of readings.go. They return the path of the
// resource, decoded, or false if they refuse the request.
var servers = map[string]func(target string) (resource string, ok bool){
	"nginx": func(target string) (string, bool) { // ngx_http_parse_complex_uri
		decoded := percentDecoded(target)
		return pathWithoutDots(doubleSlash.ReplaceAllString(decoded, "/")), !strings.Contains(decoded, "\x00")
	},
	"nginx, merge_slashes off": func(target string) (string, bool) {
		decoded := percentDecoded(target)
		return pathWithoutDots(decoded), !strings.Contains(decoded, "\x00")
	},
	"Apache": func(target string) (string, bool) { // ap_normalize_path, then ap_unescape_url
		return percentDecoded(apacheNormalized(target)), !encodedSlash.MatchString(target)
	},
	"Apache, AllowEncodedSlashes On": func(target string) (string, bool) {
		return percentDecoded(apacheNormalized(target)), true
	},
	"Tomcat": func(target string) (string, bool) { // CoyoteAdapter
		target = pathParameter.ReplaceAllString(target, "")
		decoded := percentDecoded(target)
		resource := pathWithoutDots(doubleSlash.ReplaceAllString(decoded, "/"))
		return resource, !encodedSlash.MatchString(target) && !strings.ContainsAny(decoded, "\\\x00")
	},
	"Tomcat, encodedSolidusHandling decode, ALLOW_BACKSLASH": func(target string) (string, bool) {
		decoded := strings.ReplaceAll(percentDecoded(pathParameter.ReplaceAllString(target, "")), `\`, "/")
		return pathWithoutDots(doubleSlash.ReplaceAllString(decoded, "/")), !strings.Contains(decoded, "\x00")
	},
	"Express": func(target string) (string, bool) { // routes are matched as they were sent, parameters decoded
		decoded := percentDecoded(target)
		return strings.TrimSuffix(strings.ToLower(decoded), "/"), utf8.ValidString(decoded)
	},
	"Hono": func(target string) (string, bool) { // new URL("http://host" + target)
		return percentDecoded(whatwgPath(target)), true
	},
	"new URL(target, base)": func(target string) (string, bool) {
		if rest, ok := strings.CutPrefix(target, "//"); ok {
			_, rest, _ = strings.Cut(rest, "/")
			target = "/" + rest
		}
		return percentDecoded(whatwgPath(target)), true
	},
	"parse_url of PHP": func(target string) (string, bool) {
		if rest, ok := strings.CutPrefix(target, "//"); ok {
			_, rest, _ = strings.Cut(rest, "/")
			target = "/" + rest
		}
		return percentDecoded(target), true
	},
	"Go": func(target string) (string, bool) { return path.Clean(percentDecoded(target)), true },
	"IIS": func(target string) (string, bool) {
		decoded := strings.ToLower(strings.ReplaceAll(percentDecoded(target), `\`, "/"))
		segments := strings.Split(pathWithoutDots(doubleSlash.ReplaceAllString(decoded, "/")), "/")
		for i, s := range segments {
			segments[i] = strings.TrimRight(s, " .")
		}
		return strings.Join(segments, "/"), !strings.Contains(decoded, "\x00")
	},
	"a front controller that gets the path in a query": func(target string) (string, bool) {
		decoded := percentDecoded(percentDecoded(target))
		resource := pathWithoutDots(decoded)
		return resource, resource != decoded // docs/how-it-works.md tells what to do about other paths
	},
	"C": func(target string) (string, bool) {
		before, _, _ := strings.Cut(percentDecoded(target), "\x00")
		return pathWithoutDots(before), true
	},
	"Python": func(target string) (string, bool) {
		return strings.ToValidUTF8(percentDecoded(target), "\ufffd"), true
	},
	"UTF-8 without checks": func(target string) (string, bool) {
		decoded := strings.NewReplacer("\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", `\`).Replace(percentDecoded(target))
		return pathWithoutDots(decoded), true
	},
}

var (
	doubleSlash   = regexp.MustCompile("//+")
	encodedSlash  = regexp.MustCompile("(?i)%2f")
	encodedDot    = regexp.MustCompile("(?i)%2e")
	pathParameter = regexp.MustCompile(";[^/]*")
)

var percentEncoded = regexp.MustCompile("%[0-9A-Fa-f]{2}")

func percentDecoded(s string) string {
	return percentEncoded.ReplaceAllStringFunc(s, func(code string) string {
		c, _ := url.PathUnescape(code)
		return c
	})
}

// pathWithoutDots does what RFC 3986 says in section 5.2.4, letter by letter.
func pathWithoutDots(in string) string {
	var out string
	for in != "" {
		switch {
		case strings.HasPrefix(in, "/./"):
			in = in[2:]
		case in == "/.":
			in = "/"
		case strings.HasPrefix(in, "/../"), in == "/..":
			in = "/" + strings.TrimPrefix(in[3:], "/")
			out = out[:max(0, strings.LastIndexByte(out, '/'))]
		default:
			end := len(in)
			if i := strings.IndexByte(in[1:], '/'); i >= 0 {
				end = i + 1
			}
			out, in = out+in[:end], in[end:]
		}
	}
	return out
}

func whatwgPath(target string) string {
	segments := strings.Split(strings.TrimPrefix(target, "/"), "/")
	var kept []string
	for i, s := range segments {
		last := i == len(segments)-1
		switch encodedDot.ReplaceAllString(s, ".") {
		case "..":
			kept = kept[:max(0, len(kept)-1)]
			if last {
				kept = append(kept, "")
			}
		case ".":
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, s)
		}
	}
	return "/" + strings.Join(kept, "/")
}

func apacheNormalized(target string) string {
	return pathWithoutDots(doubleSlash.ReplaceAllString(encodedDot.ReplaceAllString(target, "."), "/"))
}

// keyInServers checks that all servers find the resource of one key at a path. It returns
// false if the path is unclear.
func keyInServers(t *testing.T, escaped string) bool {
	t.Helper()
	if unclearPath(escaped) != "" {
		return false
	}
	key := foldPath(unescape(escaped))
	for name, read := range servers {
		if resource, ok := read(escaped); ok && foldPath(resource) != key {
			t.Errorf("%s: the key is %s, but %s finds %q, whose key is %s", escaped, key, name, resource, foldPath(resource))
		}
	}
	return true
}

// If some server finds one resource at two clear paths, they have one key. Every path is
// made of these pieces.
func TestServersAgree(t *testing.T) {
	t.Parallel()
	pieces := []string{"/", "..", ".", "x", "%2e%2e", "%2F", "%5C", ";", "%20", "%252e%252e/", "%00", "%3F"}
	clear, unclear := 0, 0
	var extend func(p string, left int)
	extend = func(p string, left int) {
		if keyInServers(t, p+"/plan") {
			clear++
		} else {
			unclear++
		}
		if left == 0 {
			return
		}
		for _, piece := range pieces {
			extend(p+piece, left-1)
		}
	}
	for _, beginning := range []string{"/", "/docs/", "/docs/a/"} {
		extend(beginning, 3)
	}
	if clear == 0 || unclear == 0 {
		t.Errorf("%d paths are clear, and %d aren't", clear, unclear)
	}
}

// If some server finds one resource at two targets, the targets have one key, or one of
// them is unclear.
func FuzzServers(f *testing.F) {
	for _, pair := range [][2]string{
		{"/docs//../plan", "/docs/plan"},
		{"/docs/a/;/../plan", "/docs/plan"},
		{"/docs%2Fq/%2e%2e/docs/plan", "/docs/plan"},
		{"//any/docs/plan", "/docs/plan"},
		{"/docs/x/..;a=b/plan", "/docs/plan"},
		{"/docs/%252e%252e/plan", "/plan"},
		{"/docs/plan%00/../x", "/docs/plan"},
		{"/docs/x%5C../../plan", "/plan"},
		{"/docs/%C0%AE%C0%AE/../plan", "/plan"},
		{"/docs/%FF%FE", "/docs/%EF%BF%BD"},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		var paths, keys []string
		for _, target := range []string{one, other} {
			u, err := url.ParseRequestURI(target)
			if err != nil || u.Scheme != "" || !strings.HasPrefix(target, "/") {
				return
			}
			paths = append(paths, u.EscapedPath())
			keys = append(keys, foldPath(u.Path))
			keyInServers(t, u.EscapedPath())
		}
		if keys[0] == keys[1] || unclearPath(paths[0]) != "" || unclearPath(paths[1]) != "" {
			return
		}
		for name, read := range servers {
			a, ok := read(paths[0])
			b, also := read(paths[1])
			if ok && also && a == b {
				t.Errorf("%s finds one resource at %s and %s, but the keys are %s and %s", name, paths[0], paths[1], keys[0], keys[1])
			}
		}
	})
}
