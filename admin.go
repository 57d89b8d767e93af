package preconditions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/etagcache"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is what Caddy's admin endpoint offers to those who change resources
// without coming through a handler. It acts on all stores that the handlers of
// the running config use.
//
//	POST /preconditions/purge            marks resources, and groups of them, as changed
//	GET  /preconditions/resource?url=…   shows what is known about one
//	GET  /preconditions/resource?key=…
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.preconditions",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

const (
	adminPurge    = "/preconditions/purge"
	adminResource = "/preconditions/resource"
)

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminPurge, Handler: caddy.AdminHandlerFunc(servePurge)},
		{Pattern: adminResource, Handler: caddy.AdminHandlerFunc(serveResource)},
	}
}

// purge says which resources were changed. What is known about them is dropped,
// also by the reads and writes that are under way; claims and passes go on.
type purge struct {
	// URLs of resources, as clients ask for them, or patterns of URLs: in the host
	// and in the path, `*` stands for any text without a slash, and `**` at the
	// end for any text at all.
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
	// The origin as the handler sees it: a URL of scheme, host and, if that is not
	// the one of the scheme, port. There are no patterns of it.
	Origin string `json:"origin"`

	// The names of the groups, as responses have them: 1 to 256 printable ASCII
	// characters. An asterisk stands for itself.
	Names []string `json:"names"`
}

// purged is the answer.
type purged struct {
	Stores []purgedStore `json:"stores"`
}

type purgedStore struct {
	Store string `json:"store"`
	// How many resources were marked as changed: one for each URL and each key, and
	// for a pattern as many as were known.
	Resources int `json:"resources"`
	// How many groups were marked as changed, known or not.
	Groups int `json:"groups,omitempty"`
	// All there is was.
	All bool `json:"all,omitempty"`
}

// maxPurge is how long the content of a request may be.
const maxPurge = 1 << 20

func servePurge(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodPost); err != nil {
		return err
	}
	p, err := readPurge(w, r)
	if err != nil {
		return err
	}
	shared, leave := openStores()
	defer leave()
	if len(shared) == 0 {
		return errNoStores
	}
	all := make([]meant, len(shared)) // all are found before any is marked
	for i, s := range shared {
		if all[i], err = p.meansIn(s); err != nil {
			return apiError(http.StatusBadRequest, err)
		}
	}
	var done purged
	var failed []error
	for i, s := range shared {
		marked, err := p.in(r.Context(), s, all[i])
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
			continue
		}
		done.Stores = append(done.Stores, marked)
	}
	if failed != nil {
		return apiError(http.StatusServiceUnavailable, fmt.Errorf("not all was marked as changed, so that it has to be tried again: %w", errors.Join(failed...)))
	}
	return sendJSON(w, done)
}

