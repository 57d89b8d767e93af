package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// A purge that doesn't say clearly what was changed marks nothing, and its sender
// is told why.
func TestReadPurge(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		status        int // zero if it is accepted
		message       string
	}{
		{"a URL", `{"urls":["http://example.com/a"]}`, 0, ""},
		{"everything", `{"all":true}`, 0, ""},
		{"a group", `{"groups":[{"origin":"http://example.com","names":["cars"]}]}`, 0, ""},
		{"white space at the end", "{\"all\":true}\n ", 0, ""},
		{"nothing", `{}`, 400, "give urls, keys, groups, or all"},
		{"not everything", `{"all":false}`, 400, "give urls, keys, groups, or all"},
		{"no content", ``, 400, "reading the content"},
		{"no JSON", `all`, 400, "reading the content"},
		{"a misspelt member", `{"url":["http://example.com/a"]}`, 400, `unknown field "url"`},
		{"a member of a different type", `{"urls":"http://example.com/a"}`, 400, "reading the content"},
		{"more than one object", `{"all":true}{}`, 400, "one JSON object"},
		{"a member twice", `{"urls":["http://example.com/a"],"urls":[]}`, 400, `more than one member "urls"`},
		{"a member twice, in two cases", `{"all":false,"keys":["a"],"KEYS":["b"]}`, 400, `more than one member "KEYS"`},
		{"a member twice, in letters that fold", `{"keys":["a"],"\u212aeys":["b"]}`, 400, "more than one member"},
		{"a member of a group twice", `{"groups":[{"origin":"http://a","names":["a"]},{"origin":"http://b","names":["a"],"names":["b"]}]}`, 400, `more than one member "names"`},
		{"the same members in two groups", `{"keys":["keys","keys"],"groups":[{"origin":"o","names":["a"]},{"origin":"o","names":["a"]}]}`, 0, ""},
		{"an empty key", `{"keys":["a",""]}`, 400, "a key is empty"},
		{"a group without a name", `{"groups":[{"origin":"http://example.com"}]}`, 400, `give the names of the groups of "http://example.com"`},
		{"an empty name", `{"groups":[{"origin":"o","names":["a",""]}]}`, 400, "the name of a group is empty"},
		{"a name with a control character", `{"groups":[{"origin":"o","names":["a\u0007"]}]}`, 400, "must be printable ASCII"},
		{"a name with the last of these", `{"groups":[{"origin":"o","names":["a\u007f"]}]}`, 400, "must be printable ASCII"},
		{"a name that isn't ASCII", `{"groups":[{"origin":"o","names":["ä"]}]}`, 400, "must be printable ASCII"},
		{"all printable characters", `{"groups":[{"origin":"o","names":[" ~*"]}]}`, 0, ""},
		{"the longest name", `{"groups":[{"origin":"o","names":["` + strings.Repeat("a", resource.MaxGroupName) + `"]}]}`, 0, ""},
		{"a longer name", `{"groups":[{"origin":"o","names":["` + strings.Repeat("a", resource.MaxGroupName+1) + `"]}]}`, 400, "has 257 bytes"},
		{"too much content", `{"keys":["` + strings.Repeat("a", maxPurge) + `"]}`, 413, "reading the content"},
	} {
		r := httptest.NewRequest("POST", purgePath, strings.NewReader(tt.content))
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		_, err := readPurge(httptest.NewRecorder(), r)
		expectAPIError(t, tt.name, err, tt.status, tt.message)
	}
}

// A purge that failed is to be tried again only if that can help.
func TestFailedPurgeSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		errs []error
		want string
	}{
		{[]error{etagcache.ErrUnavailable}, "so try again"},
		{[]error{etagcache.ErrIncompatible}, "another try won't help: stop the nodes of the other version first"},
		{[]error{etagcache.ErrUnavailable, etagcache.ErrIncompatible}, "another try won't help"},
	} {
		cause := errors.Join(tt.errs...)
		if err := notMarked(cause); !errors.Is(err, cause) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v, want one that says %q", tt.errs, err, tt.want)
		}
	}
}

