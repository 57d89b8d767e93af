package clients

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// patients is a backend of one resource, which has a version in its content and in a field,
// and compares nothing. It shows JSON or XML, in a way of its own to each user.
type patients struct {
	caddytest.Witness
	mu      sync.Mutex
	version int
	text    string
	show    func(version int) string // as it is in JSON
}

func newPatients(show func(version int) string) *patients {
	p := &patients{version: 7, text: "first", show: show}
	p.Answer = func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if r.Method != "GET" && r.Method != "HEAD" {
			p.version++
			p.text = r.Header.Get("X-Text")
			w.WriteHeader(204)
			return
		}
		w.Header().Set("X-Version", strings.Trim(p.show(p.version), `"`))
		content := fmt.Sprintf(`<p v=%q user=%q>%s</p>`, p.show(p.version), r.Header.Get("Authorization"), p.text)
		w.Header().Set("Content-Type", "application/fhir+xml")
		if !strings.Contains(r.Header.Get("Accept"), "xml") {
			w.Header().Set("Content-Type", "application/fhir+json")
			content = fmt.Sprintf(`{"meta":{"versionId":%s},"user":%q,"text":%q}`, p.show(p.version), r.Header.Get("Authorization"), p.text)
		}
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if r.Method == "GET" {
			_, _ = io.WriteString(w, content)
		}
	}
	return p
}

func quotedVersion(version int) string { return fmt.Sprintf("%q", fmt.Sprint(version)) }
func plainVersion(version int) string  { return fmt.Sprint(version) }
func taggedVersion(version int) string { return fmt.Sprintf("%q", fmt.Sprintf(`W/"%d"`, version)) }

// save sends a PUT that stores a text.
func save(t testing.TB, url, text string, fields ...string) caddytest.Answer {
	t.Helper()
	return caddytest.Send(t, "PUT", url, text, append(fields, "X-Text", text)...)
}

// A client that makes its If-Match from the version in the content writes if that is the
// current one, and is refused if it isn't, whatever confirms the condition. Responses have
// the same tag.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		source string
		show   func(version int) string
		tag    string // of version %d
	}{
		{"etag json /meta/versionId verbatim", quotedVersion, `"%d"`},
		{"etag json /meta/versionId verbatim", plainVersion, `"%d"`},
		{"etag json /meta/versionId verbatim", taggedVersion, `W/"%d"`},
		{"etag json /meta/versionId weak", quotedVersion, `W/"%d"`},
		{"etag json /meta/versionId weak\netag body", taggedVersion, `W/"%d"`},
		{"etag header X-Version verbatim", plainVersion, `"%d"`},
		{"etag header X-Version weak\netag body", plainVersion, `W/"%d"`},
	} {
		for _, options := range []string{"", "verify all", "verify never", "verify 1h", "replay", "write_etag always", "lag 1m"} {
			t.Run(caddytest.Title(tt.source+"\n"+options)+" "+tt.show(7), func(t *testing.T) {
				t.Parallel()
				backend := newPatients(tt.show)
				url := caddytest.OneNode(t, tt.source+"\n"+options, backend).First() + "/Patient/1"
				for i := 7; i < 10; i++ {
					tag := fmt.Sprintf(tt.tag, i)
					for _, method := range []string{"GET", "HEAD"} {
						if got := caddytest.Send(t, method, url, "").Expect(t, 200).Header.Get("ETag"); got != tag {
							t.Errorf("%s has the tag %s, want %s", method, got, tag)
						}
					}
					for _, other := range []int{i - 1, i + 1} {
						a := save(t, url, "lost", "If-Match", fmt.Sprintf(tt.tag, other)).Expect(t, 412)
						if got := problemOf(t, a)["current_etag"]; got != tag {
							t.Errorf("current_etag is %v, want %s", got, tag)
						}
					}
					saved := save(t, url, fmt.Sprint(i), "If-Match", tag).Expect(t, 204)
					if got := saved.Header.Get("ETag"); strings.HasPrefix(options, "write_etag") && got != fmt.Sprintf(tt.tag, i+1) {
						t.Errorf("the answer to the write has the tag %s", got)
					}
					if got := backend.Last(t, "PUT").Header["If-Match"]; got != nil {
						t.Errorf("the backend heard If-Match: %s", got)
					}
				}
			})
		}
	}
}

