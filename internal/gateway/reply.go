package gateway

import (
	"net/http"
	"time"

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
	content []byte            // for changed and parts
	parts   []proxyhooks.Part // for parts
}

type replyKind uint8

const (
	asIs        replyKind = iota // nothing: the response itself is sent
	notModified                  // 304
	refused                      // a refusal
	changed                      // the response with different content
	parts                        // parts of the response
)

// send sends a reply.
func (rd *reading) send(r reply) error {
	switch r.kind {
	case notModified:
		rd.sendNotModified(r.tag)
		return nil
	case refused:
		return rd.responder.SendRefusal(r.refusal)
	case parts:
		proxyhooks.SendParts(rd.rw, r.parts, r.content)
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
func (rd *reading) contentReply(status int, header http.Header, current validator.Representation, matched validator.ETag, s proxyhooks.Shown) reply {
	content := s.Content
	r := reply{}
	if tagged, ok := rd.tagItems(status, header, &current, content); ok {
		content = tagged
		r = reply{kind: changed, status: status, content: tagged}
	}
	if found, ok := rd.cut(status, current, matched, content); ok && s.Exact {
		r = reply{kind: parts, parts: found, content: content}
	}
	return r
}

// cut returns the parts that Range asks for, if the backend didn't get that field.
// If-Range counts only now that the conditions hold (RFC 9110, section 13.2.2).
// With If-Match, Range asks for the rest of the bytes that the tag belongs to
// (section 13.1.1). A tag that matched only without its mark belongs to different
// bytes, so nothing is cut.
func (rd *reading) cut(status int, r validator.Representation, matched validator.ETag, content []byte) ([]proxyhooks.Part, bool) {
	if status != http.StatusOK || rd.ranges == nil || content == nil || !r.ETag.Valid ||
		matched.Valid && matched != r.ETag ||
		!validator.IfRange(rd.request.Fields["If-Range"], r, time.Now()) {
		return nil, false
	}
	return proxyhooks.ParseRange(rd.ranges, int64(len(content)))
}
