package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

const document = `{"id":1,"title":"plan"}`

// bare returns what is between the quotes of a tag.
func bare(tag string) string { return strings.Trim(tag, `"`) }

// documentSite returns a site in front of a JSON document that never changes, and its tag.
func documentSite(t *testing.T, options string) (base, tag string, b *caddytest.Witness) {
	t.Helper()
	b = caddytest.Page(document, "Content-Type", "application/json")
	n := caddytest.OneNode(t, options, b)
	return n.First(), caddytest.Send(t, "GET", n.First()+"/doc", "").Expect(t, 200).Tag(t), b
}

// expectProblem fails the test unless a refusal has these members.
func expectProblem(t *testing.T, a caddytest.Answer, condition, provided, detail string) {
	t.Helper()
	var p struct{ Condition, Provided, Detail string }
	if err := json.Unmarshal([]byte(a.Content), &p); err != nil {
		t.Fatalf("%s: %v", a.Content, err)
	}
	if p.Condition != condition || p.Provided != provided || !strings.Contains(p.Detail, detail) {
		t.Errorf("got %+v, want %s, %s and %q", p, condition, provided, detail)
	}
}

// A version in the query counts as If-Match, and the backend doesn't hear of it. With keep
// it does, but only with the write.
func TestConditionInQuery(t *testing.T) {
	t.Parallel()
	for _, keep := range []string{"", " keep"} {
		t.Run("query rev"+keep, func(t *testing.T) {
			base, tag, b := documentSite(t, "condition query rev"+keep+"\nrequire\n")
			for _, tt := range []struct {
				query  string
				fields []string
				status int
				says   string
			}{
				{"a=%31&rev=" + bare(tag) + "&b", nil, 204, ""},
				{"rev=" + url.QueryEscape(tag), nil, 204, ""},
				{"%72ev=" + bare(tag), nil, 204, ""},
				{"rev=" + bare(tag), []string{"If-Match", tag}, 204, ""},
				{"rev=" + bare(tag), []string{"If-Match", "*"}, 204, ""},
				{"rev=" + bare(tag), []string{"If-Match", `"x", ` + tag}, 204, ""},
				{"rev=" + bare(tag), []string{"If-Match", `"x"`}, 412, "both can't be current"},
				{"rev=x", []string{"If-Match", tag}, 412, "both can't be current"},
				{"rev=" + bare(tag), []string{"If-None-Match", "*"}, 412, "already exists"},
				{"rev=x", nil, 412, "query parameter rev, which counts as If-Match, lists no current entity tag"},
				{"rev=W/" + url.QueryEscape(tag), nil, 412, "in its weak form"},
				{"rev=*", nil, 412, "lists no current"},
				{"rev=a%20b", nil, 412, "query parameter rev is no version"},
				{"rev=" + url.QueryEscape(tag+`, "x"`), nil, 412, "is no version"},
				{"rev=", nil, 428, "must be conditional"},
				{"rev", nil, 428, "must be conditional"},
				{"a=1", nil, 428, "send its ETag in If-Match or the query parameter rev;"},
				{"rev=" + bare(tag) + "&rev=x", nil, 400, "query parameter rev must be there only once"},
				{"Rev=" + bare(tag), nil, 400, "in this spelling"},
				{"rev[]=" + bare(tag), nil, 400, "in this spelling"},
				{"a;rev=" + bare(tag), nil, 400, "only once"},
			} {
				before := len(b.All("PUT"))
				a := caddytest.Send(t, "PUT", base+"/doc?"+tt.query, "new", tt.fields...)
				if a.StatusCode != tt.status || !strings.Contains(a.Content, tt.says) {
					t.Errorf("%s %q: got %s, want %d and %q\n%s", tt.query, tt.fields, a.Status, tt.status, tt.says, a.Content)
				}
				heard := b.All("PUT")[before:]
				if tt.status != 204 {
					if len(heard) > 0 {
						t.Errorf("%s: the backend heard of the write", tt.query)
					}
					continue
				}
				want := tt.query
				if keep == "" {
					want = ""
					if strings.HasPrefix(tt.query, "a=") {
						want = "a=%31&b"
					}
				}
				if len(heard) != 1 || heard[0].URL.RawQuery != want || heard[0].Header["If-Match"] != nil {
					t.Errorf("%s: the backend heard %v, want the query %q", tt.query, heard, want)
				}
			}
			for _, probe := range b.All("GET") {
				if strings.Contains(probe.URL.RawQuery, "ev") {
					t.Errorf("the origin was asked for %s", probe.URL)
				}
			}
			caddytest.Send(t, "GET", base+"/doc?rev=x", "").Expect(t, 200)
			if got := b.Last(t, "GET").URL.RawQuery; got != "rev=x" {
				t.Errorf("a read was changed: %s", got)
			}
		})
	}
}

