package gateway

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// session is what the origin has told the client, through responses that the client
// doesn't see, about cookies and tokens. An application that gives out a new token on
// every GET takes the handler's GET for the client's: the write must then carry the new
// token, and the client must get it. The session does what a browser would do.
type session struct {
	path   string      // of the request, as the client sent it
	fields http.Header // likewise

	cookies map[string]*http.Cookie // by name, as they are now
	tokens  map[string][]string     // by field name, likewise

	// What the client has yet to be told.
	setCookies   []*http.Cookie
	renewedToken map[string][]string
}

// tokenFields matches the names of fields in which applications send the tokens of a
// session. It must not match a field that a client uses to say which state it has seen:
// to renew that one would be to drop a condition.
var tokenFields = regexp.MustCompile(`(?i)csrf|xsrf|` +
	`^(x-)?(access|auth|authenticity|session|refresh|bearer|id|api|security)-?token$|` +
	`^(x-)?session(-?id)?$|^(x-)?(wp-)?nonce$|^(x-)?auth(orization)?$|^(__)?-?request-?verification-?token$`)

// tokenWords are the words that the names of such fields are built from: every name that
// tokenFields matches contains at least one. Looking for a word is much faster than matching.
var tokenWords = [...]string{"csrf", "xsrf", "token", "session", "nonce", "auth"}

// isTokenField reports whether applications send the token of a session in a field.
func isTokenField(name string) bool {
	lower := strings.ToLower(name)
	return slices.ContainsFunc(tokenWords[:], func(word string) bool { return strings.Contains(lower, word) }) &&
		tokenFields.MatchString(lower)
}

// newSession returns the session of a request for a target with these fields.
func newSession(target string, fields http.Header) session {
	return session{path: pathOf(target), fields: fields}
}

// absorb takes up what a response says that the client won't see. Target is what was
// asked for. A client takes the path of a cookie from the target if the response doesn't
// name one, and it will see the cookie in the answer to a different request.
func (s *session) absorb(h http.Header, target string) {
	path := pathOf(target)
	s.learn(h, path, func(c *http.Cookie) {
		if defaultPath(path) != defaultPath(s.path) && c.Path == defaultPath(path) && !strings.Contains(c.Path, ";") {
			c.Raw += "; Path=" + c.Path
		}
		s.setCookies = append(withoutCookie(s.setCookies, c), c)
	}, func(name string, lines []string) {
		if s.renewedToken == nil {
			s.renewedToken = make(map[string][]string)
		}
		s.renewedToken[name] = lines
	})
}

// answered takes up what the answer to the write says, which the client does see.
func (s *session) answered(h http.Header) {
	s.learn(h, s.path, func(c *http.Cookie) {
		s.setCookies = withoutCookie(s.setCookies, c)
	}, func(name string, _ []string) {
		delete(s.renewedToken, name)
	})
}

// learn calls cookie and token for what a response to a request for a path sets, and
// remembers what the client would send from now on. A client that sends no cookies has no
// session that a cookie could change, and a token that it doesn't send isn't renewed.
func (s *session) learn(h http.Header, path string, cookie func(*http.Cookie), token func(name string, lines []string)) {
	for _, line := range h["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil || s.fields["Cookie"] == nil {
			continue
		}
		if !strings.HasPrefix(c.Path, "/") {
			c.Path = defaultPath(path)
		}
		cookie(c)
		if sentTo(c, s.path) {
			if s.cookies == nil {
				s.cookies = make(map[string]*http.Cookie)
			}
			s.cookies[c.Name] = c
		}
	}
	for name, lines := range h {
		if len(lines) != 1 || lines[0] == "" || s.fields[name] == nil || !isTokenField(name) {
			continue
		}
		token(name, lines)
		if s.tokens == nil {
			s.tokens = make(map[string][]string)
		}
		s.tokens[name] = lines
	}
}

