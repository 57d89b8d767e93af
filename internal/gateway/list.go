package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/concurrently"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// ItemRule says where a list contains items that are resources of their own.
type ItemRule struct {
	array  proxyhooks.Pointer
	path   proxyhooks.ItemPath
	member string
}

// foreignVariable matches what stands for a part of a path elsewhere.
var foreignVariable = regexp.MustCompile(`/(?:[:<*]+(?:\w+:)?(\w*)>?)(?:$|/)`)

// DefaultMember is the member of an item that gets its tag.
const DefaultMember = "etag"

// ParseItemRule parses a rule from the configuration. An empty member means etag.
func ParseItemRule(array, path, member string) (r ItemRule, err error) {
	r.member = cmp.Or(member, DefaultMember)
	if r.array, err = proxyhooks.ParsePointer(array); err != nil {
		return r, fmt.Errorf("array %q %w", array, err)
	}
	if found := foreignVariable.FindStringSubmatch(path); found != nil {
		return r, fmt.Errorf("path %q takes %s literally: write {%s}, the name of a member of the item", path, found[0][1:], cmp.Or(found[1], "id"))
	}
	if r.path, err = proxyhooks.ParseItemPath(path); err != nil {
		return r, fmt.Errorf("path %q %w", path, err)
	}
	return r, nil
}

const (
	// maxItems is the number of items of a list that can get their tags.
	maxItems = 1000
	// maxItemReads is the number of items that are read from the store at once.
	maxItemReads = 16
	// maxItemProbes limits the number of items for which the origin is asked,
	// maxItemProbesAtOnce the number at once.
	maxItemProbes       = 64
	maxItemProbesAtOnce = 4
)

// item is an item of a list, with what is known of the resource that it shows.
//
// The tag that an item gets can't make a client overwrite a change that it hasn't
// seen, whatever happens between the moment at which the list was made and a
// write, and whatever the store says. The tag is a hash of what the list shows of
// the item, and of nothing else. A write with that tag in If-Match is let through
// only if it is the tag of what the write replaces. Then that, too, has the hash,
// so it is what the client has seen (with the source json, all that counts of
// it). The store and the origin only say whether the tag can be of use: a list
// that lags behind, or shows only a part of an item, gets no tag that can't match.
type item struct {
	proxyhooks.Item
	member string
	reader *knowledge.Reader

	candidates []validator.ETag // the tags that the item may have
	certain    bool             // whether the first one is its tag for sure

	view  knowledge.View
	known bool           // whether the store could be asked
	open  bool           // whether only the origin can tell the tag
	tag   validator.ETag // to put into the list; invalid for none
}

// lists reports whether the response may be a list.
func (rd *reading) lists() bool {
	return rd.Items != nil && !rd.request.Signed && !rd.request.PathUnclear
}

// tagItems returns the content of a list with the tags of its items in it. It also
// changes the validators of the representation. Different bytes have a different
// tag. They have no date, because the same list with other tags in it would share
// that date.
func (rd *reading) tagItems(status int, header http.Header, r *validator.Representation, content []byte) ([]byte, bool) {
	if !rd.lists() || !proxyhooks.AcceptsInsertions(status, header) {
		return nil, false
	}
	if rd.r.Method == http.MethodHead {
		if !rd.Deriver.TooLarge(header) { // the content of a GET may differ in what these describe (RFC 9110, section 8.6)
			answer.RemoveContentMetadata(header)
		}
		return nil, false
	}
	insertions := (&list{rd, header, content}).insertions()
	if len(insertions) == 0 {
		return nil, false
	}
	tagged, digest := proxyhooks.Insert(content, insertions)
	if !rd.memory.Take(int64(len(tagged))) {
		return nil, false
	}
	answer.RemoveContentMetadata(header)
	header["Content-Length"] = []string{strconv.Itoa(len(tagged))}
	delete(header, "Last-Modified")
	r.LastModified, r.WeakDate = time.Time{}, false
	if r.ETag.Valid {
		r.ETag = r.ETag.WithItems(digest)
		header["Etag"] = []string{r.ETag.String()}
	}
	return tagged, true
}

// list is the response to a GET that may be a list.
type list struct {
	*reading
	header  http.Header
	content []byte
}

