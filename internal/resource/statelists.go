package resource

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/validator"
)

// ifField is the field whose lists may be about entity tags (RFC 4918, section 10.4).
const ifField = "If"

// Why nobody can tell what an If field is about, and what to send instead.
const (
	unclearLists    = "its If field is malformed, or has several lines. Send one field as RFC 4918, section 10.4, says"
	unclearResource = "its If field has the entity tag of a resource that isn't on this site, or that has several spellings. " +
		"Send the URL of the resource as in a request for it"
	unclearRead = "its If field has the entity tag of another resource than the one that it reads"
)

// readStateLists reads the If field of a read or write. Its conditions on state tokens are for
// the backend alone, which gives them out. A field without entity tags stays as it is, even if
// it is malformed.
func (n *Namer) readStateLists(r *Request) {
	lines := r.Fields[ifField]
	if r.Class == Other || len(lines) == 0 {
		return
	}
	mayHaveTags := slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "[") })
	lists, err := validator.ParseStateLists(lines[0])
	switch {
	case errors.Is(err, validator.ErrTooLarge):
		r.oversized = true
	case len(lines) > 1 || err != nil:
		if mayHaveTags {
			r.Unclear = unclearLists
		}
	case lists.HasTags():
		r.Submits = lists.Requires()
		n.locateLists(r, lists)
		if r.Class == Read && r.StateSubjects != nil {
			r.Unclear = unclearRead
		}
		r.Conditions.If = lists
		readConditions(r)
	default:
		r.Submits = lists.Requires()
	}
}

// locateLists finds out which resources the lists are about that have entity tags.
func (n *Namer) locateLists(r *Request, lists *validator.StateLists) {
	for i := range lists.Lists {
		l := &lists.Lists[i]
		if l.Resource == "" || !hasTags(*l) {
			continue
		}
		original, ok := r.OnThisHost(l.Resource)
		if !ok {
			r.Unclear = unclearResource
			return
		}
		if original.RequestURI() == r.OriginalTarget {
			continue
		}
		current, ok := r.Current(original)
		if !ok || !IsPlain(original) || !IsPlain(current) {
			r.Unclear = unclearResource
			return
		}
		other := n.At(r, original, current)
		if other.Key == n.Own(r).Key {
			r.Unclear = unclearResource // it may be the target, in a different spelling
			return
		}
		l.Other = 1 + slices.IndexFunc(r.StateSubjects, func(s Subject) bool { return s.Key == other.Key })
		if l.Other == 0 {
			r.StateSubjects = append(r.StateSubjects, other)
			l.Other = len(r.StateSubjects)
		} else if r.StateSubjects[l.Other-1].OriginalTarget != other.OriginalTarget {
			r.Unclear = unclearResource
			return
		}
	}
	if len(r.StateSubjects) > maxStateSubjects {
		r.oversized = true
	}
}

// maxStateSubjects is how many other resources an If field may be about: a COPY or MOVE has
// one destination, and a parent or two.
const maxStateSubjects = 4

func hasTags(l validator.StateList) bool {
	return slices.ContainsFunc(l.Conditions, func(c validator.StateCondition) bool { return c.Tag != "" })
}

// OnThisHost resolves a reference against the original target. It reports false if that is on
// another host. The scheme doesn't count: a proxy in front may terminate TLS.
func (r *Request) OnThisHost(reference string) (*url.URL, bool) {
	target, ok := r.Resolve(reference)
	if !ok || target.User != nil || target.Fragment != "" {
		return nil, false
	}
	_, known := r.Origin()
	return target, strings.EqualFold(target.Host, r.Host) || strings.EqualFold(target.Host, known)
}
