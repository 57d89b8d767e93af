package etagcache

import (
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// MaxVariants is the number of variants that an entry keeps. A further variant
// displaces the one that was stored the longest time ago, and the origin has to
// be asked again for the displaced one.
const MaxVariants = 64

// Entry is what the store knows about one resource at one moment.
type Entry struct {
	// Epoch is the entry's current epoch.
	Epoch string
	// Busy is the time until the claim, or the last of the passes, expires
	// unless its holder renews it. Zero means that no write is in flight. While
	// one is, Variants says nothing about the present. If a Pass was refused in
	// favor of a claim, Busy is the time to wait for that claim.
	Busy time.Duration
	// Vary is what the variants depend on, as stated by the last observation
	// that was stored. The store doesn't interpret it.
	Vary string
	// Variants holds what is known about each variant, by the variant's key.
	Variants map[string]Stored
	// Receipt is the receipt of the write that led to the present state. It is
	// empty if that write is not known or had no receipt.
	Receipt string
	// Now is the current time by the store's clock.
	Now time.Time

	passing bool // returned by a refused Pass, so Wait is not for a claim
}

// Stored is a representation as the store knows it.
type Stored struct {
	validator.Observed
	// Age is the time since the representation was last stored, by the store's
	// clock.
	Age time.Duration
	// Since is when the representation was first stored in its present form, by
	// the same clock. It is never earlier than the last change.
	Since time.Time
}

// Observation is an observed representation and the variant that it belongs to.
type Observation struct {
	validator.Observed
	// Variant is the exact key of the variant, at most 64 bytes.
	Variant string
	// Vary is what all variants of the entry depend on: the request fields that
	// went into Variant, and the groups that the resource was in, each with the
	// epoch under which it was observed. An entry has one Vary. An observation
	// with a different Vary drops the variants stored so far and moves the epoch.
	Vary string
}
