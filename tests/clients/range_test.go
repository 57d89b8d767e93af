package clients

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestIfRange: if the tag of the content is the handler's own, the handler cuts out
// the requested part itself (RFC 9110, sections 13.1.5 and 14.2).
func TestIfRange(t *testing.T) {
	const content = "0123456789"
	fields := []string{"Last-Modified", caddytest.LegacyDate, "Content-Type", "text/x-legacy", "Cache-Control", "max-age=60", "Set-Cookie", "a=b", "X-Version", "7"}
	for _, options := range []string{"", "etag header X-Version", "etag json /none\netag modified"} {
		backend := caddytest.Page(content, append(slices.Clone(fields), "Content-Length", fmt.Sprint(len(content)))...)
		base := caddytest.Site(t, options, backend)
		tag := caddytest.Send(t, "GET", base, "").Expect(t, 200).Tag(t)
		for _, tt := range []struct {
			name   string
			fields []string // Range: bytes=2-4 is added if Range is missing
			status int
			want   string
		}{
			{"the current tag", []string{"If-Range", tag}, 206, "234"},
			{"white space around it", []string{"If-Range", "  " + tag + " "}, 206, "234"},
			{"the date", []string{"If-Range", caddytest.LegacyDate}, 206, "234"},
			{"a different tag", []string{"If-Range", `"stale"`}, 200, content},
			{"a weak tag", []string{"If-Range", "W/" + tag}, 200, content},
			{"the tag of the compressed content", []string{"If-Range", strings.TrimSuffix(tag, `"`) + `-gzip"`}, 200, content},
			{"a different date", []string{"If-Range", "Sun, 06 Nov 1994 08:49:36 GMT"}, 200, content},
			{"a list", []string{"If-Range", tag + `, "x"`}, 200, content},
			{"two lines", []string{"If-Range", tag, "If-Range", tag}, 200, content},
			{"*", []string{"If-Range", "*"}, 200, content},
			{"empty", []string{"If-Range", ""}, 200, content},
			{"junk", []string{"If-Range", "junk"}, 200, content},

			{"an open range", []string{"If-Range", tag, "Range", "bytes=7-"}, 206, "789"},
			{"a suffix", []string{"If-Range", tag, "Range", "bytes=-2"}, 206, "89"},
			{"the whole content", []string{"If-Range", tag, "Range", "bytes=0-"}, 206, content},
			{"one of two ranges is satisfiable", []string{"If-Range", tag, "Range", "bytes=2-3,50-"}, 206, "23"},
			{"an unsatisfiable range", []string{"If-Range", tag, "Range", "bytes=10-"}, 416, ""},
			{"an empty suffix", []string{"If-Range", tag, "Range", "bytes=-0"}, 416, ""},
			{"an unsatisfiable range, stale If-Range", []string{"If-Range", `"stale"`, "Range", "bytes=10-"}, 200, content},
			{"a different unit", []string{"If-Range", tag, "Range", "lines=2-4"}, 200, content},
			{"a malformed range", []string{"If-Range", tag, "Range", "bytes=4-2"}, 200, content},
			{"ranges longer than the content", []string{"If-Range", tag, "Range", "bytes=0-,0-"}, 200, content},
			{"two lines of ranges", []string{"If-Range", tag, "Range", "bytes=0-1", "Range", "bytes=2-3"}, 200, content},

			// Conditions come first (13.2.2).
			{"true If-Match", []string{"If-Match", tag}, 206, "234"},
			{"true If-Match, true If-Range", []string{"If-Match", tag, "If-Range", tag}, 206, "234"},
			{"true If-Match, stale If-Range", []string{"If-Match", tag, "If-Range", `"stale"`}, 200, content},
			{"true If-Match, unsatisfiable range", []string{"If-Match", tag, "Range", "bytes=10-"}, 416, ""},
			{"false If-Match", []string{"If-Match", `"stale"`}, 412, ""},
			{"false If-Match, true If-Range", []string{"If-Match", `"stale"`, "If-Range", tag}, 412, ""},
			{"false If-Match, unsatisfiable range", []string{"If-Match", `"stale"`, "Range", "bytes=10-"}, 412, ""},
			{"true If-Unmodified-Since", []string{"If-Unmodified-Since", caddytest.LegacyDate}, 206, "234"},
			{"false If-Unmodified-Since", []string{"If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:36 GMT"}, 412, ""},
			{"true If-None-Match", []string{"If-None-Match", `"stale"`}, 206, "234"},
			{"false If-None-Match", []string{"If-None-Match", tag}, 304, ""},
			{"false If-None-Match, true If-Range", []string{"If-None-Match", tag, "If-Range", tag}, 304, ""},
			{"false If-None-Match, unsatisfiable range", []string{"If-None-Match", tag, "Range", "bytes=10-"}, 304, ""},
			{"false If-Modified-Since", []string{"If-Modified-Since", caddytest.LegacyDate, "If-Range", tag}, 304, ""},
		} {
			t.Run(options+": "+tt.name, func(t *testing.T) {
				asked := tt.fields
				if !slices.Contains(asked, "Range") {
					asked = append(slices.Clone(asked), "Range", "bytes=2-4")
				}
				a := caddytest.Send(t, "GET", base, "", asked...).Expect(t, tt.status)
				if tt.status != 412 && a.Content != tt.want {
					t.Errorf("got %q, want %q", a.Content, tt.want)
				}
				if got := a.Tag(t); got != tag {
					t.Errorf("ETag %s, want %s", got, tag)
				}
				place := a.Header.Get("Content-Range")
				switch tt.status {
				case 206:
					at := strings.Index(content, tt.want)
					if want := fmt.Sprintf("bytes %d-%d/10", at, at+len(tt.want)-1); place != want {
						t.Errorf("Content-Range: %s, want %s", place, want)
					}
					if a.Header.Get("Content-Length") != fmt.Sprint(len(tt.want)) {
						t.Errorf("Content-Length: %s", a.Header.Get("Content-Length"))
					}
					for i := 0; i < len(fields); i += 2 { // the same fields as in the 200 (15.3.7)
						if got := a.Header.Values(fields[i]); !slices.Equal(got, fields[i+1:i+2]) {
							t.Errorf("%s: %q", fields[i], got)
						}
					}
				case 416:
					if place != "bytes */10" {
						t.Errorf("Content-Range: %s", place)
					}
				default:
					if place != "" {
						t.Errorf("Content-Range: %s", place)
					}
				}
				// The backend gets none of these fields. Only its own date may be passed on.
				h := backend.Last(t, "GET").Header
				for _, name := range []string{"Range", "If-Range", "If-Match", "If-None-Match"} {
					if h[name] != nil {
						t.Errorf("the backend got %s: %q", name, h[name])
					}
				}
			})
		}
		t.Run(options+": HEAD ignores Range (14.2)", func(t *testing.T) {
			for _, asked := range [][]string{{}, {"If-Range", tag}, {"If-Match", tag}} {
				a := caddytest.Send(t, "HEAD", base, "", append(asked, "Range", "bytes=2-4")...).Expect(t, 200)
				if a.Header.Get("Content-Range") != "" || a.Tag(t) != tag {
					t.Errorf("%v", a.Header)
				}
				if h := backend.Last(t, "HEAD").Header; h["Range"] != nil {
					t.Errorf("the backend got the fields %v", h)
				}
			}
		})
		t.Run(options+": If-Range without Range is ignored", func(t *testing.T) {
			for _, value := range []string{tag, `"stale"`, "junk"} {
				if a := caddytest.Send(t, "GET", base, "", "If-Range", value).Expect(t, 200); a.Content != content {
					t.Errorf("got %q", a.Content)
				}
			}
		})
		t.Run(options+": several parts", func(t *testing.T) {
			a := caddytest.Send(t, "GET", base, "", "If-Range", tag, "Range", "bytes=0-1,-2").Expect(t, 206)
			_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
			if err != nil || a.Tag(t) != tag {
				t.Fatalf("%v, %v", a.Header, err)
			}
			reader := multipart.NewReader(strings.NewReader(a.Content), params["boundary"])
			for _, want := range []string{"01", "89"} {
				part, err := reader.NextPart()
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(part); string(got) != want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			}
		})
	}
}

