// Package validator implements the validators and preconditions of HTTP:
// entity tags and modification dates (RFC 9110, section 8.8), the conditional
// request fields (section 13.1) and the order in which they are evaluated
// (section 13.2.2). It also implements the If field of WebDAV (RFC 4918, section 10.4), as far
// as that is about entity tags.
//
// The package does no I/O, is independent of any server or store, and uses only the
// standard library. Parsing and evaluation do not allocate, except for the If field.
//
// [Evaluate] is the main function. It compares the [Conditions] of a request with
// the current [Representation] of its target, and its [Result] says which response
// they call for, and why. Where being lenient would let through a write that the
// client asked to be refused, it is strict. [IfRange] decides between a range and
// the whole representation; unlike the other conditions, it never prevents the
// method from being performed.
package validator
