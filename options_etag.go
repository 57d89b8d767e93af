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
	"github.com/caddy-preconditions/preconditions/validator"
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

	// For `header`, and for `json` with one pointer: what the tag is. `hash` (default): a
	// hash. `verbatim`: the value itself, so that 7 becomes `"7"`, for clients that make
	// their If-Match from a version in the content. A value that is an entity tag already
	// is that tag. `weak`: the same with a weak tag, `W/"7"`; If-Match is then compared by
	// what is between the quotes, because you say that the version changes with the
	// content. If the value is neither an integer nor a text that can be in an entity tag,
	// the next source is tried. Representations that share a version share the tag, so
	// nobody gets a 304 or a part by it. Only one source can take values, and none can be
	// `upstream` then.
	Form string `json:"form,omitempty"`
}

// formWords are the forms of a tag.
var formWords = []string{string(proxyhooks.FormHash), string(proxyhooks.FormVerbatim), string(proxyhooks.FormWeak)}

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
	return parsed, checkForms(parsed, list)
}

// checkForms returns an error if the values that a source takes for tags could be mistaken
// for the tags of a different one.
func checkForms(parsed []proxyhooks.Source, list []ETagSource) error {
	first := slices.IndexFunc(parsed, proxyhooks.Source.TakesValue)
	if first < 0 {
		return nil
	}
	for i, s := range parsed {
		switch {
		case s.Kind == proxyhooks.SourceUpstream:
			return fmt.Errorf("source upstream can't be used beside %s: a tag of the backend's could be mistaken for a version", list[first])
		case i > first && s.TakesValue():
			return fmt.Errorf("source %s can't be used beside %s: a version of one could be mistaken for one of the other", list[i], list[first])
		}
	}
	return nil
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
	if err := s.parseForm(&source); err != nil {
		return source, err
	}
	for _, text := range s.Pointers {
		p, err := proxyhooks.ParsePointer(text)
		switch {
		case err != nil && s.Form != "" && slices.Contains(formWords, text):
			return source, fmt.Errorf("source json can't be both %s and %s", text, s.Form)
		case err != nil:
			return source, fmt.Errorf("JSON pointer %q %w%s", text, err, spelling.Meant(text, formWords...))
		}
		source.Pointers = append(source.Pointers, p)
	}
	if source.Form != "" && len(source.Pointers) > 1 {
		return source, fmt.Errorf("source json takes one JSON pointer with %s: several values make no tag", s.Form)
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

// parseForm parses the form of a source.
func (s ETagSource) parseForm(source *proxyhooks.Source) error {
	if s.Form == "" {
		return nil
	}
	if source.Kind != proxyhooks.SourceHeader && source.Kind != proxyhooks.SourceJSON {
		return errors.New("only the sources header and json have a form")
	}
	if err := spelling.Check(s.Form, formWords...); err != nil {
		return fmt.Errorf("form %w", err)
	}
	if source.Form = proxyhooks.Form(s.Form); source.Form == proxyhooks.FormHash {
		source.Form = ""
	}
	return nil
}

// weakTags returns which weak tags count in If-Match.
func weakTags(h *Handler, d proxyhooks.Deriver) validator.WeakTags {
	return validator.WeakTags{Listed: h.WeakTags == weakTagsAccept, Current: d.TakesValues()}
}

// checkWeakTags checks the option weak_tags. With the source upstream alone, clients get weak
// tags of the backend's own, which nobody could tell from strong ones that were weakened.
func checkWeakTags(h *Handler) error {
	others := slices.ContainsFunc(h.ETag, func(s ETagSource) bool { return proxyhooks.SourceKind(s.Source) != proxyhooks.SourceUpstream })
	if h.WeakTags == weakTagsAccept && !others {
		return errors.New("with etag upstream alone, clients also get weak tags of the backend's own, and those must never match: add a source, such as body")
	}
	return spelling.Check(h.WeakTags, weakTagsRefuse, weakTagsAccept)
}

// checkSecret checks that there is something to key.
func checkSecret(h *Handler) error {
	parsed, _ := sources(h.ETag) // none, if there is an error that is found elsewhere
	if h.Secret == "" || len(parsed) != 1 || !parsed[0].TakesValue() {
		return nil
	}
	return fmt.Errorf("has no effect with source %s alone, which takes the version itself for the tag: add a source, such as body, or leave the secret out", h.ETag[0])
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
		if last := len(args) - 1; last >= 0 && slices.Contains(formWords, args[last]) {
			args, s.Form = args[:last], args[last]
		}
		if s.Pointers = args; len(args) == 0 {
			return d.Err("source json takes one or more JSON pointers")
		}
	case proxyhooks.SourceHeader:
		if len(args) == 2 && slices.Contains(formWords, args[1]) {
			args, s.Form = args[:1], args[1]
		}
		if len(args) != 1 || args[0] == "" {
			text := "source header takes the name of one field"
			if len(args) == 2 {
				text += spelling.Meant(args[1], formWords...)
			}
			return d.Err(text)
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
	words = append(words, s.Pointers...)
	if s.Form != "" {
		words = append(words, s.Form)
	}
	return strings.Join(words, " ")
}