// TestRangeOverBuffer: content that exceeds the buffer is cut, too, whoever knows its
// length. If the tag is made from it, it is read to its end first.
func TestRangeOverBuffer(t *testing.T) {
	for _, options := range []string{"buffer 9", "buffer 9\netag header X-Version"} {
		for _, length := range []string{"10", ""} {
			t.Run(options+" length "+length, func(t *testing.T) {
				backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("X-Version", "7")
					if length != "" {
						w.Header().Set("Content-Length", length)
					} else {
						_ = http.NewResponseController(w).Flush()
					}
					_, _ = io.WriteString(w, "0123456789")
				}}
				base := caddytest.Site(t, options, backend)
				caddytest.Send(t, "GET", base, "").Expect(t, 200)
				tag := caddytest.Send(t, "HEAD", base, "").Tag(t) // known from the GET
				for _, tt := range []struct {
					fields []string
					part   bool
				}{
					{[]string{"If-Range", tag}, true},
					{[]string{"If-Match", tag}, true},
					{[]string{"If-None-Match", `"x"`}, true},
					{[]string{"If-Range", `"stale"`}, false},
					{[]string{"If-Match", tag, "If-Range", `"stale"`}, false},
				} {
					a := caddytest.Send(t, "GET", base, "", append(tt.fields, "Range", "bytes=2-4")...)
					if tt.part {
						if a.Expect(t, 206); a.Content != "234" || a.Header.Get("Content-Range") != "bytes 2-4/10" {
							t.Errorf("%v: %q, %v", tt.fields, a.Content, a.Header)
						}
					} else if a.Expect(t, 200); a.Content != "0123456789" {
						t.Errorf("%v: %q", tt.fields, a.Content)
					}
					if a.Tag(t) != tag {
						t.Errorf("%v: ETag %s, want %s", tt.fields, a.Tag(t), tag)
					}
				}
				caddytest.Send(t, "GET", base, "", "If-Match", `"stale"`, "Range", "bytes=2-4").Expect(t, 412)
				a := caddytest.Send(t, "GET", base, "", "If-Match", tag, "Range", "bytes=10-").Expect(t, 416)
				if a.Tag(t) != tag || a.Header.Get("Content-Range") != "bytes */10" {
					t.Errorf("%v", a.Header)
				}
			})
		}
	}
}

