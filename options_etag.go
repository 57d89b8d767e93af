package preconditions

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/internal/spelling"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// ETagSource is one place where entity tags come from.
type ETagSource struct {
	// `upstream`: the backend's own ETag, if it is strong (If-Match never matches a
	// weak one). `header`: a hash of a response field, such as `X-Version`.
	// `json`: a hash of values in JSON content of at most `buffer` bytes, such as a
	// version number. `modified`: a hash of Last-Modified and Content-Length, once
	// the second of the change and the following one are over. `body`: a hash of the
	// content. `version`: a counter of the store's own that moves with every write
	// that comes through this handler; the content isn't read. All hashes include
	// Content-Type, Content-Encoding and Content-Language. `body` and `version` always
	// yield a tag, so no source can follow them.
	Source string `json:"source"`

	// For `header`: the name of the response field. If the field is absent or
	// empty, the next source is tried.
	Field string `json:"field,omitempty"`

	// For `json`: JSON pointers (RFC 6901), such as `/version`. If one points at
	// nothing, or the content isn't JSON, the next source is tried.
	Pointers []string `json:"pointers,omitempty"`
}

// sourceWords are the etag sources, and sourceNames lists them.
var sourceWords = []string{"upstream", "header", "json", "modified", "body", "version"}

const sourceNames = "upstream, header, json, modified, body or version"

// defaultSources are the etag sources if none are configured.
var defaultSources = []proxyhooks.SourceKind{proxyhooks.SourceUpstream, proxyhooks.SourceBody}

// sources returns what the option etag means.
func sources(list []ETagSource) ([]proxyhooks.Source, error) {
	if len(list) == 0 {
		return nil, errors.New("at least one source is needed")
	}
	var parsed []proxyhooks.Source
	for i, s := range list {
		source, err := s.parse()
		if err != nil {
			return nil, err
		}
		for _, other := range parsed {
			if reflect.DeepEqual(other, source) {
				return nil, fmt.Errorf("source %s is given twice", s)
			}
		}
		if i > 0 && parsed[i-1].Kind.AlwaysYields() {
			return nil, fmt.Errorf("source %s is never tried after %s, which always yields", s, list[i-1])
		}
		parsed = append(parsed, source)
	}
	return parsed, nil
}

// parse returns what one source means.
func (s ETagSource) parse() (proxyhooks.Source, error) {
	source := proxyhooks.Source{Kind: proxyhooks.SourceKind(s.Source)}
	switch source.Kind {
	case proxyhooks.SourceUpstream, proxyhooks.SourceHeader, proxyhooks.SourceJSON, proxyhooks.SourceModified, proxyhooks.SourceBody, proxyhooks.SourceVersion:
	default:
		return source, fmt.Errorf("unknown source %q: must be %s%s", s.Source, sourceNames, spelling.Meant(s.Source, sourceWords...))
	}
	if (s.Field != "") != (source.Kind == proxyhooks.SourceHeader) {
		return source, errors.New("source header needs a field, and no other source has one")
	}
	if (len(s.Pointers) > 0) != (source.Kind == proxyhooks.SourceJSON) {
		return source, errors.New("source json needs pointers, and no other source has any")
	}
	for _, text := range s.Pointers {
		p, err := proxyhooks.ParsePointer(text)
		if err != nil {
			return source, fmt.Errorf("JSON pointer %q %w", text, err)
		}
		source.Pointers = append(source.Pointers, p)
	}
	if source.Kind == proxyhooks.SourceHeader {
		source.Field = http.CanonicalHeaderKey(s.Field)
		switch {
		case !isFieldName(s.Field):
			return source, fmt.Errorf("%q is not a field name", s.Field)
		case source.Field == "Etag":
			return source, errors.New("source header can't derive a strong tag from ETag: use upstream")
		}
	}
	return source, nil
}

// versioned reports whether version is among the etag sources.
func (h *Handler) versioned() bool {
	return slices.ContainsFunc(h.ETag, func(s ETagSource) bool { return proxyhooks.SourceKind(s.Source) == proxyhooks.SourceVersion })
}

func (s *ETagSource) unmarshal(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || args[0] == "" {
		return d.Err("takes a source: " + sourceNames)
	}
	s.Source, args = args[0], args[1:]
	switch proxyhooks.SourceKind(s.Source) {
	case proxyhooks.SourceJSON:
		if s.Pointers = args; len(args) == 0 {
			return d.Err("source json takes one or more JSON pointers")
		}
	case proxyhooks.SourceHeader:
		if len(args) != 1 || args[0] == "" {
			return d.Err("source header takes the name of one field")
		}
		s.Field = args[0]
	case proxyhooks.SourceUpstream, proxyhooks.SourceModified, proxyhooks.SourceBody, proxyhooks.SourceVersion:
		if len(args) > 0 {
			return d.Err(s.alone(args))
		}
	}
	return nil // an unknown source is refused by the function sources
}

// alone says that a source takes no arguments and, if they are sources too, how to write
// them.
func (s ETagSource) alone(args []string) string {
	text := "source " + s.Source + " takes no arguments"
	kinds := append([]string{s.Source}, args...)
	if slices.ContainsFunc(args, func(arg string) bool { return !slices.Contains(sourceWords, arg) }) {
		return text
	}
	slices.SortStableFunc(kinds, func(a, b string) int { return cmp.Compare(sourceRank(a), sourceRank(b)) })
	if sourceRank(kinds[len(kinds)-2]) > 0 {
		return text + ": write each source in a line of its own, and body or version last"
	}
	return text + ": write each source in a line of its own, \"etag " + strings.Join(kinds, "\", then \"etag ") + "\""
}

// sourceRank orders sources: those that always yield come last.
func sourceRank(name string) int {
	if proxyhooks.SourceKind(name).AlwaysYields() {
		return 1
	}
	return 0
}

// String returns the source as it would appear in a Caddyfile.
func (s ETagSource) String() string {
	words := []string{s.Source}
	if s.Field != "" {
		words = append(words, s.Field)
	}
	return strings.Join(append(words, s.Pointers...), " ")
}
