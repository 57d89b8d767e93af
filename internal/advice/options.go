package advice

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// Options are the options of a handler that advice is about, with their defaults.
type Options struct {
	Key     resource.Template
	Require []string

	Given Given

	Lease, Wait, Grace, Retention time.Duration

	FreshFor     time.Duration // a duration given as verify; 0 for none
	StoreTimeout time.Duration // of one operation; 0 if unknown
}

// Given says which options were configured, rather than left to their defaults.
type Given struct{ Lease, Wait, Grace bool }

// Of returns what is to be said about the options, one sentence each.
func (o Options) Of() (said []string) {
	said = append(said, o.placeholders()...)
	if o.Key.Constant() {
		said = append(said, "key: it has no placeholder of the request, so all resources are one: their writes wait for each other, "+
			"and each makes all tags unknown. Leave the option out, or add {http.request.uri.path}")
	}
	if unknown := resource.UnknownMethods(o.Require); len(unknown) > 0 {
		said = append(said, fmt.Sprintf("require: nobody has registered the method %s: check its spelling", strings.Join(unknown, ", ")))
	}
	return append(said, o.durations()...)
}

// placeholders says which placeholders of the key look misspelt.
func (o Options) placeholders() (said []string) {
	for name, meant := range o.Key.DoubtfulPlaceholders() {
		said = append(said, fmt.Sprintf("key: {%s} is empty unless a map or another handler sets it: did you mean {%s}?", name, meant))
	}
	slices.Sort(said)
	return said
}

// durations says which pairs of durations contradict each other. The options refuse those
// that would be unsafe.
func (o Options) durations() (said []string) {
	say := func(wrong bool, format string, args ...any) {
		if wrong {
			said = append(said, fmt.Sprintf(format, args...))
		}
	}
	say(o.Given.Wait && o.Wait > o.Lease, "wait: %s is longer than the lease, %s: a write without an answer keeps others out "+
		"for one lease, and a longer wait only lets requests pile up. Write wait %s or less, or a longer lease", o.Wait, o.Lease, o.Lease)
	say(o.Given.Grace && o.Grace > o.Lease, "grace: %s is longer than the lease, %s: no claim outlasts its lease, and a longer "+
		"grace only keeps writers out. Write grace %s or less", o.Grace, o.Lease, o.Lease)
	say(o.FreshFor > o.Retention, "verify: %s is longer than the retention, %s, after which nothing is stored. "+
		"Write verify %s or less, or a longer retention", o.FreshFor, o.Retention, o.Retention)
	say(o.Given.Wait && o.StoreTimeout > o.Wait, "wait: %s is shorter than the timeout of the store, %s: one call may take "+
		"longer than a write waits. Write wait %s or more, or a shorter timeout", o.Wait, o.StoreTimeout, o.StoreTimeout)
	say(o.StoreTimeout > o.Lease/3, "lease: %s is short for a store with the timeout %s: two calls in a row that time out cost "+
		"a claim. Write lease %s or more, or a shorter timeout", o.Lease, o.StoreTimeout, 3*o.StoreTimeout)
	return said
}
