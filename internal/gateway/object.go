package gateway

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/hold"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/telemetry"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// An object store that speaks S3 says in its answers what a write has led to: the new tag is
// in a field, or in the content. Nobody else can sign a GET, so this is all that the handler
// learns of many objects. It counts if nobody else may have written meanwhile. So a write
// without a condition takes a claim, too.

// object is a write to an object store that speaks S3.
type object struct{ *writing }

// toObject reports whether the write replaces or deletes one object, its target.
func (w object) toObject() bool {
	switch w.request.Operation {
	case resource.ObjectOperation:
		return w.request.DoesOnly(http.MethodPut) || w.request.DoesOnly(http.MethodDelete)
	case resource.CompleteOperation, resource.CopyOperation:
		return true
	default:
		return false
	}
}

// answersInContent reports whether the answer to the write says in its content what has become
// of it. A 200 is then no success by itself: S3 may send it before the write is done.
func (w object) answersInContent(status int) bool {
	op := w.request.Operation
	return status == http.StatusOK && (op == resource.CompleteOperation || op == resource.CopyOperation)
}

// objectPatience is how long an answer is kept back that says in its content what has become of the
// write.
const objectPatience = 20 * time.Second

// acquire takes what a write without a condition needs: a pass, or a claim if the answer says
// what the write has led to.
func (w object) acquire(waiting context.Context) error {
	if w.toObject() {
		return w.claim(waiting)
	}
	return w.holds.AcquirePass(waiting, w.plan)
}

// claim takes the claim for a write without a condition.
func (w object) claim(waiting context.Context) error {
	view, err := w.reader.Read()
	if err != nil {
		return err
	}
	_, err = w.holds.AcquireClaim(waiting, w.plan, *view.Entry(), func(entry *etagcache.Entry) (_ hold.Wish, err error) {
		switch {
		case entry == nil:
			view, err = w.reader.Read()
		case entry.Epoch != view.Entry().Epoch:
			view, err = w.reader.View(*entry)
		}
		return hold.Wish{Wanted: true, Epoch: view.Entry().Epoch}, err
	})
	if err != nil {
		return err
	}
	w.view = knowledge.Own(view)
	return w.holds.AcquireSubtrees(waiting, w.plan)
}

// objectResult is what the content of an answer says.
type objectResult struct {
	XMLName xml.Name
	ETag    string
	Code    string // of an error
}

// resultIn returns what the content of a complete answer says. It reports false if that
// says nothing.
func resultIn(a proxyhooks.Answer) (r objectResult, ok bool) {
	if !a.Complete || xml.Unmarshal(a.Content, &r) != nil {
		return objectResult{}, false
	}
	return r, true
}

// changedNothing are the codes of errors after which an object is what it was before.
var changedNothing = []string{
	"AccessDenied", "ConditionalRequestConflict", "EntityTooLarge", "EntityTooSmall", "InvalidArgument", "InvalidPart", "InvalidPartOrder",
	"InvalidRequest", "MalformedXML", "NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NotImplemented", "PreconditionFailed",
}

// outcome returns the status and the fate of a write, given those of the answer. Nobody knows
// what an error in the content of a 200 has left behind, unless its code says so.
func (w object) outcome(a proxyhooks.Answer, fate proxyhooks.Fate) (int, proxyhooks.Fate) {
	switch {
	case fate != proxyhooks.Applied:
	case w.request.Operation == resource.PartOperation:
		return a.Status, proxyhooks.Refused // it has changed no object
	case w.request.Operation == resource.DetailOperation:
		if a.Status/100 == 2 && a.Header["Etag"] == nil && !w.request.Does(http.MethodDelete) {
			return a.Status, proxyhooks.Refused // it has changed something else
		}
	case w.answersInContent(a.Status):
		switch r, ok := resultIn(a); {
		case !ok, r.XMLName.Local == "Error" && !slices.Contains(changedNothing, r.Code):
			return http.StatusInternalServerError, fate
		case r.XMLName.Local == "Error":
			return a.Status, proxyhooks.Refused
		}
	}
	return a.Status, fate
}

// observe records what an answer says about the object.
func (w object) observe(a proxyhooks.Answer, status int, fate proxyhooks.Fate) {
	if fate != proxyhooks.Applied || !isDone(status) || !w.toObject() || !w.holds.Claimed() || w.plan.Guarded {
		return
	}
	if w.request.Does(http.MethodDelete) {
		if query := w.r.URL.Query(); w.request.DoesOnly(http.MethodDelete) && !query.Has("versionId") {
			w.result.record(validator.Observed{Representation: validator.Representation{State: validator.Absent}}, a.Status)
		}
		return
	}
	tag := a.Header.Get("ETag")
	if w.answersInContent(a.Status) {
		r, _ := resultIn(a)
		tag = r.ETag
		if tag != "" && !strings.HasPrefix(tag, `"`) {
			tag = `"` + tag + `"`
		}
	} else if !w.request.DoesOnly(http.MethodPut) {
		return
	}
	shown, _ := w.Deriver.FromHeader(http.StatusOK, http.Header{"Etag": {tag}}, time.Now())
	if shown.Own {
		w.result.record(shown.Observed, a.Status)
	}
}

