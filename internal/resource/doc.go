// Package resource tells what a request is about: which resource it names, under
// which key the store knows that resource, and what its method means for
// preconditions.
//
// A [Request] is a request as it came, before anything changes it. A [Subject] is a
// resource that a request concerns: its own target, the resource that its
// conditions are about, or an item of a list that the response shows. Both are
// immutable. A [Namer] turns requests and targets into subjects.
//
// # One resource, one key
//
// Many spellings of a path lead to one resource, and it depends on the backend which
// ones do. If two spellings of one resource had two keys, two writers could each
// hold a claim on it, and an update would be lost. If two resources share a key by
// mistake, one writer waits needlessly. So keys fold every difference that any
// common backend ignores.
package resource
