package etagcache

import (
	"strconv"
	"strings"
	"time"
)

// setSpent notes what the field s says (lua/prelude.lua), at the time now in ms. It reports
// false if it is unreadable, or says that a state is spent until later than last.
func (e *Entry) setSpent(s string, now, last int64) bool {
	if s == "" {
		return true
	}
	header, lines, _ := strings.Cut(s, "\n")
	count, latest, _ := strings.Cut(header, " ")
	_, err := strconv.Atoi(count) // only the scripts need it
	if ends, ok := stamp(latest); err != nil || !ok || ends > last {
		return false
	}
	for line := range strings.SplitSeq(lines, "\n") {
		stored, identities, _ := strings.Cut(line, " ")
		ends, ok := stamp(stored)
		if !ok || ends > last {
			return false
		}
		if ends <= now {
			continue
		}
		if e.Spent.list == nil {
			e.Spent.list = make(spentList, 0, len(lines)) // mostly enough
		}
		e.spendEach(identities, ends-now)
	}
	return true
}

// setHeld notes what the field h says. These states are spent for left more ms at least.
func (e *Entry) setHeld(h string, left int64) {
	if left > 0 {
		e.spendEach(h, left)
	}
}

// spendEach notes states that are separated by spaces. They are spent for left more ms at
// least.
func (e *Entry) spendEach(identities string, left int64) {
	d := time.Duration(left) * time.Millisecond
	for identity := range strings.SplitSeq(identities, " ") {
		switch identity {
		case "":
		case AnyState:
			e.Doubt = max(e.Doubt, d)
		default:
			e.Spent.list = e.Spent.list.append(identity, int64(d))
		}
	}
}

// spendable returns the identities as arguments of a script. Identities have no white
// space. What has may be any state.
func spendable(args []any, identities []string) []any {
	for _, identity := range identities {
		if strings.ContainsAny(identity, " \n") {
			identity = AnyState
		}
		args = append(args, identity)
	}
	return args
}
