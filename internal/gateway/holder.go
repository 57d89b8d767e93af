package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// Across a proxy, a write says in a request field what it holds, and the store says whether
// that is so. Whoever gets the field uses the members about its own resource, and passes all
// of them on: a handler further in may have the key or the store of one further out.

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
				members = append(members, holding{w.decision.outcome == answer.Passed, grant, keyDigest(key)})
			}
		}
	}
	return linesOf(members)
}

// linesOf returns the lines of the field with these members. If they are too many, those of
// the handlers that are the furthest out are left out: a client may have made them up.
func linesOf(members []holding) []string {
	if len(members) == 0 {
		return nil
	}
	var words []string
	for _, h := range members[max(0, len(members)-maxHoldings):] {
		words = append(words, h.String())
	}
	return []string{strings.Join(words, ", ")}
}
