package webdav

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

const lockToken = "urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2"

// TestIf: the entity tags in an If field are evaluated, and the backend, which has none, gets
// the field without them.
func TestIf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		locked   bool
		field    string // {tag} is the current tag, {token} that of the lock
		status   int
		received string // by the backend
	}{
		{"10.4 the current tag", false, `(["{tag}"])`, 204, "-"},
		{"10.4 a stale tag", false, `(["stale"])`, 412, ""},
		{"10.4 a stale tag beside the token", true, `(<{token}> ["stale"])`, 412, ""},
		{"10.4 the token and the tag", true, `(<{token}> ["{tag}"])`, 204, "(<{token}>)"},
		{"10.4 another token and the tag", true, `(<urn:x> ["{tag}"])`, 412, "(<urn:x>)"},
		{"10.4.1 a token counts as submitted in a list that is false", true, `(<{token}> ["stale"]) (["{tag}"])`, 204, "(<{token}> <DAV:no-lock>) (Not <DAV:no-lock>)"},
		{"10.4.1 the tag without the token", true, `(["{tag}"])`, 423, "-"},
		{"10.4.7 Not the current tag", false, `(Not ["{tag}"])`, 412, ""},
		{"10.4.7 Not a stale tag", false, `(Not ["stale"])`, 204, "-"},
		{"10.4.8 DAV:no-lock", true, `(<{token}> ["{tag}"]) (Not <DAV:no-lock> ["{tag}"])`, 204, "(<{token}>) (Not <DAV:no-lock>)"},
		{"10.4.8 DAV:no-lock and a stale tag", true, `(<{token}> ["stale"]) (Not <DAV:no-lock> ["stale"])`, 412, ""},
		{"tokens alone stay as they are", true, `(<{token}>)(Not<DAV:no-lock>)`, 204, "(<{token}>)(Not<DAV:no-lock>)"},
		{"10.4.9 the target in a tagged list", true, `<{url}> (<{token}> ["{tag}"])`, 204, "<{url}> (<{token}>)"},
		{"malformed, with a tag", false, `(["{tag}")`, 400, ""},
		{"malformed, without a tag", false, `(<urn:x>`, 400, "(<urn:x>"},
		{"another site", false, `<http://other.example/doc> (["{tag}"])`, 400, ""},
		{"the target in a different spelling", false, `</DOC> (["{tag}"])`, 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShare("/doc")
			if tt.locked {
				s.locks["/doc"] = lockToken
			}
			site := caddytest.Site(t, "profile webdav\nlag 0s", s)
			tag := strings.Trim(caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 200).Tag(t), `"`)
			fill := strings.NewReplacer("{tag}", tag, "{token}", lockToken, "{url}", site+"/doc")
			a := caddytest.Send(t, "PUT", site+"/doc", "new", "If", fill.Replace(tt.field)).Expect(t, tt.status)
			received := "nothing was forwarded"
			if tt.received != "" {
				received = fill.Replace(tt.received)
			}
			if got := s.lastIf(); got != received {
				t.Errorf("the backend got If: %s, want %s", got, received)
			}
			if tt.status == 204 && s.get("/doc") != "new" {
				t.Error("the write has no effect")
			}
			if got := a.Header.Get("ETag"); tt.status == 204 && got == `"`+tag+`"` {
				t.Error("the answer has the old tag")
			}
		})
	}
}

// TestIfWithoutTheProfile: without the profile, nobody looks at the If field.
func TestIfWithoutTheProfile(t *testing.T) {
	t.Parallel()
	s := newShare("/doc")
	site := caddytest.Site(t, "", s)
	caddytest.Send(t, "PUT", site+"/doc", "new", "If", `(["x"])`).Expect(t, 412)
	if got := s.lastIf(); got != `(["x"])` {
		t.Errorf("the backend got If: %s", got)
	}
}

// TestIfOnSeveralLines: two fields aren't one, and nobody knows which one the backend takes.
func TestIfOnSeveralLines(t *testing.T) {
	t.Parallel()
	site := caddytest.Site(t, "profile webdav", newShare("/doc"))
	tag := caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "PUT", site+"/doc", "new", "If", "(["+tag+"])", "If", "(<urn:x>)").Expect(t, 400)
}

// TestIfTooLong: more conditions than any honest client sends aren't evaluated.
func TestIfTooLong(t *testing.T) {
	t.Parallel()
	site := caddytest.Site(t, "profile webdav", newShare("/doc"))
	caddytest.Send(t, "PUT", site+"/doc", "new", "If", strings.Repeat(`(["x"])`, 300)).Expect(t, 431)
}

