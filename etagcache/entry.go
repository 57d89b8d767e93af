package etagcache

import (
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Entry is what the store knows about one resource at one moment.
type Entry struct {
	// Epoch is the entry's current epoch.
	Epoch string
	// Busy is the time after which the claim, or the last of the passes, runs
	// out unless it is renewed. Zero means that no write is in flight. While
	// one is, the variants tell nothing about the present. Where a Pass was
	// refused in favour of a claim, it is the time to wait for that.
	Busy time.Duration
	// Vary is what the variants depend on, as given by the last observation
	// that was stored. To the store it is a text.
	Vary string
	// Variants holds what is known, by the key of the variant.
	Variants map[string]Stored
	// Receipt is that of the write which led to the present state, if it is
	// known.
	Receipt string
	// Now is the time by the store's clock.
	Now time.Time

	passing bool // a Pass was refused: Wait is not for a claim
}

// Stored is a representation as the store knows it.
type Stored struct {
	validator.Observed
	// Age is the time since it was last stored, by the store's clock.
	Age time.Duration
	// Since is when it was first stored as it is, by the same clock: no earlier
	// than the last change.
	Since time.Time
}

// Observation is an observed representation and the variant that it belongs to.
type Observation struct {
	validator.Observed
	// Variant is the exact key of the variant, at most 64 bytes.
	Variant string
	// Vary is what all variants of the entry depend on: the request fields that
	// went into Variant, and the groups that the resource was in, each with the
	// epoch under which it was observed. An entry has one Vary: an observation
	// with another one drops the variants stored so far, and the epoch moves.
	Vary string
}

// MaxVariants is the number of variants that an entry keeps. One that is added
// beyond it displaces the one that was stored the longest time ago; the origin
// is asked again for what was displaced.
const MaxVariants = 64
