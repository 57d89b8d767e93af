package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A handler may protect what a handler further out already protects. If that one waited for
// the claim of the outer one, it would wait forever. Within one chain of handlers the outer
// one announces what it protects. Across a proxy the write says in a request field what it
// holds, and the store says whether that is so.

// announcedVar is the variable in which handlers announce the keys of what they
// protect, for handlers further in.
const announcedVar = "preconditions.resources"

// protectedOutside reports whether a handler further out in the chain already protects a
// resource.
func protectedOutside(r *resource.Request, s resource.Subject) bool {
	return slices.Contains(announced(r), s.Key)
}

// announce tells handlers further in that this one protects a resource.
func announce(r *resource.Request, s resource.Subject) {
	caddyhttp.SetVar(r.Context(), announcedVar, append(slices.Clip(announced(r)), s.Key))
}

// announced returns the keys that handlers have announced so far.
func announced(r *resource.Request) []string {
	keys, _ := caddyhttp.GetVar(r.Context(), announcedVar).([]string)
	return keys
}

// holderField is the request field that says what a forwarded write holds. Each member has
// four words: whether its condition was found true, the kind of the grant, its token, and
// a digest of its key. Whoever knows the token of a grant in force can write past it, so it
// goes to nobody but the backend.
const holderField = "Preconditions-Holder"

// holding is a member of that field.
type holding struct {
	passed bool // the condition of the write was found true
	grant  etagcache.Grant
	digest string // of the key; the key itself isn't in the field
}

const (
	maxHoldings   = 8
	maxHolderLine = 512
)

func (h holding) String() string {
	outcome, kind := answer.Unconditional, "claim"
	if h.passed {
		outcome = answer.Passed
	}
	if h.grant.Pass {
		kind = "pass"
	}
	return string(outcome) + " " + kind + " " + h.grant.Token + " " + h.digest
}

// parseHoldings returns the members of the field, or nothing if it isn't as a handler makes
// it.
func parseHoldings(lines []string) (all []holding) {
	if len(lines) != 1 || len(lines[0]) > maxHolderLine {
		return nil
	}
	for member := range strings.SplitSeq(lines[0], ", ") {
		words := strings.Split(member, " ")
		if len(words) != 4 || len(words[3]) != 12 || len(all) == maxHoldings || !isToken(words[2]) {
			return nil
		}
		h := holding{words[0] == string(answer.Passed), etagcache.Grant{Token: words[2], Pass: words[1] == "pass"}, words[3]}
		if h.String() != member {
			return nil
		}
		all = append(all, h)
	}
	return all
}

// isToken reports whether a word has the form of a store's token.
func isToken(word string) bool {
	token, err := base64.RawURLEncoding.DecodeString(word)
	return err == nil && len(token) == 12 && len(word) == 16
}

func keyDigest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// takeHolder removes the field from a request, and returns its lines. Nor may the client ask
// a proxy to remove it (RFC 9110, section 7.6.1). A signed request stays untouched.
func takeHolder(r *resource.Request) []string {
	if r.Signed {
		return nil
	}
	if options := r.Header["Connection"]; len(options) > 0 {
		all := strings.Split(strings.Join(options, ","), ",")
		named := func(option string) bool { return strings.EqualFold(strings.TrimSpace(option), holderField) }
		if slices.ContainsFunc(all, named) {
			r.Header["Connection"] = []string{strings.Join(slices.DeleteFunc(all, named), ",")}
		}
	}
	lines := r.Header[holderField]
	delete(r.Header, holderField)
	delete(r.Fields, holderField)
	return lines
}

// holder returns the lines of the field with which a write is forwarded. A handler that
// doesn't enforce conditions lets nobody pass.
func holder(w *writing) []string {
	if w.request.Signed {
		return nil
	}
	members := slices.Clone(w.inherited)
	if w.enforces() {
		keys := []string{w.plan.Subject.Key}
		if w.plan.Guarded {
			keys = append(keys, w.target)
		}
		for _, key := range keys {
			if grant, ok := hold.On(w.holds, key); ok {
				members = append(members, holding{w.decision.outcome == answer.Passed, grant, keyDigest(key)}.String())
			}
		}
	}
	if len(members) == 0 {
		return nil
	}
	return []string{strings.Join(members, ", ")}
}

// inner is a request to a handler that may not be the outermost.
type inner struct{ *exchange }

// heldOutside returns the grant on the subject or the target that a handler further out
// holds for this write, according to lines and to the store.
func (x inner) heldOutside(lines []string) (h holding, ok bool) {
	if x.request.Class != resource.Write || x.request.Signed {
		return h, false
	}
	subject, target := keyDigest(x.plan.Subject.Key), keyDigest(x.target)
	for _, h := range parseHoldings(lines) {
		switch h.digest {
		case subject:
			h.grant.Key = x.plan.Subject.Key
		case target:
			h.grant.Key = x.target
		default:
			continue
		}
		return h, storeshare.Holds(x.r.Context(), x.share, h.grant, x.Terms)
	}
	return h, false
}

// passThrough forwards a write that a handler further out has let through, and for which it
// holds a grant. What only this handler knows to change with it is invalidated.
func (x inner) passThrough(h holding) error {
	if x.enforces() {
		switch {
		case h.grant.Key != x.plan.Subject.Key, x.request.Conditional && !h.passed:
			return x.refuse(x.responder.CannotTell("a handler further out protects the resource, and hasn't evaluated this condition"))
		case !h.passed && x.mustBeConditional():
			return x.refuse(answer.ConditionRequired())
		}
	}
	x.warnOfOuter(x.plan.Subject)
	changes := x.unknownConditions()
	changes[holderField] = x.inherited
	if x.inherited == nil {
		changes[holderField] = []string{h.String()}
	}
	defer proxyhooks.EditHeader(x.r.Header, changes)()
	x.begun = x.Store.Count(x.request.HostName()) // it can't wait for the one further out
	defer x.begun.End()
	others := x.plan.ChangedKeys()[1:]
	x.invalidate(others)
	defer x.invalidate(others)
	x.responder.Report(answer.Bypassed, protectedReason)
	return x.next.ServeHTTP(x.rw, x.r)
}

const protectedReason = "a handler further out protects the resource"

// unknownConditions returns the changes that remove conditions about validators that this
// handler may have made: the backend wouldn't know them. The handler further out took them
// for the backend's own.
func (x inner) unknownConditions() map[string][]string {
	changes := make(map[string][]string)
	c := x.request.Conditions
	for field, lines := range map[validator.Field][]string{validator.IfMatch: c.IfMatch, validator.IfNoneMatch: c.IfNoneMatch} {
		for tag := range validator.Tags(lines) {
			if x.Deriver.MayHaveMade(tag) {
				changes[field.String()] = nil
			}
		}
	}
	if c.IfUnmodifiedSince != nil {
		changes[validator.IfUnmodifiedSince.String()] = nil
	}
	return changes
}

// warnOfOuter warns, once, of a handler that does what one further out does already.
func (g *Gateway) warnOfOuter(s resource.Subject) {
	if g.Learned.tellOfOuter() {
		g.Logger.Warn("a handler further out protects the same resources on the same store, so this one is not needed for them: "+
			"its requests pass untouched", zap.String("resource", s.Key))
	}
}

// passOn lets a request pass that a handler further out in the chain protects, with the field
// that it got from there.
func passOn(w http.ResponseWriter, r *resource.Request, holder []string, next caddyhttp.Handler) error {
	defer proxyhooks.EditHeader(r.Header, map[string][]string{holderField: holder})()
	return next.ServeHTTP(w, r.Request)
}
