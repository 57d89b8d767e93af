// Package etagcache stores what a group of gateways knows about HTTP resources:
// their validators, and which writes are in flight. With it, a gateway can check
// a precondition and forward the write as one atomic step. Of any number of
// writers that present the same entity tag, exactly one gets through.
//
// [NewMemory] returns a store for one process, and [NewRedis] one that many
// processes share. Both implement [Store].
//
// # Use
//
// Around a read, a gateway calls Read before it sends the request to the
// backend, and Observe with what the response showed.
//
// Around a conditional write, it calls Read, evaluates the condition with
// package validator, and calls Claim with the epoch that Read returned. If Claim
// fails with ErrStale, the condition must be evaluated again, against the entry
// that Claim returned; if it fails with ErrBusy, Wait comes first. With the
// claim in hand the gateway forwards the write, calls Renew several times per
// lease until the backend answers, and reports the outcome with Settle. An
// unconditional write takes a Pass instead, whatever the epoch.
//
// # Model
//
// An entry belongs to one resource, which its key names. Its epoch is an opaque
// token that is never reused. The epoch moves whenever stored validators may no
// longer be true: a write begins or ends, a caller reports a change, a read sees
// a validator that differs from the stored one, or a lease expires. The store
// keeps what a response showed only if the epoch is still the one that was read
// before the request went to the backend. A slow read therefore can't bring a
// dead validator back.
//
// A tag of the backend's own that isn't the resource's tag (validator.Observed.Backend)
// is only remembered. A different one is stored in its place, and nothing moves.
//
// A claim is the exclusive right to write a resource, and a pass is the shared
// right. At any time an entry has either one claim, or any number of passes, or
// neither. Both are leased: a holder that disappears keeps others out until its
// lease expires, and from then on the store knows nothing about the resource.
//
// # Spent states
//
// An origin with read replicas, or with a cache in front of it, shows the past for a
// while: after a write from A to B, a read may still see A. Terms.Lag states for how
// long. For that time the store remembers A as spent, for all variants and all
// gateways, and Observe and Settle don't take it for the present.
//
// Spent are the stored variants that a write has or may have replaced: when Settle
// drops them, when a lease expires, from the beginning of a Pass, and when somebody
// reports a change with Invalidate and its like. Further states can be named in
// Spend and Settle. What becomes spent while a write is in flight stays spent until
// the lag after its end. What only a read seems to change is not spent: nobody
// knows which of two states that reads have shown is the older one. Nor is what a
// different Vary drops, which says nothing about states, nor a variant that makes
// room for others, which is still the present.
//
// A write that leads back to A makes A the present again. The store can't see that
// in a read, but the writer can prove it, by the content that it has written
// (Settlement.Proven). Without a proof, A is unknown until it is no longer spent.
//
// An entry keeps few spent states. If there are more, or if the store has lost them,
// it has a Doubt for as long as they would be spent: then nothing that the origin
// shows can be told from the past. The store doesn't know states that nobody has
// stored or named. A gateway that can't name what it replaces passes AnyState.
//
// # Contract
//
// All implementations pass the suite in package storetest. Any number of
// goroutines may call any method. Each call is atomic, and every later call on
// any gateway sees its effect. If the context is already done when a call
// begins, the call fails with the context's error and has no effect.
//
// After a lost reply, a caller may repeat Renew, Settle, Spend, Observe,
// Invalidate, InvalidateMatching and InvalidateAll. At worst the answer is ErrLost or
// ErrStale because of what the first call did. A Claim or Pass whose reply was
// lost lasts until its lease expires, unless the store can give it back earlier.
//
// # Loss
//
// A store that outlives its gateways may lose data, or come back with older
// data. When the store notices this, it forgets everything that it stored before,
// and a grace begins. During a grace, the store refuses claims and passes with
// ErrBusy and stores no observations. If the store has lost all trace of a claim
// or pass, Renew restores it, unless the store holds another one that excludes
// it. A grace also begins with the first call on an empty store, unless the store can
// tell that nothing was granted that may still be held.
//
// What was spent is lost as well. Until the Lag after the grace, in which forgotten
// writes may end, all entries have a Doubt. What a restored claim or pass replaces is
// forgotten, too: the entry has a Doubt until the Lag after its end. A store that
// lives in the gateway's process forgets whenever the process ends, so a Doubt begins
// with it.
package etagcache
