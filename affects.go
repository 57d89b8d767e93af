package preconditions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Affects tells which other resources a write changes.
type Affects struct {
	// The path of the write, in which `*` stands for any one segment.
	Path string `json:"path"`

	// The paths of what it changes besides. The first `*` is what the first one
	// of the path stands for, and so on. One that ends in `/**` stands for what is
	// at the path before that, and for everything below.
	Resources []string `json:"resources"`
}

// Guards tells which resource the conditions of a write are about.
type Guards struct {
	// The path of the write, in which `*` stands for any one segment.
	Path string `json:"path"`

	// The path of the resource that its conditions are about. The first `*` is
	// what the first one of the path stands for, and so on.
	Resource string `json:"resource"`
}

// affectsRules returns what the option means.
func affectsRules(options []Affects) ([]pathRule, error) {
	var rules []pathRule
	for _, o := range options {
		r, err := parseRule(o.Path, o.Resources...)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// guardsRules returns what the option means.
func guardsRules(options []Guards) ([]pathRule, error) {
	var rules []pathRule
	for _, o := range options {
		r, err := parseRule(o.Path, o.Resource)
		if err != nil {
			return nil, err
		}
		if r.to[0].tree {
			return nil, fmt.Errorf("%q must be one resource", o.Resource)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// guard has the conditions of a write be about the resource that it guards. The
// target of the write is then one of those that it affects.
func (x *exchange) guard() {
	for _, rule := range x.h.guards {
		to := rule.leadFrom(x.r.URL)
		if len(to) == 0 {
			continue
		}
		subject := to[0].url()
		asked := x.askedFor(subject)
		if key := x.keyOf(asked, subject); key != x.key {
			x.tellInner(key)
			x.others = append(x.others, other{x.key, changed})
			x.subject = requestFor(x.r, asked, subject)
			x.key, x.target, x.guarded = key, subject.RequestURI(), true
			x.called = asked.RequestURI()
			x.above = x.ancestors(subject.Path)
		}
		return
	}
}

// other is what a write takes besides its own resource.
type other struct {
	key string
	as  role
}

// role is what another one is to a write.
type role uint8

const (
	changed role = iota // the write changes it: a pass
	shared              // a lock that others may share: a pass
	alone               // a lock that nobody may share: a claim
)

// affect finds out what the write changes besides its own resource, and who must
// be out of the way for that.
func (x *exchange) affect() {
	for _, rule := range x.h.affects {
		for _, t := range rule.leadFrom(x.r.URL) {
			target := t.url()
			x.change(x.askedFor(target), target, t.tree)
		}
	}
	if x.does("MOVE", "COPY") {
		for _, to := range x.destinations() {
			x.change(to, to, x.inTree(to.Path))
		}
	}
	if x.does("MOVE", "DELETE") && x.inTree(x.r.URL.Path) {
		x.change(x.askedFor(x.r.URL), x.r.URL, true)
	}
	if x.conditional() {
		x.shareLocks()
	}
	slices.SortFunc(x.others, func(a, b other) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(b.as, a.as))
	})
	x.others = slices.CompactFunc(x.others, func(a, b other) bool { return a.key == b.key })
	x.others = slices.DeleteFunc(x.others, func(o other) bool { return o.key == x.key })
}

// destinations returns the targets that a MOVE or COPY may lead to (RFC 4918,
// section 10.3), if they are on this host. Neither the scheme nor the port counts,
// which not all backends look at, and of several fields the first or the last does.
func (x *exchange) destinations() (targets []*url.URL) {
	lines := x.r.Header["Destination"]
	if len(lines) > 2 {
		lines = []string{lines[0], lines[len(lines)-1]}
	}
	for _, line := range lines {
		to, ok := x.resolved(line)
		if strings.HasPrefix(line, "//") { // which doesn't begin a host here (section 8.3)
			path, err := url.ParseRequestURI(line)
			to, ok = path, err == nil
		}
		if ok && (to.Host == "" || x.onHost(to)) {
			targets = append(targets, x.targetsAt(to)...)
		}
	}
	return targets
}

// onHost reports whether a URL is on the host of the request, by the name that it
// has here or for the client.
func (x *exchange) onHost(u *url.URL) bool {
	_, known := x.origin()
	for _, host := range []string{x.r.Host, known} {
		if foldHost((&url.URL{Host: host}).Hostname()) == foldHost(u.Hostname()) {
			return true
		}
	}
	return false
}

// does reports whether the method of the write is one of these, or may stand for
// one: where several override it, which of them counts is not known. Some backends
// take it in lower case too (Flask, Symfony), in which browsers send a `patch`.
func (x *exchange) does(methods ...string) bool {
	return slices.ContainsFunc(append(overriding(x.r), strings.ToUpper(x.r.Method)), func(method string) bool {
		return slices.Contains(methods, method)
	})
}

// change notes that the write changes a target, which the client would ask for as
// given, and all that is below it if that is a tree.
func (x *exchange) change(asked, target *url.URL, tree bool) {
	x.others = append(x.others, other{x.keyOf(asked, target), changed})
	if tree {
		key := x.keyOfTree(segments(target.Path))
		x.others = append(x.others, other{bounded(lockPrefix + key), alone})
		if age := (other{bounded(agePrefix + key), changed}); !slices.Contains(x.ages, age) {
			x.ages = append(x.ages, age)
		}
	}
}

// changes returns the keys of all that the write changes, its own included.
func (x *exchange) changes() []string {
	keys := []string{x.key}
	for _, o := range slices.Concat(x.others, x.ages) {
		if o.as != shared {
			keys = append(keys, o.key)
		}
	}
	return keys
}

// othersBefore and othersAfter are those to take before the write's own resource
// and after it: whoever takes more than one takes them in the order of their
// keys, so that no two wait for each other.
func (x *exchange) othersBefore() []other { return x.others[:x.turn()] }
func (x *exchange) othersAfter() []other  { return x.others[x.turn():] }

func (x *exchange) turn() int {
	n, _ := slices.BinarySearchFunc(x.others, x.key, func(o other, key string) int { return cmp.Compare(o.key, key) })
	return n
}

// held is a claim or pass that is kept alive.
type held struct {
	grant etagcache.Grant
	lease *proxyhooks.Lease
}

// keepAlive keeps a claim or pass, which was taken no earlier than at taken, alive.
func (x *exchange) keepAlive(grant etagcache.Grant, taken time.Time) held {
	renew := func(ctx context.Context) error { return x.h.store.Renew(ctx, grant, x.h.terms) }
	lost := func(err error) bool { return errors.Is(err, etagcache.ErrLost) }
	return held{grant, proxyhooks.KeepLease(taken, x.h.terms.Lease, renew, lost)}
}

// take takes others, so that nobody checks a condition on one of them, or on what
// it stands for, while the write is in flight.
func (wr *writing) take(waiting context.Context, others []other) error {
	for _, o := range others {
		var grant etagcache.Grant
		var taken time.Time
		var err error
		switch o.as {
		case alone:
			grant, taken, err = wr.exclude(waiting, o.key)
		case shared:
			grant, taken, err = wr.share(waiting, o.key)
		default:
			grant, _, taken, err = wr.pass(waiting, o.key)
		}
		if err != nil {
			return err
		}
		wr.further = append(wr.further, wr.keepAlive(grant, taken))
	}
	return nil
}

// end ends what is held on a resource, or has it run out where the write may
// still land.
func (wr *writing) end(h held, fate proxyhooks.Fate, s etagcache.Settlement) {
	ctx, store, terms := wr.detached(), wr.h.store, wr.h.terms
	var err error
	if fate == proxyhooks.Unanswered {
		// Others stay out until the lease is over.
		h.lease.RunOut(func(left time.Duration) error {
			terms := terms
			terms.Lease = left
			return store.Renew(context.Background(), h.grant, terms)
		})
		err = store.note(store.Renew(ctx, h.grant, terms))
	} else {
		h.lease.Stop()
		err = store.note(store.Settle(ctx, h.grant, s, terms))
	}
	if errors.Is(err, etagcache.ErrLost) && fate != proxyhooks.Refused {
		// Others may have been let in, and have seen what was there before.
		_ = wr.invalidateKey(h.grant.Key)
	}
	if err != nil {
		wr.h.logger.Warn("the end of a write could not be stored",
			zap.String("resource", h.grant.Key), zap.Error(err))
	}
}

// invalidateKey tells the store that a resource has changed. Where it can't be told, the
// node remembers to do so before it trusts the store again.
func (x *exchange) invalidateKey(key string) error {
	err := x.h.store.Invalidate(x.detached(), key, x.h.terms)
	if err != nil {
		x.h.store.journal.once(key)
	}
	return err
}

// invalidateKeys does so for several.
func (x *exchange) invalidateKeys(keys []string) {
	for _, key := range keys {
		_ = x.invalidateKey(key)
	}
}

// journalAll has the node remember a write until the function that it returns is
// called, and then until the store has heard of it.
func (x *exchange) journalAll() (end func()) {
	var under []string
	for _, key := range x.changes() {
		under = append(under, x.h.store.journal.begin(key))
	}
	return func() {
		for _, key := range under {
			x.h.store.journal.end(key)
		}
	}
}
