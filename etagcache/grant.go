package etagcache

import (
	"crypto/rand"
	"encoding/base64"
)

// Grant is a claim or a pass.
type Grant struct {
	Key   string
	Token string
	// Pass tells a pass from a claim.
	Pass bool
}

// Settlement tells what is known at the end of a write. At the end of a pass,
// beside which others may have written, that is nothing, whatever it says.
type Settlement struct {
	// Unchanged means that the write did not happen: the validators stand.
	// Otherwise they are dropped.
	Unchanged bool
	// Observation, if not nil, is how the holder of the claim left the
	// resource, as seen at the origin: before the write if Unchanged, else
	// after it.
	Observation *Observation
	// Receipt is a text of at most 64 bytes by which the write may be
	// recognised. It is stored with the Observation, and dropped with the
	// validators.
	Receipt string
}

// settled is the epoch that the end of a write begins. As it follows from the
// token, a repeated Settle can tell that it was done.
func (g Grant) settled() string { return g.Token + "." }

// NewToken returns a token that is unique without any coordination: 96 random
// bits in 16 characters.
func NewToken() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
