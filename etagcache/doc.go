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
// A claim is the exclusive right to write a resource, and a pass is the shared
// right. At any time an entry has either one claim, or any number of passes, or
// neither. Both are leased: a holder that disappears keeps others out until its
// lease expires, and from then on the store knows nothing about the resource.
//
// # Contract
//
// All implementations pass the suite in package storetest. Any number of
// goroutines may call any method. Each call is atomic, and every later call on
// any gateway sees its effect. If the context is already done when a call
// begins, the call fails with the context's error and has no effect.
//
// After a lost reply, a caller may repeat Renew, Settle, Observe, Invalidate,
// InvalidateMatching and InvalidateAll. At worst the answer is ErrLost or
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
// it. A grace also begins with the first call on an empty store.
package etagcache