// A version in a field of the application counts as If-Match, in one field line, and the
// backend doesn't get the field unless it is to keep it.
func TestConditionInHeader(t *testing.T) {
	t.Parallel()
	for _, keep := range []string{"", " keep"} {
		t.Run("header X-Version"+keep, func(t *testing.T) {
			base, tag, b := documentSite(t, "condition header x-version"+keep+"\n")
			put := func(status int, fields ...string) caddytest.Answer {
				return caddytest.Send(t, "PUT", base+"/doc", "new", fields...).Expect(t, status)
			}
			put(204, "X-Version", bare(tag)).ExpectOutcome(t, "passed")
			put(204, "X-Version", tag).ExpectOutcome(t, "passed")
			if got := b.Last(t, "PUT").Header.Get("X-Version"); got != map[string]string{" keep": tag}[keep] {
				t.Errorf("the backend got %q", got)
			}
			if got := b.Last(t, "GET").Header["X-Version"]; got != nil {
				t.Errorf("the probe had %q", got)
			}
			put(204, "X-Version", "").ExpectOutcome(t, "unconditional")
			expectProblem(t, put(412, "X-Version", "7"), "If-Match", "7", "The field X-Version, which counts as If-Match, lists no current")
			put(400, "X-Version", "7", "X-Version", "8")
			put(412, "X-Version", bare(tag), "If-Match", `"7"`)
		})
	}
}

