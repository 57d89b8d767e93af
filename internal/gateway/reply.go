package gateway

import (
	"net/http"

	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// reply is what is sent in place of a response.
type reply struct {
	kind    replyKind
	tag     validator.ETag    // of a 304
	refusal answer.Refusal    // for refused
	status  int               // for changed
	content []byte            // for changed
	parts   []proxyhooks.Part // for partial
	source  source            // for partial: what to cut them from
}

type replyKind uint8

const (
	asIs         replyKind = iota // nothing: the response itself is sent
	notModified                   // 304
	refused                       // a refusal
	changed                       // the response with different content
	partial                       // parts of the response
	withoutRange                  // what the backend answers without Range
)

// send sends a reply.
func (rd *reading) send(r reply) error {
	switch r.kind {
	case notModified:
		rd.sendNotModified(r.tag)
		return nil
	case refused:
		return rd.responder.SendRefusal(r.refusal)
	case partial:
		proxyhooks.SendParts(rd.rw, r.parts, r.source, r.source.size)
		return nil
	default:
		rd.rw.WriteHeader(r.status)
		_, err := rd.rw.Write(r.content)
		return err
	}
}

// tagToConfirm returns the tag that a 304 carries: the one by which the client
// knows the representation. A client that listed a weak tag gets the current one,
// unless its tag has the mark of items: then it has the list with the tags of its
// items, and the current tag belongs to the list without them.
func tagToConfirm(matched, current validator.ETag) validator.ETag {
	withItems := matched.Unmarked()[1].Valid
	if matched.Valid && (!matched.Weak || withItems) {
		return matched
	}
	return current
}

// sendNotModified sends 304 with the fields of the response that it stands for
// (RFC 9110, section 15.4.5). Without a tag it carries the date.
func (rd *reading) sendNotModified(tag validator.ETag) {
	header := rd.rw.Header()
	location, modified := header["Content-Location"], header["Last-Modified"]
	answer.RemoveRepresentationMetadata(header)
	if location != nil {
		header["Content-Location"] = location
	}
	switch {
	case tag.Valid:
		header["Etag"] = []string{tag.String()}
	case modified != nil:
		header["Last-Modified"] = modified
	}
	rd.rw.WriteHeader(http.StatusNotModified)
}

// contentReply returns what to send in place of a response whose conditions hold:
// a list with the tags of its items, or the parts that Range asks for.
func (rd *reading) contentReply(status int, header http.Header, current validator.Representation, res validator.Result, s proxyhooks.Shown) reply {
	content, r := sourceOf(s), reply{}
	if tagged, ok := rd.tagItems(status, header, &current, s.Content); ok {
		content = newSource(tagged)
		r = reply{kind: changed, status: status, content: tagged}
	}
	if status == http.StatusOK {
		if parts, ok := rd.cut(header, current, res, content, s.Exact); ok {
			r = parts
		}
	}
	return r
}
