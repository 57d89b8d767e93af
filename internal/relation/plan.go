package relation

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// Rules is what the configuration says about related resources.
type Rules struct {
	Namer *resource.Namer
	// Affects lead from a write to what else it changes.
	Affects []Rule
	// Guards lead from a write to the one resource that its conditions are about.
	Guards []Rule
}

// Plan says what a write is about, and on what else it needs a claim or pass. It is
// immutable.
type Plan struct {
	// Subject is the resource that the conditions are about.
	Subject resource.Subject

	// Guarded means that the subject isn't the target of the write. The target is
	// then among Others.
	Guarded bool

	// Others lists what the write takes besides the subject, in key order.
	Others []Other

	// Subtrees lists the subtree epochs that the write moves. It takes them last,
	// because the subject may be below one of them.
	Subtrees []Other
}

// Other is an entry, besides its subject, on which a write takes a claim or pass.
type Other struct {
	Key  string
	Role Role
}

// Role is what an Other means to the write.
type Role uint8

const (
	// Changed is the role of what the write changes. It takes a pass.
	Changed Role = iota
	// SharedLock is the role of a lock that others may share. The write takes a
	// pass.
	SharedLock
	// ExclusiveLock is the role of a lock that nobody may share, and of another resource
	// that a condition is about. The write takes a claim.
	ExclusiveLock
	// Unchanging is the role of a resource that a condition is about and that the write leaves
	// as it is. The write takes a claim.
	Unchanging
)

// Values are the members of a write's content that rules need, by their names. Each is one
// segment of a path.
type Values map[string]string

// Needs returns the members of the content that say which resource the conditions of a write
// are about. It returns nil if the content doesn't matter.
func (rules *Rules) Needs(r *resource.Request) []string {
	if r.Class != resource.Write {
		return nil
	}
	for _, rule := range rules.Guards {
		if rule.applies(r) {
			return rule.Variables()
		}
	}
	return nil
}

// applies reports whether the rule is about a write, whatever its content says. A rule with
// variables is about what a POST creates.
func (r Rule) applies(write *resource.Request) bool {
	if len(r.Variables()) > 0 && !write.Does(http.MethodPost) {
		return false
	}
	return r.matches(write.URL)
}

// Plan makes the plan for a request with this target, if the rules need nothing of its
// content.
func (rules *Rules) Plan(r *resource.Request, target resource.Subject) Plan {
	return rules.PlanFor(r, target, nil)
}

// PlanFor makes the plan for a request with this target, whose content says what rules need.
func (rules *Rules) PlanFor(r *resource.Request, target resource.Subject, values Values) Plan {
	if r.Class != resource.Write {
		return Plan{Subject: target}
	}
	p := Plan{Subject: target}
	b := builder{rules, r, values, &p}
	b.guard()
	b.affect()
	if r.Conditional {
		p.shareAncestors(p.Subject)
		for _, other := range r.StateSubjects {
			p.shareAncestors(other)
			p.Others = append(p.Others, Other{other.Key, ExclusiveLock}) // nobody else writes it meanwhile
		}
	}
	b.premises()
	// All writes take their entries in the same order, so no two of them wait for
	// each other. If a key has several roles, the strongest counts.
	slices.SortFunc(p.Others, func(a, b Other) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(b.Role, a.Role))
	})
	p.Others = slices.CompactFunc(p.Others, func(a, b Other) bool { return a.Key == b.Key })
	p.Others = slices.DeleteFunc(p.Others, func(o Other) bool { return o.Key == p.Subject.Key })
	return p
}

// shareAncestors adds the locks of the paths above a resource.
func (p *Plan) shareAncestors(of resource.Subject) {
	for _, ancestor := range of.AncestorKeys {
		p.Others = append(p.Others, Other{resource.LockKey(ancestor), SharedLock})
	}
}

// Before returns the others to take before the subject.
func (p Plan) Before() []Other { return p.Others[:p.subjectIndex()] }

// After returns the others to take after the subject.
func (p Plan) After() []Other { return p.Others[p.subjectIndex():] }

// subjectIndex returns the index of the first other whose key comes after the
// subject's.
func (p Plan) subjectIndex() int {
	n, _ := slices.BinarySearchFunc(p.Others, p.Subject.Key, func(o Other, key string) int { return cmp.Compare(o.Key, key) })
	return n
}

