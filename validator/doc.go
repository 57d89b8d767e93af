// Package validator implements the validators and preconditions of HTTP:
// entity tags and modification dates (RFC 9110, section 8.8), the conditional
// request fields (section 13.1) and the order in which they are evaluated
// (section 13.2.2).
//
// It does no I/O, knows neither a server nor a store, and uses nothing but the
// standard library. Parsing and evaluation do not allocate.
//
// [Evaluate] is the way in. It is strict where leniency would perform a write
// that the client wanted to be refused, and says why and where a condition
// failed. [IfRange] is for those who send ranges: it never keeps a method from
// being performed.
package validator
