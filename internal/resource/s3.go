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
	// BucketOperation creates or deletes a bucket.
	BucketOperation
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

// objectDetails are the parameters that name what belongs to an object, by the methods that write
// it, and bucketDetails those that name what belongs to a bucket. Many stores ignore them with any
// other method, and write the object.
var (
	objectDetails = map[string][]string{
		http.MethodPut:    {"acl", "encryption", "legal-hold", "retention", "tagging"},
		http.MethodPost:   {"restore", "select", "select-type"},
		http.MethodDelete: {"tagging"},
	}
	bucketDetails = map[string][]string{
		http.MethodPut: append([]string{
			"accelerate", "acl", "logging", "notification", "object-lock", "requestPayment", "versioning", "metadataInventoryTable", "metadataJournalTable",
		}, deletableDetails...),
		http.MethodPost:   {"metadataConfiguration", "metadataTable"},
		http.MethodDelete: append([]string{"metadataConfiguration", "metadataTable"}, deletableDetails...),
	}
	deletableDetails = []string{
		"analytics", "cors", "encryption", "intelligent-tiering", "inventory", "lifecycle", "metrics", "ownershipControls", "policy",
		"publicAccessBlock", "replication", "tagging", "website",
	}
)

// objectStore is a request to an object store that speaks S3, which has these hosts.
type objectStore struct {
	*Request
	hosts []string
}

// read finds out what the request asks for, and with which conditions. It must come before
// the conditions are looked at, and before anything else depends on the target.
func (r objectStore) read() {
	r.Operation = r.operation()
	r.ignoreParameters()
	r.Conditions.IfMatch = quoted(r.Conditions.IfMatch)
	r.Conditions.IfNoneMatch = quoted(r.Conditions.IfNoneMatch)
	switch r.Operation {
	case CopyOperation:
		r.readTargetConditions()
	case DeleteManyOperation:
		if !r.mayBeToBucket() {
			r.Unclear = cmp.Or(r.Unclear, "a list of objects to delete must be sent to their bucket")
		}
	case FormOperation:
		r.Unsupported = cmp.Or(r.Unsupported, "a form names the object that it uploads in its content. Send a PUT")
	}
	if r.Class != Write {
		return
	}
	if !r.Conditions.Empty() {
		r.Unsupported = cmp.Or(r.Unsupported, unconditional[r.Operation])
	}
	if name := r.unknownCondition(); name != "" {
		r.Unsupported = cmp.Or(r.Unsupported, "conditions in "+name+" aren't evaluated. Send If-Match or If-None-Match")
	}
	if name := r.lostCondition(); name != "" {
		r.Unsupported = cmp.Or(r.Unsupported, "its signature covers "+name+", but the field isn't there. Send it as it was signed. If the client did, something in between has removed it")
	}
	if r.Operation == PartOperation && r.Unsupported == "" && !r.hasSourceConditions() {
		r.Class = Other
	}
}

// unconditional says why there are operations that have no conditions.
var unconditional = map[Operation]string{
	PartOperation:       "a condition is about the object that an upload leads to. Send it when you complete the upload",
	DetailOperation:     "a condition is about an object as a whole, and not about what belongs to it, such as its tags",
	DeleteManyOperation: "a condition is about one object. Send a DELETE for each, or the tags in the list",
	BucketOperation:     "a condition is about an object, and not about a bucket",
}

// unknownCondition returns the name of a field or parameter with a condition that is evaluated
// nowhere: those of directory buckets, and what somebody who signs a URL in advance has moved
// into its query.
func (r objectStore) unknownCondition() string {
	for name := range r.Fields {
		if strings.HasPrefix(name, "X-Amz-If-") || strings.HasPrefix(name, "X-Amz-Rename-Source-If-") ||
			strings.HasPrefix(name, copyTargetIf) && r.Operation != CopyOperation {
			return "the field " + name
		}
	}
	if r.namesInQuery(inQuery...) != "" {
		return "the query"
	}
	return ""
}

// lostCondition returns the name of a field with a condition that the signature covers and the
// request doesn't have: the client has forgotten it, or a proxy in front has removed it. A store
// that checks no signatures would perform the write all the same.
func (r objectStore) lostCondition() string {
	signed := r.URL.Query()["X-Amz-SignedHeaders"]
	for _, line := range r.Fields["Authorization"] {
		_, rest, _ := strings.Cut(line, "SignedHeaders=")
		names, _, _ := strings.Cut(rest, ",")
		signed = append(signed, names)
	}
	for _, list := range signed {
		for name := range strings.SplitSeq(strings.ToLower(list), ";") {
			name = strings.TrimSpace(name)
			condition := slices.ContainsFunc(inQuery, func(start string) bool { return strings.HasPrefix(name, start) })
			if condition && r.Fields[http.CanonicalHeaderKey(name)] == nil {
				return name
			}
		}
	}
	return ""
}