// record records what the backend itself says a write has led to.
func (w *aftermath) record(shown validator.Observed, status int) {
	w.proven = true
	w.view = knowledge.Own(w.view)
	w.recordResult(shown, nil, status)
}

// bufferLimit is BufferLimit for an answer that says in its content what has become of the
// write.
func (w object) bufferLimit(status int) (limit int64, patience time.Duration, ok bool) {
	switch {
	case !w.answersInContent(status):
		return 0, 0, false
	case w.holds.Claimed():
		return w.Buffer, objectPatience, true
	default:
		return w.Buffer, 0, true
	}
}

// hidesNothing reports whether an answer to a probe says that there is no such object. S3
// says so only to those who may know.
func hidesNothing(r *resource.Request, p proxyhooks.Probed) bool {
	if r.Operation == resource.NoOperation || p.Status != http.StatusNotFound {
		return false
	}
	var e objectResult
	return xml.Unmarshal(p.Body, &e) == nil && e.XMLName.Local == "Error" && (e.Code == "NoSuchKey" || e.Code == "NoSuchBucket")
}

// answerNothingToDelete answers a DELETE whose condition is about an object that isn't there. To
// S3 that is no failure.
func answerNothingToDelete(x *exchange, d decision) error {
	x.responder.ReportRefusal(answer.Refusal{
		Status: http.StatusNoContent, Outcome: answer.Failed, Condition: d.result.Field,
		Reason: d.result.Field.String() + ": nothing to delete", Code: telemetry.NothingToDelete,
	})
	x.responder.ReportCondition(d.result.Field, validator.ETag{})
	return x.responder.Send(http.StatusNoContent, nil)
}

// nothingToDelete reports whether a refuted write is such a DELETE.
func nothingToDelete(x *exchange, d decision) bool {
	return x.request.Operation == resource.ObjectOperation && x.request.DoesOnly(http.MethodDelete) &&
		d.result.Verdict == validator.False && d.current.State == validator.Absent
}

// The limits of what a request may delete at once: those of S3.
const (
	maxDeleted    = 1000
	maxDeleteList = 2 << 20
)

// readDeleteList reads which objects a request deletes.
func (c *carried) readDeleteList() (done func(), err error) {
	r := c.request.Request
	if strings.Contains(strings.ToLower(r.Header.Get("Content-Encoding")), "chunked") || strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		c.refuse(http.StatusNotImplemented, "nobody reads the list of the objects to delete if it is signed in chunks. Send it as a whole")
		return func() {}, nil
	}
	if r.ContentLength > maxDeleteList {
		c.tooLong()
		return func() {}, nil
	}
	c.memory = proxyhooks.NewMemory(c.BufferTotal, c.warnOfFullMemory)
	if done, err = proxyhooks.ReadAhead(r, maxDeleteList, false, c.memory); err != nil {
		return func() {}, err
	}
	if c.whole = !proxyhooks.ContentPending(r); !c.whole {
		c.tooLong()
		return done, nil
	}
	content, err := io.ReadAll(r.Body)
	if err != nil || !proxyhooks.Reopen(r) {
		return done, err
	}
	list, status, why := deleteList(content)
	if why != "" {
		c.refuse(status, why)
	}
	if !c.Namer.Deletes(c.request, list) {
		c.refuse(http.StatusBadRequest, "nobody can tell which object one of the keys leads to that have a tag. Send a DELETE with If-Match for it")
	}
	return done, nil
}

// deleteList returns the objects in a list of those to delete, or says why it can't be taken for
// one, with the status of the refusal.
func deleteList(content []byte) (all []resource.Deletion, status int, why string) {
	var list struct {
		XMLName xml.Name `xml:"Delete"`
		Objects []struct {
			Key, ETag, LastModifiedTime, Size []string
			VersionID                         []string `xml:"VersionId"`
		} `xml:"Object"`
	}
	d := xml.NewDecoder(bytes.NewReader(content))
	if err := d.Decode(&list); err != nil {
		return nil, http.StatusBadRequest, "its content isn't a list of objects to delete"
	}
	if rest := bytes.TrimSpace(content[d.InputOffset():]); len(rest) > 0 {
		return nil, http.StatusBadRequest, "there is more than a list of objects to delete in its content"
	}
	if len(list.Objects) > maxDeleted {
		return nil, http.StatusBadRequest, "it deletes more than 1000 objects"
	}
	for _, o := range list.Objects {
		switch {
		case len(o.Key) != 1 || o.Key[0] == "":
			return nil, http.StatusBadRequest, "each object to delete must have one key"
		case len(o.LastModifiedTime)+len(o.Size) > 0, len(o.ETag) > 0 && len(o.VersionID) > 0:
			return nil, http.StatusNotImplemented, "of the conditions in a list of objects to delete, only the tags of current objects are evaluated. Send ETag without the others"
		case len(o.ETag) > 1, len(o.ETag) == 1 && strings.TrimSpace(o.ETag[0]) == "":
			return nil, http.StatusBadRequest, "an object to delete must have one tag, or none"
		}
		d := resource.Deletion{Key: o.Key[0]}
		if len(o.ETag) > 0 {
			d.Tag = strings.TrimSpace(o.ETag[0])
		}
		all = append(all, d)
	}
	return all, 0, ""
}
