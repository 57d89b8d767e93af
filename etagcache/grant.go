package etagcache

import (
	"crypto/rand"
	"encoding/base64"
)

// Grant is a claim or a pass.
type Grant struct {
	// Key is the key of the entry.
	Key string
	// Token identifies the grant. It is never reused.
	Token string
	// Pass reports whether the grant is a pass rather than a claim.
	Pass bool
}

// Settlement states what is known at the end of a write. At the end of a pass
// nothing is known, whatever the Settlement says, because others may have written
// at the same time.
type Settlement struct {
	// Unchanged means that the write did not happen, so the stored validators
	// remain valid. Otherwise they are dropped.
	Unchanged bool
	// Observation, if not nil, is the state in which the holder of the claim
	// left the resource, as seen at the origin. It was seen before the write if
	// Unchanged is set, and otherwise after it. A state that is spent now, also
	// by this settlement, is not stored. A state that was spent when it was seen
	// must not be reported, because it may no longer be spent now.
	Observation *Observation
	// Proven means that the Observation can't be the past, because the content of
	// the write shows it to be the present. Where it is stored, its state is no
	// longer spent: writes may lead from A to B and back to A.
	Proven bool
	// Replaced holds the identities of further states that the write replaced,
	// beyond the stored ones: what the holder saw before it forwarded the write.
	// They are spent, unless Unchanged is set.
	Replaced []string
	// Receipt is a text of at most 64 bytes by which the write can be
	// recognized later. It is stored with the Observation, and dropped with the
	// validators.
	Receipt string
	// After, if not nil, receives the entry as it is after the settlement, if the store
	// can tell without another call. Otherwise it is left as it is.
	After *Entry
	// Next, if not nil, receives a claim that follows this settlement at once: it is taken for
	// the epoch SettledEpoch and the same terms, before anybody else can take one. It is left
	// as it is if that isn't possible, or if the store doesn't do it.
	Next *Grant
}

// settled is the epoch that begins when the write of g ends, if nothing else has moved the
// epoch in the meantime. It is derived from the token, so that a repeated Settle can recognize
// its own effect.
func (g Grant) settled() string { return SettledEpoch(g.Token) }

// settledAfterMove is the epoch that begins if something else has moved it.
func (g Grant) settledAfterMove() string { return g.settled() + "." }

// SettledEpoch returns the epoch that follows the one that began with a claim, if the end of
// the claim is all that moves it (see [Store.Settle]).
func SettledEpoch(claimed string) string { return claimed + "." }

// NewToken returns a token that is unique without any coordination: 96 random
// bits in 16 characters. Redis stores several tokens in each entry, which is why
// it isn't the longer one of crypto/rand.Text.
func NewToken() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
