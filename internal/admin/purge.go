package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// purge is the content of a request. It says which resources were changed.
// Everything that is known of them is dropped, also by reads and writes in flight.
// Claims and passes go on.
type purge struct {
	// URLs of resources, as clients ask for them, or patterns of URLs. In the host
	// and in the path, `*` stands for any text without a slash. At the end, `**`
	// stands for any text at all.
	URLs []string `json:"urls,omitempty"`

	// Keys of resources, or patterns of keys, for handlers whose `key` depends on
	// more than the URL.
	Keys []string `json:"keys,omitempty"`

	// Groups of resources (RFC 9875).
	Groups []originGroups `json:"groups,omitempty"`

	// Everything.
	All bool `json:"all,omitempty"`
}

// originGroups names groups of one origin.
type originGroups struct {
	// The origin as the handler sees it: a URL with a scheme, a host and, unless it
	// is the default, a port. It can't be a pattern.
	Origin string `json:"origin"`

	// The names of the groups, as responses name them: 1 to 256 printable ASCII
	// characters. An asterisk stands for itself.
	Names []string `json:"names"`
}

// purged is the content of an answer.
type purged struct {
	Stores []purgedStore `json:"stores"`
}

// purgedStore says what was marked in one store.
type purgedStore struct {
	// The kind of the store.
	Store string `json:"store"`
	// How many resources were marked as changed: one for each URL and each key, and
	// as many as were known of those that match a pattern.
	Resources int `json:"resources"`
	// How many groups were marked as changed, known or not.
	Groups int `json:"groups,omitempty"`
	// Of how many of these resources and groups the store had an entry. Absent if it can't
	// be told, and if everything was marked.
	Known *int `json:"known,omitempty"`
	// Whether everything was marked.
	All bool `json:"all,omitempty"`
}

// maxPurge is the maximum number of bytes in a request.
const maxPurge = 1 << 20

func servePurge(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodPost); err != nil {
		return err
	}
	p, err := readPurge(w, r)
	if err != nil {
		return err
	}
	shared, leave, err := openStores()
	if err != nil {
		return err
	}
	defer leave()
	all := make([]targets, len(shared)) // of all stores first: an invalid one changes nothing
	for i, s := range shared {
		if all[i], err = p.targetsIn(s); err != nil {
			return apiError(http.StatusBadRequest, err)
		}
	}
	var done purged
	var failed []error
	for i, s := range shared {
		marked, err := p.apply(r.Context(), s, all[i])
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.Kind, err))
			continue
		}
		done.Stores = append(done.Stores, marked)
	}
	if failed != nil {
		return apiError(http.StatusServiceUnavailable, notMarked(errors.Join(failed...)))
	}
	return sendJSON(w, done)
}

// notMarked says that a purge failed, at least in part, and what to do.
func notMarked(err error) error {
	if errors.Is(err, etagcache.ErrIncompatible) {
		return fmt.Errorf("not everything was marked as changed, and another try won't help: stop the nodes of the other version first: %w", err)
	}
	return fmt.Errorf("not everything was marked as changed, so try again: %w", err)
}