// With weak, If-Match is compared by what is between the quotes. With verbatim, the weak
// form of the tag is refused unless weak_tags accepts it.
func TestFormsOfVersions(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]map[string]int{
		"etag json /meta/versionId weak":                          {`"7"`: 204, `W/"7"`: 204, `W/"7-gzip"`: 204, `"8"`: 412, `w/"7"`: 412, `W/"7", W/"8"`: 204},
		"etag json /meta/versionId weak\netag body":               {`"7"`: 204, `W/"7"`: 204, `W/"6", W/"8"`: 412},
		"etag json /meta/versionId verbatim":                      {`"7"`: 204, `"7-gzip"`: 204, `W/"7"`: 412, `"07"`: 412},
		"etag json /meta/versionId verbatim\nweak_tags accept":    {`"7"`: 204, `W/"7"`: 204, `W/"8"`: 412},
		"etag json /meta/versionId hash":                          {`"7"`: 412, `W/"7"`: 412},
		"etag json /none weak\netag json /meta/versionId":         {`"7"`: 412, `W/"7"`: 412},
		"etag json /meta/versionId weak\netag version":            {`W/"7"`: 204, `W/"8"`: 412},
		"etag json /meta/versionId verbatim\nsecret s\netag body": {`"7"`: 204, `"8"`: 412},
	} {
		for listed, status := range want {
			backend := newPatients(quotedVersion)
			url := caddytest.OneNode(t, options, backend).First() + "/Patient/1"
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			if got := save(t, url, "x", "If-Match", listed).StatusCode; got != status {
				t.Errorf("%s: If-Match: %s while the tag is %s: %d, want %d", caddytest.Title(options), listed, tag, got, status)
			}
		}
	}
}

// JSON, XML and what two users see have the same version, and so the same tag. A read never
// gets 304 or a part on it: the client may have a different representation. A write may name
// the version whichever of them it was read in.
func TestSharedVersion(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"verbatim", "weak"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			url := caddytest.OneNode(t, "etag header X-Version "+form, newPatients(plainVersion)).First() + "/Patient/1"
			json := caddytest.Send(t, "GET", url, "")
			tag, reads := json.Tag(t), [][]string{nil, {"Accept", "application/fhir+xml"}, {"Authorization", "Bearer b"}}
			if json.Header.Get("Accept-Ranges") != "" {
				t.Error("parts are promised")
			}
			for _, fields := range reads {
				for _, conditional := range [][]string{
					{"If-None-Match", tag},
					{"If-None-Match", `"none", W/` + strings.TrimPrefix(tag, "W/")},
					{"If-Range", tag, "Range", "bytes=2-4"},
					{"If-Match", tag, "Range", "bytes=2-4"},
					{"If-None-Match", tag, "Range", "bytes=2-4"},
				} {
					whole := caddytest.Send(t, "GET", url, "", fields...).Expect(t, 200)
					a := caddytest.Send(t, "GET", url, "", append(conditional, fields...)...).Expect(t, 200).ExpectOutcome(t, "read")
					if a.Content != whole.Content || a.Tag(t) != tag {
						t.Errorf("%v %v: %s %s", fields, conditional, a.Tag(t), a.Content)
					}
				}
				caddytest.Send(t, "HEAD", url, "", append([]string{"If-None-Match", tag}, fields...)...).Expect(t, 200)
				caddytest.Send(t, "GET", url, "", append([]string{"If-None-Match", "*"}, fields...)...).Expect(t, 304)
			}
			save(t, url, "second", "If-Match", tag, "Accept", "application/fhir+xml").Expect(t, 204)
			save(t, url, "third", "If-Match", tag).Expect(t, 412)
		})
	}
}

