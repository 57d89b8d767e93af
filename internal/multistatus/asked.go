package multistatus

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
)

// Asked says which properties a PROPFIND or REPORT asks for.
type Asked struct {
	// Names means that it asks for names only, without values.
	Names bool
	// All means that it asks for whatever there is.
	All bool
	// Properties are those that it names.
	Properties []Property
}

// Wants reports whether the client has named a property.
func (a Asked) Wants(p Property) bool {
	for _, one := range a.Properties {
		if one == p {
			return true
		}
	}
	return false
}

// ReadAsked reads the beginning of the content of a PROPFIND or REPORT. A PROPFIND without
// content asks for everything (RFC 4918, section 9.1).
func ReadAsked(method string, content []byte) (a Asked) {
	s := newScanner(bytes.NewReader(content))
	for {
		t, err := s.next()
		if err != nil {
			a.All = method == "PROPFIND" && errors.Is(err, io.EOF) && len(bytes.TrimSpace(content)) == 0
			return a
		}
		if _, ok := t.(xml.StartElement); !ok {
			continue
		}
		_ = s.children(func(name xml.Name) error {
			switch name {
			case xml.Name{Space: dav, Local: "allprop"}:
				a.All = true
			case xml.Name{Space: dav, Local: "propname"}:
				a.Names = true
			case xml.Name{Space: dav, Local: "prop"}, xml.Name{Space: dav, Local: "include"}:
				return s.children(func(name xml.Name) error {
					if p := Property(name.Local); name.Space == dav && (p == ETag || p == LastModified) {
						a.Properties = append(a.Properties, p)
					}
					return s.skip()
				})
			}
			return s.skip()
		})
		return a
	}
}