// ChangedKeys returns the keys of everything that the write changes. The subject
// comes first.
func (p Plan) ChangedKeys() []string {
	keys := []string{p.Subject.Key}
	for _, o := range slices.Concat(p.Others, p.Subtrees) {
		if o.Role != SharedLock && o.Role != Unchanging {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// builder makes a plan.
type builder struct {
	*Rules
	r      *resource.Request
	values Values
	plan   *Plan
}

// guard makes the guarded resource the subject of a conditional write, if a rule applies. The
// target of the write is then among what it changes. Without a condition, the write changes
// what its content names: somebody may be about to create that under a condition.
func (b builder) guard() {
	for _, rule := range b.Guards {
		if !rule.applies(b.r) || !b.r.Conditional && len(rule.Variables()) == 0 {
			continue
		}
		to := rule.follow(b.r.URL, b.values)
		if len(to) == 0 {
			return // nobody can tell what is guarded
		}
		current := to[0].url()
		guarded, target := b.Namer.At(b.r, b.r.OriginalOr(current), current), b.plan.Subject
		switch {
		case guarded.Key == target.Key:
		case b.r.Conditional:
			b.plan.Others = append(b.plan.Others, Other{target.Key, Changed})
			b.plan.Subject, b.plan.Guarded = guarded, true
		default:
			b.plan.Others = append(b.plan.Others, Other{guarded.Key, Changed})
		}
		return
	}
}

// treeMethods are the methods that change everything below their target: of RFC 4918, RFC 5842
// (bindings) and RFC 3253 (versions).
var treeMethods = []string{"MOVE", "DELETE", "BIND", "UNBIND", "REBIND", "UPDATE", "MERGE", "UNCHECKOUT"}

// isNo reports whether a value of Overwrite says that nothing may be overwritten.
func isNo(value string) bool { return strings.EqualFold(strings.TrimSpace(value), "F") }

// affect adds what the write changes besides its target, with the locks that it
// needs for that.
func (b builder) affect() {
	for _, rule := range b.Affects {
		for _, t := range rule.follow(b.r.URL, nil) {
			current := t.url()
			b.change(b.r.OriginalOr(current), current, t.tree)
		}
	}
	for _, destination := range b.r.Destinations {
		for _, to := range b.r.Candidates(destination) {
			b.change(to, to, b.Namer.InTree(to.Path))
			if b.Namer.WebDAV && slices.ContainsFunc(b.r.Fields["Overwrite"], isNo) {
				// Nobody else creates it between the backend's check and its write.
				b.plan.Others = append(b.plan.Others, Other{b.Namer.Key(b.r, to, to), ExclusiveLock})
			}
		}
	}
	if b.r.Does(treeMethods...) && b.Namer.InTree(b.r.URL.Path) {
		b.change(b.r.OriginalOr(b.r.URL), b.r.URL, true)
	}
}

// premises adds the resources that the premises are about. Nobody else writes them meanwhile.
func (b builder) premises() {
	p := b.plan
	var others []Other
	for _, about := range b.r.Premises {
		role := Unchanging
		if slices.ContainsFunc(p.Others, func(o Other) bool { return o.Key == about.Subject.Key }) {
			role = ExclusiveLock // the write changes it, too
		}
		others = append(others, Other{about.Subject.Key, role})
		for _, ancestor := range about.Subject.AncestorKeys {
			others = append(others, Other{resource.LockKey(ancestor), SharedLock})
		}
	}
	p.Others = append(p.Others, others...)
}

// change adds a target that the write changes, and everything below it if tree is
// true.
func (b builder) change(original, current *url.URL, tree bool) {
	p := b.plan
	p.Others = append(p.Others, Other{b.Namer.Key(b.r, original, current), Changed})
	if tree {
		lock, subtree := b.Namer.TreeKeys(b.r, current.Path)
		p.Others = append(p.Others, Other{lock, ExclusiveLock})
		if o := (Other{subtree, Changed}); !slices.Contains(p.Subtrees, o) {
			p.Subtrees = append(p.Subtrees, o)
		}
	}
}
