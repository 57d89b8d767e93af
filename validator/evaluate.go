package validator

import (
	"net/http"
	"time"
)

// Evaluate evaluates the preconditions of a request against the current
// representation r of its target, in the order of RFC 9110, section 13.2.2. It uses
// now, the current time, to interpret dates with two-digit years.
//
// GET and HEAD are reads; every other method counts as a write. The caller must
// check that the method can have preconditions at all, and that the response would
// be a success without them (section 13.2.1).
//
// The lines of a field form one list. A member that is not an entity tag matches
// nothing and doesn't end the list. If the If-None-Match of a write has such a
// member, or has "*" beside other members, the write is refused, because ignoring
// the condition would overwrite something. A tag that was marked on its way to the
// client matches too; see [ETag.Unmarked].
//
// The If field of RFC 4918 comes last, and also decides about a read that the others answer
// with 304. Only its conditions on entity tags are evaluated: it is true as far as they go.
//
// If a request has several conditions, the first one that is false or can't be
// verified decides.
func Evaluate(method string, c Conditions, r Representation, now time.Time) Result {
	if r.State != Present {
		r = Representation{State: r.State}
	}
	read := method == http.MethodGet || method == http.MethodHead

	var res Result
	switch { // steps 1 and 2
	case c.IfMatch != nil:
		res.add(IfMatch, ifMatch(c.IfMatch, c.Weak, r))
		if c.IfUnmodifiedSince != nil {
			res.ignore(IfUnmodifiedSince)
		}
	case c.IfUnmodifiedSince != nil:
		res.add(IfUnmodifiedSince, ifUnmodifiedSince(c.IfUnmodifiedSince, r, read, now))
	}
	if res.Verdict != Unconditional && res.Verdict != True {
		return res
	}

	switch { // steps 3 and 4
	case c.IfNoneMatch != nil:
		res.add(IfNoneMatch, ifNoneMatch(c.IfNoneMatch, r, read))
		if c.IfModifiedSince != nil {
			res.ignore(IfModifiedSince)
		}
	case c.IfModifiedSince != nil:
		res.add(IfModifiedSince, ifModifiedSince(c.IfModifiedSince, r, read, now))
	}
	if read && res.Verdict == False {
		res.Verdict = NotModified
	}
	if c.If.HasTags() && res.Verdict != False && res.Verdict != Unverifiable {
		if states := c.If.evaluate(c.Weak, r); res.Verdict != NotModified || states.Verdict != True {
			res.add(If, states)
		}
	}
	return res
}

// Undecided reports whether a validator that r lacks could change the result of
// Evaluate. A response to HEAD may lack validators that a response to GET has (RFC
// 9110, section 9.3.2).
func Undecided(method string, c Conditions, r Representation, now time.Time) bool {
	first := Evaluate(method, Conditions{IfMatch: c.IfMatch, IfUnmodifiedSince: c.IfUnmodifiedSince, Weak: c.Weak}, r, now)
	switch {
	case first.Verdict == Unverifiable, first.Reason == NoDate:
		return true
	case first.Verdict == False:
		return false
	}
	second := Evaluate(method, Conditions{IfNoneMatch: c.IfNoneMatch, IfModifiedSince: c.IfModifiedSince}, r, now)
	if second.Reason == NotKnown || second.Reason == NoDate {
		return true
	}
	return c.If.HasTags() && c.If.evaluate(c.Weak, r).Verdict == Unverifiable
}

// ifMatch is true if there is a current representation whose tag is listed, in
// a strong comparison (section 13.1.1), unless weak says otherwise.
func ifMatch(lines []string, weak WeakTags, r Representation) Result {
	if IsWildcard(lines) {
		return exists(r.State, True, False)
	}
	t := compareTags(lines, r.ETag, weak.comparison(r.ETag))
	t.strong = t.strong || t.any && weak.count()
	switch {
	case t.matched.Valid:
		return Result{Verdict: True, Reason: Matched, Matched: t.matched}
	case r.State == Absent:
		return Result{Verdict: False, Reason: DoesNotExist}
	case t.strong && !r.ETag.Valid:
		return Result{Verdict: Unverifiable, Reason: NotKnown}
	case t.fault != NoCondition:
		return Result{Verdict: False, Reason: t.fault, Offset: t.offset}
	case !t.any:
		return Result{Verdict: False, Reason: EmptyList}
	case r.ETag.Weak && !weak.Current:
		return Result{Verdict: False, Reason: WeakCurrent}
	case t.weak && compareTags(lines, r.ETag, WeakMatch).matched.Valid:
		return Result{Verdict: False, Reason: Weakened}
	case !t.strong:
		return Result{Verdict: False, Reason: WeakListed}
	default:
		return Result{Verdict: False, Reason: NoMatch}
	}
}