// inQuery are what the names of conditions begin with, in lower case.
var inQuery = []string{
	"if-match", "if-none-match", "if-modified-since", "if-unmodified-since",
	"x-amz-if-", "x-amz-rename-source", "x-amz-copy-source-if-", "cf-copy-destination-if-",
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
	case r.PathUnclear:
	case r.DoesOnly(http.MethodPut) && upload && part && only(q, uploadParameter, partParameter),
		r.DoesOnly(http.MethodDelete) && upload && only(q, uploadParameter),
		r.DoesOnly(http.MethodPost) && flagged && only(q, uploadsParameter):
		return PartOperation
	case r.DoesOnly(http.MethodPost) && upload && only(q, uploadParameter):
		return CompleteOperation
	case !r.copies() && r.namesDetail(q):
		return DetailOperation
	}
	switch _, many := q[deleteParameter]; {
	case r.Does(http.MethodPost) && (many || q == nil && strings.Contains(r.URL.RawQuery, deleteParameter)):
		return DeleteManyOperation
	case r.Does(http.MethodPost) && strings.Contains(strings.ToLower(strings.Join(r.Fields["Content-Type"], ",")), "multipart/"):
		return FormOperation
	case r.copies():
		return CopyOperation
	case (r.DoesOnly(http.MethodPut) || r.DoesOnly(http.MethodDelete)) && q != nil && only(q) && r.toBucket():
		return BucketOperation
	default:
		return ObjectOperation
	}
}

// copies reports whether the request names the source of a copy. Somebody who signs a URL in
// advance may have moved that into the query.
func (r objectStore) copies() bool {
	return r.Fields[copySource] != nil || r.namesInQuery("x-amz-copy-source") != ""
}

// namesDetail reports whether a query names what belongs to an object or, if the request may be
// about a bucket, to that.
func (r objectStore) namesDetail(q map[string][]string) bool {
	if !r.DoesOnly(r.Method) {
		return false
	}
	for name := range q {
		if slices.Contains(objectDetails[r.Method], name) || slices.Contains(bucketDetails[r.Method], name) && r.mayBeToBucket() {
			return true
		}
	}
	return false
}

// namesInQuery returns the first name of a parameter, in lower case, that begins with one of
// the given texts.
func (r objectStore) namesInQuery(starts ...string) (name string) {
	for pair := range strings.FieldsFuncSeq(r.URL.RawQuery, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		name = strings.ToLower(strings.TrimSpace(unescape(name)))
		if slices.ContainsFunc(starts, func(start string) bool { return strings.HasPrefix(name, start) }) {
			return name
		}
	}
	return ""
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

// Deletion is one object in a list of those to delete. The tag is empty unless the client says
// which state it means.
type Deletion struct{ Key, Tag string }

// Deletes makes a request one that changes objects of its bucket, which its content names. It
// reports false if the tag of one makes a condition on what nobody can tell.
func (n *Namer) Deletes(r *Request, list []Deletion) bool {
	path, _, _ := strings.Cut(r.OriginalTarget, "?")
	own := n.Own(r).Key
	for _, d := range list {
		u := url.URL{Path: d.Key}
		target, err := url.ParseRequestURI(strings.TrimSuffix(path, "/") + "/" + u.EscapedPath())
		if err == nil {
			r.Destinations = append(r.Destinations, target)
		}
		if d.Tag == "" {
			continue
		}
		p := Premise{Conditions: validator.Conditions{IfMatch: quoted([]string{d.Tag})}, Deletes: true}
		if err != nil || !n.addPremise(r, target, p) || r.Premises[len(r.Premises)-1].Subject.Key == own {
			return false
		}
	}
	return true
}

// Needs reports whether a request needs a condition if the given methods do. An upload that
// is completed counts as a PUT, and a list of objects to delete as a DELETE of each. Parts of
// uploads, buckets, and what belongs to an object have no conditions.
func Needs(r *Request, methods []string) bool {
	switch r.Operation {
	case PartOperation, DetailOperation, BucketOperation:
		return false
	case CompleteOperation:
		return r.Does(methods...) || slices.Contains(methods, http.MethodPut)
	case CopyOperation:
		return r.Does(methods...) && !guardsTarget(r)
	case DeleteManyOperation:
		return (r.Does(methods...) || slices.Contains(methods, http.MethodDelete)) && (r.Premises == nil || len(r.Premises) < len(r.Destinations))
	default:
		return r.Does(methods...)
	}
}