// TestPlainRange: the backend answers a Range without conditions. The handler never
// gives such a part a tag.
func TestPlainRange(t *testing.T) {
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", "7")
		if r.Header.Get("Range") == "bytes=2-4" {
			w.Header().Set("Content-Range", "bytes 2-4/10")
			w.WriteHeader(206)
			_, _ = io.WriteString(w, "234")
			return
		}
		_, _ = io.WriteString(w, "0123456789")
	}}
	for _, options := range []string{"", "etag header X-Version"} {
		base := caddytest.Site(t, options, backend)
		for range 2 { // before and after the handler knows the resource
			a := caddytest.Send(t, "GET", base, "", "Range", "bytes=2-4").Expect(t, 206)
			if a.Content != "234" || a.Header.Get("ETag") != "" {
				t.Errorf("%q with ETag %s", a.Content, a.Header.Get("ETag"))
			}
			caddytest.Send(t, "GET", base, "").Expect(t, 200).Tag(t)
		}
	}
}

// TestIfRangeOwnTag: the backend evaluates If-Range against its own tag. But the tag
// of the compressed content doesn't match the uncompressed content, from which the
// backend takes the part (RFC 9110, section 8.8.3.3).
func TestIfRangeOwnTag(t *testing.T) {
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"own"`)
		// Like some real backends, it accepts its tag with and without the suffix.
		if value := r.Header.Get("If-Range"); r.Header.Get("Range") != "" && strings.HasPrefix(value, `"own`) {
			w.Header().Set("Content-Range", "bytes 2-4/10")
			w.WriteHeader(206)
			_, _ = io.WriteString(w, "234")
			return
		}
		_, _ = io.WriteString(w, "0123456789")
	}}
	base := caddytest.Site(t, "", backend)
	caddytest.Send(t, "GET", base, "").Expect(t, 200)
	for value, status := range map[string]int{`"own"`: 206, `"own-gzip"`: 200, `"own-br"`: 200, `"stale"`: 200} {
		a := caddytest.Send(t, "GET", base, "", "If-Range", value, "Range", "bytes=2-4").Expect(t, status)
		if want := map[int]string{200: "0123456789", 206: "234"}[status]; a.Content != want || a.Tag(t) != `"own"` {
			t.Errorf("%s: %q with %s", value, a.Content, a.Tag(t))
		}
	}
}

