package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Report is what the doctor has found, and what it advises.
type Report struct {
	URL      string    `json:"url"`
	Findings []Finding `json:"findings"`
	Options  []Option  `json:"options"`
	// Notes say what to do besides, or what the doctor can't know.
	Notes     []string `json:"notes"`
	Caddyfile string   `json:"caddyfile"`
}

// Finding is something that the backend did.
type Finding struct {
	Asked string `json:"asked"`
	Found string `json:"found"`
}

// Option is advice for one option of the handler, as it is written in a Caddyfile. An option
// that is the default isn't in the Caddyfile.
type Option struct {
	Option  string `json:"option"`
	Why     string `json:"why"`
	Default bool   `json:"default,omitempty"`
}

// reads is how often the resource is read in the same way.
const reads = 3

// examination is what the backend has shown.
type examination struct {
	*client
	target    string
	reads     []*shown
	stranger  *shown // without credentials, or nil
	vary      []string
	weakWhen  bool // whether a condition on a read is answered wrongly
	saved     *saved
	report    Report
	hasHandle bool // whether the handler seems to be there already
}

// first returns the first read.
func (e *examination) first() *shown { return e.reads[0] }

func (e *examination) found(asked, format string, values ...any) {
	e.report.Findings = append(e.report.Findings, Finding{asked, fmt.Sprintf(format, values...)})
}

func (e *examination) note(format string, values ...any) {
	e.report.Notes = append(e.report.Notes, fmt.Sprintf(format, values...))
}

// examine looks at the resource at a URL. With write, it also writes what is there, which
// must change nothing.
func examine(ctx context.Context, c *client, target *url.URL, write bool) (Report, error) {
	e := &examination{client: c, target: target.String(), report: Report{
		URL: target.Redacted(), Findings: []Finding{}, Options: []Option{}, Notes: []string{},
	}}
	if err := e.read(ctx); err != nil {
		return e.report, err
	}
	for _, look := range []func(context.Context) error{e.negotiate, e.askWithoutCredentials, e.askHead, e.askConditionally} {
		if err := look(ctx); err != nil {
			return e.report, err
		}
	}
	if write {
		if err := e.write(ctx); err != nil {
			return e.report, err
		}
	}
	adviser{e}.advise()
	e.report.Caddyfile = caddyfile(target, e.report.Options)
	return e.report, nil
}

// read reads the resource several times.
func (e *examination) read(ctx context.Context) error {
	for range reads {
		a, err := e.send(ctx, http.MethodGet, e.target, nil, "Accept-Encoding", "identity")
		if err != nil {
			return err
		}
		if !a.ok() {
			return fmt.Errorf("GET answers %d: name a resource that a GET shows with 200%s", a.status, e.hint(a))
		}
		e.reads = append(e.reads, a)
	}
	first := e.first()
	e.found("GET", "%s, %d bytes%s", orNothing(first.get("Content-Type"), "no Content-Type"), first.length, e.described())
	if same := e.sameContent(); same {
		e.found(fmt.Sprintf("GET, %d times", reads), "the same content each time")
	} else {
		e.found(fmt.Sprintf("GET, %d times", reads), "different content, although nobody seems to write it")
	}
	for _, name := range []string{"Age", "X-Cache", "CF-Cache-Status", "X-Cache-Hits"} {
		if first.get(name) != "" {
			e.note("The answer has %s, so a cache may answer for the backend. Let Caddy reach the backend itself, or keep lag at least as long as the cache may show the past.", name)
			break
		}
	}
	return nil
}

func (e *examination) hint(a *shown) string {
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "; give credentials with -H"
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return ", not one that redirects"
	default:
		return ""
	}
}

// described describes the validators of the reads.
func (e *examination) described() string {
	var text strings.Builder
	switch tag, strong := e.first().tag(); {
	case tag == "":
		text.WriteString(", no ETag")
	case !strong:
		text.WriteString(", a weak ETag")
	default:
		text.WriteString(", a strong ETag")
	}
	if !e.sameField("ETag") {
		text.WriteString(" that differs on every read")
	}
	if e.first().get("Last-Modified") != "" {
		text.WriteString(", Last-Modified")
	}
	return text.String()
}

func orNothing(text, nothing string) string {
	if text == "" {
		return nothing
	}
	return text
}

func (e *examination) sameContent() bool {
	for _, a := range e.reads {
		if a.digest != e.first().digest {
			return false
		}
	}
	return true
}

func (e *examination) sameField(name string) bool {
	for _, a := range e.reads {
		if a.get(name) != e.first().get(name) {
			return false
		}
	}
	return true
}

// variations are request fields on which content may depend, with values to try.
var variations = []struct {
	field  string
	values []string
}{
	{"Accept", []string{"application/json", "text/html", "application/xml"}},
	{"Accept-Language", []string{"de", "fr"}},
}

// negotiate reads the resource with other fields of negotiation.
func (e *examination) negotiate(ctx context.Context) error {
	for _, v := range variations {
		differs, said := false, true
		for _, value := range v.values {
			a, err := e.send(ctx, http.MethodGet, e.target, nil, "Accept-Encoding", "identity", v.field, value)
			if err != nil {
				return err
			}
			other := a.ok() && (a.get("Content-Type") != e.first().get("Content-Type") || a.get("Content-Language") != e.first().get("Content-Language") ||
				e.sameContent() && a.digest != e.first().digest)
			differs = differs || other
			said = said && (!other || a.varies(v.field))
		}
		switch {
		case !differs:
			e.found("GET with another "+v.field, "the same")
		case said && e.first().varies(v.field):
			e.found("GET with another "+v.field, "something else, and Vary says so")
		default:
			e.found("GET with another "+v.field, "something else, and Vary doesn't say so")
			e.vary = append(e.vary, v.field)
		}
	}
	a, err := e.send(ctx, http.MethodGet, e.target, nil, "Accept-Encoding", "gzip, br")
	if err != nil {
		return err
	}
	if coding := a.get("Content-Encoding"); coding != "" {
		e.found("GET with Accept-Encoding", "compressed (%s)", coding)
		e.note("The backend compresses. The handler asks it not to: let Caddy do it, with encode before preconditions.")
	} else {
		e.found("GET with Accept-Encoding", "not compressed")
	}
	return nil
}

