// Package knowledge says what is known of a resource at one moment.
//
// A [Reader] reads it for one request. The [View] that it returns combines what
// the store keeps of the resource with everything else that decides whether that
// still counts: the epochs of the groups that the resource belongs to, the
// subtree epochs of the paths above it, and, with the source version, the tag
// that the store's own epoch stands for. A View evaluates the request's
// conditions, and turns what a response shows into an observation to store.
package knowledge
