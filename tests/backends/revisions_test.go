package backends

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// withRevisionTags returns a proxy that gives documents the tag which CouchDB gives them, and
// PouchDB's server doesn't: their revision.
func withRevisionTags(address string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method != http.MethodGet {
			return nil
		}
		content, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(content))
		if rev := revisionOf(string(content)); rev != "" {
			r.Header.Set("ETag", `"`+rev+`"`)
		}
		return err
	}
	return proxy
}

func revisionOf(document string) string {
	var d struct {
		Rev string `json:"_rev"`
	}
	_ = json.Unmarshal([]byte(document), &d)
	return d.Rev
}

// Clients of CouchDB send the revision in the query, or in the content. With the rule for
// that, of several with one revision exactly one gets through, and all the others get 412
// before CouchDB hears of them. CouchDB gets the revision that it has made.
func TestRevisionsOfCouchDB(t *testing.T) {
	t.Parallel()
	address := caddytest.Serve(t, withRevisionTags(caddytest.CouchDB().Run(t)))
	base := caddytest.OneNodeAt(t, caddytest.Guarded("condition query rev keep\ncondition json /_rev keep\n", address)).First()
	caddytest.Send(t, "PUT", base+"/db", "").Expect(t, 201)
	caddytest.Send(t, "PUT", base+"/db/doc", "{}", "Content-Type", "application/json").Expect(t, 201)
	for _, inQuery := range []bool{true, false} {
		rev := revisionOf(caddytest.Send(t, "GET", base+"/db/doc", "").Expect(t, 200).Content)
		var all []<-chan caddytest.Result
		for i := range 8 {
			target, content := base+"/db/doc?rev="+rev, fmt.Sprintf(`{"by":%d}`, i)
			if !inQuery {
				target, content = base+"/db/doc", fmt.Sprintf(`{"by":%d,"_rev":%q}`, i, rev)
			}
			all = append(all, caddytest.Go(t.Context(), "PUT", target, content, "Content-Type", "application/json"))
		}
		winners := 0
		for _, one := range all {
			switch r := <-one; {
			case r.Err != nil:
				t.Error(r.Err)
			case r.StatusCode == 201:
				winners++
			default:
				r.Expect(t, 412).ExpectOutcome(t, "failed")
			}
		}
		if winners != 1 {
			t.Errorf("%d writers won", winners)
		}
	}
}
