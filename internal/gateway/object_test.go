package gateway

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// newObjectSite returns a site in front of an object store that shows nothing to strangers.
// Its answers to writes are what answer says.
func newObjectSite(answer func(w http.ResponseWriter, r *http.Request)) *site {
	s := newSite()
	s.Namer.S3, s.Verify, s.Signed = true, Verification{}, []resource.Scheme{resource.AWS}
	s.Deriver.Sources = []proxyhooks.Source{{Kind: proxyhooks.SourceUpstream}}
	s.Scheme = s.Deriver.Scheme()
	s.Answers.S3 = true
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		if r.Header["Authorization"] == nil {
			w.WriteHeader(http.StatusForbidden)
			return nil
		}
		answer(w, r)
		return nil
	}
	return s
}

const objectSignature = "Authorization: AWS4-HMAC-SHA256 x"

// What an answer says about an object decides about the next write. A 200 with an error in its
// content is no success, and nobody knows what a failed one has left behind.
func TestObjectAnswers(t *testing.T) {
	const (
		copied    = `<CopyObjectResult><ETag>"new"</ETag></CopyObjectResult>`
		completed = `<?xml version="1.0"?>` + "\n" + `<CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ETag>new</ETag></CompleteMultipartUploadResult>`
		source    = "X-Amz-Copy-Source: /b/other"
	)
	for _, tt := range []struct {
		name, request, field string
		status               int
		tag, content         string
		condition            string // of the next write
		want                 int    // its status
	}{
		{"put", "PUT /b/k", "X: y", 200, `"new"`, "", `If-Match: "new"`, 200},
		{"put, and the old tag", "PUT /b/k", "X: y", 200, `"new"`, "", `If-Match: "old"`, 412},
		{"put without a tag", "PUT /b/k", "X: y", 200, "", "", `If-Match: "old"`, 503},
		{"put with a weak tag", "PUT /b/k", "X: y", 200, `W/"new"`, "", `If-Match: "old"`, 503},
		{"refused put", "PUT /b/k", "X: y", 403, "", "", `If-Match: "old"`, 200},
		{"failed put", "PUT /b/k", "X: y", 500, "", "", `If-Match: "old"`, 503},
		{"copy", "PUT /b/k", source, 200, "", copied, `If-Match: "new"`, 200},
		{"copy that failed late", "PUT /b/k", source, 200, "", "<Error><Code>InternalError</Code></Error>", `If-Match: "old"`, 503},
		{"copy that was refused late", "PUT /b/k", source, 200, "", "<Error><Code>NoSuchKey</Code></Error>", `If-Match: "old"`, 200},
		{"copy without a result", "PUT /b/k", source, 200, "", "", `If-Match: "old"`, 503},
		{"copy that broke off", "PUT /b/k", source, 200, "", copied[:20], `If-Match: "old"`, 503},
		{"complete", "POST /b/k?uploadId=u", "X: y", 200, "", completed, `If-Match: "new"`, 200},
		{"complete that failed late", "POST /b/k?uploadId=u", "X: y", 200, "", " \n<Error><Code>InternalError</Code></Error>", `If-Match: "old"`, 503},
		{"part", "PUT /b/k?partNumber=1&uploadId=u", "X: y", 200, `"part"`, "", `If-Match: "old"`, 200},
		{"begun", "POST /b/k?uploads", "X: y", 200, "", "<InitiateMultipartUploadResult/>", `If-Match: "old"`, 200},
		{"dropped", "DELETE /b/k?uploadId=u", "X: y", 204, "", "", `If-Match: "old"`, 200},
		{"tagged", "PUT /b/k?tagging", "X: y", 200, "", "", `If-Match: "old"`, 200},
		{"tagged by a store that knows no tags", "PUT /b/k?tagging", "X: y", 200, `"new"`, "", `If-Match: "old"`, 503},
		{"untagged, perhaps by a store that knows no tags", "DELETE /b/k?tagging", "X: y", 204, "", "", `If-Match: "old"`, 503},
		{"deleted", "DELETE /b/k", "X: y", 204, "", "", "If-None-Match: *", 200},
		{"deleted, and the old tag", "DELETE /b/k", "X: y", 204, "", "", `If-Match: "old"`, 404},
		{"a version deleted", "DELETE /b/k?versionId=v", "X: y", 204, "", "", "If-None-Match: *", 503},
		{"a post", "POST /b/k", "X: y", 200, `"new"`, "", `If-Match: "new"`, 503},
	} {
		for _, conditional := range []bool{false, true} {
			if conditional && slices.ContainsFunc([]string{"tagged", "version", "part", "begun", "dropped"}, func(word string) bool { return strings.Contains(tt.name, word) }) {
				continue // refused, or about something else
			}
			t.Run(fmt.Sprint(tt.name, " ", conditional), func(t *testing.T) {
				writes := 0
				s := newObjectSite(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.Method == http.MethodGet:
						w.Header().Set("ETag", `"old"`)
						return
					case r.Header.Get("Last") != "":
						return
					}
					writes++
					if tt.tag != "" {
						w.Header().Set("ETag", tt.tag)
					}
					w.WriteHeader(tt.status)
					_, _ = io.WriteString(w, tt.content)
				})
				do := func(request string, fields ...string) *client {
					t.Helper()
					w, err := s.serve(requestOf(t.Context(), request, append(fields, objectSignature)...))
					if err != nil {
						t.Fatal(err)
					}
					return w
				}
				do("GET /b/k")
				fields := []string{tt.field}
				if conditional {
					fields = append(fields, `If-Match: "old"`)
				}
				w := do(tt.request, fields...)
				if w.Code != tt.status || writes != 1 || w.Body.String() != tt.content || w.Header().Get("ETag") != tt.tag {
					t.Fatalf("status %d, want %d; %d writes; the client gets %v: %s", w.Code, tt.status, writes, w.Header(), w.Body)
				}
				if got := do("PUT /b/k", tt.condition, "Last: yes").Code; got != tt.want {
					t.Errorf("then %s gets %d, want %d", tt.condition, got, tt.want)
				}
			})
		}
	}
}

