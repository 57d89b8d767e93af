package proxyhooks

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Need says what is needed besides the header section to know the tag of a response.
type Need uint8

const (
	// NeedNothing means that the tag is known, or that the response has none.
	NeedNothing Need = iota
	// NeedContent means that the tag is made from the content.
	NeedContent
	// NeedVersion means that the tag is the version that the store counts.
	NeedVersion
)

// Derivation is what is known so far about the validators of a response.
type Derivation struct {
	// Observed has no tag unless Need is NeedNothing.
	validator.Observed
	Need Need

	// If the content is needed: first each of jsonTags in order, then bodyTag unless
	// it is nil. If none of these yields, the result is fallback, with fallbackNeed.
	jsonTags     []jsonTag
	bodyTag      *tagHash
	fallback     validator.Observed
	fallbackNeed Need
	fallbackKind SourceKind // of the source that yields it, if one does

	// fromJSON reports that the tag was made from values in the content.
	fromJSON bool

	// headMayDiffer reports that the tag depends on header fields that a response to
	// HEAD may leave out (RFC 9110, section 9.3.2).
	headMayDiffer bool
}

// write adds content to the hash of the content.
func (d *Derivation) write(p []byte) {
	if d.bodyTag != nil {
		d.bodyTag.Write(p)
	}
}

// skipJSON goes on to the sources after JSON, because there is more content than JSON
// sources read.
func (d *Derivation) skipJSON() {
	d.jsonTags = nil
	if d.bodyTag == nil {
		d.fallBack()
	}
}

// finish makes the tag when the content has ended. It needs the whole content unless
// skipJSON was called.
func (d *Derivation) finish(content []byte) {
	if d.Need != NeedContent {
		return
	}
	if len(d.jsonTags) > 0 && utf8.Valid(content) && json.Valid(content) {
		for _, j := range d.jsonTags {
			if tag, ok := j.tag(content); ok {
				d.ETag, d.Need, d.fromJSON = tag, NeedNothing, true
				countTag(SourceJSON)
				return
			}
		}
	}
	d.skipJSON()
	if d.bodyTag != nil {
		d.ETag, d.Need = d.bodyTag.tag(), NeedNothing
		countTag(SourceBody)
	}
}

// giveUp goes on without a tag, because the content can't be used.
func (d *Derivation) giveUp() {
	o := d.Observed
	o.ETag, o.Own = validator.ETag{}, false
	*d = Derivation{Observed: o}
}

func (d *Derivation) fallBack() {
	d.Observed, d.Need = d.fallback, d.fallbackNeed
	countTag(d.fallbackKind)
}

// exact reports whether different content always has a different tag, as far as the
// backend says. Values in JSON, and the version of the store, can stay the same while
// the rest differs on every read. A version also belongs to content that arrived just
// after the version was current.
func (d *Derivation) exact() bool { return !d.fromJSON && d.Need != NeedVersion }

// isInHeader reports whether the tag was made from the header section alone, out of fields
// that a response to HEAD has, too.
func (d *Derivation) isInHeader() bool {
	return d.Need == NeedNothing && d.ETag.Valid && !d.fromJSON && !d.headMayDiffer
}

// jsonTag makes a tag from values in JSON content.
type jsonTag struct {
	*tagHash
	Source
}

// tag returns the tag of valid JSON content. It reports false if one of the values
// doesn't exist, or if nobody knows which value a reader takes for it.
func (j jsonTag) tag(content []byte) (validator.ETag, bool) {
	for _, p := range j.Pointers {
		at, only := p.locate(content)
		if !only || at == (span{}) {
			return validator.ETag{}, false
		}
		if j.TakesValue() {
			return j.tagOfJSON(at.of(content))
		}
		text := canonical(at.of(content))
		j.number(len(text))
		j.Write(text)
	}
	return j.tagHash.tag(), true
}
