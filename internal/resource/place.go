package resource

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Place is where clients send the version that a write depends on, if not in If-Match.
type Place struct {
	Kind PlaceKind
	// Name is the pointer, the parameter or the field.
	Name string
	// Keep means that the backend gets the version, too: it has made it.
	Keep bool

	Pointer proxyhooks.Pointer // of a JSONPlace
}

// PlaceKind is what a Place is a part of.
type PlaceKind string

// The kinds of places, as they are configured.
const (
	JSONPlace   PlaceKind = "json"
	QueryPlace  PlaceKind = "query"
	HeaderPlace PlaceKind = "header"
)

// PlaceKinds lists the kinds.
var PlaceKinds = []PlaceKind{JSONPlace, QueryPlace, HeaderPlace}

// ParsePlace parses a place from the configuration. The kind is known to be valid.
func ParsePlace(kind PlaceKind, name string, keep bool) (p Place, err error) {
	p = Place{Kind: kind, Name: name, Keep: keep}
	switch kind {
	case JSONPlace:
		if p.Pointer, err = proxyhooks.ParsePointer(name); err != nil {
			return p, fmt.Errorf("json %q %w", name, err)
		}
		if name == "" {
			return p, errors.New("json: must point at a member of the content")
		}
	case QueryPlace:
		if name == "" || strings.ContainsFunc(name, func(c rune) bool { return !plainInQuery(c) }) {
			return p, fmt.Errorf("query %q must be the name of a parameter, without its value: letters, digits and any of $-._~", name)
		}
		if strings.EqualFold(name, "_method") {
			return p, fmt.Errorf("query %s names a method", name)
		}
	default:
		p.Name = http.CanonicalHeaderKey(name)
		if !isToken(name) {
			return p, fmt.Errorf("header %q is not a field name", name)
		}
		if slices.Contains(notVersions, p.Name) || strings.HasPrefix(p.Name, "Content-") {
			return p, fmt.Errorf("header %s has a meaning of its own in HTTP: name the field in which clients send the version", p.Name)
		}
	}
	return p, nil
}

func plainInQuery(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("$-._~", c)
}

// isToken reports whether name is a token (RFC 9110, section 5.6.2).
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}

// notVersions are fields that can't stand for If-Match.
var notVersions = []string{
	"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Accept", "Accept-Encoding", "Authorization",
	"Connection", "Cookie", "Date", "Expect", "Forwarded", "Host", "Idempotency-Key", "Origin", "Prefer", "Range", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "User-Agent", "Via",
}

// String returns the place as it is configured, such as "query rev".
func (p Place) String() string {
	if p.Kind == "" {
		return ""
	}
	return string(p.Kind) + " " + p.Name
}

// Text names the place in a sentence.
func (p Place) Text() string {
	switch p.Kind {
	case JSONPlace:
		return "the member " + p.Name + " of the content"
	case QueryPlace:
		return "the query parameter " + p.Name
	default:
		return "the field " + p.Name
	}
}

// Of returns what the target or the header of a request has in this place. It isn't clear if
// backends may find different values there.
func (p Place) Of(r *http.Request) (sent string, found, clear bool) {
	switch p.Kind {
	case QueryPlace:
		return Parameter(r.URL.RawQuery, p.Name)
	case HeaderPlace:
		lines := r.Header[p.Name]
		for name := range r.Header {
			if name != p.Name && strings.EqualFold(strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(p.Name, "_", "-")) {
				return "", true, false
			}
		}
		if len(lines) == 0 {
			return "", false, true
		}
		return strings.Trim(lines[0], " \t"), true, len(lines) == 1
	default:
		return "", false, true
	}
}

// Version returns the tag that a text stands for: an entity tag, or the part between its
// quotes.
func Version(text string) (validator.ETag, bool) {
	if tag, ok := validator.ParseETag(text); ok {
		return tag, true
	}
	return validator.ParseETag(`"` + text + `"`)
}

// Match makes a version that was sent elsewhere a condition of the request: it counts as
// If-Match. It reports false if it contradicts If-Match, so that both can't hold.
func Match(r *Request, p Place, sent string, version validator.ETag) bool {
	lines := r.Conditions.IfMatch
	if lines != nil && !validator.IsWildcard(lines) && !lists(lines, version) {
		weak, ok := weakened(r.Conditions, version)
		if !ok {
			return false
		}
		version = weak
	}
	r.Conditions.IfMatch = []string{version.String()}
	r.Place, r.Sent = p, sent
	readConditions(r)
	return true
}

// weakened returns the weak form of a version, if If-Match and the version differ in that
// alone, and weak tags count. The weak one matches nothing that the strong one doesn't.
func weakened(c validator.Conditions, version validator.ETag) (weak validator.ETag, ok bool) {
	weak, strong := version, version
	weak.Weak, strong.Weak = true, false
	return weak, c.Weak != (validator.WeakTags{}) && (lists(c.IfMatch, weak) || lists(c.IfMatch, strong))
}

// lists reports whether If-Match lists a tag, perhaps with a mark that it got on its way.
func lists(lines []string, version validator.ETag) bool {
	for tag := range validator.Tags(lines) {
		listed, sent := tag.Unmarked(), version.Unmarked()
		if tag == version || slices.Contains(listed[:], version) || slices.Contains(sent[:], tag) {
			return true
		}
	}
	return false
}
