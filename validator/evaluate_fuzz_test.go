package validator

import (
	"slices"
	"strings"
	"testing"
)

// FuzzEvaluate checks properties that all results have. Each field is given as its
// lines, separated by \n, or as "-" if it is absent. The member is added to lists.
func FuzzEvaluate(f *testing.F) {
	text := func(lines []string) string {
		if lines == nil {
			return "-"
		}
		return strings.Join(lines, "\n")
	}
	for i, tc := range evaluations(f) {
		c := tc.conditions
		f.Add(text(c.IfMatch), text(c.IfNoneMatch), text(c.IfModifiedSince), text(c.IfUnmodifiedSince), etagTests[i%len(etagTests)].in)
	}
	lines := func(text string) []string {
		if text == "-" {
			return nil
		}
		return strings.Split(text, "\n")
	}
	f.Fuzz(func(t *testing.T, im, inm, ims, ius, member string) {
		c := Conditions{IfMatch: lines(im), IfNoneMatch: lines(inm), IfModifiedSince: lines(ims), IfUnmodifiedSince: lines(ius)}
		_ = c.CheckSize()
		for _, r := range representations {
			for _, method := range []string{"GET", "PUT"} {
				res := Evaluate(method, c, r, now)
				checkResult(t, method, c, r, res)
				checkAddition(t, method, c, r, res, member)
			}
		}
	})
}

// checkResult checks that the parts of a result are consistent.
func checkResult(t *testing.T, method string, c Conditions, r Representation, res Result) {
	t.Helper()
	fail := func(why string) {
		t.Helper()
		t.Errorf("%s %+v of %+v: %s: %s", method, c, r, describe(res), why)
	}
	if (res.Verdict == Unconditional) != (res.Field == None) {
		fail("a verdict without a field, or a field without a verdict")
	}
	if c.Empty() && res != (Result{}) {
		fail("a result without a condition")
	}
	if !c.Empty() && res.Verdict == Unconditional && (res.Ignored == 0 || res.Reason == NoCondition) {
		fail("conditions dropped without a reason")
	}
	if res.Verdict == NotModified && method != "GET" {
		fail("304 to a write")
	}
	if res.Ignored.Has(res.Field) {
		fail("the field that decided is in Ignored")
	}
	if r.State == Absent && res.Verdict == Unverifiable {
		fail("unverifiable although the representation is known to be absent")
	}
	if c.IfMatch != nil && res.Verdict != False && r.State == Absent {
		fail("If-Match is true although there is no representation")
	}
	if method == "GET" && c.IfMatch == nil && res.Field != IfUnmodifiedSince && res.Verdict == False {
		fail("412 to a read without If-Match or If-Unmodified-Since")
	}
	listed := c.IfMatch
	if res.Field == IfNoneMatch {
		listed = c.IfNoneMatch
	}
	if at := strings.Join(listed, ", ")[res.Offset:]; res.Matched.Valid && !slices.ContainsFunc(members(listed), func(m listMember) bool {
		return m.text == res.Matched.String()
	}) {
		fail("the tag that matched isn't listed")
	} else if res.Reason == WildcardInList && !strings.HasPrefix(at, "*") {
		fail("no wildcard there")
	} else if res.Reason == Malformed && (at == "" || strings.HasPrefix(at, ",") || strings.TrimLeft(at, " \t") != at) {
		fail("no member there")
	}
}

// checkAddition checks that a further member never makes a false condition true.
func checkAddition(t *testing.T, method string, c Conditions, r Representation, before Result, member string) {
	t.Helper()
	added := c
	tag, isTag := ParseETag(member)
	if c.IfMatch != nil && len(members([]string{member})) > 0 && !isTag && !holdsTag(member) {
		added.IfMatch = append(slices.Clone(c.IfMatch), member)
		if after := Evaluate(method, added, r, now); before.Verdict == False && after.Verdict != False {
			t.Errorf("%s %+v of %+v: %s, but %s with %q in If-Match", method, c, r, describe(before), describe(after), member)
		}
	}
	added = c
	if c.IfNoneMatch != nil && method == "PUT" {
		added.IfNoneMatch = append(slices.Clone(c.IfNoneMatch), member)
		if after := Evaluate(method, added, r, now); before.Verdict == False && after.Verdict != False {
			t.Errorf("%s %+v of %+v: %s, but %s with %q in If-None-Match", method, c, r, describe(before), describe(after), member)
		}
	}
	if c.IfMatch == nil && isTag { // a tag compared with itself
		same := Representation{State: Present, ETag: tag}
		if got := Evaluate("PUT", Conditions{IfMatch: []string{member}}, same, now); (got.Verdict == True) == tag.Weak {
			t.Errorf("If-Match: %s compared with itself: %s", member, describe(got))
		}
		if got := Evaluate("GET", Conditions{IfNoneMatch: []string{member}}, same, now); got.Verdict != NotModified {
			t.Errorf("If-None-Match: %s compared with itself: %s", member, describe(got))
		}
	}
}

// holdsTag reports whether one of the members in text is an entity tag.
func holdsTag(text string) bool {
	return slices.ContainsFunc(members([]string{text}), func(m listMember) bool {
		_, ok := ParseETag(m.text)
		return ok
	})
}