// A version in JSON content counts as If-Match. The backend gets the content without it, and
// otherwise as it was sent, byte by byte.
func TestConditionInJSON(t *testing.T) {
	t.Parallel()
	base, tag, b := documentSite(t, "condition json /etag\nbuffer 1KiB\nrequire PUT\n")
	quoted, _ := json.Marshal(tag)
	for _, tt := range []struct{ sent, want string }{
		{`{"etag":` + string(quoted) + `}`, `{}`},
		{`{ "etag" : "` + bare(tag) + `" , "id": 1}`, `{ "id": 1}`},
		{`{"id":1.50, "etag":"` + bare(tag) + `" }` + "\n", `{"id":1.50 }` + "\n"},
		{`{"a":1,` + "\n" + `"etag":"` + bare(tag) + `",` + "\n" + `"a":12345678901234567890}`, `{"a":1,` + "\n" + `"a":12345678901234567890}`},
		{`{"\u0065tag":"` + bare(tag) + `","é":{"etag":null}}`, `{"é":{"etag":null}}`},
	} {
		for _, mediaType := range []string{"application/json", "application/merge-patch+json; charset=utf-8"} {
			caddytest.Send(t, "PUT", base+"/doc", tt.sent, "Content-Type", mediaType).Expect(t, 204).ExpectOutcome(t, "passed")
			heard := b.Last(t, "PUT")
			if heard.Content != tt.want || heard.ContentLength != int64(len(tt.want)) {
				t.Errorf("%s: the backend got %d bytes: %s", tt.sent, heard.ContentLength, heard.Content)
			}
		}
	}
	heard := len(b.All("PUT", "POST"))
	for _, tt := range []struct {
		sent   string
		fields []string
		status int
		says   string
	}{
		{`{"etag":"x"}`, nil, 412, "The member /etag of the content, which counts as If-Match, lists no current"},
		{`{"etag":7}`, nil, 412, "lists no current"},
		{`{"etag":"a\nb"}`, nil, 412, "is no version"},
		{`{"etag":true}`, nil, 400, "must be a string or a whole number"},
		{`{"etag":7.5}`, nil, 400, "must be a string or a whole number"},
		{`{"etag":1e2}`, nil, 400, "must be a string or a whole number"},
		{`{"etag":["x"]}`, nil, 400, "must be a string or a whole number"},
		{`{"etag":"` + bare(tag) + `","etag":"x"}`, nil, 400, "must be there only once"},
		{`{"etag":"` + bare(tag) + `"`, nil, 400, "isn't valid JSON"},
		{"{\"etag\":\"\xff\"}", nil, 400, "isn't valid JSON"},
		{`{"etag":"` + bare(tag) + `","a":"` + strings.Repeat("x", 1024) + `"}`, nil, 413, "longer than"},
		{`{"etag":"` + bare(tag) + `"}`, []string{"Content-Encoding", "gzip"}, 415, "content coding"},
		{`{"etag":"` + bare(tag) + `"}`, []string{"Content-Digest", "sha-256=:AA==:"}, 400, "Content-Digest describes"},
		{`{"etag":"x"}`, []string{"Content-Type", "application/json", "Content-Type", "application/json"}, 400, "must have one Content-Type"},
		{`{"etag":"x"}`, []string{"Content-Type", "application/json, text/plain"}, 400, "must have one Content-Type"},
		{`{"etag":null}`, nil, 428, "conditional"},
		{`{"etag":""}`, nil, 428, "conditional"},
		{`{"meta":{"etag":"` + bare(tag) + `"}}`, nil, 428, "conditional"},
		{`["` + bare(tag) + `"]`, nil, 428, "conditional"},
		{`{"etag":"` + bare(tag) + `"}`, []string{"Content-Type", "text/plain"}, 428, "conditional"},
	} {
		fields := append([]string{}, tt.fields...)
		if !strings.Contains(fmt.Sprint(fields), "Content-Type") {
			fields = append(fields, "Content-Type", "application/json")
		}
		a := caddytest.Send(t, "PUT", base+"/doc", tt.sent, fields...)
		if a.StatusCode != tt.status || !strings.Contains(a.Content, tt.says) {
			t.Errorf("%.40s: got %s, want %d and %q\n%s", tt.sent, a.Status, tt.status, tt.says, a.Content)
		}
	}
	if n := len(b.All("PUT", "POST")); n != heard {
		t.Errorf("the backend heard of %d refused writes", n-heard)
	}
	// Without a condition, a version that wasn't provided is taken off as well.
	caddytest.Send(t, "POST", base+"/doc", `{"etag":"","a":1}`, "Content-Type", "application/json").Expect(t, 204)
	if got := b.Last(t, "POST").Content; got != `{"a":1}` {
		t.Errorf("the backend got %s", got)
	}
}

// A version is never ignored because some readers of JSON find it where others find nothing,
// and never reaches the backend because it can't be taken off.
func TestConditionThatIsNoMember(t *testing.T) {
	t.Parallel()
	base, tag, b := documentSite(t, "condition json /meta/etag\ncondition json /tags/0\n")
	for content, says := range map[string]string{
		`{"meta":{"etag":"x"},"meta":{}}`:         "must be there only once",
		`{"meta":{"etag":"x"},"meta":null}`:       "must be there only once",
		`{"tags":["` + bare(tag) + `","second"]}`: "no element can be taken out of an array",
	} {
		a := caddytest.Send(t, "PUT", base+"/doc", content, "Content-Type", "application/json").Expect(t, 400)
		if !strings.Contains(a.Content, says) {
			t.Errorf("%s: %s", content, a.Content)
		}
	}
	b.Unwritten(t)
	caddytest.Send(t, "PUT", base+"/doc", `{"tags":{"0":"`+bare(tag)+`"},"meta":{}}`, "Content-Type", "application/json").Expect(t, 204)
	if got := b.Last(t, "PUT").Content; got != `{"tags":{},"meta":{}}` {
		t.Errorf("the backend got %s", got)
	}
}

