// Package knowledge tells what is known about a resource at one moment.
//
// A [Reader] reads it for one request and returns a [View]. A View combines the
// store's entry of the resource with everything that decides whether the entry
// still counts: the epochs of the groups that the resource belongs to, and the
// subtree epochs of the paths above it. It evaluates the request's conditions, and
// turns what a response shows into an observation to store.
//
// The package also makes two kinds of validators. With the source version, a tag
// stands for the store's epoch ([View.Versioned]). A representation without a date
// of its own is dated by when the store first saw it ([View.Dated]).
package knowledge
