package gateway

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// With reads store, a read whose If-None-Match names the current tag gets 304 without the
// origin. The store says which tag is current. It doesn't say what else a 304 must carry
// (RFC 9110, section 15.4.5), nor who may see the representation. So this node must have
// seen, of late, a response with that very tag that was meant for everybody.

const (
	// maxShown is how many responses a handler remembers, and maxShownFields how many bytes
	// of fields of each, including those by which the client has named the site.
	maxShown       = 16384
	maxShownFields = 1024

	// maxShownAge is how long a response counts. After that the origin is asked again,
	// although the store would know of a write: who may see the representation, and for how
	// long caches may use it, can change without one.
	maxShownAge = time.Minute
)

// shownFields are the fields that a 304 has if a 200 would have had them, besides those that
// are made anew.
var shownFields = [...]string{"Cache-Control", "Content-Location", "Expires", "Vary"}

// Responses is what a handler remembers of the origin's responses to reads. Nil remembers
// nothing.
type Responses struct {
	shown *lru.Cache[shownKey, shownResponse]
}

// NewResponses returns a Responses that has seen nothing.
func NewResponses() *Responses {
	shown, err := lru.New[shownKey, shownResponse](maxShown)
	if err != nil {
		panic(err) // only a size below one is refused
	}
	return &Responses{shown}
}

// shownKey identifies a representation, and how the client has reached it.
type shownKey struct{ resource, variant, site string }

// shownResponse is what a response has shown beside its representation.
type shownResponse struct {
	tag    validator.ETag
	epoch  string      // of the entry when it was asked for: no write has begun since
	public bool        // it is for everybody, whoever asks (RFC 9111, section 5.2.2.9)
	fields http.Header // those of shownFields
	until  time.Time   // when it stops counting
}

// keyOfShown returns the key of a variant for the request's scheme and host, which are not
// in the variant's own.
func keyOfShown(x *exchange, variant string) shownKey {
	site := x.r.Host
	for _, name := range [...]string{"X-Forwarded-Proto", "X-Forwarded-Host"} {
		if lines := x.request.Fields[name]; lines != nil {
			site += "\n" + name + ":" + strings.Join(lines, ",")
		}
	}
	if x.r.TLS != nil {
		site += "\ntls"
	}
	return shownKey{x.plan.Subject.Key, variant, site}
}

// answersUnasked answers the read with 304 if the store alone shows that the client has the
// current representation. Otherwise it reports false, and the origin decides.
func answersUnasked(rd *reading) bool {
	if rd.Responses == nil || !onlyAsksForChange(rd.request) || !storeMayDecide(rd) {
		return false
	}
	shown, ok := rd.Responses.shown.Get(selectedShown(rd))
	vary := knowledge.VaryOf(rd.view)
	switch {
	case !ok, shown.tag != rd.known.ETag, shown.epoch != rd.view.Entry().Epoch, !time.Now().Before(shown.until):
		return false
	case hasCredentials(rd.request) && !shown.public, !isAnybodys(rd.request, vary), !knowsPolicy(rd.exchange):
		return false
	}
	current := rd.view.Dated(rd.known.Observed, rd.known)
	res := rd.request.Evaluate(current)
	if res.Verdict != validator.NotModified || !res.Matched.Valid {
		return false
	}
	header := rd.rw.Header()
	for name, lines := range shown.fields {
		header[name] = slices.Clone(lines)
	}
	if rd.known.LastModified.IsZero() {
		answer.SetDate(header, current, time.Now())
	}
	reason := "the origin wasn't asked"
	if ignored := rd.responder.Ignored(res.Ignored); ignored != "" {
		reason += "; " + ignored
	}
	rd.responder.Report(answer.Unmodified, reason)
	rd.responder.ReportCondition(res.Field, current.ETag)
	rd.sendNotModified(tagToConfirm(res.Matched, current.ETag))
	return true
}