// A client may send the version of the content in two forms: as it stands there, and as the
// weak tag that a GET has.
func TestConditionBesideWeakTag(t *testing.T) {
	t.Parallel()
	base, tag, b := documentSite(t, "etag json /id weak\netag body\ncondition json /id keep\n")
	if tag != `W/"1"` {
		t.Fatal(tag)
	}
	caddytest.Send(t, "PUT", base+"/doc", document, "Content-Type", "application/json", "If-Match", tag).Expect(t, 204).ExpectOutcome(t, "passed")
	b.Last(t, "PUT")
	for _, fields := range [][]string{{`{"id":2}`, `W/"1"`}, {`{"id":1}`, `W/"2"`}, {`{"id":2}`, `W/"2"`}} {
		caddytest.Send(t, "PUT", base+"/doc", fields[0], "Content-Type", "application/json", "If-Match", fields[1]).Expect(t, 412)
	}
}

// A version that the backend keeps stays in the content, which isn't touched.
func TestConditionKeptInJSON(t *testing.T) {
	t.Parallel()
	base, tag, b := documentSite(t, "condition json /meta/etag keep\n")
	content := `{"meta":{"etag":"` + bare(tag) + `"}}`
	caddytest.Send(t, "PUT", base+"/doc", content, "Content-Type", "application/json", "Content-Digest", "sha-256=:AA==:").Expect(t, 204).ExpectOutcome(t, "passed")
	if heard := b.Last(t, "PUT"); heard.Content != content || heard.Header.Get("Content-Digest") == "" {
		t.Errorf("the backend got %s", heard.Content)
	}
	caddytest.Send(t, "PUT", base+"/doc", `{"meta":{"etag":"x"}}`, "Content-Type", "application/json").Expect(t, 412)
}

// In report mode, the backend gets everything as it was sent, and what would be refused is
// reported.
func TestConditionReported(t *testing.T) {
	t.Parallel()
	base, _, b := documentSite(t, "mode report\ncondition query rev\ncondition header X-Version\ncondition json /etag\n")
	for _, tt := range []struct {
		query, content, field, outcome string
	}{
		{"?rev=x", "{}", "", "failed"},
		{"", `{"etag":"x"}`, "", "failed"},
		{"", `{"etag":true}`, "", "unverifiable"},
		{"", "{}", "x", "failed"},
		{"", "{}", "", "unconditional"},
	} {
		fields := []string{"Content-Type", "application/json"}
		if tt.field != "" {
			fields = append(fields, "X-Version", tt.field)
		}
		caddytest.Send(t, "PUT", base+"/doc"+tt.query, tt.content, fields...).Expect(t, 204).ExpectOutcome(t, tt.outcome)
		heard := b.Last(t, "PUT")
		if "?"+heard.URL.RawQuery != "?"+strings.TrimPrefix(tt.query, "?") || heard.Content != tt.content || heard.Header.Get("X-Version") != tt.field {
			t.Errorf("%+v: the backend got %s, %s", tt, heard.URL, heard.Content)
		}
	}
}

// A write that is repeated because its answer was lost succeeds again, if the version that it
// names elsewhere is the same.
func TestConditionReplayed(t *testing.T) {
	t.Parallel()
	shelf := &caddytest.Shelf{Content: "old"}
	n := caddytest.OneNode(t, "condition query rev\nreplay\n", shelf)
	tag := bare(caddytest.Send(t, "GET", n.First()+"/doc", "").Tag(t))
	put := func(query string) caddytest.Answer {
		return caddytest.Send(t, "PUT", n.First()+"/doc"+query, "new", "Idempotency-Key", "1")
	}
	put("?rev="+tag).Expect(t, 200)
	put("?rev="+tag).Expect(t, 200).ExpectOutcome(t, "passed")
	put("?rev=x").Expect(t, 412)
}