// TestIfOnAnotherResource: lists may be about a resource besides the target, which is claimed,
// too, and asked for under the claim.
func TestIfOnAnotherResource(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, field string
		status              int
	}{
		{"the destination is as it was", "MOVE", `<{site}/to> (["{to}"])`, 204},
		{"the destination has changed", "MOVE", `<{site}/to> (["stale"])`, 412},
		{"a path alone", "COPY", `</to> (["{to}"])`, 204},
		{"both are as they were", "COPY", `</from> (["{from}"]) </to> (["stale"])`, 204}, // either list is enough
		{"the source has changed", "COPY", `</from> (["stale"])`, 412},
		{"something that isn't there", "COPY", `</other> (["x"])`, 412},
		{"something that isn't there, and Not", "COPY", `</other> (Not ["x"])`, 204},
	} {
		for _, verify := range []string{"passing", "never"} {
			t.Run(tt.name+"/"+verify, func(t *testing.T) {
				t.Parallel()
				s := newShare("/from", "/to")
				site := caddytest.Site(t, "profile webdav\nlag 0s\nverify "+verify, s)
				tag := func(path string) string {
					return strings.Trim(caddytest.Send(t, "GET", site+path, "").Expect(t, 200).Tag(t), `"`)
				}
				field := strings.NewReplacer("{site}", site, "{from}", tag("/from"), "{to}", tag("/to")).Replace(tt.field)
				caddytest.Send(t, tt.method, site+"/from", "", "Destination", site+"/to", "If", field).Expect(t, tt.status)
				if moved := s.get("/to") == "of /from"; moved != (tt.status == 204) {
					t.Errorf("performed: %v", moved)
				}
			})
		}
	}
}

// TestIfIsAtomic: of two saves that compete with one tag in If, one wins.
func TestIfIsAtomic(t *testing.T) {
	t.Parallel()
	s := newShare("/doc")
	arrived, proceed := make(chan struct{}, 2), make(chan struct{})
	s.before = func(r *http.Request) {
		if r.Method == http.MethodPut {
			arrived <- struct{}{}
			<-proceed
		}
	}
	site := caddytest.Site(t, "profile webdav\nlag 0s", s)
	tag := caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 200).Tag(t)
	ctx := context.Background()
	first := caddytest.Go(ctx, "PUT", site+"/doc", "first", "If", "(["+tag+"])")
	<-arrived
	second := caddytest.Go(ctx, "PUT", site+"/doc", "second", "If", "(["+tag+"])")
	close(proceed)
	caddytest.ExpectResult(t, first, 204)
	caddytest.ExpectResult(t, second, 412)
	if got := s.get("/doc"); got != "first" {
		t.Errorf("the document is %q", got)
	}
}

// TestDestinationIsClaimed: while a MOVE is under way whose If is about its destination, nobody
// else writes that.
func TestDestinationIsClaimed(t *testing.T) {
	t.Parallel()
	s := newShare("/from", "/to")
	arrived, proceed := make(chan string, 4), make(chan struct{})
	s.before = func(r *http.Request) {
		if r.Method != http.MethodGet {
			arrived <- r.Method
			<-proceed
		}
	}
	site := caddytest.Site(t, "profile webdav\nlag 0s", s)
	tag := caddytest.Send(t, "GET", site+"/to", "").Expect(t, 200).Tag(t)
	ctx := context.Background()
	move := caddytest.Go(ctx, "MOVE", site+"/from", "", "Destination", site+"/to", "If", "<"+site+"/to> (["+tag+"])")
	<-arrived
	put := caddytest.Go(ctx, "PUT", site+"/to", "later", "If-Match", tag)
	close(proceed)
	caddytest.ExpectResult(t, move, 204)
	caddytest.ExpectResult(t, put, 412)
	if got := s.get("/to"); got != "of /from" {
		t.Errorf("the document is %q", got)
	}
}

// TestIfMeansAnOutsideChange: somebody who bypasses the handler has written.
func TestIfMeansAnOutsideChange(t *testing.T) {
	t.Parallel()
	s := newShare("/doc")
	site := caddytest.Site(t, "profile webdav\nlag 0s", s)
	tag := caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 200).Tag(t)
	s.set("/doc", "theirs")
	caddytest.Send(t, "PUT", site+"/doc", "mine", "If", "(["+tag+"])").Expect(t, 412)
}