// onlyAsksForChange reports whether all that a request wants to know is whether a
// representation has changed. A client that says anything about caching wants the origin to
// answer. If-Modified-Since doesn't count beside If-None-Match (RFC 9110, section 13.1.3).
func onlyAsksForChange(r *resource.Request) bool {
	c, f := r.Conditions, r.Fields
	return c.IfNoneMatch != nil && c.IfMatch == nil && c.IfUnmodifiedSince == nil &&
		f[ifField] == nil && f["Range"] == nil && f["If-Range"] == nil && f["Prefer"] == nil && f["Expect"] == nil &&
		f["Cache-Control"] == nil && f["Pragma"] == nil && r.ContentLength == 0 && !signs(r)
}

// signs reports whether a request says that it is signed, or has credentials that are good
// for one request only.
func signs(r *resource.Request) bool { return r.Signed || r.Claimed != nil || r.OneTime != nil }

// storeMayDecide reports whether what is stored shows the present beyond doubt: nothing is in
// flight, nothing that was stored can have been lost unseen, and no other entry counts.
func storeMayDecide(rd *reading) bool {
	e, known := rd.view.Entry(), rd.known
	return rd.enforces() && rd.storable && known.State == validator.Present && known.ETag.Valid &&
		!rd.Deriver.IsShared(known.ETag) && e.Grace.Left == 0 && !e.IsSpent(known.Observed) &&
		!knowledge.InGroups(rd.view) && storeshare.Trusted(rd.share)
}

// hasCredentials reports whether a request says who asks, in a way that HTTP knows.
func hasCredentials(r *resource.Request) bool {
	if r.Fields["Authorization"] != nil || r.Fields["Proxy-Authorization"] != nil || r.Fields["Cookie"] != nil || certificate(r.Request) != "" {
		return true
	}
	user, _ := r.Replacer.GetString("http.auth.user.id")
	return user != ""
}

// plainFields are the fields, besides those in repetition.go, that don't say who asks.
var plainFields = fieldSet("Alt-Used", "Dnt", "Origin", "Referer", "Save-Data", "Sec-Gpc", "Upgrade-Insecure-Requests",
	"X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto")

// isAnybodys reports whether no field of a request, but its credentials and those that
// responses are known to vary by, may say who asks, or for what. Nobody knows all the fields
// that backends look at, so one that isn't known may.
func isAnybodys(r *resource.Request, vary string) bool {
	for name := range r.Fields {
		switch {
		case mayChange(name), plainFields[name], addressFields[name] && name != "Forwarded",
			name == "Authorization", name == "Proxy-Authorization", name == "Cookie":
		case !varies(vary, name):
			return false
		}
	}
	return true
}

// varies reports whether a sorted list of lower-case names has a name.
func varies(vary, name string) bool {
	return strings.Contains(","+vary+",", ","+strings.ToLower(name)+",")
}

// knowsPolicy reports whether the answer to a script of another origin can say what the
// backend says about that origin.
func knowsPolicy(x *exchange) bool {
	if x.request.Fields["Origin"] == nil {
		return true
	}
	if x.cross == nil {
		return false
	}
	_, known := x.cross.policy()
	return known
}

// selectedShown returns the key of the representation that a read selects, as far as is known.
func selectedShown(rd *reading) shownKey {
	return keyOfShown(rd.exchange, knowledge.VariantOf(rd.view))
}

// forgetShown forgets what was shown of the representation that a read selects.
func forgetShown(rd *reading) {
	if rd.Responses != nil {
		rd.Responses.shown.Remove(selectedShown(rd))
	}
}

// rememberShown remembers a response to a GET, as it is labelled, if others of its kind may
// be answered in its place. Otherwise it forgets the one before.
func rememberShown(rd *reading, status int, header http.Header, s proxyhooks.Shown, o validator.Observed) {
	if rd.Responses == nil || rd.r.Method != http.MethodGet {
		return
	}
	key, shown, ok := shownBy(rd, status, header, s, o)
	if ok {
		rd.Responses.shown.Add(key, shown)
	}
	// What a response varies by may be news, so the one before may have a different key.
	if !ok || key != selectedShown(rd) {
		forgetShown(rd)
	}
}

