// Package etagcache keeps what is known about resources (epochs, validators,
// and the claims and passes of the writes in flight) for any number of
// gateways that share it.
//
// # Model
//
// An entry belongs to one resource, named by a key. Its epoch is an opaque
// token that is never reused; it moves whenever stored validators may have
// stopped being true: a write begins, a write ends, somebody reports a change,
// a read sees another validator than the stored one, a lease runs out. What a
// response showed is stored only if the epoch is still the one that was read
// before the request went to the backend, so a slow read can't bring a dead
// validator back.
//
// A claim is the exclusive right to write a resource, a pass is the shared one:
// at any time an entry has either one claim, or any number of passes, or none.
// Both are leased: a holder that goes away without a word keeps others out
// until its lease has run out, after which nothing is known about the resource.
//
// # Contract
//
// All implementations pass the suite in package storetest. All methods may be
// called from any number of goroutines, each call is atomic, and its effect is
// visible to every later call on any gateway. A call whose context is done when
// it begins fails with the context's error and has no effect.
//
// Renew, Settle, Invalidate, InvalidateMatching, InvalidateAll and Observe may be repeated after a lost reply.
// At worst the answer is ErrLost or ErrStale, because of what the first call did.
// A Claim or Pass whose reply was lost lasts until its lease has run out, unless
// the store can give it back before.
//
// # Loss
//
// A store that outlives its gateways may lose data, or come back with older data.
// Where it notices that, nothing that was stored before is known any more, and a
// grace begins: claims and passes are refused with ErrBusy, nothing is observed,
// and a claim or pass of which the store has no trace is taken again by Renew,
// unless another one is there that excludes it. A grace begins with the first
// call on an empty store, too.
package etagcache
