package admin

import (
	"net/http"

	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// shownClaims is what writes on this node hold and wait for.
type shownClaims struct {
	Claims  []shownClaim   `json:"claims"`
	Waiting []shownWaiting `json:"waiting"`
	// More says how many of both aren't listed.
	More int `json:"more,omitempty"`
}

type shownClaim struct {
	Store    string  `json:"store"`
	Resource string  `json:"resource"`
	Kind     string  `json:"kind"` // claim or pass
	Age      float64 `json:"age_seconds"`
	Left     float64 `json:"left_seconds"` // unless it is renewed
}

type shownWaiting struct {
	Store    string `json:"store"`
	Resource string `json:"resource"`
	Writes   int    `json:"writes"`
}

// maxClaims is the number of claims, and of resources that writes wait for, that are listed.
const maxClaims = 1000

func serveClaims(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	shared, leave, err := openStores()
	if err != nil {
		return err
	}
	defer leave()
	return sendJSON(w, claimsOf(shared))
}

func claimsOf(shared []storeshare.OpenShare) shownClaims {
	shown := shownClaims{Claims: []shownClaim{}, Waiting: []shownWaiting{}}
	for _, s := range shared {
		for _, h := range s.Held() {
			if len(shown.Claims) == maxClaims {
				shown.More++
				continue
			}
			kind := "claim"
			if h.Pass {
				kind = "pass"
			}
			shown.Claims = append(shown.Claims, shownClaim{s.Kind, h.Key, kind, h.Age.Seconds(), h.Left.Seconds()})
		}
		for _, waiting := range s.Waiting() {
			if len(shown.Waiting) == maxClaims {
				shown.More++
				continue
			}
			shown.Waiting = append(shown.Waiting, shownWaiting{s.Kind, waiting.Key, waiting.Writes})
		}
	}
	return shown
}

// shownStores is what this node knows of the stores, without asking them.
type shownStores struct {
	Stores []shownStore `json:"stores"`
}

type shownStore struct {
	Store string `json:"store"`
	// State is "up", "out of reach" or "unusable".
	State       string       `json:"state"`
	Grace       float64      `json:"grace_seconds,omitempty"`
	GraceReason string       `json:"grace_reason,omitempty"`
	Evicts      *bool        `json:"evicts,omitempty"`
	Remembered  int          `json:"remembered"`
	Lease       float64      `json:"lease_seconds"`
	KeyOptions  []string     `json:"keys"`
	Journal     shownJournal `json:"journal"`
}

type shownJournal struct {
	Resources int      `json:"resources"`
	Untold    int      `json:"untold"`
	InFlight  int      `json:"in_flight"`
	Listed    []string `json:"listed,omitempty"`
}

func serveStores(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	shared, leave, err := openStores()
	if err != nil {
		return err
	}
	defer leave()
	return sendJSON(w, storesOf(shared))
}

func storesOf(shared []storeshare.OpenShare) shownStores {
	shown := shownStores{Stores: []shownStore{}}
	for _, s := range shared {
		status := s.Status()
		shown.Stores = append(shown.Stores, shownStore{
			Store: s.Kind, State: status.Reach, Grace: status.Grace.Seconds(), GraceReason: status.Loss, Evicts: status.Evicts,
			Remembered: status.Recent, Lease: s.Terms.Lease.Seconds(), KeyOptions: s.Templates,
			Journal: shownJournal{status.Journal.Resources, status.Journal.Untold, status.Journal.InFlight, status.Journal.Keys},
		})
	}
	return shown
}
