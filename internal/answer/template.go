package answer

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"mime"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	texttemplate "text/template"

	"github.com/caddy-preconditions/preconditions/internal/spelling"
)

// Template makes the content of refusals. Whatever clients and backends send, a value that
// it inserts remains a value.
type Template struct {
	contentType string
	language    language
	executor    interface {
		Execute(w io.Writer, data any) error
	}
}

// language is what a template makes.
type language string

const (
	inJSON  language = "JSON"
	inXML   language = "XML"
	inHTML  language = "HTML"
	inPlain language = "plain text"
)

// ParseTemplate parses the template in a file of the given name. It makes content of a media
// type or, if that is empty, of the type that the name's extension stands for.
// ParseTemplate fails unless the template can show every kind of refusal.
func ParseTemplate(name, text, mediaType string) (*Template, error) {
	contentType, lang, err := TemplateType(name, mediaType)
	if err != nil {
		return nil, err
	}
	t := &Template{contentType: contentType, language: lang}
	name = filepath.Base(name)
	if lang == inHTML {
		t.executor, err = htmltemplate.New(name).Parse(text)
	} else {
		t.executor, err = parseEscaped(name, text, lang)
	}
	if err != nil {
		return nil, templateError(err)
	}
	for _, sample := range sampleRefusals() {
		content, err := t.execute(sample)
		if err != nil {
			return nil, fmt.Errorf("%w (for a %d)", templateError(err), sample.Status)
		}
		if err := lang.check(content); err != nil {
			return nil, fmt.Errorf("%s: a %d would be %q, which isn't %s: %w", name, sample.Status, content, lang, err)
		}
	}
	return t, nil
}

// templateError removes the prefix of the errors of the template packages. What follows it
// begins with the name of the file and the line.
func templateError(err error) error {
	said, ours := strings.CutPrefix(strings.TrimPrefix(err.Error(), "html/"), "template:")
	if !ours {
		return err
	}
	switch {
	case undefined.MatchString(said):
		said += " (leave it out: values are escaped already)"
	case unknownValue.MatchString(said):
		said = unknownValue.ReplaceAllStringFunc(said, func(text string) string {
			name := unknownValue.FindStringSubmatch(text)[1]
			return "there is no value " + name + spelling.Meant(name, templateValues()...)
		})
	}
	return errors.New(strings.TrimPrefix(said, " "))
}

// unknownValue matches the errors about values that a refusal, a tag or a date doesn't have.
var unknownValue = regexp.MustCompile(`can't evaluate field (\w+) in type \S+`)

// templateValues returns the names of all values.
func templateValues() (names []string) {
	for _, t := range []reflect.Type{reflect.TypeFor[Refused](), reflect.TypeFor[Tag](), reflect.TypeFor[Date]()} {
		if t.Kind() == reflect.Struct {
			for i := range t.NumField() {
				names = append(names, t.Field(i).Name)
			}
			continue
		}
		for i := range t.NumMethod() {
			names = append(names, t.Method(i).Name)
		}
	}
	return names
}

// undefined matches the errors about functions that other templates escape values with.
var undefined = regexp.MustCompile(`function "(json|toJson|jsonencode|quote|escape)" not defined`)

// extensions are the media types of the files whose names tell it.
var extensions = map[string]string{
	".json": "application/json",
	".xml":  "application/xml",
	".html": "text/html; charset=utf-8",
	".txt":  "text/plain; charset=utf-8",
}

// TemplateType returns the Content-Type of what a template makes, and its language.
func TemplateType(name, mediaType string) (contentType string, lang language, err error) {
	contentType = mediaType
	if contentType == "" {
		contentType = extensions[strings.ToLower(filepath.Ext(name))]
	}
	if contentType == "" {
		return "", "", fmt.Errorf("%q doesn't tell the media type: give it after the file, such as application/json, "+
			"or let the name end in .json, .xml, .html or .txt", filepath.Base(name))
	}
	essence, params, err := mime.ParseMediaType(contentType)
	if charset := params["charset"]; err != nil || !strings.Contains(essence, "/") || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", "", fmt.Errorf("%q is not a media type in UTF-8, such as application/json", mediaType)
	}
	switch {
	case essence == "application/json", strings.HasSuffix(essence, "+json"):
		return contentType, inJSON, nil
	case essence == "application/xhtml+xml", essence == "image/svg+xml":
		return "", "", errScripts(essence)
	case essence == "application/xml", essence == "text/xml", strings.HasSuffix(essence, "+xml"):
		return contentType, inXML, nil
	case essence == "text/html":
		return contentType, inHTML, nil
	case essence == "text/plain":
		return contentType, inPlain, nil
	}
	return "", "", fmt.Errorf("%q is neither JSON, XML, HTML nor plain text: nobody knows how to escape values in it", mediaType)
}

// render returns the content of a refusal, and fails if that isn't of the template's
// language.
func (t *Template) render(r Refused) ([]byte, error) {
	content, err := t.execute(r)
	if err != nil {
		return nil, err
	}
	return content, t.language.check(content)
}

func (t *Template) execute(r Refused) ([]byte, error) {
	var content bytes.Buffer
	err := t.executor.Execute(&content, r)
	return content.Bytes(), err
}

// check returns an error if content isn't of the language.
func (l language) check(content []byte) error {
	var err error
	switch l {
	case inJSON:
		var value json.RawMessage
		err = json.Unmarshal(content, &value)
	case inXML:
		err = wellFormed(content)
	default:
		return nil
	}
	return err
}

// withScripts are the namespaces of elements that browsers run scripts in, whatever the media
// type says of the XML around them: XHTML and SVG.
var withScripts = map[string]bool{"http://www.w3.org/1999/xhtml": true, "http://www.w3.org/2000/svg": true}

func errScripts(what string) error {
	return fmt.Errorf("%q may have scripts, in which values would need another escape: write text/html", what)
}

// wellFormed returns an error unless content is an XML document.
func wellFormed(content []byte) error {
	d := xml.NewDecoder(bytes.NewReader(content))
	elements := 0
	for {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && elements == 0:
			return errors.New("it has no element")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if start, ok := token.(xml.StartElement); ok {
			elements++
			if withScripts[start.Name.Space] {
				return errScripts(start.Name.Space)
			}
		}
	}
}

// parseEscaped parses a template that escapes what it inserts.
func parseEscaped(name, text string, lang language) (*texttemplate.Template, error) {
	t, err := texttemplate.New(name).Funcs(escapers).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	if t.Tree == nil {
		return nil, fmt.Errorf("template: %s: it is empty", name)
	}
	return t, escapeTemplate(t.Tree, lang)
}
