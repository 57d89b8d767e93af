package multistatus

import (
	"encoding/xml"
	"slices"
	"strings"
)

// Property is one of the properties that can be changed. They belong to DAV:.
type Property string

// The properties that repeat fields of the response to a GET (RFC 4918, sections 15.6 and 15.7).
const (
	ETag         Property = "getetag"
	LastModified Property = "getlastmodified"
)

// Response is what a multistatus says about one resource.
type Response struct {
	// Href is the reference of the resource. It is empty if there are several, or none.
	Href string
	// Collection means that the resource says that it is one.
	Collection bool
	// Length is the text of getcontentlength. Data is the text of calendar-data or
	// address-data. A property that is missing has no text.
	Length, Data string

	data      strings.Builder // what becomes Data
	raw       []byte
	propstats []propstat
	changes   []change
}

// propstat is a part of a response: some properties with one status.
type propstat struct {
	from, to   int // in raw
	success    bool
	insert     int // where in raw a property can be put, below zero for nowhere
	properties int
	elements   []element
}

// element is a property that can be changed.
type element struct {
	Property
	text     string
	from, to int
}

// change is what becomes of a property.
type change struct {
	Property
	text  string // nothing for a property that isn't there
	named bool
}

// Text returns the text of a property that the resource has.
func (r *Response) Text(p Property) string {
	for _, ps := range r.propstats {
		for _, e := range ps.elements {
			if e.Property == p && ps.success {
				return strings.TrimSpace(e.text)
			}
		}
	}
	return ""
}

// Names reports whether the response says whether the resource has a property.
func (r *Response) Names(p Property) bool {
	return slices.ContainsFunc(r.propstats, func(ps propstat) bool { return ps.has(p) })
}

// HasProperties reports whether the response is about properties, rather than a status alone.
func (r *Response) HasProperties() bool { return len(r.propstats) > 0 }

func (ps propstat) has(p Property) bool {
	return slices.ContainsFunc(ps.elements, func(e element) bool { return e.Property == p })
}

// Set gives a property a text. If that is empty, the resource doesn't have the property, and
// the response says so if the client has named it.
func (r *Response) Set(p Property, text string, named bool) {
	r.changes = append(r.changes, change{p, text, named})
}

// scanResponse reads a response whose start was the last token.
func (s *scanner) scanResponse() (*Response, error) {
	r := &Response{}
	base := s.before
	hrefs := 0
	err := s.children(func(name xml.Name) error {
		switch {
		case name.Space != dav:
			return s.skip()
		case name.Local == "href":
			href, err := s.text()
			if hrefs++; hrefs == 1 {
				r.Href = strings.TrimSpace(href)
			} else {
				r.Href = ""
			}
			return err
		case name.Local == "propstat":
			return s.scanPropstat(r, base)
		default:
			return s.skip()
		}
	})
	if err != nil {
		return nil, err
	}
	r.raw, r.Data = s.take(s.InputOffset()), r.data.String()
	return r, nil
}

func (s *scanner) scanPropstat(r *Response, base int64) error {
	ps := propstat{from: int(s.before - base), insert: -1}
	err := s.children(func(name xml.Name) error {
		switch {
		case name == xml.Name{Space: dav, Local: "prop"}:
			return s.scanProp(r, &ps, base)
		case name == xml.Name{Space: dav, Local: "status"}:
			status, err := s.text()
			words := strings.Fields(status)
			ps.success = len(words) > 1 && words[1] == "200"
			return err
		default:
			return s.skip()
		}
	})
	ps.to = int(s.InputOffset() - base)
	r.propstats = append(r.propstats, ps)
	return err
}

func (s *scanner) scanProp(r *Response, ps *propstat, base int64) error {
	err := s.children(func(name xml.Name) (err error) {
		ps.properties++
		from := int(s.before - base)
		switch {
		case name == xml.Name{Space: dav, Local: string(ETag)}, name == xml.Name{Space: dav, Local: string(LastModified)}:
			e := element{Property: Property(name.Local), from: from}
			e.text, err = s.text()
			e.to = int(s.InputOffset() - base)
			ps.elements = append(ps.elements, e)
			return err
		case name == xml.Name{Space: dav, Local: "resourcetype"}:
			return s.children(func(name xml.Name) error {
				r.Collection = r.Collection || name == xml.Name{Space: dav, Local: "collection"}
				return s.skip()
			})
		case name == xml.Name{Space: dav, Local: "getcontentlength"}:
			length, err := s.text()
			r.Length = strings.TrimSpace(length)
			return err
		case name == xml.Name{Space: caldav, Local: "calendar-data"}, name == xml.Name{Space: carddav, Local: "address-data"}:
			data, err := s.text()
			r.data.WriteString(data)
			return err
		default:
			return s.skip()
		}
	})
	if end := int(s.before - base); s.before != s.InputOffset() { // not <prop/>
		ps.insert = end
	}
	return err
}