// askWithoutCredentials reads the resource as a stranger would.
func (e *examination) askWithoutCredentials(ctx context.Context) error {
	c := e.anonymous()
	if c == nil {
		e.note("No credentials were given with -H, so nobody can tell whether content depends on who asks.")
		return nil
	}
	a, err := c.send(ctx, http.MethodGet, e.target, nil, "Accept-Encoding", "identity")
	if err != nil {
		return err
	}
	e.stranger = a
	switch {
	case !a.ok():
		e.found("GET without credentials", "%d", a.status)
	case e.sameContent() && a.digest != e.first().digest:
		e.found("GET without credentials", "200, but something else")
	default:
		e.found("GET without credentials", "the same")
	}
	return nil
}

// askHead compares HEAD with GET.
func (e *examination) askHead(ctx context.Context) error {
	a, err := e.send(ctx, http.MethodHead, e.target, nil, "Accept-Encoding", "identity")
	if err != nil {
		return err
	}
	switch {
	case !a.ok():
		e.found("HEAD", "%d: the handler answers it by a GET, once that was read", a.status)
	case a.get("ETag") != e.first().get("ETag") && e.sameField("ETag"):
		e.found("HEAD", "200, with another ETag than GET")
	default:
		e.found("HEAD", "200, as GET")
	}
	return nil
}

// wrongTag is a tag that no resource has.
const wrongTag = `"preconditions-doctor-0f3c"`

// askConditionally reads the resource with conditions.
func (e *examination) askConditionally(ctx context.Context) error {
	a, err := e.send(ctx, http.MethodGet, e.target, nil, "Accept-Encoding", "identity", "If-None-Match", wrongTag)
	if err != nil {
		return err
	}
	if a.status == http.StatusNotModified {
		e.found("GET with a wrong If-None-Match", "304, which is wrong")
		e.weakWhen = true
	}
	tag, _ := e.first().tag()
	if tag == "" || !e.sameField("ETag") {
		return nil
	}
	if a, err = e.send(ctx, http.MethodGet, e.target, nil, "Accept-Encoding", "identity", "If-None-Match", tag); err != nil {
		return err
	}
	if a.status == http.StatusNotModified {
		e.found("GET with its ETag in If-None-Match", "304")
	} else {
		e.found("GET with its ETag in If-None-Match", "%d: it ignores the condition", a.status)
	}
	return nil
}

// saved is what became of writes of what was there.
type saved struct {
	checks  bool // whether the backend itself refuses a wrong If-Match
	answer  *shown
	after   *shown
	require bool // whether the backend itself wants a condition
}

var errNotWritten = errors.New("the resource can't be written with PUT")

// write writes what is there, with and without a wrong If-Match.
func (e *examination) write(ctx context.Context) error {
	first := e.first()
	if first.length > maxKept {
		return fmt.Errorf("the resource has %d bytes: name one of at most %d for --write", first.length, maxKept)
	}
	if !e.sameContent() {
		return errors.New("the resource differs on every read, so nobody could write what is there: name another one for --write")
	}
	fields := []string{}
	if mediaType := first.get("Content-Type"); mediaType != "" {
		fields = append(fields, "Content-Type", mediaType)
	}
	e.saved = new(saved)
	a, err := e.send(ctx, http.MethodPut, e.target, first.content, append(fields, "If-Match", wrongTag)...)
	if err != nil {
		return err
	}
	e.saved.checks = a.status == http.StatusPreconditionFailed
	e.hasHandle = e.saved.checks && strings.Contains(a.get("Content-Type"), "problem+json") && strings.Contains(string(a.content), `"current_etag"`)
	e.found("PUT of what is there, with a wrong If-Match", "%d%s", a.status, map[bool]string{true: ": it checks itself", false: ": it doesn't check"}[e.saved.checks])
	tag, _ := first.tag()
	if a, err = e.send(ctx, http.MethodPut, e.target, first.content, fields...); err != nil {
		return err
	}
	if e.saved.require = a.status == http.StatusPreconditionRequired || a.status == http.StatusPreconditionFailed; e.saved.require && tag != "" {
		e.found("PUT of what is there", "%d: it wants a condition", a.status)
		if a, err = e.send(ctx, http.MethodPut, e.target, first.content, append(fields, "If-Match", tag)...); err != nil {
			return err
		}
	}
	e.found("PUT of what is there", "%d, %d bytes", a.status, a.length)
	if a.status/100 != 2 {
		return fmt.Errorf("%w: it answers %d", errNotWritten, a.status)
	}
	e.saved.answer = a
	if e.saved.after, err = e.send(ctx, http.MethodGet, e.target, nil, "Accept-Encoding", "identity"); err != nil {
		return err
	}
	if e.saved.after.digest == first.digest {
		e.found("GET afterwards", "what was sent")
	} else {
		e.found("GET afterwards", "something else than was sent: the backend adds to it")
	}
	return nil
}
