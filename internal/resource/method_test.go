package resource

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Only GET and HEAD select a representation, only the other safe methods have
// no preconditions, and whatever isn't known to be safe is a write.
func TestClassOf(t *testing.T) {
	tests := map[Class][]string{
		Read:  {"GET", "HEAD"},
		Other: {"OPTIONS", "TRACE", "CONNECT", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"},
		Write: {
			"PUT", "PATCH", "POST", "DELETE",
			"MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PROPPATCH", "ACL", "BIND", "UPDATEREDIRECTREF",
			"FROBNICATE", "", "get", "Head", "options", // methods are case-sensitive
		},
	}
	for want, methods := range tests {
		for _, method := range methods {
			if got := ClassOf(method); got != want {
				t.Errorf("%q is %d, want %d", method, got, want)
			}
		}
	}
}

func TestClassify(t *testing.T) {
	tests := []struct {
		name   string
		method string
		header http.Header
		class  Class
		stands string // the method that it stands for
	}{
		{"an override names the method", "POST", http.Header{"X-Http-Method-Override": {"DELETE"}}, Write, "DELETE"},
		{"each spelling of the field counts", "POST", http.Header{"X-Method-Override": {"PUT"}}, Write, "PUT"},
		{"each spelling of the field counts", "POST", http.Header{"X-Http-Method": {"MERGE"}}, Write, "MERGE"},
		{"case and space of an override don't matter", "POST", http.Header{"X-Http-Method-Override": {" patch\t"}}, Write, "PATCH"},
		{"an override makes a GET a write", "GET", http.Header{"X-Http-Method-Override": {"PUT"}}, Write, "PUT"},
		{"an override makes OPTIONS a write", "OPTIONS", http.Header{"X-Http-Method-Override": {"PUT"}}, Write, "PUT"},
		{"an override to a read leaves a write a write", "PUT", http.Header{"X-Http-Method-Override": {"GET"}}, Write, "PUT"},
		{"an override to a read is not believed", "POST", http.Header{"X-Http-Method-Override": {"GET"}}, Write, "POST"},
		{"any line of an override counts", "POST", http.Header{"X-Http-Method-Override": {"GET", "DELETE"}}, Write, "DELETE"},
		{"any field of an override counts", "POST", http.Header{"X-Http-Method-Override": {"HEAD"}, "X-Http-Method": {"DELETE"}}, Write, "DELETE"},
		{"an empty override is none", "GET", http.Header{"X-Http-Method-Override": {" "}}, Read, "GET"},
		{"the first member of a list counts", "POST", http.Header{"X-Http-Method-Override": {"PUT,"}}, Write, "PUT"},
		{"any member of a list counts", "GET", http.Header{"X-Http-Method-Override": {"GET, ,\tdelete"}}, Write, "DELETE"},
		{"a hyphen may be an underscore", "GET", http.Header{"X_http_method-Override": {"PUT"}}, Write, "PUT"},
		{"an unknown override is a write", "GET", http.Header{"X-Method-Override": {"zap"}}, Write, "ZAP"},

		{"an upgrade has no response", "GET", http.Header{"Upgrade": {"websocket"}}, Other, "GET"},
		{"an upgrade excuses no write", "PUT", http.Header{"Upgrade": {"websocket"}}, Write, "PUT"},
		{"an upgrade excuses no override", "GET", http.Header{"Upgrade": {"websocket"}, "X-Http-Method": {"PUT"}}, Write, "PUT"},
		{"WebDAV reads pass untouched", "PROPFIND", nil, Other, "PROPFIND"},
		{"an unknown method is a write", "FROBNICATE", nil, Write, "FROBNICATE"},
	}
	for _, tt := range tests {
		methods, _ := overrides(tt.header, namesIn(tt.header).override)
		c, stands := classify(&http.Request{Method: tt.method, Header: tt.header}, methods)
		if c != tt.class || stands != tt.stands {
			t.Errorf("%s: %s %v is %d %s, want %d %s", tt.name, tt.method, tt.header, c, stands, tt.class, tt.stands)
		}
	}
}

// Every method that a backend may read counts. What a backend might read as something
// else makes the request unclear.
func TestOverrides(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("PUT,", maxOverrides)
	for _, tt := range []struct {
		lines []string
		want  string // or "unclear"
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{" , ,\t"}, ""},
		{[]string{"PUT"}, "PUT"},
		{[]string{"pUt"}, "PUT"},
		{[]string{"PUT,"}, "PUT"},
		{[]string{",PUT"}, "PUT"},
		{[]string{"PUT,DELETE"}, "PUT DELETE"},
		{[]string{"GET ,\tPUT "}, "GET PUT"},
		{[]string{"GET", "VERSION-CONTROL", "PUT,x_1"}, "GET VERSION-CONTROL PUT X_1"},
		{[]string{many}, strings.TrimSpace(strings.Repeat("PUT ", maxOverrides))},
		{[]string{many, "DELETE"}, "unclear"},
		{[]string{`"PUT"`}, "unclear"},
		{[]string{"'PUT'"}, "unclear"},
		{[]string{"PUT;q=1"}, "unclear"},
		{[]string{"PUT DELETE"}, "unclear"},
		{[]string{"PUT\x0b"}, "unclear"},
		{[]string{"PUT\x00"}, "unclear"},
		{[]string{"PUT\r\n"}, "unclear"},
		{[]string{"\xa0PUT"}, "unclear"},
		{[]string{"\ufeffPUT"}, "unclear"},
		{[]string{"PO\u017fT"}, "unclear"}, // its upper case is POST
		{[]string{"PUT/1.1"}, "unclear"},
		{[]string{"%50UT"}, "unclear"},
		{[]string{"PUT."}, "unclear"},
		{[]string{"GET", "PUT!"}, "unclear"},
	} {
		for _, name := range []string{"X-Http-Method-Override", "X-Method-Override", "X-Http-Method", "X_method_override"} {
			methods, ok := overrides(http.Header{name: tt.lines}, namesIn(http.Header{name: tt.lines}).override)
			got := strings.Join(methods, " ")
			if !ok {
				got = "unclear"
			}
			if got != tt.want {
				t.Errorf("%s: %q is %q, want %q", name, tt.lines, got, tt.want)
			}
		}
	}
}

