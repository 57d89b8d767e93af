package resource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/spelling"
)

// knownWrites are the write methods that are registered with IANA, and others in use.
var knownWrites = []string{
	"PUT", "POST", "PATCH", "DELETE",
	"ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY",
	"MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPPATCH", "REBIND", "UNBIND",
	"UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL",
	"PURGE", "BAN", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE",
}

// CheckRequired returns an error unless all methods can require a condition: write methods.
// What is one letter from a known method is taken for a slip.
func CheckRequired(methods []string) error {
	for i, m := range methods {
		upper := strings.ToUpper(m)
		switch {
		case upper == "ALL" || upper == "ANY" || upper == "*":
			return fmt.Errorf("%q is not a method: name the methods, such as PUT PATCH DELETE, for which require stands alone, too", m)
		case m == "" || strings.ContainsFunc(upper, notInMethod):
			return fmt.Errorf("%q is not a method: write one or more, separated by spaces", m)
		case ClassOf(upper) != Write:
			return fmt.Errorf("%s is not a write method, so it can't require a condition", upper)
		case upper != m:
			return fmt.Errorf("%q is not a method, because methods are upper-case: write %s", m, upper)
		case slices.Contains(methods[:i], m):
			return fmt.Errorf("%s is given twice", m)
		}
		if near := spelling.Nearest(m, knownWrites...); near != m && spelling.Slip(m, near) {
			return fmt.Errorf("%s is not a method (did you mean %s?)", m, near)
		}
	}
	return nil
}

// UnknownMethods returns those methods that nobody has heard of.
func UnknownMethods(methods []string) (unknown []string) {
	for _, m := range methods {
		if !slices.Contains(knownWrites, m) {
			unknown = append(unknown, m)
		}
	}
	return unknown
}
