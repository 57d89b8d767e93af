package application

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// verdict is the result of comparing the application's record with the answers
// that its customers got.
type verdict struct {
	application *application
	writes      map[string]attempt // by name

	lost     map[string][]string // writes that replaced a state that their client hadn't seen, by work
	needless map[string][]string // requests refused without a reason, by work
	wrong    []string            // answers that contradict the record
	excepted map[string]int      // losses that a documented limit explains
}

// judge compares the application's record with the answers that its customers got.
// All requests must have ended.
func judge(a *application, attempts []attempt) *verdict {
	v := &verdict{
		application: a, writes: make(map[string]attempt),
		lost: make(map[string][]string), needless: make(map[string][]string), excepted: make(map[string]int),
	}
	for _, at := range attempts {
		if at.name != "" {
			v.writes[at.name] = at
		}
	}
	for _, at := range attempts {
		c, applied := a.record[at.name]
		if at.name != "" && at.succeeded() != applied {
			v.wrong = append(v.wrong, fmt.Sprintf("%s; applied: %v", at, applied))
		}
		if c.seen != "" && c.seen != c.replaced {
			v.judgeLoss(at, c)
		}
		if at.alone && !at.undisturbed(c) || !at.alone && !at.succeeded() && !v.justified(at) {
			v.needless[at.work] = append(v.needless[at.work], at.String())
		}
	}
	return v
}

// judgeLoss judges a conditional write that replaced a state other than the one
// that its client had seen. It excepts two documented limits, if it can prove that
// nothing else changed in between:
//
//   - The job wrote after the handler asked the origin, and before the write.
//   - The price list changed, and that change had no answer yet when the write was
//     sent. The handler learns only from the answer that products have changed, too.
//     The edit of a product doesn't undo the change of the price list.
func (v *verdict) judgeLoss(at attempt, c change) {
	since := v.since(c)
	all := func(holds func(s state) bool) bool {
		return len(since) > 0 && !slices.ContainsFunc(since, func(s state) bool { return !holds(s) })
	}
	byJob := func(s state) bool { return s.byJob() && c.asked > 0 && s.from > c.asked }
	byPrices := func(s state) bool { return v.unannounced(s, at) }
	switch {
	case all(byJob):
		v.excepted["the job came between probe and write"]++
	case all(byPrices):
		v.excepted["the prices were being changed"]++
	default:
		v.lost[at.work] = append(v.lost[at.work], fmt.Sprintf("%s; applied %+v, after %+v", at, c, since))
	}
}

// unannounced reports whether a state comes from a change of the price list that
// was still unanswered when the attempt was made.
func (v *verdict) unannounced(s state, at attempt) bool {
	return v.application.record[s.cause].subject == "/prices" && v.writes[s.cause].back > at.call
}

// since returns the states of a change's subject between the state that the client
// had seen and the change.
func (v *verdict) since(c change) []state {
	states := v.application.states[c.subject]
	before := slices.IndexFunc(states, func(s state) bool { return s.from >= c.at })
	if before >= 0 {
		states = states[:before]
	}
	for i, s := range slices.Backward(states) {
		if s.digest == c.seen {
			return states[i+1:]
		}
	}
	return nil
}

// justified reports whether there was a reason to refuse an attempt on a contested
// resource. A 404 is justified if the resource was absent at some time during the
// attempt, a failed condition if the resource was in a different state. A failed
// condition is also justified if the store couldn't know yet about the state that
// it asks for: a state from the job, or from an unanswered change of the price list.
func (v *verdict) justified(at attempt) bool {
	failed := at.status == http.StatusPreconditionFailed && at.seen != ""
	if !failed && at.status != http.StatusNotFound {
		return false
	}
	states := v.application.states[canonical(at.subject)]
	for i, s := range states {
		last := i == len(states)-1
		current := s.from < at.back && (last || states[i+1].from > at.call)
		switch {
		case !failed && s.digest == absent && current,
			failed && s.digest != at.seen && current,
			failed && s.digest == at.seen && (s.byJob() || v.unannounced(s, at)):
			return true
		}
	}
	return false
}

// expectSound fails the test if an update was lost, a request was refused without a
// reason, or an answer contradicts the record.
func (v *verdict) expectSound(t *testing.T) {
	t.Helper()
	all := func(byWork map[string][]string) []string {
		return slices.Concat(slices.Collect(maps.Values(byWork))...)
	}
	for what, found := range map[string][]string{"lost": all(v.lost), "disturbed": all(v.needless), "wrong answer": v.wrong} {
		for i, f := range found {
			if i == 5 {
				t.Errorf("%s: %d more", what, len(found)-i)
				break
			}
			t.Errorf("%s: %s", what, f)
		}
	}
}

// figures summarizes the verdict.
func (v *verdict) figures(attempts []attempt) string {
	told, slowest := make(map[string]map[string]int), make(map[string]time.Duration)
	for _, at := range attempts {
		if told[at.work] == nil {
			told[at.work] = make(map[string]int)
		}
		told[at.work][fmt.Sprint(at.status, " ", at.outcome)]++
		slowest[at.work] = max(slowest[at.work], at.back-at.call)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d writes applied; excepted: %v", len(v.application.record), v.excepted)
	for _, work := range slices.Sorted(maps.Keys(told)) {
		fmt.Fprintf(&b, "\n\t%s: %v, %d lost, slowest answer %v", work, told[work], len(v.lost[work]), slowest[work].Round(time.Millisecond))
	}
	return b.String()
}