// sentTo reports whether a client would send a cookie with a request for a path on the
// host that set it (RFC 6265, section 5.1.4).
func sentTo(c *http.Cookie, path string) bool {
	return path == c.Path || strings.HasPrefix(path, strings.TrimSuffix(c.Path, "/")+"/")
}

// pathOf returns the path of a request target.
func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// defaultPath returns the path of a cookie that names none, in a response to a request for
// some path (RFC 6265, section 5.1.4).
func defaultPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 && path[0] == '/' {
		return path[:i]
	}
	return "/"
}

// withoutCookie removes the cookies that c replaces.
func withoutCookie(list []*http.Cookie, c *http.Cookie) []*http.Cookie {
	return slices.DeleteFunc(list, func(other *http.Cookie) bool {
		return other.Name == c.Name && other.Path == c.Path && strings.EqualFold(domain(other), domain(c))
	})
}

func domain(c *http.Cookie) string { return strings.TrimPrefix(c.Domain, ".") }

// renewals returns the fields of the request to change, which a client with the present
// cookies and tokens would send differently.
func (s *session) renewals() map[string][]string {
	if s.cookies == nil && s.tokens == nil {
		return nil
	}
	changes := make(map[string][]string)
	renewed := make(map[string]string) // new values by old ones
	if pairs, changed := s.cookiePairs(renewed); changed {
		changes["Cookie"] = nil
		if len(pairs) > 0 {
			changes["Cookie"] = []string{strings.Join(pairs, "; ")}
		}
	}
	// Scripts repeat a cookie in a field, to prove that they can read it.
	for name, lines := range s.fields {
		if value, ok := renewed[strings.Join(lines, "")]; ok && value != "" && isTokenField(name) {
			changes[name] = []string{value}
		}
	}
	for name, lines := range s.tokens {
		changes[name] = lines
	}
	return changes
}

// cookiePairs returns the cookies to send, and reports whether they differ from those of
// the request. It adds the values that have changed to renewed.
func (s *session) cookiePairs(renewed map[string]string) (pairs []string, changed bool) {
	for _, line := range s.fields["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			name, value, _ := strings.Cut(pair, "=")
			c, set := s.cookies[name]
			switch {
			case !set || c.Value == strings.Trim(value, `"`):
				pairs = append(pairs, pair)
			case deleted(c):
				changed = true
			default:
				changed = true
				renewed[value] = c.Value
				before, err := url.PathUnescape(value)
				if after, err2 := url.PathUnescape(c.Value); err == nil && err2 == nil {
					renewed[before] = after
				}
				if c.Quoted {
					name, value = name+`="`, c.Value+`"`
				} else {
					name, value = name+"=", c.Value
				}
				pairs = append(pairs, name+value)
			}
		}
	}
	return pairs, changed
}

// deleted reports whether a cookie was set only to delete it.
func deleted(c *http.Cookie) bool {
	return c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(time.Now())
}

// tell puts what the client has yet to be told on a response. It is newer than what the
// response itself says.
func (s *session) tell(h http.Header) {
	for _, c := range s.setCookies {
		h["Set-Cookie"] = append(h["Set-Cookie"], c.Raw)
	}
	for name, lines := range s.renewedToken {
		h[name] = lines
	}
	s.setCookies, s.renewedToken = nil, nil
}

// warnOfSession warns, once, of a response to a GET of the handler's own that changes the
// session of the client, which isn't told.
func (g *Gateway) warnOfSession(h http.Header) {
	if setsSession(h) && g.Learned.tellOfSessions() {
		g.Logger.Warn("the application sets cookies or tokens when the handler itself sends a GET (for a HEAD, or for the items of a list), " +
			"and the client doesn't get them; if users are logged out, don't use items, and take tags from header fields (etag upstream, etag header)")
	}
}

// setsSession reports whether a response changes the session of the client that gets it.
func setsSession(h http.Header) bool {
	if h["Set-Cookie"] != nil {
		return true
	}
	for name := range h {
		if isTokenField(name) {
			return true
		}
	}
	return false
}
