package etagcache

import (
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// MaxVariants is the number of variants that an entry keeps. A further variant
// displaces the one that was stored the longest time ago, and the origin has to
// be asked again for the displaced one.
const MaxVariants = 64

// MaxSpent is the number of spent states that an entry keeps. If there are more, it
// forgets those that would end first, and has a Doubt until they would have ended.
const MaxSpent = 256

// AnyState stands for the identities of all states. A caller that can't name what
// its write replaces passes it to Spend or in Settlement.Replaced. The entry then
// has a Doubt for as long as a state would be spent.
const AnyState = "*"

// Entry is what the store knows about one resource at one moment.
type Entry struct {
	// Epoch is the entry's current epoch.
	Epoch string
	// Busy is the time until the claim, or the last of the passes, expires
	// unless its holder renews it. Zero means that no write is in flight. While
	// one is, Variants says nothing about the present. If a Pass was refused in
	// favor of a claim, Busy is the time to wait for that claim.
	Busy time.Duration
	// Grace is what is left of a grace. As long as it lasts, Busy is no less.
	Grace Grace
	// Vary is what the variants depend on, as stated by the last observation
	// that was stored. The store doesn't interpret it.
	Vary string
	// Variants holds what is known about each variant, in any order.
	Variants Variants
	// Receipt is the receipt of the write that led to the present state. It is
	// empty if that write is not known or had no receipt.
	Receipt string
	// Spent holds the states that writes have replaced and that the origin may
	// still show.
	Spent Spent
	// Doubt is the time for which nothing that the origin shows can be told from
	// the past, because the store has lost or never knew what is spent. It is
	// normally zero. What is in Variants counts all the same.
	Doubt time.Duration
	// Now is the current time by the store's clock.
	Now time.Time
	// Latest is the latest Since of all variants, including those that the entry has
	// forgotten. It is after Now if the clock was set back. It is zero if there were none.
	Latest time.Time

	passing bool // returned by a refused Pass, so Wait is not for a claim
}

// Peeked is what Peek has found.
type Peeked struct {
	Entry
	// Known means that there is an entry. Otherwise everything else is zero.
	Known bool
	// Claimed means that the write in flight has a claim. Passes is the number of passes.
	Claimed bool
	Passes  int
	// Kept is how much longer the entry is kept if nobody uses it.
	Kept time.Duration
}

// Grace is a time in which the store grants nothing, because it has lost data.
type Grace struct {
	Left time.Duration // zero if there is no grace
	Loss Loss
}

// Loss is what has happened to the data of a store.
type Loss string

const (
	StartedEmpty Loss = "empty"     // the server was started without data
	Gone         Loss = "gone"      // its data was deleted, or it was started without data
	Restarted    Loss = "restarted" // the server was restarted with a file
	Replaced     Loss = "replaced"  // a different server took over, or the first replica was attached
)

// String says it in words.
func (l Loss) String() string {
	switch l {
	case StartedEmpty:
		return "the server was started empty"
	case Gone:
		return "the data was deleted (FLUSHALL, DEL), or the server was started empty"
	case Restarted:
		return "the server was restarted, perhaps with older data"
	case Replaced:
		return "a different server took over, or the first replica was attached"
	default:
		return "it isn't known what happened"
	}
}

// IsSpent reports whether a response that shows o may show the past: a write has
// replaced that state, or the entry has a Doubt.
func (e Entry) IsSpent(o validator.Observed) bool {
	if e.Doubt > 0 && o.State != validator.Unknown {
		return true
	}
	return len(e.Spent.list) > 0 && e.Spent.Left(o.Identity()) > 0
}

// Variants lists what a store knows about each variant of a resource. No key occurs twice.
type Variants []Variant

// Variant is what a store knows about one variant.
type Variant struct {
	Key string // see Observation.Variant
	Stored
}

// Find returns what is known about the variant with the given key, and whether anything is.
func (v Variants) Find(key string) (s Stored, known bool) {
	for i := range v {
		if v[i].Key == key {
			return v[i].Stored, true
		}
	}
	return Stored{}, false
}

// Of returns what is known about the variant with the given key, or the zero value if nothing is.
func (v Variants) Of(key string) Stored {
	s, _ := v.Find(key)
	return s
}

// Stored is a representation as the store knows it.
type Stored struct {
	validator.Observed
	// Age is the time since the representation was last stored, by the store's
	// clock. It is very long if the clock was set back since then.
	Age time.Duration
	// Since is when the representation was first stored in its present form, by
	// the same clock. It is never earlier than the last change.
	Since time.Time
}

// Observation is an observed representation and the variant that it belongs to.
type Observation struct {
	validator.Observed
	// Variant is the exact key of the variant, at most 320 bytes. It may contain line
	// feeds.
	Variant string
	// Vary is what all variants of the entry depend on: the request fields that
	// went into Variant, and the groups that the resource was in, each with the
	// epoch under which it was observed. An entry has one Vary. An observation
	// with a different Vary drops the variants stored so far and moves the epoch.
	Vary string
}
