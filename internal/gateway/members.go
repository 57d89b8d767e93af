package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/concurrently"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/multistatus"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

const (
	// maxMemberReads is how many members of a multistatus are read from the store at once.
	maxMemberReads = 16
	// maxMemberProbes limits the members for which the origin is asked for one answer,
	// maxMemberProbesAtOnce the number at once.
	maxMemberProbes       = 10000
	maxMemberProbesAtOnce = 8
)

// collection has the members of a multistatus: the resources that it is about.
//
// A tag that stands beside the content of its resource, as in a calendar-multiget, can make a
// client overwrite a change that it hasn't seen, if it belongs to later content. Such a tag is
// given only if a GET shows the same content, if the backend's own tag or date says that the
// two belong together, or if nobody has written since before the request.
type collection struct {
	*exchange
	asked  multistatus.Asked
	base   *http.Request // before next changed it
	header http.Header   // of the answer
	begun  time.Time
	began  time.Time // by the clock of the store; zero if that isn't known
	left   int       // how many may still be asked for

	own agreement // whether a GET shows the tags that the backend itself gives here
}

// agreement says whether the backend gives the same tags here and in the response to a GET.
type agreement uint8

const (
	unknownAgreement agreement = iota
	agrees
	disagrees
)

// incompleteError says why the tag of a member that the client asks for can't be told now.
type incompleteError struct{ why string }

func (e *incompleteError) Error() string { return e.why }

// member is one of its members.
type member struct {
	*multistatus.Response
	reader  *knowledge.Reader // nil if nobody knows how clients reach it
	view    knowledge.View
	stored  etagcache.Stored
	usable  bool   // whether what is stored is what a GET would show
	own     string // the tag that the backend gives
	date    validator.Observed
	named   bool // whether the client asks for the tag
	fails   string
	fillTag string
}

// change gives members their properties. The rest of the answer comes through a pipe.
func (m *collection) change(responses []*multistatus.Response, pipe *answerPipe) error {
	var all []*member
	for _, r := range responses {
		if r.HasProperties() && r.Href != "" {
			all = append(all, m.member(r))
		}
	}
	concurrently.Do(maxMemberReads, all, m.look)
	if slices.ContainsFunc(all, m.provesOwn) {
		m.own = agrees
	}
	open := slices.DeleteFunc(slices.Clone(all), func(one *member) bool { return !m.mustAsk(one) })
	if len(open) > 0 {
		if err := pipe.keepAll(); err != nil {
			return err
		}
	}
	if i := slices.IndexFunc(open, func(one *member) bool { return m.own == unknownAgreement && m.keepsOwn(one) }); i >= 0 {
		m.compare(open[i])
		open = slices.DeleteFunc(open, func(one *member) bool { return !m.mustAsk(one) })
	}
	if m.left -= len(open); m.left < 0 {
		return &incompleteError{"it has more than " + strconv.Itoa(maxMemberProbes) + " members that have to be read. Try again: those whose dates or tags the backend gives are known then"}
	}
	concurrently.Do(maxMemberProbesAtOnce, open, m.ask)
	for _, one := range all {
		if one.fails != "" {
			return &incompleteError{one.fails}
		}
		m.set(one)
	}
	return nil
}

// member returns what a response is about.
func (m *collection) member(r *multistatus.Response) *member {
	one := &member{Response: r, own: r.Text(multistatus.ETag)}
	one.named = m.asked.Wants(multistatus.ETag) || !m.asked.All && r.Names(multistatus.ETag)
	if strings.HasSuffix(r.Href, "/") {
		one.Collection = true
	}
	one.date = m.dated(r.Text(multistatus.LastModified))
	original, ok := m.request.OnThisHost(r.Href)
	if !ok {
		return one
	}
	if current, ok := m.request.Current(original); ok && resource.IsPlain(original) && resource.IsPlain(current) {
		subject := m.Namer.At(m.request, original, current)
		one.reader = &knowledge.Reader{Config: m.Config, Share: m.share, Request: m.request, Subject: subject}
	}
	return one
}

// dated returns what a date says that the backend gives.
func (m *collection) dated(text string) validator.Observed {
	if text == "" {
		return validator.Observed{}
	}
	h := http.Header{"Last-Modified": {text}, "Date": m.header["Date"]}
	d, _ := m.Deriver.FromHeader(http.StatusOK, h, m.begun)
	return d.Observed
}

// look finds out what is known of a member.
func (m *collection) look(one *member) {
	if one.reader == nil || one.Collection {
		return
	}
	view, err := one.reader.Read()
	one.view = view
	if err != nil || view.Busy() {
		return
	}
	one.stored = view.Stored()
	if one.stored.State != validator.Present || !one.stored.ETag.Valid {
		return
	}
	// A tag of the backend's own that isn't a source proves nothing: several contents may share it.
	evident := one.stored.Own && one.stored.ETag.String() == one.own ||
		!one.date.LastModified.IsZero() && !one.date.WeakDate && !one.stored.WeakDate && one.stored.LastModified.Equal(one.date.LastModified)
	unwritten := !m.Verify.needed(one.stored.Age) &&
		(one.Data == "" || !m.began.IsZero() && one.stored.Since.Before(m.began))
	one.usable = evident || unwritten
}

// keepsOwn reports whether a GET shows the tag that the backend itself gives, if the backend
// gives the same tags in both places.
func (m *collection) keepsOwn(one *member) bool {
	return one.own != "" && !m.Deriver.MayReplaceTag(http.Header{"Etag": {one.own}}) &&
		(!one.stored.ETag.Valid || one.stored.Own)
}

