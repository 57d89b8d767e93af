package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// usualBuffer is the default of the option buffer, in bytes.
const usualBuffer = 1 << 20

// adviser turns what an examination has found into options.
type adviser struct{ *examination }

// option advises an option.
func (e adviser) option(option, why string) {
	e.report.Options = append(e.report.Options, Option{Option: option, Why: why})
}

// keep says that the default of an option fits.
func (e adviser) keep(option, why string) {
	e.report.Options = append(e.report.Options, Option{option, why, true})
}

// advise advises all options.
func (e adviser) advise() {
	version := e.adviseETag()
	if e.vary != nil {
		e.option("vary "+strings.Join(e.vary, " "), "content depends on it, and the backend doesn't say so")
	}
	e.adviseVerify(version)
	e.adviseAfterWrite(version)
	if e.weakWhen {
		e.note("The backend answers a condition on a read wrongly. The handler evaluates conditions itself, and takes them off.")
	}
	if e.hasHandle {
		e.note("The answers look as if the handler were there already. Give the URL of the backend itself.")
	}
	if e.saved == nil {
		e.note("Nothing was written. --write, on a resource that may be saved as it is, finds out what a PUT does.")
	}
	e.note("A few reads prove no tag: compare the backend with docs/backends.md, and begin with mode report.")
}

// adviseETag advises the source of tags. It reports whether that is version.
func (e adviser) adviseETag() (version bool) {
	first := e.first()
	tag, strong := first.tag()
	stable := e.sameContent()
	switch {
	case strong && e.sameField("ETag") && !stable:
		e.note("The content differs on every read, and the ETag stays the same: the backend may mean that.")
		e.option("etag upstream", "the backend's strong ETag is the same on every read, and the content isn't")
	case strong && e.sameField("ETag") && first.length > usualBuffer:
		e.option("etag upstream", "the backend's ETag is strong and stable, and the content is longer than buffer")
	case strong && e.sameField("ETag"):
		e.keep("etag upstream, etag body", "the backend's ETag is strong and stable; what has none gets one from its content")
	case stable && first.length <= usualBuffer:
		why := "the content is the same on every read, and there is no ETag"
		if tag != "" && !e.sameField("ETag") {
			e.option("etag body", "the content is the same on every read, and the backend's ETag isn't")
			return false
		}
		if tag != "" {
			why = "the content is the same on every read, and the backend's ETag is weak"
		}
		e.keep("etag upstream, etag body", why)
	default:
		return e.adviseUnstable(stable)
	}
	return false
}

// adviseUnstable advises the source of tags for content that differs on every read, or is too
// long to be read for its tag.
func (e adviser) adviseUnstable(stable bool) (version bool) {
	first := e.first()
	if name := e.versionField(); name != "" {
		e.option("etag header "+name, "the field has the same value on every read, and looks like a version")
		return false
	}
	if pointers := e.stableMembers(); pointers != nil {
		e.option("etag json "+strings.Join(pointers, " "), "these members are the same on every read, and the rest isn't")
		if len(pointers) > 1 {
			e.note("No member looks like a version. What changes without any of these can be overwritten: check that they cover all that matters.")
		}
		return false
	}
	if first.get("Last-Modified") != "" && first.get("Content-Length") != "" && e.sameField("Last-Modified") && e.sameField("Content-Length") {
		e.option("etag modified", "the content is long or differs on every read, and its date and length don't")
		e.note("modified trusts dates: what changes within their second is protected only after the next one.")
		return false
	}
	if stable && first.length <= 64<<20 {
		e.option(fmt.Sprintf("buffer %dMiB", first.length/(1<<20)+1), "the tag is made from the content, which is longer than the default of 1MiB")
		return false
	}
	e.option("etag version", "nothing in the responses identifies a state, so the writes are counted")
	e.note("version is right only if every writer comes through Caddy, or reports its changes (caddy preconditions purge).")
	return true
}

// versionFields are response fields in which backends put versions.
var versionFields = []string{"X-Version", "X-Revision", "X-Resource-Version", "X-Etag", "X-Ms-Version-Id", "Version"}

func (e adviser) versionField() string {
	for _, name := range versionFields {
		if e.first().get(name) != "" && e.sameField(name) {
			return name
		}
	}
	return ""
}

// versionMembers are members in which documents have versions, the best first.
var versionMembers = []string{
	"version", "_version", "rev", "_rev", "revision", "etag", "_etag", "@odata.etag", "versionId", "meta/versionId", "meta/version",
	"metadata/resourceVersion", "lock_version", "updated_at", "updatedAt", "modified", "lastModified",
}

// mostMembers is how many members a tag may be made from, as advised.
const mostMembers = 8

