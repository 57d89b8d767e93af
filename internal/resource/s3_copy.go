package resource

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// hasSourceConditions reports whether there are conditions on the source of a copy.
func (r objectStore) hasSourceConditions() bool {
	for name := range r.Fields {
		if strings.HasPrefix(name, copySourceIf) {
			return true
		}
	}
	return false
}

// conditionsNamed returns the conditions whose fields have names that begin with a prefix. It
// reports false if there are others with that prefix, or a date that isn't one.
func (r objectStore) conditionsNamed(prefix string) (c validator.Conditions, ok bool) {
	prefix = strings.TrimSuffix(prefix, "If-")
	named := 0
	for name := range r.Fields {
		if strings.HasPrefix(name, prefix+"If-") {
			named++
		}
	}
	plain := make(http.Header)
	for _, field := range []validator.Field{validator.IfMatch, validator.IfNoneMatch, validator.IfModifiedSince, validator.IfUnmodifiedSince} {
		if lines, found := r.Fields[http.CanonicalHeaderKey(prefix+field.String())]; found {
			plain[field.String()] = lines
		}
	}
	c = validator.ConditionsFrom(plain)
	c.IfMatch, c.IfNoneMatch = quoted(c.IfMatch), quoted(c.IfNoneMatch)
	for _, date := range []validator.Field{validator.IfModifiedSince, validator.IfUnmodifiedSince} {
		if c.Lines(date) != nil && !c.HasDate(date, time.Now()) {
			return c, false
		}
	}
	return c, named == len(plain)
}

// readSource reads the conditions on the source of a copy.
func (n *Namer) readSource(r *Request) {
	s := objectStore{r, n.Hosts}
	if r.Class != Write || !s.hasSourceConditions() {
		return
	}
	const syntax = "the fields x-amz-copy-source-if-* must be entity tags and dates as in If-Match and so on"
	c, ok := s.conditionsNamed(copySourceIf)
	original, unclear, unsupported := s.source()
	switch {
	case !ok:
		r.Unclear = cmp.Or(r.Unclear, syntax)
	case unclear != "":
		r.Unclear = cmp.Or(r.Unclear, unclear)
	case unsupported != "":
		r.Unsupported = cmp.Or(r.Unsupported, unsupported)
	case !n.addPremise(r, original, Premise{Conditions: c, Prefix: strings.ToLower(strings.TrimSuffix(copySourceIf, "If-"))}):
		r.Unclear = cmp.Or(r.Unclear, unclearSource)
	}
}

const unclearSource = "x-amz-copy-source must be /bucket/key in its URL-encoded form, without +, and with nothing but a versionId behind it"

// source returns the target that a GET for the source of a copy would have on the same host.
// Otherwise it says what is unclear about it, or what isn't supported.
func (r objectStore) source() (original *url.URL, unclear, unsupported string) {
	lines := r.Fields[copySource]
	if len(lines) != 1 || r.namesInQuery("x-amz-copy-source") != "" {
		return nil, "conditions on the source of a copy need one field x-amz-copy-source, and nothing of that name in the query", ""
	}
	path, query, _ := strings.Cut(lines[0], "?")
	decoded, err := url.PathUnescape(path)
	name, key, _ := strings.Cut(strings.TrimPrefix(decoded, "/"), "/")
	version, ok := strings.CutPrefix(query, versionParameter+"=")
	switch {
	case strings.HasPrefix(name, "arn:"):
		return nil, "", "nobody can tell which object an ARN in x-amz-copy-source leads to, so its conditions can't be evaluated. Name the bucket"
	case err != nil, !isURIText(path), strings.ContainsAny(path, "+#[]"), name == "", strings.Contains(name, ":"), key == "",
		strings.Contains(lines[0], "?") && (!ok || strings.Trim(version, unreserved) != ""):
		return nil, unclearSource, ""
	}
	bucket, at := r.bucket()
	original = &url.URL{Path: "/" + name + "/" + key, RawQuery: query}
	switch {
	case at == inPath:
	case at == inHost && bucket == name:
		original.Path = "/" + key
	case at == inHost:
		return nil, "", "the source of the copy is in another bucket than the one that the host names, so its conditions can't be evaluated. Name the buckets in the path"
	default:
		return nil, "", "nobody can tell whether the host names a bucket, so the conditions on the source of a copy can't be evaluated. " +
			"The operator can name the host of the store (profile s3 <host>)"
	}
	return original, "", ""
}

// unreserved are the characters that need no percent-encoding (RFC 3986, section 2.3).
const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// readTargetConditions reads the conditions on the target of a copy, which may have names of
// their own.
func (r objectStore) readTargetConditions() {
	c, ok := r.conditionsNamed(copyTargetIf)
	switch {
	case !ok:
		r.Unclear = cmp.Or(r.Unclear, "the fields cf-copy-destination-if-* must be entity tags and dates as in If-Match and so on")
	case c.Empty():
	case !r.Conditions.Empty():
		r.Unclear = cmp.Or(r.Unclear, "it has conditions on the target of the copy in two places")
	case c.IfModifiedSince != nil:
		r.Unsupported = cmp.Or(r.Unsupported, "the field cf-copy-destination-if-modified-since can't prevent a write")
	default:
		c.Weak = r.Conditions.Weak
		r.Conditions = c
	}
}