// A list of objects to delete changes all of them, and one that can't be understood is refused.
func TestDeleteList(t *testing.T) {
	t.Parallel()
	list := func(objects string) string {
		return `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + objects + "<Quiet>true</Quiet></Delete>"
	}
	many := strings.Repeat("<Object><Key>k</Key></Object>", maxDeleted+1)
	for _, tt := range []struct {
		name, content string
		keys, status  int
	}{
		{"keys", list("<Object><Key>a/b</Key></Object><Object><Key>&lt;c&gt;</Key><VersionId>v</VersionId></Object>"), 2, 0},
		{"none", list(""), 0, 0},
		{"no list", "<Remove/>", 0, 400},
		{"no XML", "{}", 0, 400},
		{"cut off", list("<Object><Key>a")[:80], 0, 400},
		{"no key", list("<Object><VersionId>v</VersionId></Object>"), 0, 400},
		{"two keys", list("<Object><Key>a</Key><Key>b</Key></Object>"), 0, 400},
		{"too many", list(many), 0, 400},
		{"a tag", list(`<Object><Key>a</Key><ETag>"x"</ETag></Object>`), 1, 0},
		{"an empty tag", list("<Object><Key>a</Key><ETag/></Object>"), 0, 400},
		{"two tags", list("<Object><Key>a</Key><ETag>x</ETag><ETag>y</ETag></Object>"), 0, 400},
		{"the tag of a version", list("<Object><Key>a</Key><ETag>x</ETag><VersionId>v</VersionId></Object>"), 0, 501},
		{"two lists", list("<Object><Key>a</Key></Object>") + list("<Object><Key>b</Key></Object>"), 0, 400},
		{"a size", list("<Object><Key>a</Key><Size>1</Size></Object>"), 0, 501},
		{"an entity", `<!DOCTYPE d [<!ENTITY e "a">]>` + list("<Object><Key>&e;</Key></Object>"), 0, 400},
	} {
		keys, status, why := deleteList([]byte(tt.content))
		if len(keys) != tt.keys && status == 0 || status != tt.status || (why != "") != (status != 0) {
			t.Errorf("%s: %q, %d, %s", tt.name, keys, status, why)
		}
	}
}

// Where strangers may see which objects there are, a store says that one isn't there, so that the
// first client may create it, also with verify never. Any other 404 may hide an object.
func TestHidesNothing(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]int{
		"<Error><Code>NoSuchKey</Code></Error>":                         200,
		`<?xml version="1.0"?><Error><Code>NoSuchBucket</Code></Error>`: 200,
		"<Error><Code>AccessDenied</Code></Error>":                      503,
		"": 503,
		"<html><Error><Code>NoSuchKey</Code></Error></html>": 503,
	} {
		for _, verify := range []Verification{{Passing: true}, {}} {
			s, probes := newObjectSite(nil), 0
			s.Verify = verify
			s.origin = func(w http.ResponseWriter, r *http.Request) error {
				if r.Method == http.MethodGet {
					probes++
					w.WriteHeader(http.StatusNotFound)
					_, _ = io.WriteString(w, content)
				}
				return nil
			}
			w, err := s.serve(requestOf(t.Context(), "PUT /b/k", "If-None-Match: *", objectSignature))
			if err != nil || w.Code != want || probes != 1 {
				t.Errorf("%s: status %d, want %d, %v; %d probes", content, w.Code, want, err, probes)
			}
		}
	}
}
