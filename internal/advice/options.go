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

	Versions Versions

	FreshFor     time.Duration // a duration given as verify; 0 for none
	StoreTimeout time.Duration // of one operation; 0 if unknown
}

// Given says which options were configured, rather than left to their defaults.
type Given struct{ Lease, Wait, Grace bool }

// Versions says where clients send the versions that writes depend on, and what tags there are.
type Versions struct {
	Kept     string   // the first place whose version the backend gets, too; empty for none
	Verbatim bool     // whether a source takes the version itself for the tag
	Upstream bool     // whether the source upstream was configured, rather than left to the default
	Members  []string // the top-level members of JSON content that have a version
	InLists  []string // the members that items puts into lists
}

// advice says which versions can hardly match a tag, and which most writes lack.
func (v Versions) advice(require []string) (said []string) {
	if v.Kept != "" && !v.Verbatim && !v.Upstream {
		said = append(said, "condition: "+v.Kept+" has a version that the backend has made, and no etag source gives that as the tag: "+
			"a write with any other tag gets 412. Write etag json <pointer> verbatim, or etag header <field> verbatim, for the version in "+
			"responses, or etag upstream if it is the backend's ETag")
	}
	for _, member := range v.InLists {
		if slices.Contains(v.Members, member) && len(require) == 0 {
			said = append(said, "condition: only lists have the member "+member+", so whoever reads a single item writes without a condition. "+
				"Add require, and send the ETag of a single item in If-Match")
		}
	}
	return said
}

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
	said = append(said, o.Versions.advice(o.Require)...)
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