// stableMembers returns JSON pointers to members that are the same in all reads: the version,
// if there is one, or all others. It returns nil if the content isn't an object in JSON.
func (e adviser) stableMembers() (pointers []string) {
	var objects []map[string]any
	for _, a := range e.reads {
		var object map[string]any
		if !a.isJSON() || a.length > maxKept || json.Unmarshal(a.content, &object) != nil {
			return nil
		}
		objects = append(objects, object)
	}
	for _, path := range versionMembers {
		if value, ok := memberAt(objects[0], path); ok && same(objects, path, value) {
			return []string{"/" + path}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(objects[0])) {
		if strings.ContainsAny(name, "~/ {}\"`\\\n") { // would have to be escaped
			continue
		}
		if value, _ := memberAt(objects[0], name); same(objects, name, value) {
			pointers = append(pointers, "/"+name)
		}
	}
	if len(pointers) > mostMembers {
		return nil
	}
	return pointers
}

func memberAt(object map[string]any, path string) (value any, ok bool) {
	first, rest, deeper := strings.Cut(path, "/")
	value, ok = object[first]
	if !deeper || !ok {
		return value, ok
	}
	inner, isObject := value.(map[string]any)
	if !isObject {
		return nil, false
	}
	return memberAt(inner, rest)
}

func same(objects []map[string]any, path string, value any) bool {
	want, _ := json.Marshal(value)
	for _, object := range objects {
		other, ok := memberAt(object, path)
		got, _ := json.Marshal(other)
		if !ok || string(got) != string(want) {
			return false
		}
	}
	return true
}

// adviseVerify advises when conditions are confirmed at the origin.
func (e adviser) adviseVerify(version bool) {
	switch {
	case version:
		e.keep("verify never", "the only value there is with etag version")
	case e.stranger != nil && e.stranger.status/100 == 4:
		e.option("verify all", "strangers may not read this, and a refusal must not tell them the tag")
	case e.stranger != nil && e.stranger.ok() && e.sameContent() && e.stranger.digest != e.first().digest && !e.privately():
		e.option("verify all", "content depends on who asks, and the backend doesn't say so in Vary or Cache-Control")
	default:
		e.keep("verify passing", "right whoever else writes to the backend")
		e.note("If every writer comes through Caddy, write \"verify never\", and each write costs one GET less. Nobody can see that from here.")
	}
}

// privately reports whether the backend says that its content depends on who asks.
func (e adviser) privately() bool {
	return e.first().varies("Authorization") || e.first().varies("Cookie") || strings.Contains(e.first().get("Cache-Control"), "private")
}

// adviseAfterWrite advises what depends on the answers to writes.
func (e adviser) adviseAfterWrite(version bool) {
	if e.saved == nil {
		return
	}
	answer, after := e.saved.answer, e.saved.after
	switch {
	case version:
	case (answer.status == http.StatusOK || answer.status == http.StatusCreated) && answer.length > 0 &&
		answer.digest == after.digest && answer.get("Content-Type") == after.get("Content-Type"):
		e.option("write_etag answer", "the answer to a PUT is what the next GET shows")
	case after.digest != e.first().digest:
		e.option("write_etag always", "the backend stores something else than it is sent, and doesn't answer with it")
	default:
		e.keep("write_etag verbatim", "a PUT is stored as it is sent")
	}
	if answer.status == http.StatusAccepted {
		e.note("The backend answers a PUT with 202: it goes on working. Other writes wait for a lease then. If it is done by then, write unanswered 5 to say so.")
	}
	if e.saved.checks {
		e.note("The backend checks If-Match itself. If it does so in one step with the write, it needs this handler only for what it doesn't check.")
	}
	if e.saved.require {
		e.note("The backend wants a condition on every PUT. Write require, so that the refusal comes from here.")
	}
}

// caddyfile returns a site with the options that aren't defaults.
func caddyfile(target *url.URL, options []Option) string {
	var b strings.Builder
	b.WriteString("docs.example.com {\n\tpreconditions")
	begun := false
	for _, o := range options {
		if o.Default {
			continue
		}
		if !begun {
			b.WriteString(" {\n")
			begun = true
		}
		b.WriteString("\t\t" + o.Option + "\n")
	}
	if begun {
		b.WriteString("\t}")
	}
	host := target.Host
	if target.Scheme == "https" && target.Port() == "" {
		host = target.Hostname()
	}
	upstream := host
	if target.Scheme == "https" {
		upstream = "https://" + host
	}
	if target.Port() == "" && target.Scheme == "http" {
		upstream = target.Hostname() + ":" + strconv.Itoa(80)
	}
	b.WriteString("\n\treverse_proxy " + upstream)
	if target.Scheme == "https" {
		b.WriteString(" {\n\t\theader_up Host {upstream_hostport}\n\t}")
	}
	b.WriteString("\n}\n")
	return b.String()
}
