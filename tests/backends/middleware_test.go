package backends

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// jsonField is the field that every write of these tests has.
var jsonField = []string{"Content-Type", "application/json"}

// winners lets sixteen writers save with one tag at the same time, and returns how many were
// told that they did.
func winners(t *testing.T, url, tag string) int64 {
	t.Helper()
	content := func(i int) string { return fmt.Sprintf(`{"text": "%d"}`, i) }
	return caddytest.Winners(t, 16, url, content, 200, append([]string{"If-Match", tag}, jsonField...)...)
}

// TestPreconditionMiddleware: an application whose middleware checks before it writes lets
// several writers through with one tag. Behind the handler, one gets through, and the tags and
// the answers are those of the application. Without the middleware, behind the handler, clients
// get all that the middleware gave them.
func TestPreconditionMiddleware(t *testing.T) {
	t.Parallel()
	details, err := filepath.Abs("../../examples/refusals/details.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		checks  bool
		options string // of the handler, or - if there is none
	}{
		{"alone", true, "-"},
		{"behind the handler", true, "errors template " + details},
		{"the handler instead", false, "write_etag answer\nerrors template " + details},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			service := "http://" + caddytest.ExpressWithChecks(c.checks).Run(t)
			site := service
			if c.options != "-" {
				site = caddytest.OneNodeAt(t, caddytest.Guarded(c.options, service)).First()
			}
			url := site + "/docs/a"
			caddytest.Send(t, "PUT", url, `{"text": "old"}`, append([]string{"If-None-Match", "*"}, jsonField...)...).Expect(t, 201)
			caddytest.Send(t, "PUT", url, `{"text": "new"}`, append([]string{"If-None-Match", "*"}, jsonField...)...).Expect(t, 412)
			first := caddytest.Send(t, "GET", url, "").Expect(t, 200)
			if c.options == "-" {
				caddytest.Eventually(t, "several writers win with one tag", func() bool {
					return winners(t, url, caddytest.Send(t, "GET", url, "").Tag(t)) > 1
				})
				return
			}
			if n := winners(t, url, first.Tag(t)); n != 1 {
				t.Errorf("%d of the writers were told that they have saved", n)
			}
			expectLikeMiddleware(t, c.checks, service, url, first)
		})
	}
}

// expectLikeMiddleware holds a site to what clients of the middleware rely on.
func expectLikeMiddleware(t *testing.T, checks bool, service, url string, first caddytest.Answer) {
	t.Helper()
	stale, now := first.Tag(t), caddytest.Send(t, "GET", url, "").Expect(t, 200)
	if own := caddytest.Send(t, "GET", service+"/docs/a", ""); checks && own.Tag(t) != now.Tag(t) {
		t.Errorf("the tag of the application is %s, and clients see %s", own.Tag(t), now.Tag(t))
	}

	refused := caddytest.Send(t, "PUT", url, `{}`, append([]string{"If-Match", stale}, jsonField...)...).Expect(t, 412)
	var problem struct {
		Error, Message string
		Details        struct{ CurrentETag, ProvidedETag string }
	}
	if err := json.Unmarshal([]byte(refused.Content), &problem); err != nil {
		t.Fatal(err)
	}
	if problem.Details.CurrentETag != now.Tag(t) || problem.Details.ProvidedETag != stale || refused.Tag(t) != now.Tag(t) || problem.Error != "Precondition Failed" {
		t.Errorf("the refusal is %s with the tag %s, and the current one is %s", refused.Content, refused.Tag(t), now.Tag(t))
	}

	// The answer has the new tag, and clients save again with that.
	saved := caddytest.Send(t, "PUT", url, `{"text": "mine"}`, append([]string{"If-Match", now.Tag(t)}, jsonField...)...).Expect(t, 200)
	if read := caddytest.Send(t, "GET", url, ""); saved.Tag(t) != read.Tag(t) || !strings.Contains(saved.Content, "updatedAt") {
		t.Errorf("the answer is %s with the tag %s, and then it is %s", saved.Content, saved.Tag(t), read.Tag(t))
	}

	// By date: an older one is refused. The current one passes once its second is over.
	past := time.Now().Add(-time.Hour).UTC().Format(httpDate)
	caddytest.Send(t, "PUT", url, `{}`, append([]string{"If-Unmodified-Since", past}, jsonField...)...).Expect(t, 412)
	caddytest.Eventually(t, "the date is good", func() bool {
		date := caddytest.Send(t, "GET", url, "").Header.Get("Last-Modified")
		return caddytest.Send(t, "PUT", url, `{"text": "by date"}`, append([]string{"If-Unmodified-Since", date}, jsonField...)...).StatusCode == 200
	})
}

// httpDate is the format of a date in a field (RFC 9110, section 5.6.7).
const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"