// TestIfCountsAsCondition: with require, a lock or a tag in If is a condition, and a list that
// any state makes true isn't.
func TestIfCountsAsCondition(t *testing.T) {
	t.Parallel()
	for field, status := range map[string]int{
		`(<` + lockToken + `>)`:                           204,
		`(<` + lockToken + `>) (Not <DAV:no-lock>)`:       428,
		`(Not <DAV:no-lock>)`:                             428,
		`(<` + lockToken + `> Not ["x"])`:                 204,
		`(<` + lockToken + `>) (Not <DAV:no-lock> ["x"])`: 204,
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			s := newShare("/doc")
			s.locks["/doc"] = lockToken
			site := caddytest.Site(t, "profile webdav\nrequire", s)
			caddytest.Send(t, "PUT", site+"/doc", "new", "If", field).Expect(t, status)
		})
	}
}

// TestReportedIf: with mode report, the backend's own lock decides, and no tag of ours does.
func TestReportedIf(t *testing.T) {
	t.Parallel()
	s := newShare("/doc")
	site := caddytest.Site(t, "profile webdav\nmode report", s)
	caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 200)
	caddytest.Send(t, "PUT", site+"/doc", "new", "If", `(["stale"])`).Expect(t, 204)
	if got := s.lastIf(); got != "-" {
		t.Errorf("the backend got If: %s", got)
	}
}

// TestIfOnReads: the tags in the If field of a read are evaluated, too (RFC 4918, section 10.4.1),
// and the backend gets the tokens alone. Where only it could tell what they mean together, the
// read is refused.
func TestIfOnReads(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		field    string
		fields   []string
		status   int
		received string // by the backend
	}{
		{"the current tag", `(["{tag}"])`, nil, 200, "-"},
		{"a stale tag", `(["stale"])`, nil, 412, "-"},
		{"Not the current tag", `(Not ["{tag}"])`, nil, 412, "-"},
		{"the token and the tag", `(<{token}> ["{tag}"])`, nil, 200, "(<{token}>)"},
		{"another token and the tag", `(<urn:x> ["{tag}"])`, nil, 412, "(<urn:x>)"},
		{"the token and a stale tag", `(<{token}> ["stale"])`, nil, 412, "(<{token}>)"},
		{"either of two", `(<{token}> ["stale"]) (["{tag}"])`, nil, 412, "(<{token}>) (Not <DAV:no-lock>)"},
		{"tokens alone", `(<{token}>)(Not<DAV:no-lock>)`, nil, 200, "(<{token}>)(Not<DAV:no-lock>)"},
		{"a stale tag comes before 304", `(["stale"])`, []string{"If-None-Match", `"{tag}"`}, 412, "-"},
		{"the current tag and 304", `(["{tag}"])`, []string{"If-None-Match", `"{tag}"`}, 304, "-"},
		{"a part", `(["{tag}"])`, []string{"Range", "bytes=0-1"}, 206, "-"},
		{"a part of something else", `(["stale"])`, []string{"Range", "bytes=0-1"}, 412, "-"},
		{"another resource", `</other> (["x"])`, nil, 400, ""},
		{"malformed", `(["x")`, nil, 400, ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(tt.name+"/"+method, func(t *testing.T) {
				t.Parallel()
				s := newShare("/doc")
				s.locks["/doc"] = lockToken
				site := caddytest.Site(t, "profile webdav\nlag 0s\nverify never\nreads store", s)
				tag := strings.Trim(caddytest.Send(t, "GET", site+"/doc", "").Expect(t, 200).Tag(t), `"`)
				fill := strings.NewReplacer("{tag}", tag, "{token}", lockToken)
				fields := []string{"If", fill.Replace(tt.field)}
				for _, text := range tt.fields {
					fields = append(fields, fill.Replace(text))
				}
				status := tt.status
				if method == "HEAD" && status == 206 {
					status = 200 // it has no parts
				}
				s.reads = nil
				caddytest.Send(t, method, site+"/doc", "", fields...).Expect(t, status)
				received := []string{fill.Replace(tt.received)}
				if tt.received == "" {
					received = nil
				}
				if len(s.reads) > 1 { // HEAD shows no tag, so a GET follows
					s.reads = s.reads[:1]
				}
				if !slices.Equal(s.reads, received) {
					t.Errorf("the backend got If: %q, want %q", s.reads, received)
				}
			})
		}
	}
}
