package gateway

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// wanted is what a request's JSON content is needed for.
type wanted struct {
	places  []resource.Place // that may contain a version
	members []string         // that the handler has put into the items of a list
	names   []string         // that say what the write is about
}

// wants returns what the content of the request is needed for.
func (c *carried) wants() (w wanted) {
	if c.request.Class != resource.Write {
		return w
	}
	for _, p := range c.Places {
		if p.Kind == resource.JSONPlace {
			w.places = append(w.places, p)
		}
	}
	if c.enforces() && !c.request.Signed {
		for _, rule := range c.Items {
			if rule.path.Matches(c.request.URL) {
				w.members = append(w.members, rule.member)
			}
		}
	}
	w.names = c.Rules.Needs(c.request)
	return w
}

// decisive reports whether the content says something that must be known first.
func (w wanted) decisive() bool { return len(w.places) > 0 || len(w.names) > 0 }

// vital reports whether the write can't be let through if its content can't be read.
func (w wanted) vital(r *resource.Request) bool {
	return len(w.places) > 0 || len(w.names) > 0 && r.Conditional
}

// read reads the content of the request, if it says more about the write than the fields do.
func (c *carried) read() (done func(), err error) {
	c.wanted = c.wants()
	if c.request.Operation == resource.DeleteManyOperation && c.objection().Status == 0 && c.enforces() {
		return c.readDeleteList()
	}
	if !c.wanted.decisive() || c.objection().Status != 0 {
		return func() {}, nil
	}
	return c.readFor(c.wanted)
}

// readFor reads the content of the request for what is wanted.
func (c *carried) readFor(w wanted) (done func(), err error) {
	done = func() {}
	r := c.request.Request
	switch kind := proxyhooks.ContentKindOf(r); {
	case kind == proxyhooks.NoJSON:
		if len(w.names) > 0 && c.request.Conditional {
			c.refuse(http.StatusBadRequest, "the condition is about the resource that the member "+w.names[0]+" of its JSON content names, "+
				"and the content isn't JSON, according to its Content-Type")
		}
		return done, nil
	case kind == proxyhooks.CodedJSON:
		if w.vital(c.request) {
			c.refuse(http.StatusUnsupportedMediaType, "the content must be JSON without a content coding")
		}
		return done, nil
	case kind == proxyhooks.UnclearJSON:
		if w.vital(c.request) {
			c.refuse(http.StatusBadRequest, "the content must have one Content-Type")
		}
		return done, nil
	case r.ContentLength > c.Buffer:
		if w.vital(c.request) {
			c.tooLong()
		}
		return done, nil
	}
	c.memory = proxyhooks.NewMemory(c.BufferTotal, c.warnOfFullMemory)
	if done, err = proxyhooks.ReadAhead(r, c.Buffer, false, c.memory); err != nil {
		return func() {}, err
	}
	c.whole = !proxyhooks.ContentPending(r)
	content, err := proxyhooks.ReadJSON(r, c.memory)
	switch {
	case err == nil:
		c.understand(content, w)
	case !w.vital(c.request):
	case errors.Is(err, proxyhooks.ErrNotJSON):
		c.refuse(http.StatusBadRequest, "the content isn't valid JSON in UTF-8")
	case !c.whole && r.ContentLength < 0:
		c.tooLong()
	default:
		c.deny(c.newResponder(nil, c.request, resource.Subject{}).CannotTell("this server has no room for the content now").As(telemetry.NoRoom))
	}
	return done, nil
}

// tooLong refuses content that can't be read as a whole.
func (c *carried) tooLong() {
	c.refuse(http.StatusRequestEntityTooLarge, "the content is longer than this server looks into")
}

// understand takes from the content what is wanted.
func (c *carried) understand(content proxyhooks.JSONContent, w wanted) {
	var off []proxyhooks.Pointer
	for _, p := range w.places {
		if !c.versionIn(content, p) {
			return
		}
		if value, _ := content.Find(p.Pointer); value != nil && !c.keeps(p) {
			off = append(off, p.Pointer)
		}
	}
	c.valuesIn(content, w.names)
	mustEdit := len(off) > 0
	if digest := proxyhooks.Digested(c.request.Request); digest == "" {
		for _, name := range w.members {
			if value, clear := content.Member(name); clear && c.isOwnTag(value) {
				off = append(off, proxyhooks.MemberPointer(name))
			}
		}
	} else if mustEdit {
		c.refuse(http.StatusBadRequest, w.places[0].Text()+" must not reach the backend, and "+digest+" describes content that has it: send the request without "+digest)
		return
	}
	if mustEdit && c.request.Signed {
		c.refuse(http.StatusBadRequest, w.places[0].Text()+" must not reach the backend, and a signed request can't be changed")
		return
	}
	if len(off) == 0 {
		return
	}
	for _, pointer := range off {
		if content = content.Without(pointer); content.Has(pointer) {
			c.refuse(http.StatusBadRequest, "the version at "+pointer.String()+" of the content must not reach the backend, and no element can be taken out of an array")
			return
		}
	}
	c.undo = append(c.undo, proxyhooks.ReplaceContent(c.request.Request, content))
	c.edited = true
}

// versionIn makes the version in a place of the content a condition. It reports false if
// the content is refused.
func (c *carried) versionIn(content proxyhooks.JSONContent, p resource.Place) bool {
	value, clear := content.Find(p.Pointer)
	text, ok := proxyhooks.Text(value)
	switch {
	case !clear:
		c.refuse(http.StatusBadRequest, p.Text()+" must be there only once")
		return false
	case value == nil, string(value) == "null":
		return true
	case !ok:
		c.refuse(http.StatusBadRequest, p.Text()+" must be a string or a whole number")
		return false
	}
	c.match(p, text)
	return c.refusal.Status == 0
}

// valuesIn takes from the content what says which resource the write is about.
func (c *carried) valuesIn(content proxyhooks.JSONContent, names []string) {
	values := make(relation.Values)
	for _, name := range names {
		value, clear := content.Member(name)
		text, ok := proxyhooks.Text(value)
		if !clear || !ok || !resource.IsSegment(text) {
			if c.request.Conditional {
				c.unclearSubject(name)
			}
			return
		}
		values[name] = text
	}
	c.values = values
}

// unclearSubject refuses a condition about a resource that the content doesn't name.
func (c *carried) unclearSubject(name string) {
	c.refuse(http.StatusBadRequest, "the condition is about the resource that the member "+name+" of its JSON content names, "+
		"which must be there once, as a whole number or as a string that can be one segment of a path")
}

// isOwnTag reports whether a value is a tag that this handler may have put into a list.
func (c *carried) isOwnTag(value []byte) bool {
	if !strings.HasPrefix(string(value), `"`) {
		return false
	}
	text, _ := proxyhooks.Text(value)
	tag, ok := validator.ParseETag(text)
	return ok && (!tag.Weak || c.Deriver.TakesValues()) && c.Deriver.MayHaveMade(tag)
}

// readAhead reads the content of the request before others must wait for the write.
func readAhead(x *exchange, spool bool) (done func(), err error) {
	c, looked := x.carried, func() {}
	if len(c.wanted.members) > 0 && !c.wanted.decisive() {
		if looked, err = c.readFor(c.wanted); err != nil {
			return nil, err
		}
	}
	if c.whole {
		return looked, nil
	}
	read, err := proxyhooks.ReadAhead(x.r, x.Buffer, spool, x.memory)
	return func() { read(); looked() }, err
}