// ifNoneMatch is false if there is a current representation whose tag is
// listed, in a weak comparison (section 13.1.2).
func ifNoneMatch(lines []string, r Representation, read bool) Result {
	if IsWildcard(lines) {
		return exists(r.State, False, True)
	}
	t := compareTags(lines, r.ETag, WeakMatch)
	if uncoded, coded := r.ETag.WithoutCoding(); read && coded && !t.matched.Valid {
		// The current tag itself ends like a mark. A server in front that
		// compresses responses may have removed that from the listed tag.
		if listed := compareTags(lines, uncoded, WeakMatch).matched; WeakMatch(listed, uncoded) {
			t.matched = r.ETag
		}
	}
	switch {
	case t.matched.Valid:
		return Result{Verdict: False, Reason: Matched, Matched: t.matched}
	case t.fault != NoCondition && !read:
		return Result{Verdict: False, Reason: t.fault, Offset: t.offset}
	case t.fault == NoCondition && !t.any:
		return Result{Reason: EmptyList}
	case r.State == Absent:
		return Result{Verdict: True, Reason: DoesNotExist}
	case !t.any || r.ETag.Valid:
		return Result{Verdict: True, Reason: NoMatch}
	case r.State == Present && read: // sending the content is always correct
		return Result{Verdict: True, Reason: NotKnown}
	default:
		return Result{Verdict: Unverifiable, Reason: NotKnown}
	}
}

// ifUnmodifiedSince is false if the representation was modified after the date
// (section 13.1.4).
func ifUnmodifiedSince(lines []string, r Representation, read bool, now time.Time) Result {
	res := modifiedSince(lines, r, now)
	switch {
	case res.Reason == Modified:
		res.Verdict = False
	case res.Reason == Unmodified && r.WeakDate && !read:
		return Result{Verdict: Unverifiable, Reason: WeakDate}
	case res.Reason == Unmodified:
		res.Verdict = True
	}
	return res
}

// ifModifiedSince is false if the representation was not modified after the
// date (section 13.1.3).
func ifModifiedSince(lines []string, r Representation, read bool, now time.Time) Result {
	if !read {
		return Result{Reason: ReadsOnly}
	}
	res := modifiedSince(lines, r, now)
	switch res.Reason {
	case Modified:
		res.Verdict = True
	case Unmodified:
		res.Verdict = False
	}
	return res
}

// exists returns the verdict on "*".
func exists(s State, present, absent Verdict) Result {
	switch s {
	case Present:
		return Result{Verdict: present, Reason: Exists}
	case Absent:
		return Result{Verdict: absent, Reason: DoesNotExist}
	default:
		return Result{Verdict: Unverifiable, Reason: NotKnown}
	}
}

// modifiedSince reports whether the representation was modified after the date in
// the field, as Reason Modified or Unmodified. The caller adds the Verdict for
// these. With any other Reason, the condition is Unverifiable or must be ignored.
func modifiedSince(lines []string, r Representation, now time.Time) Result {
	if len(lines) != 1 {
		return Result{Reason: InvalidDate}
	}
	date, ok := ParseDate(trimOWS(lines[0]), now)
	switch {
	case !ok:
		return Result{Reason: InvalidDate}
	case r.State == Unknown:
		return Result{Verdict: Unverifiable, Reason: NotKnown}
	case r.LastModified.IsZero():
		return Result{Reason: NoDate}
	case r.LastModified.Unix() > date.Unix():
		return Result{Reason: Modified}
	default:
		return Result{Reason: Unmodified}
	}
}

// A comparison is the outcome of comparing a list of tags with the current one.
type comparison struct {
	matched ETag   // the listed tag that matches, or else the first that does without its mark
	any     bool   // a tag is listed
	strong  bool   // a strong tag is listed
	weak    bool   // a weak tag is listed
	fault   Reason // what is wrong with the first member that is not a tag, or NoCondition
	offset  int    // of that member
}

// compareTags compares the listed tags with the current one. It stops at a tag that
// matches without removing a mark.
func compareTags(lines []string, current ETag, match func(a, b ETag) bool) comparison {
	var c comparison
	members := list{lines: lines}
	for member, offset, ok := members.next(); ok; member, offset, ok = members.next() {
		tag, isTag := ParseETag(member)
		switch {
		case isTag:
			c.any = true
			c.strong, c.weak = c.strong || !tag.Weak, c.weak || tag.Weak
		case c.fault != NoCondition:
			// Only the first such member is reported.
		case member == "*":
			c.fault, c.offset = WildcardInList, offset
		default:
			c.fault, c.offset = Malformed, offset
		}
		if !current.Valid {
			continue // nothing matches
		}
		if match(tag, current) {
			c.matched = tag
			return c
		}
		unmarked := tag.Unmarked()
		if !c.matched.Valid && (match(unmarked[0], current) || match(unmarked[1], current)) {
			c.matched = tag
		}
	}
	return c
}