// provesOwn reports whether a GET of a member has shown the tag that the backend itself gives.
func (m *collection) provesOwn(one *member) bool {
	return m.keepsOwn(one) && one.stored.Own && one.stored.ETag.String() == one.own
}

// mustAsk reports whether only the origin can tell the tag of a member. Clients that ask for
// whatever there is don't need it.
func (m *collection) mustAsk(one *member) bool {
	switch {
	case one.reader == nil, one.Collection, !one.named, m.keepsOwn(one) && m.own == agrees:
		return false
	case m.keepsOwn(one) && m.own == unknownAgreement:
		return m.request.OneTime == nil
	case one.usable:
		return false
	}
	length, err := strconv.ParseInt(one.Length, 10, 64)
	return err != nil || length <= m.Buffer || !m.onlyFromContent()
}

// onlyFromContent reports whether tags that the backend doesn't give itself are made from
// content.
func (m *collection) onlyFromContent() bool {
	return !slices.ContainsFunc(m.Deriver.Sources, func(s proxyhooks.Source) bool {
		return s.Kind != proxyhooks.SourceUpstream && s.Kind != proxyhooks.SourceBody && s.Kind != proxyhooks.SourceJSON
	})
}

// compare finds out whether a GET of a member shows the tag that the backend gives here.
func (m *collection) compare(one *member) {
	p := m.probe(one, nil)
	switch {
	case !p.Known || p.Observed.State != validator.Present:
	case p.Header.Get("Etag") == one.own:
		m.own = agrees
		m.learn(one, p)
	default:
		m.own = disagrees
	}
}

// ask asks the origin for the tag of a member.
func (m *collection) ask(one *member) {
	if m.request.OneTime != nil {
		one.fails = "the tags of members have to be read, and the client's credentials are good for one request only"
		return
	}
	var content *boundedBuffer
	if one.Data != "" {
		memory := m.memory.Part()
		defer memory.Close()
		content = &boundedBuffer{left: m.Buffer, memory: memory}
	}
	p := m.probe(one, content)
	switch {
	case p.Err != nil, p.Status >= 500, passes(p.Status):
		one.fails = "a member could not be read"
	case !p.Observed.ETag.Valid && !p.Versioned:
		return // nor does a client that reads it get a tag
	case content != nil && !sameText(content.kept.String(), one.Data):
		one.fails = "a member may have been changed in the meantime. Try again"
	default:
		m.learn(one, p)
	}
}

// sameText reports whether content is the text that stands in XML, where line ends differ and
// white space around it says nothing.
func sameText(content, text string) bool {
	withoutCR := strings.NewReplacer("\r", "")
	return strings.TrimSpace(withoutCR.Replace(content)) == strings.TrimSpace(withoutCR.Replace(text))
}

// probe sends a GET for a member. It writes the content to content, unless that is nil.
func (m *collection) probe(one *member, content *boundedBuffer) proxyhooks.Probed {
	r := one.reader.Subject.Request(m.base)
	memory := m.memory.Part()
	defer memory.Close()
	d := counting(m.Deriver, memory)
	p, begun := proxyhooks.Probed{}, time.Now()
	if content == nil {
		p = proxyhooks.Probe(r.Context(), m.next, r, d, m.Buffer)
	} else {
		p = proxyhooks.ProbeContent(r.Context(), m.next, r, d, content)
	}
	noteProbe(m.responder.Course, begun, p)
	m.warnOfSession(p.Header)
	return p
}

// learn takes the tag that the origin has shown, and stores it.
func (m *collection) learn(one *member, p proxyhooks.Probed) {
	current := p.Observed
	if p.Versioned {
		current = one.view.Versioned(current, p.Header, one.stored.Observed, one.view.Entry().Epoch)
	}
	stored := false
	if o, ok := one.view.Observation(current, p.Header); ok && !p.Cached && !one.view.Busy() && one.view.Entry().Epoch != "" {
		stored = one.view.Store(o) == nil
	}
	if stored || !p.Versioned {
		one.fillTag = current.ETag.String()
	}
}

// set changes the properties of a member.
func (m *collection) set(one *member) {
	if tag := m.tagOf(one); (one.named || m.asked.All || one.own != "") && tag != one.own {
		one.Set(multistatus.ETag, tag, one.named)
	}
	if one.Collection {
		return
	}
	text := one.Text(multistatus.LastModified)
	named := m.asked.Wants(multistatus.LastModified) || !m.asked.All && one.Names(multistatus.LastModified)
	date := text
	switch {
	case one.date.WeakDate:
		date = "" // until its second is over, as in the response to a GET
	case one.usable && one.stored.LastModified.IsZero():
		date = ""
		if r := one.view.Dated(one.stored.Observed, one.stored); !r.WeakDate && !r.LastModified.IsZero() {
			date = validator.FormatDate(r.LastModified)
		}
	}
	if (named || m.asked.All || text != "") && date != text {
		one.Set(multistatus.LastModified, date, named)
	}
}

// tagOf returns the tag that a GET of a member gives, or nothing if it gives none, or if that
// isn't known.
func (m *collection) tagOf(one *member) string {
	tag := ""
	switch {
	case one.Collection || one.reader == nil:
		if !m.Deriver.MayReplaceTag(http.Header{"Etag": {one.own}}) {
			tag = one.own
		}
	case one.fillTag != "":
		tag = one.fillTag
	case m.keepsOwn(one) && (m.own == agrees || m.own == unknownAgreement && !one.stored.ETag.Valid):
		tag = one.own
	case one.usable:
		tag = one.stored.ETag.String()
	}
	if !utf8.ValidString(tag) {
		return ""
	}
	return tag
}
