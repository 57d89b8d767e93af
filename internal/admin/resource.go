package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// shownResource is what a store knows of one resource.
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
	shared, leave := storeshare.AllOpen()
	defer leave()
	if len(shared) == 0 {
		return errNoStores
	}
	var all []shownResource
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
			entry, err := s.Read(r.Context(), key, s.Terms)
			if err != nil {
				return apiError(http.StatusServiceUnavailable, fmt.Errorf("%s: %w", s.Kind, err))
			}
			all = append(all, show(s.Kind, key, entry))
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
		hash, lines, _ := strings.Cut(variant, "\n") // see proxyhooks.VariantKey
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
