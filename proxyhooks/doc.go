// Package proxyhooks provides what a handler that labels responses and guards writes
// needs around the next handler of a Caddy chain. The preconditions handler is built on
// it. The package depends on Caddy's HTTP types and on package validator, but on no store
// and no configuration, so other Caddy modules can use it too.
//
// # What it offers
//
// Capture. A [Capture] is the response writer for a GET or HEAD. It works out the
// validators of the response, and calls a [Reading] with them before the header
// section goes out. The Reading can then label the response, or drop it and send a
// 304 (Not Modified) or 412 (Precondition Failed) instead. A [Deriver] says which
// validators a response has: it tries a list of [Source] values in order, such as the
// backend's own strong tag and then a hash of the content. Content is buffered only
// while its tag is not yet known, only up to a limit, and only for as long as the client
// can be kept waiting for the header section ([DefaultPatience]).
//
// Probe. [Probe] asks the origin for the current representation with a GET of its own.
// It runs the same next handler, but on a request, writer, replacer and variables of
// its own, so the client's request and response show no trace of it. It asks caches on the
// way not to answer, notices when one does, and gives up after a time.
//
// Forward. [Forward] runs the next handler on a write. It determines what became of the
// write (its [Fate]), and reports that to a [Writing] when the answer is complete: before
// the client can see any of it, unless that takes too long. A client that disconnects
// doesn't cut off a write that the backend already has. Some answers don't end a write
// ([DefaultUnanswered]), unless the backend says so ([SettledField]).
//
// Lease. [KeepLease] renews a lock while the backend works. Its context ends when the
// lock can no longer be relied on.
//
// # How they fit together
//
// A read runs next through a Capture. If a condition needs what a response to HEAD doesn't
// show, a Probe finds it.
//
// A conditional write takes these steps:
//
//  1. [ReadAhead] reads the content, because a slow client must not hold a lock.
//  2. The handler takes a lock in its store, and [KeepLease] starts a [Lease] on it.
//  3. Probe finds the current validators. If the condition is false for them, the
//     handler refuses the write.
//  4. Forward sends the write, with the context of the Lease.
//  5. The Writing ends the lock according to the Fate. After an answer, it stops the
//     Lease and releases the lock. If the write may still be applied, it lets the
//     Lease run out instead.
//
// Probe and Capture must use the same Deriver: a tag that a client got from a read is
// compared with the tag that a probe finds. [Deriver.Scheme] names what a Deriver does,
// so that a shared store can keep tags of different kinds apart.
//
// # Smaller parts
//
//   - [VariantKey], [MergeVary], [JoinVary] and [AddVary] tell the representations of one
//     resource apart (RFC 9110, section 12.5.5).
//   - [ParseRange] and [SendParts] answer a range request from content that was
//     buffered, and [Capture.SendPart] from content that streams by (RFC 9110, section 14).
//   - [Isolate] copies a request, so that it can be handled again.
//   - [Items], [Insert], [ItemPath] and [Deriver.ItemTags] put the entity tags of
//     items into a JSON list, without changing any other byte.
//   - [Links] reads Link fields (RFC 8288), [ParseGroups] reads cache groups
//     (RFC 9875), [ParsePointer] reads JSON pointers (RFC 6901).
//   - [EditHeader] changes the fields of a request while next runs.
//   - [MadeBefore] says whether a response is older than a moment.
//
// # Slow responses
//
// Some responses arrive bit by bit, and some never end: a watch of Kubernetes, a feed of
// CouchDB, the log of a container, a camera. Few of them say so in their header section.
// Capture and Forward therefore hold a response back for a limited time. After that, they
// treat it as one whose content is too large: they label a read without its content, send
// what there is, and let the rest pass as it arrives. A write is settled at the end.
//
// The handler may be waiting for its backend at that moment, and may not write again for
// hours. So a timer does this, on a goroutine of its own. The handler never notices: a
// lock keeps the two apart, and the handler has a header map of its own.
//
// # Concurrency
//
// A [Deriver], [Source], [Pointer] or [ItemPath] never changes once it is set up. Any
// number of goroutines may share one. The methods of a [Lease] may be called from any
// goroutine too, except that renew must not stop its own lease.
//
// All functions may be called concurrently, as long as each call has its own request,
// header and response writer. In particular, a [Capture] serves one request. As with any
// [net/http.ResponseWriter], a handler must not write from two goroutines at the same time.
//
// The methods of a [Reading] or [Writing] are called one at a time, and never after Serve
// or Forward has returned. They are called on the goroutine on which next writes the
// response, except that [Reading.Label] and [Writing.Pass] of a slow response are called on
// the timer's goroutine, while next runs. They must not wait for next then. What they
// change is visible to the caller when Serve or Forward has returned. If they panic, Serve
// or Forward does.
package proxyhooks