// TestIfRangeBehindEncode: a part is never compressed. It therefore matches only the tag of the
// uncompressed content.
func TestIfRangeBehindEncode(t *testing.T) {
	content := strings.Repeat("0123456789", 100)
	address := caddytest.Address(t)
	caddytest.Start(t, fmt.Sprintf("http://%s {\nencode gzip\npreconditions\nreverse_proxy %s\n}\n", address, caddytest.Serve(t, caddytest.Page(content, "Content-Type", "text/plain"))))
	url := "http://" + address
	plain := caddytest.Send(t, "GET", url, "").Tag(t)
	a := caddytest.Send(t, "GET", url, "", "Accept-Encoding", "gzip").Expect(t, 200)
	if a.Header.Get("Content-Encoding") != "gzip" || a.Tag(t) == plain {
		t.Fatalf("%v", a.Header)
	}
	for _, coding := range []string{"gzip", "identity"} {
		part := caddytest.Send(t, "GET", url, "", "Accept-Encoding", coding, "If-Range", plain, "Range", "bytes=5-7").Expect(t, 206)
		if part.Content != "567" || part.Tag(t) != plain || part.Header.Get("Content-Encoding") != "" || part.Header.Get("Content-Range") != "bytes 5-7/1000" {
			t.Errorf("%s: %q %v", coding, part.Content, part.Header)
		}
	}
	whole := caddytest.Send(t, "GET", url, "", "Accept-Encoding", "gzip", "If-Range", a.Tag(t), "Range", "bytes=5-7").Expect(t, 200)
	if whole.Content != a.Content || whole.Tag(t) != a.Tag(t) || whole.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%d bytes, %v", len(whole.Content), whole.Header)
	}
	caddytest.Send(t, "GET", url, "", "Accept-Encoding", "gzip", "If-Range", plain, "Range", "bytes=2000-").Expect(t, 416)
}