// readPurge returns what a request asks for.
func readPurge(w http.ResponseWriter, r *http.Request) (p purge, err error) {
	// A page in a browser of this host could send other media types.
	if !strings.Contains(r.Header.Get("Content-Type"), "/json") {
		return p, apiError(http.StatusUnsupportedMediaType, errors.New("the content must be application/json"))
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPurge))
	d.DisallowUnknownFields() // or else something would go unmarked
	if err := d.Decode(&p); err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		return p, apiError(status, fmt.Errorf("reading the content: %w", err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, apiError(http.StatusBadRequest, errors.New("the content must be one JSON object"))
	}
	if len(p.URLs)+len(p.Keys)+len(p.Groups) == 0 && !p.All {
		return p, apiError(http.StatusBadRequest, errors.New("there must be urls, keys, groups, or all"))
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

// check refuses names that no group has of which anything is stored.
func (g originGroups) check() error {
	if len(g.Names) == 0 {
		return fmt.Errorf("there must be names of groups of %q", g.Origin)
	}
	for _, name := range g.Names {
		switch {
		case name == "":
			return errors.New("the name of a group is empty")
		case len(name) > maxGroupName:
			return fmt.Errorf("the name of a group has %d bytes: nothing is stored of what is in one with more than %d", len(name), maxGroupName)
		case strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' }):
			return fmt.Errorf("%q is no name of a group, which is in printable ASCII", name)
		}
	}
	return nil
}

// meant is what is meant in a store.
type meant struct {
	keys   []string // and patterns of keys
	groups []string // the keys of groups
}

// meansIn returns what is meant in a store.
func (p purge) meansIn(s openStore) (m meant, err error) {
	m.keys = slices.Clone(p.Keys)
	for _, text := range p.URLs {
		found, err := s.keysOfURL(text)
		if err != nil {
			return m, err
		}
		m.keys = append(m.keys, found...)
	}
	for _, g := range p.Groups {
		found, err := s.keysOfGroups(g)
		if err != nil {
			return m, err
		}
		m.groups = append(m.groups, found...)
	}
	slices.Sort(m.keys)
	slices.Sort(m.groups)
	m.keys, m.groups = slices.Compact(m.keys), slices.Compact(m.groups)
	return m, nil
}

// in marks what is meant in a store.
func (p purge) in(ctx context.Context, s openStore, m meant) (purgedStore, error) {
	done := purgedStore{Store: s.name}
	if p.All {
		done.All = true
		return done, s.InvalidateAll(ctx, s.terms)
	}
	for _, key := range m.keys {
		n, err := s.invalidate(ctx, key)
		if err != nil {
			return done, err
		}
		done.Resources += n
	}
	for _, key := range m.groups {
		if err := s.Invalidate(ctx, key, s.terms); err != nil {
			return done, err
		}
		done.Groups++
	}
	return done, nil
}

// invalidate marks what a key or a pattern means, and returns how many these are.
func (s openStore) invalidate(ctx context.Context, key string) (int, error) {
	if !isPattern(key) {
		return 1, s.Invalidate(ctx, storedKey(key), s.terms)
	}
	return s.InvalidateMatching(ctx, patternPrefix(key), func(other string, whole bool) bool {
		return patternMatches(key, other, whole)
	}, s.terms)
}

// storedKey returns a key as it is stored. It may have been given so, as logs and
// placeholders have it.
func storedKey(key string) string {
	if isBounded(key) {
		return key
	}
	return bounded(key)
}

// shownResource is what a store knows about one resource.
type shownResource struct {
	Store    string         `json:"store"`
	Key      string         `json:"key"`
	Epoch    string         `json:"epoch"`
	Busy     float64        `json:"busy_seconds,omitempty"`
	Vary     string         `json:"vary,omitempty"`
	Variants []shownVariant `json:"variants"`
}

type shownVariant struct {
	Variant      string  `json:"variant"`
	State        string  `json:"state"`
	ETag         string  `json:"etag,omitempty"`
	LastModified string  `json:"last_modified,omitempty"`
	Own          bool    `json:"own,omitempty"`
	Age          float64 `json:"age_seconds"`
}

func serveResource(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	text, key := r.URL.Query().Get("url"), r.URL.Query().Get("key")
	if (text == "") == (key == "") {
		return apiError(http.StatusBadRequest, errors.New("there must be either url or key in the query"))
	}
	shared, leave := openStores()
	defer leave()
	if len(shared) == 0 {
		return errNoStores
	}
	var all []shownResource
	for _, s := range shared {
		keys, err := []string{key}, error(nil)
		if text != "" {
			if keys, err = s.keysOfURL(text); err != nil {
				return apiError(http.StatusBadRequest, err)
			}
		}
		for _, key := range keys {
			key = storedKey(key)
			entry, err := s.Read(r.Context(), key, s.terms)
			if err != nil {
				return apiError(http.StatusServiceUnavailable, fmt.Errorf("%s: %w", s.name, err))
			}
			all = append(all, show(s.name, key, entry))
		}
	}
	return sendJSON(w, map[string]any{"resources": all})
}

func show(store, key string, e etagcache.Entry) shownResource {
	shown := shownResource{
		Store: store, Key: key, Epoch: e.Epoch, Busy: e.Busy.Seconds(), Vary: e.Vary,
		Variants: []shownVariant{},
	}
	for variant, s := range e.Variants {
		v := shownVariant{Variant: variant, State: s.State.String(), Own: s.Own, Age: s.Age.Seconds()}
		if s.ETag.Valid {
			v.ETag = s.ETag.String()
		}
		if !s.LastModified.IsZero() {
			v.LastModified = s.LastModified.UTC().Format(http.TimeFormat)
		}
		shown.Variants = append(shown.Variants, v)
	}
	slices.SortFunc(shown.Variants, func(a, b shownVariant) int { return cmp.Compare(a.Variant, b.Variant) })
	return shown
}

// openStore is a store that handlers of the running config use.
type openStore struct {
	*sharedStore
	name      string // what kind of store it is: its key might help to guess a password
	terms     etagcache.Terms
	templates []string
}

// openStores returns the stores, which stay open until leave is called.
func openStores() (shared []openStore, leave func()) {
	byKey := make(map[string]openStore)
	var leaves []func()
	stores.Range(func(key, value any) bool {
		s := openStore{sharedStore: value.(*sharedStore)}
		s.name, _, _ = strings.Cut(key.(string), ":")
		s.terms, s.templates = s.sharedStore.terms(), s.sharedStore.templates()
		if len(s.templates) == 0 { // its last handler is being cleaned up
			return true
		}
		if leave, open := s.enter(); open {
			byKey[key.(string)] = s
			leaves = append(leaves, leave)
		}
		return true
	})
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		shared = append(shared, byKey[key])
	}
	return shared, func() {
		for _, leave := range leaves {
			leave()
		}
	}
}

// keysOfURL returns the keys that requests for a URL have, with each of the
// handlers.
func (s openStore) keysOfURL(text string) ([]string, error) {
	target, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, template := range s.templates {
		meant, err := keysMeant(template, *target)
		if err != nil {
			return nil, fmt.Errorf("%w: give the key of %s instead", err, text)
		}
		keys = append(keys, meant...)
	}
	return keys, nil
}

// keysMeant returns the key of a URL, or the patterns of keys if it is a pattern. One
// asterisk at its end may stand for an index, which has the key of its directory; two
// stand for the directory too, and for any query.
func keysMeant(template string, target url.URL) ([]string, error) {
	head, _, two := strings.Cut(target.Path, anything)
	if two {
		if hasPartsOfPath(template) {
			return nil, fmt.Errorf("the key %s has only parts of the path, so that %s could be anywhere in it", template, anything)
		}
		target.RawQuery = anyQuery(template)
	}
	key, err := keyOfURL(template, &target)
	dir, last := path.Split(head)
	if err != nil || !two && !isPattern(last) {
		return []string{key}, err
	}
	target.Path, target.RawPath = strings.TrimSuffix(dir, "/"), ""
	of, err := keyOfURL(template, &target)
	if patternMatches(key, of, true) {
		return []string{key}, err
	}
	return []string{key, of}, err
}

// keysOfGroups returns the keys that groups of an origin have, with each of the
// handlers.
func (s openStore) keysOfGroups(g originGroups) ([]string, error) {
	origin, err := parseOrigin(g.Origin)
	if err != nil {
		return nil, err
	}
	var keys []string
	repl := replacerFor(origin)
	for _, template := range s.templates {
		for _, name := range g.Names {
			keys = append(keys, groupKey(template, repl, name))
		}
	}
	return keys, nil
}

// parseOrigin returns a URL of which there is only the origin.
func parseOrigin(text string) (*url.URL, error) {
	target, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	target.Path = strings.TrimSuffix(target.Path, "/")
	switch {
	case *target != url.URL{Scheme: target.Scheme, Host: target.Host}:
		return nil, fmt.Errorf("%q must be an origin, such as %s://%s: groups have no path", text, target.Scheme, target.Host)
	case isPattern(target.Host):
		return nil, fmt.Errorf("%q must be one origin, without an asterisk", text)
	}
	return target, nil
}

// parseURL returns a URL that a client could ask for.
func parseURL(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case target.Scheme != "http" && target.Scheme != "https" || target.Hostname() == "":
		return nil, fmt.Errorf("%q must begin with http:// or https:// and a host", text)
	case strings.ContainsFunc(target.Host, func(c rune) bool { return c > '~' }):
		return nil, fmt.Errorf("%q must have its host in ASCII, with xn--", text)
	}
	return target, nil
}

var errNoStores = apiError(http.StatusNotFound, errors.New("no handler of the running config has a store"))

func apiError(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// allow refuses all methods but one.
func allow(w http.ResponseWriter, r *http.Request, method string) error {
	if r.Method == method {
		return nil
	}
	w.Header().Set("Allow", method)
	return apiError(http.StatusMethodNotAllowed, errors.New("the method must be "+method))
}

func sendJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(value)
}

// Interface guards
var _ caddy.AdminRouter = adminAPI{}