// Of several writers with one version in the query, exactly one gets through.
func TestConditionInQueryContest(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		shelf := &caddytest.Shelf{Content: "old"}
		n := deploy(t, "condition query rev\n", shelf)
		tag := bare(caddytest.Send(t, "GET", n.First()+"/doc", "").Tag(t))
		var all []<-chan caddytest.Result
		for i := range 8 {
			all = append(all, caddytest.Go(t.Context(), "PUT", n[i%len(n)]+"/doc?rev="+tag, fmt.Sprint("new ", i)))
		}
		winners := 0
		for _, one := range all {
			switch r := <-one; {
			case r.Err != nil:
				t.Error(r.Err)
			case r.StatusCode == http.StatusOK:
				winners++
			default:
				r.Expect(t, 412)
			}
		}
		if winners != 1 {
			t.Errorf("%d writers won", winners)
		}
	})
}

// A signed write can't be changed, so it must not carry a version that is to be taken off.
func TestConditionOfSignedWrites(t *testing.T) {
	t.Parallel()
	signature := []string{"Signature-Input", `sig=("@method");keyid="k"`, "Signature", "sig=:AA==:", "Content-Type", "application/json"}
	base, tag, b := documentSite(t, "signed rfc9421\nverify never\ncondition query rev\ncondition json /etag\ncondition header X-Version keep\n")
	caddytest.Send(t, "PUT", base+"/doc?rev="+bare(tag), "{}", signature...).Expect(t, 400)
	caddytest.Send(t, "PUT", base+"/doc", `{"etag":"`+bare(tag)+`"}`, signature...).Expect(t, 400)
	b.Unwritten(t)
	caddytest.Send(t, "PUT", base+"/doc", "{}", append(signature, "X-Version", bare(tag))...).Expect(t, 204).ExpectOutcome(t, "passed")
	if got := b.Last(t, "PUT").Header.Get("X-Version"); got != bare(tag) {
		t.Errorf("the backend got %q", got)
	}
	caddytest.Send(t, "PUT", base+"/doc", "{}", append(signature, "X-Version", "x")...).Expect(t, 412)
}

// A handler that only reports leaves the version to one behind it that enforces it, and a
// handler behind one that enforces it passes on what the backend keeps.
func TestConditionOfNestedHandlers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ outer, inner, query string }{
		{"mode report\ncondition query rev", "condition query rev", ""},
		{"mode report\ncondition query rev keep", "condition query rev keep", "rev="},
		{"condition query rev keep", "condition query rev keep", "rev="},
		{"condition query rev", "require PUT", ""},
	} {
		t.Run(caddytest.Title(tt.outer), func(t *testing.T) {
			b := caddytest.Page(document, "Content-Type", "application/json")
			base := caddytest.OneNodeAt(t, fmt.Sprintf("route {\npreconditions {\n%s\nlag 0s\n}\npreconditions {\n%s\nlag 0s\n}\nreverse_proxy %s\n}",
				tt.outer, tt.inner, caddytest.Serve(t, b))).First()
			tag := bare(caddytest.Send(t, "GET", base+"/doc", "").Tag(t))
			caddytest.Send(t, "PUT", base+"/doc?rev=x", "new").Expect(t, 412)
			b.Unwritten(t)
			caddytest.Send(t, "PUT", base+"/doc?rev="+tag, "new").Expect(t, 204)
			if tt.query != "" {
				tt.query += tag
			}
			if got := b.Last(t, "PUT").URL.RawQuery; got != tt.query {
				t.Errorf("the backend got %q, want %q", got, tt.query)
			}
		})
	}
}
