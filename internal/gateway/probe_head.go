package gateway

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// A probe is a GET, whose content is of no use if the tag is made from the header section.
// A HEAD takes its place where HEAD has proved to say what GET says (heads.go), and says what
// was expected. Whatever else it says, a GET decides. So no write is refused because of a
// HEAD, and none passes on a HEAD that disagrees with what a GET has shown before.

// question is a probe for which a HEAD may be enough.
type question struct {
	ctx  context.Context
	view knowledge.View

	// get sends the GET.
	get func() proxyhooks.Probed

	// enough reports whether the answer to a HEAD makes the GET unnecessary. It may be nil
	// if nothing does.
	enough func(head proxyhooks.Probed) bool

	// stored is what a GET is expected to show, if anything is.
	stored validator.Observed

	// unwritten reports whether nobody has come through here since the question was
	// asked. It is called only if the origin shows something unexpected.
	unwritten func() bool
}

// mayUseHead reports whether ask would do anything but send a GET: there are resources whose
// probes have content that is of no use.
func (p *prober) mayUseHead() bool { return p.Learned != nil && p.Learned.heads.any() }

// consider takes note of the answer to a GET, and returns it.
func (p *prober) consider(got proxyhooks.Probed) proxyhooks.Probed {
	if p.Learned != nil && got.Known && got.InHeader && !got.Cached && got.Length >= minSpared {
		if kind, ok := p.kind(); ok {
			p.Learned.heads.add(kind)
		}
	}
	return got
}

// ask asks the origin. If HEAD has yet to prove itself, or has to do so again, it sends both
// HEAD and GET. The HEAD comes first: it must not profit from what a cache or a gateway keeps
// of the GET.
func (p *prober) ask(q question) proxyhooks.Probed {
	kind, ok := p.kind()
	if !ok {
		return q.get()
	}
	heads, target := &p.Learned.heads, p.subject.Key+"\n"+knowledge.VariantOf(q.view)
	use := heads.use(kind, target, time.Now())
	switch {
	case q.enough == nil && use != headOnTrial:
		return q.get()
	case use == headUnused:
		got := p.consider(q.get())
		q.noteBypass(p.Learned, got)
		return got
	}
	head, headTook := p.head(q)
	if use == headProved && head.Known && !head.Cached && q.enough(head) {
		return head
	}
	begun := time.Now()
	got := q.get()
	changed := q.noteBypass(p.Learned, got)
	switch verdict := compareHead(head, got, headTook, time.Since(begun)); {
	case head.Status >= http.StatusInternalServerError && got.Status < http.StatusInternalServerError:
		heads.giveUp()
	case q.ctx.Err() != nil, verdict == headIncomparable:
	case verdict == headAgrees:
		heads.agree(kind, target, got.Observed.ETag, changed, time.Now())
	case verdict == headContradicts && q.unwritten():
		heads.contradict(time.Now())
		p.Logger.Warn("the backend's answer to HEAD shows a different state than its answer to GET, or somebody writes past this handler; "+
			"so for ten minutes, only GET is asked before a write", zap.String("resource", p.subject.Key))
	case verdict == headContradicts:
		heads.forget(kind)
	default:
		heads.lack(kind, time.Now())
	}
	return got
}

// noteBypass notes whether the answer to a GET shows that somebody has written past the
// handler, and reports it.
func (q question) noteBypass(l *Learned, got proxyhooks.Probed) bool {
	if !isUnexpected(got, q.stored) || !q.unwritten() {
		return false
	}
	l.changedElsewhere(q.stored, got.Observed)
	return true
}

// isUnexpected reports whether the origin shows a different tag than is stored.
func isUnexpected(got proxyhooks.Probed, stored validator.Observed) bool {
	return stored.ETag.Valid && got.InHeader && !got.Cached && got.Observed.ETag != stored.ETag
}

// maxHeadTime is how long a HEAD may take. A GET follows then.
const maxHeadTime = time.Second

// head sends a HEAD. It also returns how long that took.
func (p *prober) head(q question) (proxyhooks.Probed, time.Duration) {
	ctx, cancel := context.WithCancel(q.ctx) // to a proxy, a client that disconnects; not a failure of the backend
	defer cancel()
	defer time.AfterFunc(maxHeadTime, cancel).Stop()
	begun := time.Now()
	probed := p.finish(begun, proxyhooks.ProbeHead(ctx, p.next, p.inClientsName(q.view), p.deriver))
	return probed, time.Since(begun)
}

// maxKind is how long the name of a kind of resources may be.
const maxKind = 512

// kind returns a name for the resources that a backend can be expected to treat like the
// subject: those in the same directory whose names have the same extension. What has a query
// is a kind of its own. It reports false if the subject must not be asked for with HEAD.
func (p *prober) kind() (name string, ok bool) {
	r := p.request
	if p.Learned == nil || p.Verify.Refused || r.Unasked || r.OneTime != nil || r.Signed || r.Operation != resource.NoOperation {
		return "", false
	}
	target, query, _ := strings.Cut(p.subject.CurrentTarget, "?")
	name = r.HostName() + " " + strings.TrimSuffix(path.Dir(target), "/") + "/*" + path.Ext(target) + "?" + query
	return name, len(name) <= maxKind
}

// headVerdict is what comparing the answers to a HEAD and to a GET shows.
type headVerdict uint8

const (
	headIncomparable headVerdict = iota // the GET shows no state, or its content makes the tag
	headAgrees
	headLacks       // something that the GET has, or time
	headContradicts // it shows a different state
)

// slowHead is how much longer than the GET a HEAD may take.
const slowHead = 250 * time.Millisecond

// compareHead compares the answers to a HEAD and a GET, and the time they took.
func compareHead(head, got proxyhooks.Probed, headTook, getTook time.Duration) headVerdict {
	switch {
	case got.Err != nil:
		return headIncomparable
	case got.Cached:
		return headLacks // nobody can tell what the origin would say
	case !got.InHeader:
		return compareUntagged(head, got)
	case !head.Known, head.Cached, head.Status != got.Status:
		return headLacks
	case !sameShown(head.Observed, got.Observed):
		return headContradicts
	case !slices.Equal(describingFields(head.Header), describingFields(got.Header)), headTook > getTook+slowHead:
		return headLacks
	default:
		return headAgrees
	}
}

// compareUntagged does the same if the GET shows no tag in its header section.
func compareUntagged(head, got proxyhooks.Probed) headVerdict {
	switch {
	case head.Known && got.Known:
		return headContradicts
	case head.Known, got.Observed.State == validator.Present:
		return headLacks
	default:
		return headIncomparable
	}
}

// sameShown reports whether two answers show the same state, and the same tag of the
// backend's own.
func sameShown(a, b validator.Observed) bool { return a.SameValidators(b) && a.Backend == b.Backend }

// describingFields returns the fields of an answer, with their names, that count for anything but
// the validators: what it describes, by what it varies, to what it belongs, who may see it.
func describingFields(h http.Header) (fields []string) {
	for name, lines := range h {
		switch name {
		case "Vary", "Cache-Groups", "Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Www-Authenticate":
		default:
			if !strings.HasPrefix(name, "Access-Control-") {
				continue
			}
		}
		fields = append(fields, name+": "+strings.Join(lines, ", "))
	}
	slices.Sort(fields)
	return fields
}