// A request is certainly of a method only if no override says otherwise, and certainly
// writes only if no override is safe.
func TestDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, override   string
		put, only, nothing bool
	}{
		{"PUT", "", true, true, false},
		{"put", "", true, false, false},
		{"PUT", "put", true, true, false},
		{"PUT", "PATCH", true, false, false},
		{"PUT", "GET", true, false, true},
		{"PUT", "PUT,OPTIONS", true, false, true},
		{"POST", "PUT", true, false, false},
		{"POST", "DELETE, PUT", true, false, false},
		{"GET", "PUT", true, false, true},
		{"POST", "", false, false, false},
	} {
		r := requestAt("http://example.com/", http.Header{"X-Http-Method": {tt.override}})
		r.Request.Method = tt.method
		r = NewRequest(r.Request)
		if r.Does("PUT") != tt.put || r.DoesOnly("PUT") != tt.only || r.MayWriteNothing() != tt.nothing {
			t.Errorf("%s as %q: %t %t %t", tt.method, tt.override, r.Does("PUT"), r.DoesOnly("PUT"), r.MayWriteNothing())
		}
	}
}

// overrideReaders are ways in which backends read the lines of an override field.
var overrideReaders = map[string]func(lines []string) string{
	"Express": func(lines []string) string { // Node has joined the lines
		value, _, _ := strings.Cut(strings.Join(lines, ", "), ",")
		return strings.TrimFunc(value, func(c rune) bool { return unicode.IsSpace(c) || c == '\ufeff' })
	},
	"Rack":           func(lines []string) string { return strings.Join(lines, ",") },
	"the first line": func(lines []string) string { return lines[0] },
	"the last line":  func(lines []string) string { return lines[len(lines)-1] },
	"PHP's trim":     func(lines []string) string { return strings.Trim(strings.Join(lines, ", "), " \t\n\r\x00\x0b") },
	"the last word": func(lines []string) string {
		words := strings.FieldsFunc(strings.Join(lines, ", "), func(c rune) bool { return c == ',' || c == ';' || unicode.IsSpace(c) })
		if len(words) == 0 {
			return ""
		}
		return words[len(words)-1]
	},
	"C":      func(lines []string) string { value, _, _ := strings.Cut(lines[0], "\x00"); return value },
	"quoted": func(lines []string) string { return strings.Trim(lines[0], `"' `) },
}

// Whatever the client writes, a backend reads no write method that the handler doesn't
// know of.
func FuzzOverrides(f *testing.F) {
	f.Add("X-HTTP-Method-Override", "PUT,", "")
	f.Add("x_method_override", " \"delete\"", "GET")
	f.Add("X-HTTP-Method", "po\u017ft", "PATCH;q=1, PUT")
	f.Add("X.HTTP.Method", "\xa0put\x0b", ",")
	f.Fuzz(func(t *testing.T, name, first, second string) {
		if !proxyhooks.IsMethodOverride(name) {
			return
		}
		for _, lines := range [][]string{{first}, {first, second}, {first, second, first}} {
			r := requestAt("http://example.com/", http.Header{name: lines})
			if r.Unclear != "" {
				if r.Class != Write {
					t.Errorf("%q is unclear, and has class %d", lines, r.Class)
				}
				continue
			}
			for reader, read := range overrideReaders {
				method := strings.ToUpper(read(lines))
				if slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE", "MOVE"}, method) && (!r.Does(method) || r.Class != Write) {
					t.Errorf("%s reads %s in %q: class %d, readings %q", reader, method, lines, r.Class, r.readings)
				}
			}
		}
	})
}
