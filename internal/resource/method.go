package resource

import (
	"net/http"
	"slices"
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

// classify returns the class of a request and the method that it stands for. If
// either its method or an override is a write method, it is a write: nobody knows
// which of the two the backend obeys.
func classify(r *http.Request, overrides []string) (Class, string) {
	for _, method := range overrides {
		if ClassOf(method) == Write {
			return Write, method
		}
	}
	c := ClassOf(r.Method)
	if c == Read && r.Header.Get("Upgrade") != "" {
		return Other, r.Method
	}
	return c, r.Method
}

// maxOverrides is how many methods the override fields of a request may name. There
// are three such fields.
const maxOverrides = 16

// overrides returns every method, in upper case, that some backend may read in the
// override fields, which have these names. Some take the first member of a list (Express), some a whole line,
// the first line or the last. It reports false if a backend might read anything else.
func overrides(h http.Header, names []string) (methods []string, ok bool) {
	slices.Sort(names)
	for _, name := range names {
		for member := range strings.SplitSeq(strings.Join(h[name], ","), ",") {
			member = strings.Trim(member, " \t")
			if member == "" {
				continue
			}
			if strings.ContainsFunc(member, notInMethod) || len(methods) == maxOverrides {
				return nil, false
			}
			methods = append(methods, strings.ToUpper(member))
		}
	}
	return methods, true
}

// queryOverrides returns every method that writes, in upper case, that a parameter of the
// query asks for. Some applications obey it whatever the method (WordPress).
func queryOverrides(query string) (methods []string) {
	for parameter := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, value, _ := strings.Cut(parameter, "=")
		method := strings.ToUpper(strings.TrimSpace(unescape(value)))
		if strings.EqualFold(unescape(name), "_method") && ClassOf(method) == Write {
			methods = append(methods, method)
		}
	}
	return methods
}

// notInMethod reports whether a character occurs in no method that anybody uses. A
// backend may drop such a character, or end the method at it.
func notInMethod(c rune) bool {
	return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
}