// A page in a browser can't send application/json to this API without asking.
func TestMediaType(t *testing.T) {
	for mediaType, status := range map[string]int{
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data": 415,
		"text/plain; a=/json": 415, "text/plain; a=application/json": 415, `text/plain; a="application/json"`: 415,
		"text/plain;application/json": 415, "text/plain, application/json": 415, "application/json, text/plain": 415,
		"multipart/form-data; boundary=/json": 415, "text/json+json": 415, "application/jsonp": 415, "application/json/json": 415,
		"application/json": 0, "Application/JSON": 0, "application/json;charset=utf-8": 0, " application/json ; charset=\"utf-8\"": 0,
		"application/merge-patch+json": 0,
	} {
		r := httptest.NewRequest("POST", purgePath, strings.NewReader(`{"all":true}`))
		r.Header.Set("Content-Type", mediaType)
		_, err := readPurge(httptest.NewRecorder(), r)
		expectAPIError(t, mediaType, err, status, "the content must be application/json")
	}
	r := httptest.NewRequest("POST", purgePath, strings.NewReader(`{"all":true}`))
	r.Header["Content-Type"] = []string{"text/plain", "application/json"}
	_, err := readPurge(httptest.NewRecorder(), r)
	expectAPIError(t, "two lines", err, 415, "the content must be application/json")
}

// Each endpoint has one method, and says which.
func TestMethods(t *testing.T) {
	for _, route := range (api{}).Routes() {
		allowed := http.MethodGet
		if route.Pattern == purgePath {
			allowed = http.MethodPost
		}
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "HEAD"} {
			if method == allowed {
				continue
			}
			w := httptest.NewRecorder()
			err := route.Handler.ServeHTTP(w, httptest.NewRequest(method, route.Pattern, nil))
			expectAPIError(t, method+" "+route.Pattern, err, 405, "the method must be "+allowed)
			if got := w.Header().Get("Allow"); got != allowed {
				t.Errorf("%s %s: Allow: %s", method, route.Pattern, got)
			}
		}
	}
}

// Without a store there is nothing to mark or show. What is asked must be asked
// clearly.
func TestNoStores(t *testing.T) {
	r := httptest.NewRequest("POST", purgePath, strings.NewReader(`{"all":true}`))
	r.Header.Set("Content-Type", "application/json")
	expectAPIError(t, "purge", servePurge(httptest.NewRecorder(), r), 404, "no handler of the running config has a store")
	for query, status := range map[string]int{"": 400, "?url=http://x/&key=x": 400, "?url=": 400, "?key=x": 404, "?url=http://x/": 404} {
		err := serveResource(httptest.NewRecorder(), httptest.NewRequest("GET", resourcePath+query, nil))
		expectAPIError(t, "resource "+query, err, status, "")
	}
}

func expectAPIError(t *testing.T, name string, err error, status int, message string) {
	t.Helper()
	if status == 0 {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	failed, ok := errors.AsType[caddy.APIError](err)
	if !ok || failed.HTTPStatus != status || !strings.Contains(failed.Err.Error(), message) {
		t.Errorf("%s: got %v, want %d: %s", name, err, status, message)
	}
}

// passes counts the passes through a store.
type passes struct {
	etagcache.Store
	count int
}

func (p *passes) InvalidateMatching(ctx context.Context, prefix string, matches func(string, bool) bool, t etagcache.Terms) (int, error) {
	p.count++
	return p.Store.InvalidateMatching(ctx, prefix, matches, t)
}

// All patterns of a request go through the store once, and mark what any of them matches.
func TestPatternsInOnePass(t *testing.T) {
	terms := etagcache.Terms{Lease: time.Minute, Retention: time.Hour}
	for _, tt := range []struct {
		patterns []string
		marked   []string
	}{
		{[]string{"h/docs/*"}, []string{"h/docs/a", "h/docs/b"}},
		{[]string{"h/docs/*", "h/other/**"}, []string{"h/docs/a", "h/docs/b", "h/other/a"}},
		{[]string{"h/docs/*", "h/docs/a*", "h/d**"}, []string{"h/docs/a", "h/docs/b"}},
		{[]string{"h/docs/b*", "x**", "other/*"}, []string{"h/docs/b", "other/a"}},
		{[]string{"h/nothing/*", "x**"}, nil},
	} {
		store := &passes{Store: etagcache.NewMemory(0)}
		s := storeshare.OpenShare{Share: storeshare.New(store, zap.NewNop()), Terms: terms}
		epochs := make(map[string]string)
		for _, key := range []string{"h/docs/a", "h/docs/b", "h/other/a", "other/a", "z"} {
			e, err := s.Read(t.Context(), key, terms)
			if err != nil {
				t.Fatal(err)
			}
			epochs[key] = e.Epoch
		}
		done, err := purge{}.apply(t.Context(), s, targets{keys: tt.patterns})
		if err != nil || store.count != 1 || done.Resources != len(tt.marked) {
			t.Errorf("%q: marked %d in %d passes, %v", tt.patterns, done.Resources, store.count, err)
		}
		for key, epoch := range epochs {
			e, err := s.Read(t.Context(), key, terms)
			if marked := e.Epoch != epoch; err != nil || marked != slices.Contains(tt.marked, key) {
				t.Errorf("%q: %s is marked: %v, %v", tt.patterns, key, marked, err)
			}
		}
	}
}
