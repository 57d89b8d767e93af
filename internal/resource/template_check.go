package resource

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/spelling"
)

// requestPlaceholders are the placeholders of Caddy that a key may be made of.
var requestPlaceholders = []string{
	"http.request.host", "http.request.port", "http.request.hostport", "http.request.scheme", "http.request.method",
	"http.request.uri", "http.request.uri.path", "http.request.uri.path.file", "http.request.uri.path.dir",
	"http.request.uri.query", "http.request.orig_uri", "http.request.orig_uri.path", "http.request.orig_uri.query",
	"http.request.remote.host", "http.request.tls.client.subject", "http.auth.user.id",
}

// shorthands are what a Caddyfile replaces by these.
var shorthands = []string{"host", "port", "hostport", "scheme", "method", "uri", "path", "query", "file", "dir"}

// numbered are the beginnings of placeholders that end in a number.
var numbered = []string{"http.request.uri.path.", "http.request.orig_uri.path.", "http.request.host.labels."}

// named are the beginnings of placeholders that end in any name.
var named = []string{"header.", "cookie.", "uri.query.", "tls.", "remote.", "local", "orig_method"}

// CheckPlaceholders returns an error if a placeholder of the template can't exist. It would
// always be empty, and then resources share a key that are different ones.
func (t Template) CheckPlaceholders() error {
	for _, name := range t.placeholders() {
		prefix, rest, _ := strings.Cut(name, ".")
		switch {
		case global(name) || prefix != "http": // somebody may set it: see DoubtfulPlaceholders
		case strings.HasPrefix(rest, "request.") && !ofRequest(name), misspeltKind(rest):
			return fmt.Errorf("there is no placeholder {%s}%s", name, meantPlaceholder(name))
		}
	}
	return nil
}

// misspeltKind reports whether the word after http is nearly one of those that Caddy has.
func misspeltKind(rest string) bool {
	kind, _, _ := strings.Cut(rest, ".")
	near := spelling.Nearest(kind, "request", "vars", "auth", "regexp", "error")
	return near != "" && near != kind
}

// ofRequest reports whether Caddy knows a placeholder of the request, in some requests.
func ofRequest(name string) bool {
	rest := strings.TrimPrefix(name, "http.request.")
	for _, prefix := range named {
		if strings.HasPrefix(rest, prefix) {
			return true
		}
	}
	_, ok := replacerFor(&url.URL{Scheme: "https", Host: "www.example.com", Path: "/a/b"}).Get(name)
	return ok
}

// DoubtfulPlaceholders returns, for each placeholder that Caddy doesn't know by itself and
// that looks like a misspelt one, what was probably meant. A map could set it all the same.
func (t Template) DoubtfulPlaceholders() map[string]string {
	doubtful := make(map[string]string)
	for _, name := range t.placeholders() {
		if strings.Contains(name, ".") || global(name) {
			continue
		}
		if meant := spelling.Nearest(name, shorthands...); meant != "" {
			doubtful[name] = meant
		}
	}
	return doubtful
}

// meantPlaceholder asks whether a known placeholder was meant.
func meantPlaceholder(name string) string {
	for _, prefix := range numbered {
		if strings.HasPrefix(name, prefix) {
			return " (did you mean {" + prefix + "0}?)"
		}
	}
	// What they all begin with would make them all look alike.
	const prefix = "http.request."
	known := requestPlaceholders
	short, cut := strings.CutPrefix(name, prefix)
	if cut {
		known = nil
		for _, k := range requestPlaceholders {
			known = append(known, strings.TrimPrefix(k, prefix))
		}
	}
	near := spelling.Nearest(short, known...)
	switch {
	case near == "":
		return ""
	case cut && !strings.HasPrefix(near, "http."):
		near = prefix + near
	}
	return " (did you mean {" + near + "}?)"
}
