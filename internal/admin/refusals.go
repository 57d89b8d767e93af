package admin

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/history"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
)

// shownRefusals are the last refusals of this process, the newest first.
type shownRefusals struct {
	Refusals []shownRefusal `json:"refusals"`
	// Forgotten is how many older refusals of this process are no longer remembered.
	Forgotten int `json:"forgotten"`
}

type shownRefusal struct {
	Time      time.Time `json:"time"`
	Handler   string    `json:"handler"`
	Mode      string    `json:"mode"`
	Method    string    `json:"method"`
	Resource  string    `json:"resource"`
	Status    int       `json:"status"`
	Outcome   string    `json:"outcome"`
	Reason    string    `json:"reason"`
	Code      string    `json:"reason_code"`
	Condition string    `json:"condition,omitempty"`
	Provided  string    `json:"provided,omitempty"`
	Current   string    `json:"current,omitempty"`
	Waited    float64   `json:"waited_seconds"`
	Probed    int       `json:"probed"`
	// Prevented says whether the refusal has prevented a lost update.
	Prevented bool `json:"prevented_lost_update,omitempty"`
}

func showRefusal(r telemetry.Refusal) shownRefusal {
	return shownRefusal{
		Time: r.Time.UTC(), Handler: r.Handler, Mode: r.Mode, Method: r.Method, Resource: r.Resource, Status: r.Status,
		Outcome: r.Outcome, Reason: r.Reason, Code: string(r.Code), Condition: r.Condition, Provided: r.Provided, Current: r.Current,
		Waited: r.Waited.Seconds(), Probed: r.Probed, Prevented: r.Prevented,
	}
}

func serveRefusals(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	q, err := refusalQuery(r)
	if err != nil {
		return err
	}
	found, forgotten := history.Refusals(q)
	shown := shownRefusals{Refusals: make([]shownRefusal, len(found)), Forgotten: forgotten}
	for i, one := range found {
		shown.Refusals[i] = showRefusal(one)
	}
	return sendJSON(w, shown)
}

func refusalQuery(r *http.Request) (q history.Query, err error) {
	if q.Since, err = timeIn(r, "since"); err != nil {
		return q, err
	}
	if q.Until, err = timeIn(r, "until"); err != nil {
		return q, err
	}
	if text := r.URL.Query().Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 {
			return q, apiError(http.StatusBadRequest, errors.New("limit must be a number above 0"))
		}
	}
	if text := r.URL.Query().Get("resource"); text != "" {
		if q.Resource, err = resourceFilter(text); err != nil {
			return q, apiError(http.StatusBadRequest, err)
		}
	}
	return q, nil
}

// resourceFilter returns a function that reports whether a key belongs to the resources that a
// text names: by a URL, a key, or a pattern.
func resourceFilter(text string) (func(key string) bool, error) {
	patterns := []string{text}
	if strings.Contains(text, "://") {
		shared, leave := storeshare.AllOpen()
		defer leave()
		patterns = nil
		for _, s := range shared {
			keys, err := urlKeys(s, text)
			if err != nil {
				return nil, err
			}
			patterns = append(patterns, keys...)
		}
	}
	return matcherOf(patterns), nil
}

// matcherOf returns a function that reports whether a key is one of several, or matches a
// pattern among them.
func matcherOf(patterns []string) func(key string) bool {
	return func(key string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			return p == key || resource.IsPattern(p) && resource.PatternMatches(p, key, true)
		})
	}
}