// insertions returns the tags to put into the list.
func (l *list) insertions() (insertions []proxyhooks.Insertion) {
	if !utf8.Valid(l.content) || !json.Valid(l.content) {
		return nil
	}
	items := l.items()
	concurrently.Do(maxItemReads, items, (*item).decide)
	l.probeItems(slices.DeleteFunc(slices.Clone(items), func(i *item) bool { return !i.open }))
	for _, i := range items {
		if i.tag.Valid {
			insertions = append(insertions, i.Insertion(i.member, i.tag))
		}
	}
	return insertions
}

// items returns the items that may get a tag.
func (l *list) items() (items []*item) {
	left := maxItems
	for _, rule := range l.Items {
		found := proxyhooks.Items(l.content, rule.array, left)
		left -= len(found)
		for _, one := range found {
			if i := l.item(rule, one); i != nil {
				items = append(items, i)
			}
		}
	}
	return items
}

// item returns an item of the list, or nil if it can't or mustn't get a tag.
func (l *list) item(rule ItemRule, found proxyhooks.Item) *item {
	i := &item{Item: found, member: rule.member}
	i.candidates, i.certain = l.Deriver.ItemTags(l.header, found.JSON)
	if len(i.candidates) == 0 || found.Has(rule.member) {
		return nil
	}
	original, current, ok := l.locate(rule.path, found)
	if !ok {
		return nil
	}
	subject := l.Namer.At(l.request, original, current)
	if subject.Key == l.plan.Subject.Key {
		return nil
	}
	i.reader = &knowledge.Reader{Config: l.Config, Share: l.share, Request: l.request, Subject: subject}
	return i
}

// locate returns the target of an item: as the client would send it, and as the
// handler would get it. It reports false if that isn't known.
func (l *list) locate(path proxyhooks.ItemPath, i proxyhooks.Item) (original, current *url.URL, ok bool) {
	reference, ok := path.Of(i.JSON)
	if !ok {
		return nil, nil, false
	}
	if path.Template() {
		var err error
		if current, err = url.ParseRequestURI(reference); err != nil {
			return nil, nil, false
		}
		original, ok = l.request.Original(current)
	} else if original, ok = l.request.SameOrigin(reference); ok {
		current, ok = l.request.Current(original)
	}
	return original, current, ok && resource.IsPlain(original) && resource.IsPlain(current)
}

// decide gives the item its tag, or no tag, or leaves the decision to the origin.
func (i *item) decide() {
	var err error
	i.view, err = i.reader.Read()
	i.known = err == nil
	switch stored := i.view.Stored(); {
	case i.known && !i.view.Busy() && stored.State != validator.Unknown:
		i.take(stored.Observed)
	case i.certain:
		i.tag = i.candidates[0]
	default:
		// While a write is in flight, what the origin shows may be over before the
		// client has it.
		i.open = !i.view.Busy()
	}
}

// take gives the item the tag of its current representation, if that may be what
// the list shows.
func (i *item) take(current validator.Observed) {
	if slices.Contains(i.candidates, current.ETag) {
		i.tag = current.ETag
	}
}

// probeItems asks the origin for items. It takes no longer than a write waits for
// others: the list is already here, and one slow item must not hold it back. The
// probes then end as if the client had gone away, and no proxy takes that for a
// failure of its backend. It sends no credentials that are good for one request only.
func (l *list) probeItems(items []*item) {
	if l.request.OneTime != nil {
		return
	}
	ctx, cancel := context.WithCancel(l.base.Context())
	defer cancel()
	defer time.AfterFunc(l.Wait, cancel).Stop()
	base := l.base.WithContext(ctx)
	concurrently.Do(maxItemProbesAtOnce, items[:min(len(items), maxItemProbes)], func(i *item) { l.probeItem(i, base) })
}

// probeItem asks the origin for an item and stores what the response shows. It
// doesn't store that an item is absent: an item of a list exists somewhere, if not
// for this client or behind these handlers. Base is the request for the list,
// before next changed it.
func (l *list) probeItem(i *item, base *http.Request) {
	r := i.reader.Subject.Request(base)
	memory := l.memory.Part()
	defer memory.Close()
	begun := time.Now()
	p := proxyhooks.Probe(r.Context(), l.next, r, counting(l.Deriver, memory), l.Buffer)
	noteProbe(l.responder.Course, begun, p)
	l.warnOfSession(p.Header)
	if !p.Observed.ETag.Valid || p.Cached {
		return
	}
	if o, ok := i.view.Observation(p.Observed, p.Header); ok && i.known {
		_ = i.view.Store(o)
	}
	if i.view.Past(p.Observed) == knowledge.NotPast {
		i.take(p.Observed)
	}
}