// TestRangesAreOfOneVersion: a client that combines parts never mixes two versions,
// whatever is written in between (RFC 9110, section 14.4).
func TestRangesAreOfOneVersion(t *testing.T) {
	version := func(n int) string { return strings.Repeat(strconv.Itoa(n%10), 100) }
	docs := legacydocs.New(legacydocs.Options{})
	caddytest.Bypass(t, docs, "PUT", "/docs/a", version(0))
	url := caddytest.Site(t, "", docs) + "/docs/a"

	tag := caddytest.Send(t, "GET", url, "").Tag(t)
	first := caddytest.Send(t, "GET", url, "", "If-Range", tag, "Range", "bytes=0-49").Expect(t, 206)
	if first.Content != version(0)[:50] || first.Tag(t) != tag {
		t.Errorf("%q with %s", first.Content, first.Tag(t))
	}
	caddytest.Send(t, "PUT", url, version(1), "If-Match", tag).Expect(t, 204)
	second := caddytest.Send(t, "GET", url, "", "If-Range", tag, "Range", "bytes=50-").Expect(t, 200)
	if second.Content != version(1) || second.Tag(t) == tag {
		t.Errorf("%q with %s", second.Content, second.Tag(t))
	}

	// The same holds if others bypass the handler and write between two requests.
	reads, current := 0, 0
	url = caddytest.Site(t, "", &caddytest.Witness{Answer: func(w http.ResponseWriter, _ *http.Request) {
		content := version(current)
		if reads++; reads%5 == 0 {
			current++
		}
		_, _ = io.WriteString(w, content)
	}})
	tag, got, whole, interrupted := "", "", 0, 0
	for range 100 {
		a := caddytest.Send(t, "GET", url, "", "If-Range", tag, "Range", fmt.Sprintf("bytes=%d-%d", len(got), len(got)+24))
		if a.StatusCode == 200 {
			interrupted += min(len(got), 1)
			got, tag = a.Content[:25], a.Tag(t) // as if the rest had been lost
			continue
		}
		if a.Expect(t, 206).Tag(t) != tag {
			t.Errorf("got a part of version %s after version %s", a.Tag(t), tag)
		}
		if got += a.Content; len(got) == 100 {
			if got != version(int(got[0]-'0')) {
				t.Errorf("the parts are of different versions: %s", got)
			}
			whole++
			tag, got = "", ""
		}
	}
	if whole == 0 || interrupted == 0 {
		t.Errorf("%d downloads were completed, %d interrupted; want some of both", whole, interrupted)
	}
}

// TestRangesOfOtherBytes: if different content may have the same tag, the client gets
// the whole content, never a part, whatever the conditions (RFC 9110, section 14.4).
func TestRangesOfOtherBytes(t *testing.T) {
	pages, _ := restless()
	reads := 0
	inJSON := func(content func(n int) string) *caddytest.Witness {
		return &caddytest.Witness{Answer: func(w http.ResponseWriter, _ *http.Request) {
			reads++
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, content(reads))
		}}
	}
	for _, tt := range []struct {
		options string
		backend *caddytest.Witness
	}{
		{"etag version", pages},
		{"etag json /version\netag body", inJSON(func(n int) string { return fmt.Sprintf(`{"version": 1, "reads": %d}`, n) })},
		{"etag json \"\"", inJSON(func(n int) string { return `{"version":` + strings.Repeat(" ", n) + `1}` })},
		{"etag json /none\netag version", inJSON(func(n int) string { return fmt.Sprintf(`{"version": %d}`, n) })},
	} {
		t.Run(tt.options, func(t *testing.T) {
			url := caddytest.Site(t, tt.options, tt.backend) + "/page"
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			for _, conditions := range [][]string{{"If-Range", tag}, {"If-Match", tag}, {"If-Match", tag, "If-Range", tag}, {"If-None-Match", `"stale"`}} {
				a := caddytest.Send(t, "GET", url, "", append(conditions, "Range", "bytes=2-4")...).Expect(t, 200)
				if len(a.Content) < 6 || a.Tag(t) != tag {
					t.Errorf("got %q with tag %s, want the whole content with tag %s", a.Content, a.Tag(t), tag)
				}
			}
		})
	}
}

// TestRangeAcrossWrite: a client that asks for the rest of an old version never gets
// a part of the new one, even if the new one is written during the request.
func TestRangeAcrossWrite(t *testing.T) {
	for _, options := range []string{"etag version", "etag body"} {
		t.Run(options, func(t *testing.T) {
			g := caddytest.NewGate()
			docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
			caddytest.Bypass(t, docs, "PUT", "/docs/a", "old content")
			url := caddytest.Site(t, options, docs) + "/docs/a"
			tag := caddytest.Send(t, "GET", url, "").Tag(t)
			rest := g.Send(t.Context(), t, "GET", url, "", "If-Range", tag, "Range", "bytes=4-")
			caddytest.Send(t, "PUT", url, "new content", "If-Match", tag).Expect(t, 204)
			g.Open()
			if a := caddytest.ExpectResult(t, rest, 200); a.Content != "new content" {
				t.Errorf("got %q", a.Content)
			}
		})
	}
}
