package relation

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// Rules is what the configuration says about other resources.
type Rules struct {
	Namer *resource.Namer
	// Affects lead from a write to what it also changes.
	Affects []Rule
	// Guards lead from a write to the one resource that its conditions are about.
	Guards []Rule
}

// Plan says what a write is about, and what it takes besides. It is immutable.
type Plan struct {
	// Subject is the resource that the conditions are about.
	Subject resource.Subject

	// Guarded tells that the subject is not the target of the write. The target
	// is then among Others.
	Guarded bool

	// Others is what the write takes besides the subject, in the order of keys.
	Others []Other

	// Subtrees are the subtree epochs that the write moves. They come last: the
	// subject may be below one of them.
	Subtrees []Other
}

// Other is something that a write takes besides its subject.
type Other struct {
	Key  string
	Role Role
}

// Role is what an Other means to the write.
type Role uint8

const (
	// Changed things are changed by the write. It holds a pass on them.
	Changed Role = iota
	// SharedLock is a lock that others may share. The write holds a pass on it.
	SharedLock
	// ExclusiveLock is a lock that nobody may share. The write holds a claim.
	ExclusiveLock
)

// Plan makes the plan for a request. Own is the target of the request.
func (rules *Rules) Plan(r *resource.Request, own resource.Subject) Plan {
	p := Plan{Subject: own}
	if r.Class != resource.Write {
		return p
	}
	b := builder{rules, r, &p}
	if r.Conditional {
		b.guard()
	}
	b.affect()
	if r.Conditional {
		for _, ancestor := range p.Subject.AncestorKeys {
			p.Others = append(p.Others, Other{resource.LockKey(ancestor), SharedLock})
		}
	}
	// Two writes that both take several things take them in the same order, so
	// that neither waits for the other. The strongest role of a key counts.
	slices.SortFunc(p.Others, func(a, b Other) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(b.Role, a.Role))
	})
	p.Others = slices.CompactFunc(p.Others, func(a, b Other) bool { return a.Key == b.Key })
	p.Others = slices.DeleteFunc(p.Others, func(o Other) bool { return o.Key == p.Subject.Key })
	return p
}

// Before returns the others that are taken before the subject.
func (p Plan) Before() []Other { return p.Others[:p.turn()] }

// After returns the others that are taken after the subject.
func (p Plan) After() []Other { return p.Others[p.turn():] }

// turn returns how many of the others have keys before that of the subject.
func (p Plan) turn() int {
	n, _ := slices.BinarySearchFunc(p.Others, p.Subject.Key, func(o Other, key string) int { return cmp.Compare(o.Key, key) })
	return n
}

// ChangedKeys returns the keys of everything that the write changes, beginning
// with the subject.
func (p Plan) ChangedKeys() []string {
	keys := []string{p.Subject.Key}
	for _, o := range slices.Concat(p.Others, p.Subtrees) {
		if o.Role != SharedLock {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// builder adds to a plan.
type builder struct {
	*Rules
	r    *resource.Request
	plan *Plan
}

// guard redirects the conditions to the guarded resource, if a rule applies. The
// target of the write then becomes one of the things that it changes.
func (b builder) guard() {
	for _, rule := range b.Guards {
		to := rule.follow(b.r.URL)
		if len(to) == 0 {
			continue
		}
		current := to[0].url()
		guarded := b.Namer.At(b.r, b.r.OriginalOr(current), current)
		if own := b.plan.Subject; guarded.Key != own.Key {
			b.plan.Others = append(b.plan.Others, Other{own.Key, Changed})
			b.plan.Subject, b.plan.Guarded = guarded, true
		}
		return
	}
}

// affect adds what the write changes besides its target, and the locks that this
// takes.
func (b builder) affect() {
	for _, rule := range b.Affects {
		for _, t := range rule.follow(b.r.URL) {
			current := t.url()
			b.change(b.r.OriginalOr(current), current, t.tree)
		}
	}
	if b.r.Does("MOVE", "COPY") {
		for _, to := range b.destinations() {
			b.change(to, to, b.Namer.InTree(to.Path))
		}
	}
	if b.r.Does("MOVE", "DELETE") && b.Namer.InTree(b.r.URL.Path) {
		b.change(b.r.OriginalOr(b.r.URL), b.r.URL, true)
	}
}

// change adds a target that the write changes, and everything below if that is a
// tree.
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

// destinations returns the targets that the Destination of a MOVE or COPY may
// lead to (RFC 4918, section 10.3), if they are on this host. Neither the scheme
// nor the port counts, because not all backends look at them. Of several field
// lines, some backends take the first and some the last.
func (b builder) destinations() (targets []*url.URL) {
	lines := b.r.Header["Destination"]
	if len(lines) > 2 {
		lines = []string{lines[0], lines[len(lines)-1]}
	}
	for _, line := range lines {
		to, ok := b.r.Resolve(line)
		if strings.HasPrefix(line, "//") { // a path here, not a host (section 8.3)
			path, err := url.ParseRequestURI(line)
			to, ok = path, err == nil
		}
		if ok && (to.Host == "" || b.r.OnHost(to)) {
			targets = append(targets, b.r.Candidates(to)...)
		}
	}
	return targets
}