// readPurge reads and checks the content of a request.
func readPurge(w http.ResponseWriter, r *http.Request) (p purge, err error) {
	// A web page in a browser on this host could send other media types.
	if !isJSON(r.Header["Content-Type"]) {
		return p, apiError(http.StatusUnsupportedMediaType, errors.New("the content must be application/json"))
	}
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPurge))
	if err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		return p, apiError(status, fmt.Errorf("reading the content: %w", err))
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields() // a misspelt member would leave something unmarked
	if err := d.Decode(&p); err != nil {
		return p, apiError(http.StatusBadRequest, fmt.Errorf("reading the content: %w", err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, apiError(http.StatusBadRequest, errors.New("the content must be one JSON object"))
	}
	if name := repeated(json.NewDecoder(bytes.NewReader(content))); name != "" {
		return p, apiError(http.StatusBadRequest, fmt.Errorf("an object has more than one member %q", name))
	}
	if len(p.URLs)+len(p.Keys)+len(p.Groups) == 0 && !p.All {
		return p, apiError(http.StatusBadRequest, errors.New("give urls, keys, groups, or all"))
	}
	if slices.Contains(p.Keys, "") {
		return p, apiError(http.StatusBadRequest, errors.New("a key is empty"))
	}
	for _, g := range p.Groups {
		if err := g.check(); err != nil {
			return p, apiError(http.StatusBadRequest, err)
		}
	}
	return p, nil
}

// repeated returns a name that two members of one object have, or nothing. The decoder of the
// content would take the last one, and leave unmarked what the others name. Its names have no
// case, and the content must be what it accepts.
func repeated(d *json.Decoder) string {
	token, err := d.Token()
	if err != nil {
		return ""
	}
	var names []string
	for inObject := token == json.Delim('{'); (inObject || token == json.Delim('[')) && d.More(); {
		if inObject {
			member, _ := d.Token()
			name, _ := member.(string)
			if slices.ContainsFunc(names, func(other string) bool { return strings.EqualFold(name, other) }) {
				return name
			}
			names = append(names, name)
		}
		if name := repeated(d); name != "" {
			return name
		}
	}
	if _, opened := token.(json.Delim); opened {
		_, _ = d.Token() // its end
	}
	return ""
}

// isJSON reports whether the media type is application/json, or an application type that
// ends in +json (RFC 6839).
func isJSON(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(contentType[0])
	return err == nil && (mediaType == "application/json" || strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json"))
}

// check refuses names that no stored group can have.
func (g originGroups) check() error {
	if len(g.Names) == 0 {
		return fmt.Errorf("give the names of the groups of %q", g.Origin)
	}
	for _, name := range g.Names {
		switch {
		case name == "":
			return errors.New("the name of a group is empty")
		case len(name) > resource.MaxGroupName:
			return fmt.Errorf("the name of a group has %d bytes: nothing is stored of groups whose name has more than %d", len(name), resource.MaxGroupName)
		case strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' }):
			return fmt.Errorf("%q can't be the name of a group: it must be printable ASCII", name)
		}
	}
	return nil
}

// targets are what a purge means in one store.
type targets struct {
	keys   []string // and patterns of keys
	groups []string // the keys of groups
}

// targetsIn returns what the purge means in a store.
func (p purge) targetsIn(s storeshare.OpenShare) (t targets, err error) {
	t.keys = slices.Clone(p.Keys)
	for _, text := range p.URLs {
		found, err := urlKeys(s, text)
		if err != nil {
			return t, err
		}
		t.keys = append(t.keys, found...)
	}
	for _, g := range p.Groups {
		found, err := groupKeys(s, g)
		if err != nil {
			return t, err
		}
		t.groups = append(t.groups, found...)
	}
	slices.Sort(t.keys)
	slices.Sort(t.groups)
	t.keys, t.groups = slices.Compact(t.keys), slices.Compact(t.groups)
	return t, nil
}

// apply marks what the purge means in a store.
func (p purge) apply(ctx context.Context, s storeshare.OpenShare, t targets) (purgedStore, error) {
	done := purgedStore{Store: s.Kind}
	if p.All {
		done.All = true
		return done, s.InvalidateAll(ctx, s.Terms)
	}
	var patterns []string
	known := new(tally)
	for _, key := range t.keys {
		if resource.IsPattern(key) {
			patterns = append(patterns, key)
			continue
		}
		if err := known.invalidate(ctx, s, resource.StoredKey(key)); err != nil {
			return done, err
		}
		done.Resources++
	}
	if patterns != nil {
		n, err := invalidateMatching(ctx, s, patterns)
		if err != nil {
			return done, err
		}
		done.Resources += n
		known.known += n
	}
	for _, key := range t.groups {
		if err := known.invalidate(ctx, s, key); err != nil {
			return done, err
		}
		done.Groups++
	}
	if !known.unsure {
		done.Known = &known.known
	}
	return done, nil
}

// tally counts what a store knew before it was invalidated.
type tally struct {
	known  int
	unsure bool // the store couldn't tell of everything
}

// invalidate invalidates the entry of a key.
func (t *tally) invalidate(ctx context.Context, s storeshare.OpenShare, key string) error {
	entry, _, err := storeshare.Peek(ctx, s.Share, key)
	t.unsure = t.unsure || err != nil
	if entry.Known {
		t.known++
	}
	return s.Invalidate(ctx, key, s.Terms)
}

// invalidateMatching invalidates the resources that match any of several patterns of keys,
// in one pass through the store. It returns their number.
func invalidateMatching(ctx context.Context, s storeshare.OpenShare, patterns []string) (int, error) {
	prefix := resource.PatternPrefix(patterns[0])
	for _, p := range patterns[1:] {
		prefix = commonPrefix(prefix, resource.PatternPrefix(p))
	}
	return s.InvalidateMatching(ctx, prefix, func(key string, whole bool) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return resource.PatternMatches(p, key, whole) })
	}, s.Terms)
}

// commonPrefix returns the longest text with which both a and b begin.
func commonPrefix(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}
