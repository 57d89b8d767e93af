package advice

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"weak"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// matchers are the matchers of a set by their names. All of them must match.
type matchers map[string]json.RawMessage

// route is a route of a config, as far as it matters here.
type route struct {
	Group  string     `json:"group"` // of routes, only the first that matches runs
	Match  []matchers `json:"match"` // one set must match
	Handle []handler  `json:"handle"`
}

// handler is a handler in a route: one that advice is about, or one that contains routes.
type handler struct {
	Handler string          `json:"handler"`
	Routes  []route         `json:"routes"`
	Key     string          `json:"key"`
	Store   json.RawMessage `json:"store"`
	Mode    string          `json:"mode"`

	PassThru       bool              `json:"pass_thru"`       // of file_server
	HandleResponse []json.RawMessage `json:"handle_response"` // of reverse_proxy
}

// ours reports whether advice is about the handler.
func (h handler) ours() bool { return h.Handler == "preconditions" }

// answers reports whether the handler answers every request itself.
func (h handler) answers() bool {
	switch h.Handler {
	case "static_response", "error":
		return true
	case "file_server":
		return !h.PassThru
	case "reverse_proxy":
		return len(h.HandleResponse) == 0 // these may go on, as those of forward_auth do
	default:
		return false
	}
}

// Site returns what is to be said about the routes around the handlers in the top-level
// route that a server is being set up with, one sentence each, and the number of that route.
// It says nothing if it has been called for that route before, or if another kind of route is
// being set up.
func Site(server *caddyhttp.Server, defaultKey string) (said []string, number int) {
	number = current(server)
	if number < 0 || !firstTime(&server.Routes[number]) {
		return nil, number
	}
	top := &server.Routes[number]
	var r route
	for _, set := range top.MatcherSets {
		r.Match = append(r.Match, asMatchers(set))
	}
	for _, raw := range top.HandlersRaw {
		var h handler
		if json.Unmarshal(raw, &h) == nil {
			r.Handle = append(r.Handle, h)
		}
	}
	w := walk{defaultKey: defaultKey}
	w.routes([]route{r}, place{}, "")
	return w.said, number
}

// Name returns what the handlers in the route are called that a server is being set up with:
// the first host that the route is for, or else the address that the server listens on.
func Name(server *caddyhttp.Server) string {
	if number := current(server); number >= 0 {
		for _, set := range server.Routes[number].MatcherSets {
			var hosts []string
			if json.Unmarshal(asMatchers(set)["host"], &hosts) == nil && len(hosts) > 0 {
				return hosts[0]
			}
		}
	}
	if server == nil || len(server.Listen) == 0 {
		return "unknown"
	}
	return server.Listen[0]
}

// current returns the number of the route whose handlers are being set up: the first one
// that isn't finished. Caddy drops the JSON of those that are. It returns -1 for none.
func current(server *caddyhttp.Server) int {
	if server == nil {
		return -1
	}
	return slices.IndexFunc(server.Routes, func(r caddyhttp.Route) bool { return r.HandlersRaw != nil })
}

// last is the route that Site was called for last.
var last struct {
	sync.Mutex
	route weak.Pointer[caddyhttp.Route]
}

// firstTime reports whether Site wasn't called for a route before. Caddy sets up one route
// after the other.
func firstTime(r *caddyhttp.Route) bool {
	last.Lock()
	defer last.Unlock()
	if last.route.Value() == r {
		return false
	}
	last.route = weak.Make(r)
	return true
}

// asMatchers turns matchers that are set up back into what the config says.
func asMatchers(set caddyhttp.MatcherSet) matchers {
	m := make(matchers)
	for _, matcher := range set {
		name := "other"
		switch matcher.(type) {
		case *caddyhttp.MatchHost, caddyhttp.MatchHost:
			name = "host"
		case *caddyhttp.MatchPath, caddyhttp.MatchPath:
			name = "path"
		case *caddyhttp.MatchPathRE, caddyhttp.MatchPathRE:
			name = "path_regexp"
		case *caddyhttp.MatchExpression, caddyhttp.MatchExpression:
			name = "expression"
		}
		m[name], _ = json.Marshal(matcher) // what can't be said in JSON is of no interest
	}
	return m
}

