package resource

import (
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Premise is a condition of a write on another resource than its target, such as the source
// of a copy. Unlike a condition on what a write replaces, it may be about something that the
// write leaves as it is.
type Premise struct {
	Subject    Subject
	Conditions validator.Conditions

	// Prefix is what the names of its fields begin with, in front of If-Match and so on.
	Prefix string

	// Deletes means that the write deletes the subject. If that isn't there, there is
	// nothing to prevent.
	Deletes bool
}

// Evaluate evaluates the premise. If-Modified-Since counts as for a GET, although what is
// asked for is a write: a copy of what hasn't been modified is pointless.
func (p Premise) Evaluate(current validator.Representation) validator.Result {
	return validator.Evaluate(http.MethodGet, p.Conditions, current, time.Now())
}

// guardsTarget reports whether a request has a premise about its own target, which can prevent a
// write like a condition of its own: it copies an object onto itself.
func guardsTarget(r *Request) bool {
	for _, p := range r.Premises {
		if p.Subject.OriginalTarget == r.OriginalTarget && p.Conditions.GuardsWrite() {
			return true
		}
	}
	return false
}

// HasConditions reports whether a write has conditions that can prevent it, on whatever
// resource.
func HasConditions(r *Request) bool { return r.Conditional || r.Premises != nil }

// addPremise adds a premise about a resource that a client would ask for as original. It
// reports false if nobody can tell what that is.
func (n *Namer) addPremise(r *Request, original *url.URL, p Premise) bool {
	current, ok := r.Current(original)
	if !ok || !n.TrustPaths && (!IsPlain(original) || !IsPlain(current)) {
		return false
	}
	p.Subject = n.At(r, original, current)
	p.Conditions.Weak = r.Conditions.Weak
	if p.Conditions.CheckSize() != nil {
		r.oversized = true
	}
	r.Premises = append(r.Premises, p)
	return true
}