// shownBy returns what a response shows beside its representation, and the key of that. It
// reports false if nothing may be answered in its place.
func shownBy(rd *reading, status int, header http.Header, s proxyhooks.Shown, o validator.Observed) (key shownKey, shown shownResponse, ok bool) {
	observation, storable := rd.view.Observation(o, header)
	if !storable || !rd.storable || !rd.enforces() || s.Cached || signs(rd.request) {
		return key, shown, false
	}
	key = keyOfShown(rd.exchange, observation.Variant)
	shown = shownResponse{epoch: rd.view.Entry().Epoch, fields: make(http.Header)}
	switch status {
	case http.StatusOK:
		shown.tag = o.ETag
		ok = s.Known && !s.Untagged && !s.Versioned
	case http.StatusNotModified:
		// What the backend leaves out still stands (RFC 9111, section 4.3.4).
		if before, known := rd.Responses.shown.Peek(key); known {
			shown.tag, _ = validator.ParseETag(header.Get("Etag"))
			shown.fields, ok = maps.Clone(before.fields), shown.tag == before.tag
		}
	}
	size := len(key.site)
	for _, name := range shownFields {
		if lines := header[name]; lines != nil {
			shown.fields[name] = slices.Clone(lines)
		}
		for _, line := range shown.fields[name] {
			size += len(line)
		}
	}
	ok = ok && shown.tag.Valid && size <= maxShownFields && repeatable(rd, status, header) && shown.lasts(header, rd.begun) &&
		(shown.public || !hasCredentials(rd.request)) && isAnybodys(rd.request, observation.Vary)
	return key, shown, ok
}

// repeatable reports whether a 304 in place of a response with this header lacks nothing. It
// would if the response renews a session, gets the tags of items, names groups, or says
// something to caches in a way of their own (RFC 9213).
func repeatable(rd *reading, status int, header http.Header) bool {
	if setsSession(header) || header["Pragma"] != nil || header["Cache-Groups"] != nil || rd.lists() && proxyhooks.AcceptsInsertions(status, header) {
		return false
	}
	for name := range header {
		if strings.HasSuffix(name, "-Cache-Control") || strings.HasPrefix(name, "Surrogate-") || name == "X-Accel-Expires" || name == "Edge-Control" {
			return false
		}
	}
	return !knowledge.InGroups(rd.view)
}

// lasts finds out for how long, since it was asked for, a response may be answered in its
// place, and whether for everybody. It reports false if it may not be, or if nobody can tell.
func (s *shownResponse) lasts(header http.Header, asked time.Time) bool {
	age, public, ok := freshness(s.fields["Cache-Control"])
	if lines := s.fields["Expires"]; lines != nil {
		expires, valid := validator.ParseDate(lines[0], asked)
		if !valid || len(lines) > 1 {
			return false
		}
		age = min(age, expires.Sub(asked))
		if date := header["Date"]; date != nil { // by the origin's own clock (RFC 9111, section 4.2.1)
			dated, valid := validator.ParseDate(date[0], asked)
			if !valid || len(date) > 1 {
				return false
			}
			age = min(age, expires.Sub(dated))
		}
	}
	s.public, s.until = public, asked.Add(age) // whatever happens to the clock meanwhile
	return ok && time.Now().Before(s.until)
}

// freshness returns for how long a response with these lines of Cache-Control may be used
// without asking the origin (RFC 9111, section 4.2.1), at most maxShownAge, and whether it is
// for everybody. It reports false if the origin always wants to be asked, or if the lines
// aren't clear.
func freshness(lines []string) (age time.Duration, public, ok bool) {
	age = maxShownAge
	for _, directive := range members(lines) {
		if strings.ContainsAny(directive, " \t;") {
			return 0, false, false // some separate directives like this
		}
		name, value, _ := strings.Cut(directive, "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache", "private", "must-understand":
			return 0, false, false
		case "public":
			public = true
		case "max-age", "s-maxage":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil || seconds == 0 {
				return 0, false, false
			}
			age = min(age, time.Duration(seconds)*time.Second)
		}
	}
	quoted := strings.Contains(strings.Join(lines, ""), `"`) // a comma may be part of a value
	return age, public && !quoted, true
}