// namesHosts reports whether a set of matchers lets only requests for certain hosts pass.
func (m matchers) namesHosts() bool {
	var hosts []string
	if json.Unmarshal(m["host"], &hosts) == nil && len(hosts) > 0 {
		return !slices.ContainsFunc(hosts, func(host string) bool { return strings.Contains(host, "*") })
	}
	return bytes.Contains(m["expression"], []byte("host")) || bytes.Contains(bytes.ToLower(m["header"]), []byte(`"host"`))
}

// matchesPath reports whether a set of matchers lets only certain paths pass.
func (m matchers) matchesPath() bool { return m["path"] != nil || m["path_regexp"] != nil }

// matchesRequest reports whether a set of matchers lets only requests with certain methods or
// fields pass.
func (m matchers) matchesRequest() bool {
	return m["method"] != nil || m["header"] != nil && !m.namesHosts()
}

// place is what is known about where a route is.
type place struct {
	hosted bool      // only requests for certain hosts get there
	outer  []handler // the handlers that every request there has come through
}

// walk goes through routes, and collects what is to be said.
type walk struct {
	defaultKey string
	said       []string
}

// say adds a sentence, once.
func (w *walk) say(sentence string) {
	if !slices.Contains(w.said, sentence) {
		w.said = append(w.said, sentence)
	}
}

// routes goes through routes that follow each other. It returns the name of a handler that
// answers every request which gets there, or an empty one. Answered is such a handler before.
func (w *walk) routes(all []route, p place, answered string) string {
	byPath, otherwise := false, false // how requests get to our handlers
	groups := make(map[string]bool)
	for _, r := range all {
		inner := place{hosted: p.hosted || len(r.Match) > 0, outer: slices.Clip(p.outer)}
		for _, set := range r.Match {
			inner.hosted = inner.hosted && (p.hosted || set.namesHosts())
		}
		always := len(r.Match) == 0 && (r.Group == "" || !groups[r.Group])
		groups[r.Group] = true
		before := answered // in this route
		for i, h := range r.Handle {
			if !h.ours() {
				if before = w.routes(h.Routes, inner, before); before == "" && h.answers() {
					before = h.Handler
				}
				continue
			}
			if before != "" {
				w.say(fmt.Sprintf(neverReached, before))
			}
			w.look(h, inner)
			if i == len(r.Handle)-1 && slices.ContainsFunc(r.Match, matchers.matchesRequest) {
				w.say(matchedByRequest)
			}
			switch {
			case !slices.ContainsFunc(r.Match, matchers.matchesPath):
				otherwise = true
			case i == len(r.Handle)-1:
				byPath = true
			}
			inner.outer = append(inner.outer, h)
		}
		if len(r.Match) == 0 {
			p.outer = inner.outer
		}
		if always && before != "" {
			answered = before
		}
	}
	if byPath && !otherwise {
		w.say(matchedByPath)
	}
	return answered
}

const (
	matchedByPath = "the directive has a matcher for the path: another spelling of a path (/docs;x/plan, //x/docs/plan) " +
		"doesn't match, and may still reach the same resource. Protect the whole site, and leave out only what is " +
		"spelt plainly: @protected not path_regexp ^/chat/\\w+$"
	matchedByRequest = "the directive has a matcher for the method or a field: other requests change the same resources, " +
		"and nobody evaluates their conditions. Protect all requests: those that can't change anything pass untouched"
	anyHost = "the site answers to any host, and the client's Host is a part of the key: writes to one resource under two " +
		"names don't exclude each other. Give the site the names of its hosts, or leave the host out of the key, " +
		"such as: key documents{http.request.uri.path}"
	neverReached = "no request gets here: %s comes first, and answers every one. Put the directive before it"
	twiceInARow  = "two handlers in a row protect the same resources: remove one of them"
)

// look looks at one of our handlers.
func (w *walk) look(h handler, p place) {
	key := cmp.Or(h.Key, w.defaultKey)
	if !p.hosted && (strings.Contains(key, "{http.request.host") || strings.Contains(strings.ToLower(key), "{http.request.header.host}")) {
		w.say(anyHost)
	}
	for _, o := range p.outer {
		if cmp.Or(o.Key, w.defaultKey) == key && bytes.Equal(o.Store, h.Store) && o.Mode == h.Mode {
			w.say(twiceInARow)
		}
	}
}