// Where the version isn't shown, or can't be a tag, the next source makes the tag. That is a
// hash, which no version is mistaken for, and it gives 304 and parts like any other.
func TestValueThatIsNoTag(t *testing.T) {
	t.Parallel()
	for _, shown := range []string{`7.5`, `"a b"`, `"7-gzip"`, `null`, `"~7"`} {
		backend := newPatients(func(int) string { return shown })
		url := caddytest.OneNode(t, "etag json /meta/versionId weak\netag body", backend).First() + "/Patient/1"
		first := caddytest.Send(t, "GET", url, "").Tag(t)
		if !strings.HasPrefix(first, `"~`) {
			t.Errorf("%s: the tag is %s", shown, first)
		}
		caddytest.Send(t, "GET", url, "", "If-None-Match", first).Expect(t, 304)
		caddytest.Send(t, "GET", url, "", "If-Range", first, "Range", "bytes=2-4").Expect(t, 206)
		save(t, url, "x", "If-Match", "W/"+first).Expect(t, 412)
		save(t, url, "x", "If-Match", "W/"+strings.ReplaceAll(shown, "null", `"null"`)).Expect(t, 412)
		save(t, url, "x", "If-Match", first).Expect(t, 204)
		save(t, url, "y", "If-Match", first).Expect(t, 412)
	}
}

// A version is spent once a write has replaced it: an origin that lags behind can't bring it
// back. A restored backup can, after the lag: a version says only what the backend says.
func TestVersionsAreSpent(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		backend := newPatients(quotedVersion)
		n := deploy(t, "lag 1m\netag json /meta/versionId weak\netag body", backend)
		url := n.First() + "/Patient/1"
		caddytest.Send(t, "GET", url, "").Expect(t, 200)
		save(t, url, "second", "If-Match", `W/"7"`).Expect(t, 204)
		caddytest.Send(t, "GET", url, "").Expect(t, 200)
		backend.mu.Lock()
		backend.version = 7 // the origin shows the past
		backend.mu.Unlock()
		caddytest.Send(t, "GET", n.Other()+"/Patient/1", "").Expect(t, 200)
		if got := save(t, n.Other()+"/Patient/1", "lost", "If-Match", `W/"7"`).StatusCode; got != 412 && got != 503 {
			t.Errorf("a write with a spent version got %d", got)
		}
		if len(backend.All("PUT")) != 1 {
			t.Error("it was forwarded")
		}
	})
}

// Of many writers with the same version, one wins.
func TestVersionContest(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		backend := newPatients(quotedVersion)
		n := deploy(t, "etag json /meta/versionId weak\netag body", backend)
		expectOneWinner(t, n, "/Patient/1", `W/"7"`, &backend.Witness)
	})
}

// Two documents may share a resource, because only the query tells them apart. The version of
// one is no condition on the other, also beside the version that the store counts.
func TestVersionOfAnotherTarget(t *testing.T) {
	t.Parallel()
	for _, options := range []string{
		"etag json /v weak\netag version", "etag json /v verbatim\netag body\nverify never", "etag json /v\netag version",
	} {
		backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"v":%q}`, r.URL.Query().Get("v"))
		}}
		url := caddytest.OneNode(t, options, backend).First() + "/doc?v="
		seven := caddytest.Send(t, "GET", url+"7", "").Expect(t, 200).Tag(t)
		eight := caddytest.Send(t, "GET", url+"8", "").Expect(t, 200).Tag(t)
		caddytest.Send(t, "PUT", url+"8", "x", "If-Match", seven).Expect(t, 412)
		caddytest.Send(t, "PUT", url+"8", "x", "If-Match", eight).ExpectSuccess(t)
	}
}

// expectOneWinner lets sixteen clients write at once under the same condition. One succeeds.
func expectOneWinner(t *testing.T, n caddytest.Nodes, path, ifMatch string, backend *caddytest.Witness) {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			a, err := caddytest.Try(context.Background(), "PUT", n[i%len(n)]+path, fmt.Sprint(i), "If-Match", ifMatch)
			switch {
			case err != nil:
				t.Error(err)
			case a.StatusCode == 204:
				won.Add(1)
			case a.StatusCode != 412:
				t.Errorf("a loser got %s", a.Status)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || len(backend.All("PUT")) != 1 {
		t.Errorf("%d won, and the backend heard %d writes", won.Load(), len(backend.All("PUT")))
	}
}
