package resource

import (
	"net/http"
	"strings"
)

// Class is what a method means to preconditions.
type Class uint8

const (
	// Other methods neither select nor modify a representation, or are safe
	// without being GET or HEAD. They pass untouched.
	Other Class = iota
	// Read methods select a representation: GET and HEAD.
	Read
	// Write methods may modify the resource. Unknown methods count as writes.
	Write
)

// ClassOf classifies a method. The safe methods are those of the IANA registry
// of HTTP methods.
func ClassOf(method string) Class {
	switch method {
	case http.MethodGet, http.MethodHead:
		return Read
	case http.MethodOptions, http.MethodTrace, http.MethodConnect,
		"PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI":
		return Other
	default:
		return Write
	}
}

// overrideFields are the request fields that ask a backend to treat the request as
// if it had a different method.
var overrideFields = [...]string{"X-Http-Method-Override", "X-Method-Override", "X-Http-Method"}

// classify returns the class of a request and the method that it stands for. If
// either its method or an override is a write method, it is a write: nobody knows
// which of the two the backend obeys.
func classify(r *http.Request) (Class, string) {
	for _, method := range overrides(r) {
		if method != "" && ClassOf(method) == Write {
			return Write, method
		}
	}
	c := ClassOf(r.Method)
	if c == Read && r.Header.Get("Upgrade") != "" {
		return Other, r.Method
	}
	return c, r.Method
}

// overrides returns the methods that the override fields of a request name.
func overrides(r *http.Request) (methods []string) {
	for _, name := range overrideFields {
		for _, value := range r.Header[name] {
			methods = append(methods, strings.ToUpper(strings.TrimSpace(value)))
		}
	}
	return methods
}
