package preconditions

import (
	"net/http"
	"strings"
)

// class is what a method means to preconditions.
type class uint8

const (
	// classOther neither selects nor modifies a representation, or is safe
	// without being a GET: it passes untouched.
	classOther class = iota
	// classRead selects a representation.
	classRead
	// classWrite may modify the resource. Unknown methods are writes.
	classWrite
)

// methodClass classifies a method. The safe ones are those of the IANA registry
// of HTTP methods.
func methodClass(method string) class {
	switch method {
	case http.MethodGet, http.MethodHead:
		return classRead
	case http.MethodOptions, http.MethodTrace, http.MethodConnect,
		"PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI":
		return classOther
	default:
		return classWrite
	}
}

// overrides are the fields by which a client has a backend take a request for
// another method than it was sent with.
var overrides = [...]string{"X-Http-Method-Override", "X-Method-Override", "X-Http-Method"}

// classify returns the class of a request and the method that it stands for. A
// request that either method makes a write is one: which of them the backend
// goes by is not known.
func classify(r *http.Request) (class, string) {
	for _, method := range overriding(r) {
		if method != "" && methodClass(method) == classWrite {
			return classWrite, method
		}
	}
	c := methodClass(r.Method)
	if c == classRead && r.Header.Get("Upgrade") != "" {
		return classOther, r.Method
	}
	return c, r.Method
}

// overriding returns the methods that the override fields of a request name.
func overriding(r *http.Request) (methods []string) {
	for _, name := range overrides {
		for _, value := range r.Header[name] {
			methods = append(methods, strings.ToUpper(strings.TrimSpace(value)))
		}
	}
	return methods
}
