package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// shownResource is what a store knows of one resource.
type shownResource struct {
	Store     string         `json:"store"`
	Key       string         `json:"key"`
	Known     bool           `json:"known"`
	Epoch     string         `json:"epoch,omitempty"`
	Kept      float64        `json:"kept_seconds,omitempty"`
	Busy      float64        `json:"busy_seconds,omitempty"`
	Claimed   bool           `json:"claimed,omitempty"`
	Passes    int            `json:"passes,omitempty"`
	Grace     float64        `json:"grace_seconds,omitempty"`
	Journaled bool           `json:"journaled,omitempty"`
	Vary      string         `json:"vary,omitempty"`
	Groups    []string       `json:"groups,omitempty"`
	Variants  []shownVariant `json:"variants"`
}

type shownVariant struct {
	Variant      string  `json:"variant"`
	Negotiated   string  `json:"negotiated,omitempty"`
	State        string  `json:"state"`
	ETag         string  `json:"etag,omitempty"`
	BackendETag  string  `json:"backend_etag,omitempty"`
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
		return apiError(http.StatusBadRequest, errors.New("give either url or key in the query"))
	}
	if resource.IsPattern(text) {
		return apiError(http.StatusBadRequest, fmt.Errorf("%q has an asterisk: give one URL, or the key of the resource", text))
	}
	shared, leave, err := openStores()
	if err != nil {
		return err
	}
	defer leave()
	var all []shownResource
	known := false
	for _, s := range shared {
		keys := []string{key}
		if text != "" {
			var err error
			if keys, err = urlKeys(s, text); err != nil {
				return apiError(http.StatusBadRequest, err)
			}
		}
		for _, key := range keys {
			key = resource.StoredKey(key)
			entry, journaled, err := storeshare.Peek(r.Context(), s.Share, key)
			if err != nil {
				return apiError(http.StatusServiceUnavailable, fmt.Errorf("%s: %w", s.Kind, err))
			}
			one := show(s.Kind, key, entry)
			one.Journaled = journaled
			known = known || one.Known || journaled
			all = append(all, one)
		}
	}
	if !known && text != "" {
		if err := checkSite(text); err != nil {
			return apiError(http.StatusNotFound, err)
		}
	}
	return sendJSON(w, shownResources{all})
}

// shownResources is the content of an answer.
type shownResources struct {
	Resources []shownResource `json:"resources"`
}

func show(store, key string, e etagcache.Peeked) shownResource {
	shown := shownResource{
		Store: store, Key: key, Known: e.Known, Epoch: e.Epoch, Kept: e.Kept.Seconds(),
		Busy: e.Busy.Seconds(), Claimed: e.Claimed, Passes: e.Passes, Grace: e.Grace.Left.Seconds(),
		Vary: e.Vary, Groups: groupsOf(e.Vary),
		Variants: []shownVariant{},
	}
	for _, s := range e.Variants {
		hash, lines, _ := strings.Cut(s.Key, "\n") // see proxyhooks.VariantKey
		v := shownVariant{Variant: hash, State: s.State.String(), Own: s.Own, Age: s.Age.Seconds()}
		v.Negotiated = strings.TrimSuffix(lines, "\n")
		if s.Backend.Valid {
			v.BackendETag = s.Backend.String()
		}
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

// groupsOf returns the names of the groups that a Vary lists beside the request fields (see
// knowledge.memberships). Names that aren't printable are those of subtrees.
func groupsOf(vary string) (names []string) {
	_, groups, _ := strings.Cut(vary, ";")
	for membership := range strings.SplitSeq(groups, ";") {
		escaped, _, _ := strings.Cut(membership, "=")
		name, err := url.QueryUnescape(escaped)
		if err == nil && name != "" && name[0] != '\x7f' {
			names = append(names, name)
		}
	}
	return names
}
