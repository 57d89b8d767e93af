package proxyhooks

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Deriver derives the validators of a representation from the response to a GET. The
// first of its sources that yields a tag wins. If none does, the representation has no
// tag.
type Deriver struct {
	Sources []Source

	// Secret, if not empty, is the key of the hashes that tags are made of. Without it,
	// anyone who guesses some content can see from its tag whether the guess is right.
	Secret []byte

	// Limit is how many bytes of content are buffered to make a tag before the content
	// is sent. A source of kind JSON yields nothing for more content than this. Zero
	// means that only empty content is buffered.
	Limit int64

	// AnyCoding means that a probe asks for the content codings that its request accepts:
	// reads are forwarded with them, too. Otherwise it asks for the identity coding, so that
	// one content has one hash.
	AnyCoding bool

	// BodyOfAbsent means that a probe keeps the content of a 404 or 410 ([Probed.Body]).
	BodyOfAbsent bool

	// Memory counts what is buffered. If there is no room for it, the content is treated
	// as if it came too slowly. May be nil.
	Memory *Memory
}

// Scheme names how the Deriver makes tags. Tags of different schemes must not be
// compared. Schemes with different secrets differ, but don't reveal the secret.
func (d Deriver) Scheme() string {
	var b strings.Builder
	for i, s := range d.Sources {
		if i > 0 {
			b.WriteByte(',')
		}
		words := s.words()
		b.WriteString(words[0])
		for _, word := range words[1:] {
			b.WriteString(" " + strconv.Quote(word))
		}
	}
	if len(d.Secret) > 0 {
		h := d.newTagHash("scheme")
		b.WriteString("#" + h.tag().Opaque)
	}
	return b.String()
}

// VersionTag returns the tag for a variant of a resource that was first seen in an
// epoch of the store. See [SourceVersion].
func (d Deriver) VersionTag(epoch, variant string) validator.ETag {
	h := d.newTagHash(string(SourceVersion))
	h.list([]string{epoch, variant})
	return h.tag()
}

// UsesVersion reports whether the last source is [SourceVersion], so that a tag may be the
// version that the store counts.
func (d Deriver) UsesVersion() bool {
	return len(d.Sources) > 0 && d.Sources[len(d.Sources)-1].Kind == SourceVersion
}

// OnlyVersion reports whether every tag is the version that the store counts.
func (d Deriver) OnlyVersion() bool { return len(d.Sources) == 1 && d.UsesVersion() }

// TooLarge reports whether a response announces more content than d.Limit.
func (d Deriver) TooLarge(h http.Header) bool {
	n, announced := ContentLength(h)
	return announced && n > d.Limit
}

// AllowsParts reports whether parts of a representation whose response has this header can
// be had under its tag, as far as the header says. If not, Accept-Ranges would promise what
// a client that compares tags never gets.
func (d Deriver) AllowsParts(h http.Header, now time.Time) bool {
	derivation, _ := d.FromHeader(http.StatusOK, h, now)
	length, announced := ContentLength(h)
	switch {
	case derivation.Need == NeedVersion, d.IsShared(derivation.ETag), len(derivation.jsonTags) > 0 && !(announced && length > d.Limit):
		return false
	case derivation.Need == NeedContent:
		return !announced || length <= max(d.Limit, maxSpooled)
	default:
		return true
	}
}

// MayReplaceTag reports whether the Deriver may give a whole representation a different tag
// from the one in h. If so, that tag must not stay on a part of the representation.
func (d Deriver) MayReplaceTag(h http.Header) bool {
	for _, s := range d.Sources {
		if s.Kind != SourceUpstream {
			return true
		}
		if _, own := ownTag(h); own {
			return false
		}
	}
	return false
}

// FromHeader returns what the status and header section of a response to GET show. The
// request was sent at the time asked.
//
// It reports known = false if a response with this status says nothing about the
// current representation. Then the derivation contains at most a modification date, as
// for a 206 (Partial Content).
func (d Deriver) FromHeader(status int, h http.Header, asked time.Time) (derivation Derivation, known bool) {
	if status == http.StatusNotFound || status == http.StatusGone {
		derivation.State = validator.Absent
		return derivation, true
	}
	derivation.LastModified, derivation.WeakDate = lastModified(h, asked)
	if status != http.StatusOK && status != http.StatusNoContent {
		return derivation, false
	}
	derivation.State = validator.Present
	derivation.Backend = backendTag(h)
	derivation.fallback = derivation.Observed
	for _, s := range d.Sources {
		if d.try(&derivation, s, h) {
			derivation.fallbackKind = s.Kind
			break
		}
	}
	ours := derivation.fallback.ETag.Valid && !derivation.fallback.Own
	derivation.headMayDiffer = derivation.headMayDiffer || ours && len(h["Content-Type"]) == 0
	if len(derivation.jsonTags) > 0 || derivation.bodyTag != nil {
		derivation.Need = NeedContent
	} else {
		derivation.fallBack()
	}
	return derivation, true
}

// FromContent returns what a 200 (OK) response to GET with this header section and
// content would show.
func (d Deriver) FromContent(h http.Header, content []byte, asked time.Time) Derivation {
	derivation, _ := d.FromHeader(http.StatusOK, h, asked)
	if int64(len(content)) > d.Limit {
		derivation.skipJSON()
	}
	derivation.write(content)
	derivation.finish(content)
	return derivation
}

// try adds to the derivation what a source makes of a header section, and reports
// whether the source is certain to yield a tag.
func (d Deriver) try(derivation *Derivation, s Source, h http.Header) (yields bool) {
	fallback := &derivation.fallback
	switch s.Kind {
	case SourceUpstream:
		if fallback.ETag, fallback.Own = ownTag(h); fallback.Own {
			fallback.Backend = validator.ETag{}
		}
	case SourceHeader:
		fallback.ETag = d.tagOfField(s, h)
	case SourceJSON:
		if length, announced := ContentLength(h); isJSON(h) && (!announced || length <= d.Limit) {
			derivation.jsonTags = append(derivation.jsonTags, jsonTag{d.newContentHash(s, h), s})
		}
	case SourceModified:
		fallback.ETag = d.tagOfDate(s, h, derivation.Observed)
		_, announced := ContentLength(h)
		derivation.headMayDiffer = !announced
	case SourceBody:
		derivation.bodyTag = d.newContentHash(s, h)
	case SourceVersion:
		derivation.fallbackNeed = NeedVersion
	}
	return fallback.ETag.Valid || s.Kind.AlwaysYields()
}

// tagOfField makes a tag from the lines of a field.
func (d Deriver) tagOfField(s Source, h http.Header) validator.ETag {
	if s.TakesValue() {
		tag, _ := s.tagOfLines(h)
		return tag
	}
	lines := h[textproto.CanonicalMIMEHeaderKey(s.Field)]
	if strings.Trim(strings.Join(lines, ""), " \t") == "" {
		return validator.ETag{}
	}
	hash := d.newContentHash(s, h)
	hash.list(lines)
	return hash.tag()
}

// tagOfDate makes a tag from the modification date and the length.
func (d Deriver) tagOfDate(s Source, h http.Header, o validator.Observed) validator.ETag {
	length, announced := ContentLength(h)
	if o.LastModified.IsZero() || o.WeakDate || !announced {
		return validator.ETag{}
	}
	hash := d.newContentHash(s, h)
	hash.list([]string{validator.FormatDate(o.LastModified), strconv.FormatInt(length, 10)})
	return hash.tag()
}
