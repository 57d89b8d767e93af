package resource

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-preconditions/preconditions/validator"
)

// Operation is what a request asks an object store for that speaks S3. S3 has one method for
// several of them: the query or a field tells which.
type Operation uint8

const (
	// NoOperation is the operation of a request that isn't known to be for S3.
	NoOperation Operation = iota
	// ObjectOperation reads, writes or deletes the object that is the target, and means what
	// its method means.
	ObjectOperation
	// PartOperation prepares an upload, or drops it. No object changes.
	PartOperation
	// CompleteOperation makes an object of the parts of an upload.
	CompleteOperation
	// CopyOperation writes the target with what another object contains.
	CopyOperation
	// DetailOperation is about something that belongs to an object or a bucket, such as its
	// tags. The content of the object, and its entity tag, stay.
	DetailOperation
	// DeleteManyOperation deletes the objects that its content names.
	DeleteManyOperation
	// FormOperation uploads an object that its content names.
	FormOperation
)

// The parameters and fields that tell operations apart.
const (
	uploadParameter  = "uploadId"
	uploadsParameter = "uploads"
	partParameter    = "partNumber"
	deleteParameter  = "delete"
	versionParameter = "versionId"
	copySource       = "X-Amz-Copy-Source"
	copySourceIf     = "X-Amz-Copy-Source-If-"
	copyTargetIf     = "Cf-Copy-Destination-If-" // of Cloudflare R2
)

// details are the parameters that name what belongs to an object or a bucket.
var details = []string{
	"accelerate", "acl", "analytics", "attributes", "cors", "intelligent-tiering", "inventory", "legal-hold",
	"lifecycle", "logging", "metadataConfiguration", "metadataInventoryTable", "metadataJournalTable", "metadataTable", "metrics",
	"notification", "object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "replication",
	"requestPayment", "restore", "retention", "select", "select-type", "tagging", "torrent", "versioning", "website",
}

// objectStore is a request to an object store that speaks S3.
type objectStore struct{ *Request }

// read finds out what the request asks for, and with which conditions. It must come before
// the conditions are looked at, and before anything else depends on the target.
func (r objectStore) read() {
	r.Operation = r.operation()
	r.ignoreParameters()
	r.Conditions.IfMatch = quoted(r.Conditions.IfMatch)
	r.Conditions.IfNoneMatch = quoted(r.Conditions.IfNoneMatch)
	switch r.Operation {
	case PartOperation:
		r.Class, r.Conditional, r.Ignored = Other, false, 0
	case CopyOperation:
		r.readCopyConditions()
	case FormOperation:
		r.Unsupported = cmp.Or(r.Unsupported, "a form names the object that it uploads in its content. Send a PUT")
	}
	if lines := r.Conditions; r.Class == Write && (lines.GuardsWrite() || lines.IfModifiedSince != nil) {
		switch r.Operation {
		case DetailOperation:
			r.Unsupported = cmp.Or(r.Unsupported, "a condition is about an object as a whole, and not about what belongs to it, such as its tags")
		case DeleteManyOperation:
			r.Unsupported = cmp.Or(r.Unsupported, "a condition is about one object. Send a DELETE for each")
		}
	}
}

// operation returns what the request asks for.
func (r objectStore) operation() Operation {
	if r.Class != Write {
		return ObjectOperation
	}
	q := r.parameters()
	upload := len(q[uploadParameter]) == 1 && q[uploadParameter][0] != ""
	_, flagged := q[uploadsParameter]
	part := len(q[partParameter]) == 1 && q[partParameter][0] != "" && strings.Trim(q[partParameter][0], "0123456789") == ""
	switch {
	case q == nil:
	case r.PathUnclear, r.hasSourceConditions():
	case r.DoesOnly(http.MethodPut) && upload && part && only(q, uploadParameter, partParameter),
		r.DoesOnly(http.MethodDelete) && upload && only(q, uploadParameter),
		r.DoesOnly(http.MethodPost) && flagged && only(q, uploadsParameter):
		return PartOperation
	case r.DoesOnly(http.MethodPost) && upload && only(q, uploadParameter):
		return CompleteOperation
	case r.Fields[copySource] == nil && slices.ContainsFunc(details, func(name string) bool { _, ok := q[name]; return ok }):
		return DetailOperation
	}
	switch _, many := q[deleteParameter]; {
	case r.Does(http.MethodPost) && (many || q == nil && strings.Contains(r.URL.RawQuery, deleteParameter)):
		return DeleteManyOperation
	case r.Does(http.MethodPost) && strings.HasPrefix(strings.ToLower(r.Fields.Get("Content-Type")), "multipart/"):
		return FormOperation
	case r.Fields[copySource] != nil:
		return CopyOperation
	default:
		return ObjectOperation
	}
}

