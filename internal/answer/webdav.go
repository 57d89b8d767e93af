package answer

import (
	"encoding/xml"
	"strings"
)

// davError is the content of a refusal as WebDAV servers send their errors (RFC 4918, section
// 14.5). It names what isn't met, as section 16 says, in a namespace of ours: the conditions
// that RFC 4918 itself names are about locks and properties, which the backend has.
type davError struct {
	XMLName      xml.Name `xml:"D:error"`
	DAV          string   `xml:"xmlns:D,attr"`
	Ours         string   `xml:"xmlns,attr"`
	Unmet        struct{ XMLName xml.Name }
	Detail       string `xml:"detail"`
	Condition    string `xml:"condition,omitempty"`
	Provided     string `xml:"provided,omitempty"`
	CurrentETag  string `xml:"current-etag,omitempty"`
	LastModified string `xml:"last-modified,omitempty"`
}

// davContent returns the content of a refusal with these problem details as WebDAV servers send
// their errors.
func davContent(p problem) ([]byte, error) {
	content := davError{
		DAV: "DAV:", Ours: problemTypes,
		Detail: p.Detail, Condition: p.Condition, Provided: p.Provided, CurrentETag: p.CurrentETag, LastModified: p.LastModified,
	}
	content.Unmet.XMLName.Local = strings.TrimPrefix(p.Type, problemTypes)
	text, err := xml.Marshal(content)
	return append([]byte(xml.Header), text...), err
}
