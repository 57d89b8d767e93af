package multistatus

import (
	"slices"
	"strings"
)

// edit replaces a range of bytes.
type edit struct {
	from, to int
	text     string
}

// bytes returns the response with its changes.
func (r *Response) bytes() []byte {
	edits := r.edits()
	if len(edits) == 0 {
		return r.raw
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return a.from - b.from })
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(out, r.raw[at:e.from]...)
		out = append(out, e.text...)
		at = e.to
	}
	return append(out, r.raw[at:]...)
}

// edits returns what to do to the bytes of the response.
func (r *Response) edits() (edits []edit) {
	if len(r.propstats) == 0 {
		return nil
	}
	changed := make([][]edit, len(r.propstats)) // what is done to properties that are there
	removed := make([]int, len(r.propstats))
	var found, missing string // elements for properties that aren't
	for _, c := range r.changes {
		present, absent := false, false
		for i, ps := range r.propstats {
			for _, e := range ps.elements {
				switch {
				case e.Property != c.Property:
				case ps.success && c.text != "" && !present:
					present = true
					if e.text != c.text {
						changed[i] = append(changed[i], edit{e.from, e.to, c.element()})
					}
				case !ps.success && c.text == "" && !absent:
					absent = true
				default:
					removed[i]++
					changed[i] = append(changed[i], edit{e.from, e.to, ""})
				}
			}
		}
		switch {
		case c.text != "" && !present:
			found += c.element()
		case c.text == "" && !absent && c.named:
			missing += c.element()
		}
	}
	into := slices.IndexFunc(r.propstats, func(ps propstat) bool { return ps.success && ps.insert >= 0 })
	if found != "" && into >= 0 {
		at := r.propstats[into].insert
		changed[into] = append(changed[into], edit{at, at, found})
		found = ""
		removed[into] = 0 // it has something in it
	}
	for i, ps := range r.propstats {
		if removed[i] == ps.properties && removed[i] > 0 {
			changed[i] = []edit{{ps.from, ps.to, ""}} // nothing is left of it
		}
		edits = append(edits, changed[i]...)
	}
	end := r.propstats[len(r.propstats)-1].to
	return append(edits, edit{end, end, part(found, "200 OK") + part(missing, "404 Not Found")})
}

// part returns a propstat with some elements, if there are any.
func part(elements, status string) string {
	if elements == "" {
		return ""
	}
	return `<propstat xmlns="DAV:"><prop>` + elements + "</prop><status>HTTP/1.1 " + status + "</status></propstat>"
}

// element returns the property as an element that needs no namespace from around it.
func (c change) element() string {
	if c.text == "" {
		return "<" + string(c.Property) + ` xmlns="DAV:"/>`
	}
	return "<" + string(c.Property) + ` xmlns="DAV:">` + escaper.Replace(c.text) + "</" + string(c.Property) + ">"
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
