package preconditions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// Items tells where a list shows resources of their own.
type Items struct {
	// Where the array of the items is in the content of the list: a JSON pointer
	// (RFC 6901), which is empty if the content is that array.
	Array string `json:"array"`

	// Where an item is. A template (RFC 6570, level 1), such as `/orders/{id}`:
	// its path as it is when the handler sees it, in which the variables stand for
	// members of the item that are strings or whole numbers. Or, without a brace,
	// a JSON pointer in the item to a reference of the same origin.
	Path string `json:"path"`

	// The member that gets the tag. An item that has it keeps its own. Default:
	// `etag`.
	Member string `json:"member,omitempty"`
}

// itemRule is what Items means.
type itemRule struct {
	array  proxyhooks.Pointer
	path   proxyhooks.ItemPath
	member string
}

func (o Items) rule() (r itemRule, err error) {
	r.member = cmp.Or(o.Member, "etag")
	if r.array, err = proxyhooks.ParsePointer(o.Array); err != nil {
		return r, fmt.Errorf("array %q %w", o.Array, err)
	}
	if r.path, err = proxyhooks.ParseItemPath(o.Path); err != nil {
		return r, fmt.Errorf("path %q %w", o.Path, err)
	}
	return r, nil
}

// itemRules returns what the option means.
func itemRules(options []Items) ([]itemRule, error) {
	var rules []itemRule
	for i, o := range options {
		r, err := o.rule()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(options[:i], func(other Items) bool { return other.Array == o.Array }) {
			return nil, fmt.Errorf("array %q is given twice", o.Array)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (h *Handler) checkItems() error {
	if _, err := itemRules(h.Items); err != nil || len(h.Items) == 0 {
		return err
	}
	list, err := sources(h.ETag)
	if err == nil && !(proxyhooks.Deriver{Sources: list}).TagsItems() {
		return errors.New("neither json nor body is among the sources of etag: a list doesn't show what the others make tags of")
	}
	return nil
}

const (
	// maxItems is how many items of a list get their tags.
	maxItems = 1000
	// itemReads is how many of them are read from the store at once.
	itemReads = 16
	// maxItemProbes is for how many of them the origin is asked, and itemProbes for
	// how many at once.
	maxItemProbes = 64
	itemProbes    = 4
)

// listed is an item of a list, with the exchange that a GET of it would be.
//
// This is why the tag that an item gets can't have a client overwrite a change
// that it hasn't seen, whatever happens between the moment at which the list was
// made and a write, and whatever the store says. The tag is a hash of what the
// list shows of the item, and of nothing else. A write with that tag in If-Match
// is let through only if it is the tag of what the write replaces: then that, too,
// has the hash, so that it is what the client has seen (with the source json, all
// that counts of it). What the store and the origin say is no more than whether
// the tag may be of use: that keeps tags from lists which can't match, as the list
// lags behind or shows a part of the item only.
type listed struct {
	*exchange
	proxyhooks.Item
	member string
	asked  *url.URL // where it is, as the client asks for it
	here   *url.URL // and as that comes here

	tags    []validator.ETag // of which it may have one
	certain bool
	told    bool           // whether the store has told what it knows
	open    bool           // whether it is for the origin to say
	tag     validator.ETag // that it gets
}

// lists reports whether the response may be a list.
func (rd *reading) lists() bool { return rd.h.items != nil && !rd.signed }

// extend has the response sent with the tags of the items in it. It returns the
// content and the representation that this is then: with other bytes comes another
// tag, and no date, since the bytes of another time, with other tags in them, would
// have the same.
func (rd *reading) extend(status int, header http.Header, r validator.Representation, content []byte) (validator.Representation, []byte) {
	if !rd.lists() || !proxyhooks.Extensible(status, header) {
		return r, content
	}
	if rd.r.Method == http.MethodHead {
		if !rd.h.deriver.TooLarge(header) { // a GET may have otherwise what describes its content (RFC 9110, section 8.6)
			removeContentMetadata(header)
		}
		return r, content
	}
	insertions := rd.insertions(header, content)
	if len(insertions) == 0 {
		return r, content
	}
	extended, digest := proxyhooks.Insert(content, insertions)
	removeContentMetadata(header)
	header["Content-Length"] = []string{strconv.Itoa(len(extended))}
	delete(header, "Last-Modified")
	r.LastModified, r.WeakDate = time.Time{}, false
	if r.ETag.Valid {
		r.ETag = r.ETag.WithItems(digest)
		header["Etag"] = []string{r.ETag.String()}
	}
	rd.instead = func() error {
		rd.w.WriteHeader(status)
		_, err := rd.w.Write(extended)
		return err
	}
	return r, extended
}

// removeContentMetadata removes what describes the bytes of the content, and the
// offer to send parts of them.
func removeContentMetadata(h http.Header) {
	for _, name := range [...]string{"Content-Length", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges"} {
		delete(h, name)
	}
}

// insertions returns what is to be put into a list.
func (rd *reading) insertions(header http.Header, content []byte) (insertions []proxyhooks.Insertion) {
	if !utf8.Valid(content) || !json.Valid(content) {
		return nil
	}
	items := rd.items(header, content)
	concurrently(itemReads, items, (*listed).decide)
	rd.probe(slices.DeleteFunc(slices.Clone(items), func(i *listed) bool { return !i.open }))
	for _, i := range items {
		if i.tag.Valid {
			insertions = append(insertions, i.Insertion(i.member, i.tag))
		}
	}
	return insertions
}

// items returns the items of a list that may get a tag.
func (rd *reading) items(header http.Header, content []byte) (items []*listed) {
	left := maxItems
	for _, rule := range rd.h.items {
		found := proxyhooks.Items(content, rule.array, left)
		left -= len(found)
		for _, item := range found {
			if i := rd.item(rule, item, header); i != nil {
				items = append(items, i)
			}
		}
	}
	return items
}

// item returns an item, or nil where it can't get a tag, or must not.
func (rd *reading) item(rule itemRule, item proxyhooks.Item, header http.Header) *listed {
	i := &listed{exchange: new(*rd.exchange), Item: item, member: rule.member}
	i.tags, i.certain = rd.h.deriver.ItemTags(header, item.JSON)
	if len(i.tags) == 0 || item.Has(rule.member) || !i.find(rule.path) {
		return nil
	}
	i.key, i.target = rd.keyOf(i.asked, i.here), i.here.RequestURI()
	if i.key == rd.key {
		return nil
	}
	i.called = i.asked.RequestURI()
	i.above = rd.ancestors(i.here.Path)
	return i
}

// find finds out where the item is.
func (i *listed) find(path proxyhooks.ItemPath) bool {
	reference, ok := path.Of(i.JSON)
	if !ok {
		return false
	}
	if path.Template() {
		var err error
		if i.here, err = url.ParseRequestURI(reference); err != nil {
			return false
		}
		i.asked, ok = i.askedAs(i.here)
	} else if i.asked, ok = i.sameOrigin(reference); ok {
		from, to := i.replaced()
		i.here, ok = moved(i.asked, from, to)
	}
	return ok && !hasDots(i.asked.Path) && !hasDots(i.here.Path)
}

// hasDots reports whether a path has a segment that stands for another one: what it
// leads to isn't where the item says.
func hasDots(path string) bool {
	segments := strings.Split(path, "/")
	return slices.Contains(segments, ".") || slices.Contains(segments, "..")
}

// decide gives the item its tag, or not, or leaves that to the origin to say.
func (i *listed) decide() {
	i.told = i.readEntry() == nil
	switch known := i.stored(); {
	case i.told && i.entry.Busy == 0 && known.State != validator.Unknown:
		i.take(known.Observed)
	case i.certain:
		i.tag = i.tags[0]
	default:
		// While a write is in flight, what the origin shows may be over before the
		// client has it.
		i.open = i.entry.Busy == 0
	}
}

// take gives the item the tag of its current representation, if that may be what
// the list shows.
func (i *listed) take(current validator.Observed) {
	if slices.Contains(i.tags, current.ETag) {
		i.tag = current.ETag
	}
}

// probe asks the origin for items, for as long as others wait for a write: the list
// is there, and must not be kept back by an item that isn't. The end is that of a
// client that goes away, which no proxy holds against its backend.
func (rd *reading) probe(items []*listed) {
	ctx, cancel := context.WithCancel(rd.base.Context())
	defer cancel()
	defer time.AfterFunc(time.Duration(rd.h.Wait), cancel).Stop()
	base := rd.base.WithContext(ctx)
	concurrently(itemProbes, items[:min(len(items), maxItemProbes)], func(i *listed) { i.probe(base) })
}

// probe asks the origin, and stores what it shows, but not that it shows nothing: what
// is in a list is somewhere, if not for this client, or behind these handlers. The
// request is that for the list as it was before next.
func (i *listed) probe(base *http.Request) {
	r := requestFor(base, i.asked, i.here)
	p := proxyhooks.Probe(r.Context(), i.next, r, i.h.deriver, i.h.Buffer)
	if !p.Observed.ETag.Valid {
		return
	}
	if o, ok := i.observation(p.Observed, p.Header); ok && i.told {
		_ = i.h.store.Observe(i.detached(), i.key, i.entry, o, i.h.terms)
	}
	i.take(p.Observed)
}