// parameters returns the parameters of the query, or nil if not everybody reads the same
// ones.
func (r objectStore) parameters() map[string][]string {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil
	}
	for name := range q {
		if isNoise(name) {
			delete(q, name)
		}
	}
	return q
}

// only reports whether a query has no parameters other than the named ones.
func only(q map[string][]string, names ...string) bool {
	for name := range q {
		if !slices.Contains(names, name) {
			return false
		}
	}
	return true
}

// removeObjectFields removes the fields that say how an object is to be written. Some stores
// refuse them on a GET.
func removeObjectFields(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-") && !slices.ContainsFunc(readFields, func(start string) bool { return strings.HasPrefix(name, start) }) {
			delete(h, name)
		}
	}
}

// readFields are what the names of the fields begin with that a GET may need.
var readFields = []string{"X-Amz-Server-Side-Encryption-Customer-", "X-Amz-Request-Payer", "X-Amz-Expected-Bucket-Owner"}

// isNoise reports whether a parameter says nothing about what a request is about: clients name
// the operation in it, or sign with it.
func isNoise(name string) bool {
	return name == operation || len(name) > len("x-amz-") && strings.EqualFold(name[:len("x-amz-")], "x-amz-")
}

// ignoreParameters leaves the parameters out of the targets that differ between requests for
// one object.
func (r objectStore) ignoreParameters() {
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if isNoise(name) || name == uploadParameter && r.Operation == CompleteOperation {
			r.differing = append(r.differing, name)
		}
	}
	readTargets(r.Request)
}

// quoted returns lines of entity tags with their quotes, which many clients leave out.
func quoted(lines []string) []string {
	if lines == nil || strings.Contains(strings.Join(lines, ""), `"`) {
		return lines
	}
	lines = slices.Clone(lines)
	for i, line := range lines {
		members := strings.Split(line, ",")
		for j, member := range members {
			if tag := strings.Trim(member, " \t"); tag != "" && tag != "*" {
				members[j] = `"` + tag + `"`
			}
		}
		lines[i] = strings.Join(members, ",")
	}
	return lines
}

// hasSourceConditions reports whether there are conditions on the source of a copy.
func (r objectStore) hasSourceConditions() bool {
	for name := range r.Fields {
		if strings.HasPrefix(name, copySourceIf) {
			return true
		}
	}
	return false
}

// readCopyConditions reads the conditions of a copy. Those on the target may have names of
// their own. Those on the source are about something that the write doesn't claim.
func (r objectStore) readCopyConditions() {
	if r.hasSourceConditions() {
		r.Unsupported = cmp.Or(r.Unsupported, "the fields x-amz-copy-source-if-* are about the source of the copy, which may change meanwhile. Leave them out")
	}
	own := r.Conditions
	for _, c := range []struct {
		field validator.Field
		lines *[]string
	}{
		{validator.IfMatch, &r.Conditions.IfMatch},
		{validator.IfNoneMatch, &r.Conditions.IfNoneMatch},
		{validator.IfUnmodifiedSince, &r.Conditions.IfUnmodifiedSince},
		{validator.IfModifiedSince, &r.Conditions.IfModifiedSince},
	} {
		name := copyTargetIf + strings.TrimPrefix(c.field.String(), "If-")
		lines := r.Fields[http.CanonicalHeaderKey(name)]
		switch {
		case lines == nil:
			continue
		case !own.Empty():
			r.Unclear = cmp.Or(r.Unclear, "it has conditions on the target of the copy in two places")
		case c.field == validator.IfModifiedSince:
			r.Unsupported = cmp.Or(r.Unsupported, "the field "+name+" can't prevent a write")
		}
		*c.lines = lines
		if c.field == validator.IfMatch || c.field == validator.IfNoneMatch {
			*c.lines = quoted(lines)
		}
	}
}

// Deletes makes a request one that changes objects of its bucket, whose keys its content
// names.
func Deletes(r *Request, keys []string) {
	path, _, _ := strings.Cut(r.OriginalTarget, "?")
	for _, key := range keys {
		u := url.URL{Path: key}
		if target, err := url.ParseRequestURI(strings.TrimSuffix(path, "/") + "/" + u.EscapedPath()); err == nil {
			r.Destinations = append(r.Destinations, target)
		}
	}
}

// Needs reports whether a request needs a condition if the given methods do. An upload that
// is completed counts as a PUT, and a list of objects to delete as a DELETE. What belongs to
// an object has no conditions.
func Needs(r *Request, methods []string) bool {
	switch r.Operation {
	case DetailOperation:
		return false
	case CompleteOperation:
		return r.Does(methods...) || slices.Contains(methods, http.MethodPut)
	case DeleteManyOperation:
		return r.Does(methods...) || slices.Contains(methods, http.MethodDelete)
	default:
		return r.Does(methods...)
	}
}
