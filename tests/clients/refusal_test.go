package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// refusals lists the requests that the handler refuses without reading the content.
var refusals = []struct {
	name    string
	options string
	fields  []string // of the request, as lines
	status  int
}{
	{"412 if the condition is false", "", []string{`If-Match: "stale"`}, 412},
	{"412 if the list is empty", "", []string{"If-Match:"}, 412},
	{"428 if the condition is missing", "require", nil, 428},
	{"431 if there are too many conditions", "", []string{"If-Match: " + strings.Repeat(`"x", `, 300) + `"x"`}, 431},
	{"503 if the store is away", "store redis redis://127.0.0.1:1", []string{`If-Match: "stale"`}, 503},
}

// TestRefusalBeforeContent: if the header section is enough to refuse a request, the
// handler answers without waiting for the content (RFC 9110, sections 10.1.1 and
// 13.2.1).
func TestRefusalBeforeContent(t *testing.T) {
	contents := []struct {
		name   string
		fields []string
		begin  string // the first bytes of the content; the rest is withheld
	}{
		{"Expect, no content yet (10.1.1)", []string{"Content-Length: 5", "Expect: 100-continue"}, ""},
		{"Expect, no chunk yet (10.1.1)", []string{"Transfer-Encoding: chunked", "Expect: 100-continue"}, ""},
		{"content withheld", []string{"Content-Length: 5"}, ""},
		{"content partly sent", []string{"Content-Length: 5"}, "co"},
		{"much content withheld", []string{"Content-Length: 100000000"}, "co"},
		{"last chunk missing", []string{"Transfer-Encoding: chunked"}, "2\r\nco\r\n"},
		{"chunk incomplete", []string{"Transfer-Encoding: chunked"}, "5\r\nco"},
	}
	for _, refusal := range refusals {
		t.Run(refusal.name, func(t *testing.T) {
			backend := caddytest.Page("content")
			base := caddytest.Site(t, refusal.options, backend)
			caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200) // now the handler knows the state
			for _, content := range contents {
				t.Run(content.name, func(t *testing.T) {
					c := dialWire(t, base)
					c.send(slices.Concat([]string{"PUT /page HTTP/1.1", "Host: " + c.RemoteAddr().String()},
						refusal.fields, content.fields, []string{""})...)
					c.raw(content.begin)
					a := c.answer("PUT").Expect(t, refusal.status)
					if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
						t.Errorf("Content-Type: %s", got)
					}
					backend.Unwritten(t)
				})
			}
		})
	}
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	backend := caddytest.Page("content")
	base := caddytest.Site(t, "", backend)
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)

	t.Run("100 for a write that is forwarded (10.1.1)", func(t *testing.T) {
		for _, condition := range []string{"If-Match: " + tag, "X-None: x"} {
			c := dialWire(t, base)
			c.send("PUT /page HTTP/1.1", "Host: "+c.RemoteAddr().String(), condition, "Content-Length: 5", "Expect: 100-continue", "")
			c.answer("PUT").Expect(t, 100)
			c.raw("later")
			c.answer("PUT").Expect(t, 204)
			if got := backend.Last(t, "PUT").Content; got != "later" {
				t.Errorf("the backend got %q", got)
			}
		}
	})

	t.Run("the connection closes after a refusal (9112, 9.6)", func(t *testing.T) {
		caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200) // now the state is known again
		c := dialWire(t, base)
		c.send("PUT /page HTTP/1.1", "Host: "+c.RemoteAddr().String(), `If-Match: "stale"`, "Content-Length: 5", "Expect: 100-continue", "")
		if a := c.answer("PUT").Expect(t, 412); !a.Close {
			t.Error("the refusal doesn't say that the connection closes")
		}
		c.ended()
	})
}

// TestRefusedContentIsNoRequest: the content of a refused request is never parsed as
// a request (RFC 9112, section 11.2).
func TestRefusedContentIsNoRequest(t *testing.T) {
	for _, refusal := range refusals {
		t.Run(refusal.name, func(t *testing.T) {
			backend := caddytest.Page("content")
			base := caddytest.Site(t, refusal.options, backend)
			caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
			host := strings.TrimPrefix(base, "http://")
			smuggled := "DELETE /page HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
			head := func(fields ...string) []string {
				return slices.Concat([]string{"PUT /page HTTP/1.1", "Host: " + host}, refusal.fields, fields, []string{""})
			}
			length := fmt.Sprintf("Content-Length: %d", len(smuggled))

			t.Run("at once", func(t *testing.T) {
				c := dialWire(t, base)
				c.raw(strings.Join(head(length), "\r\n") + "\r\n" + smuggled)
				c.answer("PUT").Expect(t, refusal.status)
				c.send("GET /page HTTP/1.1", "Host: "+host, "Connection: close", "")
				c.answer("GET").Expect(t, 200)
				c.ended()
			})
			t.Run("after the answer", func(t *testing.T) {
				c := dialWire(t, base)
				c.send(head(length)...)
				c.answer("PUT").Expect(t, refusal.status)
				c.raw(smuggled)
				c.send("GET /page HTTP/1.1", "Host: "+host, "Connection: close", "")
				c.answer("GET").Expect(t, 200)
				c.ended()
			})
			t.Run("at once, without waiting for 100", func(t *testing.T) {
				c := dialWire(t, base)
				c.raw(strings.Join(head(length, "Expect: 100-continue"), "\r\n") + "\r\n" + smuggled + smuggled)
				c.answer("PUT").Expect(t, refusal.status)
				c.ended()
			})
			t.Run("in place of a chunk", func(t *testing.T) {
				c := dialWire(t, base)
				c.raw(strings.Join(head("Transfer-Encoding: chunked"), "\r\n") + "\r\n" + smuggled)
				c.answer("PUT").Expect(t, refusal.status)
				c.ended()
			})
			t.Run("after an invalid chunk", func(t *testing.T) {
				c := dialWire(t, base)
				c.raw(strings.Join(head("Transfer-Encoding: chunked"), "\r\n") + "\r\nno chunk\r\n" + smuggled)
				c.answer("PUT").Expect(t, refusal.status)
				c.ended()
			})
			backend.Unwritten(t)
		})
	}

	// An error handler answers, and doesn't read the remaining content.
	t.Run("errors caddy", func(t *testing.T) {
		backend := caddytest.Page("content")
		base := caddytest.Site(t, "errors caddy", backend)
		host := strings.TrimPrefix(base, "http://")
		smuggled := "DELETE /page HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
		for _, content := range []string{
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(smuggled), smuggled),
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 10_000*len(smuggled), strings.Repeat(smuggled, 10_000)),
			fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", 10_000*len(smuggled), strings.Repeat(smuggled, 10_000)),
			"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n" + smuggled,
		} {
			caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
			c := dialWire(t, base)
			c.raw("PUT /page HTTP/1.1\r\nHost: " + host + "\r\nIf-Match: \"stale\"\r\n" + content)
			c.answer("PUT").Expect(t, 412)
			c.ended()
		}
		backend.Unwritten(t)
	})
}

// TestRefusedContentThatComesLater: after a refusal, the server waits only for a
// while for the content. Then it closes the connection.
func TestRefusedContentThatComesLater(t *testing.T) {
	t.Parallel()
	url := caddytest.StartNode(t, caddytest.Guarded("", caddytest.Serve(t, caddytest.Page("content")))).URL
	caddytest.Send(t, "GET", url+"/page", "").Expect(t, 200)
	for _, framing := range []string{"Content-Length: 5", "Content-Length: 5000000", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			c := dialWire(t, url)
			c.send("PUT /page HTTP/1.1", "Host: "+c.RemoteAddr().String(), `If-Match: "stale"`, framing, "")
			c.answer("PUT").Expect(t, 412)
			c.ended()
		})
	}
}

// TestConnectionAfterRefusal: if the client has sent all of its content, the
// connection stays open after a refusal (RFC 9112, section 9.3).
func TestConnectionAfterRefusal(t *testing.T) {
	for _, refusal := range refusals {
		t.Run(refusal.name, func(t *testing.T) {
			base := caddytest.Site(t, refusal.options, caddytest.Page("content"))
			caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
			c := dialWire(t, base)
			host := c.RemoteAddr().String()
			for _, content := range []string{
				"Content-Length: 5\r\n\r\nsmall",
				"Transfer-Encoding: chunked\r\n\r\n5\r\nsmall\r\n0\r\n\r\n",
				"Content-Length: 0\r\n\r\n",
				fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 200<<10, strings.Repeat("x", 200<<10)),
			} {
				c.raw(strings.Join(slices.Concat([]string{"PUT /page HTTP/1.1", "Host: " + host}, refusal.fields), "\r\n") + "\r\n" + content)
				if a := c.answer("PUT").Expect(t, refusal.status); a.Close {
					t.Errorf("the connection closes after content of %d bytes", len(content))
				}
				c.send("GET /page HTTP/1.1", "Host: "+host, "")
				if got := c.answer("GET").Expect(t, 200).Content; got != "content" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
}

// TestConnectionAfterReplay: the connection also stays open if the content was
// buffered in a file.
func TestConnectionAfterReplay(t *testing.T) {
	base := caddytest.Site(t, "replay\nbuffer 1000", legacydocs.New(legacydocs.Options{}))
	c := dialWire(t, base)
	content := strings.Repeat("x", 3000)
	for _, status := range []int{201, 201, 201} { // the first one lands, the others repeat it
		c.raw(fmt.Sprintf("PUT /docs/a HTTP/1.1\r\nHost: %s\r\nIf-None-Match: *\r\nContent-Length: %d\r\n\r\n%s",
			c.RemoteAddr(), len(content), content))
		if a := c.answer("PUT").Expect(t, status); a.Close {
			t.Error("the connection closes")
		}
	}
}

// TestAnswerIsNotLost: a client that sends all of its content at once still gets the
// answer. If the server closed the connection with unread content, TCP would reset it,
// and the client could lose the answer (RFC 9112, section 9.6).
func TestAnswerIsNotLost(t *testing.T) {
	const small, large = 200 << 10, 1 << 20
	content := bytes.Repeat([]byte("x"), large)
	handled := func(t *testing.T) string {
		address := caddytest.Address(t)
		caddytest.Start(t, fmt.Sprintf(`http://%s {
			preconditions {
				errors caddy
			}
			reverse_proxy %s
			handle_errors {
				respond {http.preconditions.problem} {err.status_code}
			}
		}
		`, address, caddytest.Serve(t, caddytest.Page("content"))))
		return "http://" + address
	}
	problem := func(t *testing.T) string { return caddytest.Site(t, "", caddytest.Page("content")) }
	tests := []struct {
		name     string
		site     func(*testing.T) string
		requests int
		size     func(i int) int
	}{
		{"small content", problem, 3000, func(i int) int { return 1 + i*7919%small }},
		{"1 MiB", problem, 100, func(int) int { return large }},
		{"small content, errors caddy", handled, 1500, func(i int) int { return 1 + i*7919%small }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base := test.site(t)
			caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
			numbers := make(chan int)
			var clients sync.WaitGroup
			for range 16 {
				clients.Go(func() {
					for i := range numbers {
						size := test.size(i)
						head := "PUT /page HTTP/1.1\r\nHost: " + strings.TrimPrefix(base, "http://") + "\r\nIf-Match: \"stale\"\r\n"
						switch i % 3 {
						case 1:
							head += "Connection: close\r\n"
						case 2:
							head = strings.Replace(head, "1.1", "1.0", 1)
						}
						if err := sendAtOnce(base, head, content[:size]); err != nil {
							t.Errorf("%d bytes, variant %d: %v", size, i%3, err)
						}
					}
				})
			}
			for i := range test.requests {
				numbers <- i
			}
			close(numbers)
			clients.Wait()
		})
	}
}

// sendAtOnce sends a whole request over a new connection before it reads the
// answer.
func sendAtOnce(base, head string, content []byte) error {
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	request := append(fmt.Appendf([]byte(head), "Content-Length: %d\r\n\r\n", len(content)), content...)
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != 412 {
		return errors.New(resp.Status)
	}
	return nil
}

// problemOf decodes problem details.
func problemOf(t testing.TB, a caddytest.Answer) map[string]any {
	t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type: %s", got)
	}
	members := make(map[string]any)
	if err := json.Unmarshal([]byte(a.Content), &members); err != nil {
		t.Fatalf("%v in %q", err, a.Content)
	}
	return members
}

// ofRepresentation lists response fields that describe the content.
var ofRepresentation = []string{
	"Content-Type", "text/x-legacy",
	"Content-Language", "de",
	"Content-Location", "/page.de",
	"Content-Disposition", "attachment",
	"Content-Digest", "sha-256=:AAAA:",
	"Repr-Digest", "sha-256=:AAAA:",
	"Digest", "md5=AAAA",
	"X-Amz-Checksum-Crc32", "AAAA",
	"Accept-Ranges", "bytes",
	"Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT",
	"Cache-Control", "max-age=60",
	"Expires", "Sun, 06 Nov 2094 08:49:37 GMT",
	"Vary", "Accept-Language",
	"X-Backend", "legacy",
}

func TestRefusalFields(t *testing.T) {
	backend := caddytest.Page("content", ofRepresentation...)
	base := caddytest.Site(t, "require PUT", backend)
	current := caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
	tag := current.Tag(t)

	check := func(t *testing.T, a caddytest.Answer) {
		t.Helper()
		for _, name := range []string{
			"Content-Language", "Content-Location", "Content-Disposition", "Content-Digest", "Repr-Digest", "Digest",
			"X-Amz-Checksum-Crc32", "Accept-Ranges", "Content-Encoding", "Transfer-Encoding", "Trailer",
		} {
			if got, ok := a.Header[name]; ok {
				t.Errorf("%s: %s", name, got)
			}
		}
		if got := a.Header["Cache-Control"]; !slices.Equal(got, []string{"no-store"}) {
			t.Errorf("Cache-Control: %s", got)
		}
	}
	members := map[string]any{
		"type":          "https://github.com/caddy-preconditions/preconditions#precondition-failed",
		"title":         "Precondition Failed",
		"status":        412.0,
		"condition":     "If-Match",
		"provided":      `"stale", W/"x"`,
		"current_etag":  tag,
		"last_modified": current.Header.Get("Last-Modified"),
	}
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "POST"} {
		t.Run("412 to a "+method+" shows the current validators (15.5.13)", func(t *testing.T) {
			a := caddytest.Send(t, method, base+"/page", "", "If-Match", `"stale"`, "If-Match", `W/"x"`).Expect(t, 412)
			check(t, a)
			if got := a.Tag(t); got != tag {
				t.Errorf("ETag: %s", got)
			}
			if got := a.Header.Get("Last-Modified"); got != current.Header.Get("Last-Modified") {
				t.Errorf("Last-Modified: %s", got)
			}
			got := problemOf(t, a)
			if detail, _ := got["detail"].(string); !strings.Contains(detail, "If-Match") {
				t.Errorf("detail: %s", detail)
			}
			delete(got, "detail")
			if !maps.Equal(got, members) {
				t.Errorf("got  %v\nwant %v", got, members)
			}
		})
	}
	t.Run("HEAD has no content (9.3.2)", func(t *testing.T) {
		c := dialWire(t, base)
		for range 2 {
			c.send("HEAD /page HTTP/1.1", "Host: "+c.RemoteAddr().String(), `If-Match: "stale"`, "")
			check(t, c.answer("HEAD").Expect(t, 412))
		}
		c.send("GET /page HTTP/1.1", "Host: "+c.RemoteAddr().String(), "")
		c.answer("GET").Expect(t, 200)
	})
	t.Run("428 must not be cached and explains itself (6585, 3)", func(t *testing.T) {
		a := caddytest.Send(t, "PUT", base+"/page", "x").Expect(t, 428)
		check(t, a)
		p := problemOf(t, a)
		if detail, _ := p["detail"].(string); !strings.Contains(detail, "If-Match") {
			t.Errorf("detail: %s", detail)
		}
		if p["status"] != 428.0 || a.Header["Etag"] != nil || a.Header["Last-Modified"] != nil {
			t.Errorf("%v %v", p, a.Header)
		}
	})
	backend.Unwritten(t)
}

func TestRefusalDisclosesNothing(t *testing.T) {
	base := caddytest.Site(t, "disclose off", caddytest.Page("content", ofRepresentation...))
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
	for _, method := range []string{"GET", "PUT"} {
		a := caddytest.Send(t, method, base+"/page", "", "If-Match", `"stale"`).Expect(t, 412)
		if p := problemOf(t, a); p["current_etag"] != nil || p["last_modified"] != nil || a.Header["Etag"] != nil || a.Header["Last-Modified"] != nil {
			t.Errorf("%s: %v\n%s", method, a.Header, a.Content)
		}
		if strings.Contains(a.Content, strings.Trim(tag, `"`)) {
			t.Errorf("%s: the content discloses the tag: %s", method, a.Content)
		}
	}
}

// TestUnavailable: a 503 says when to try again (RFC 9110, section 15.6.4).
func TestUnavailable(t *testing.T) {
	t.Run("store away", func(t *testing.T) {
		base := caddytest.Site(t, "store redis redis://127.0.0.1:1\nstore_down {\nretry_after 7s\n}", caddytest.Page("content"))
		a := caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"x"`).Expect(t, 503)
		if got := a.Header.Get("Retry-After"); got != "7" {
			t.Errorf("Retry-After: %s", got)
		}
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control: %s", got)
		}
		if p := problemOf(t, a); p["status"] != 503.0 || p["condition"] != nil {
			t.Error(p)
		}
	})
	t.Run("another write in flight", func(t *testing.T) {
		begun, end := make(chan struct{}), make(chan struct{})
		var once sync.Once
		base := caddytest.Site(t, "wait 10ms", &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "PUT" {
				once.Do(func() { close(begun) })
				<-end
			}
		}})
		tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
		var writers sync.WaitGroup
		writers.Go(func() {
			if a, err := caddytest.Try(context.Background(), "PUT", base+"/page", "x", "If-Match", tag); err != nil || a.StatusCode != 200 {
				t.Errorf("%v %v", a.Response, err)
			}
		})
		<-begun
		a := caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 503)
		if a.Header.Get("Retry-After") != "1" || a.Header.Get("Cache-Control") != "no-store" {
			t.Error(a.Header)
		}
		close(end)
		writers.Wait()
	})
}

// TestTooLarge: conditions that are too long or have too many tags are refused with
// 431 (RFC 6585, section 5).
func TestTooLarge(t *testing.T) {
	backend := caddytest.Page("content")
	address := caddytest.Address(t)
	base := "http://" + address
	caddytest.StartWith(t, "max_header_size 2MB", fmt.Sprintf("http://%s {\n\tpreconditions\n\treverse_proxy %s\n}\n", address, caddytest.Serve(t, backend)))
	for name, fields := range map[string][]string{
		"too many tags":               {"If-Match", strings.Repeat(`"x",`, 257)},
		"too many tags in two fields": {"If-Match", strings.Repeat(`"x",`, 200), "If-None-Match", strings.Repeat(`"x",`, 200)},
		"too long":                    {"If-Match", `"` + strings.Repeat("x", 17<<10) + `"`},
		"too many empty elements":     {"If-None-Match", strings.Repeat(",", 17<<10)},
		"too long in several lines":   {"If-Match", strings.Repeat("x", 9<<10), "If-Match", strings.Repeat("x", 9<<10)},
		"1 MB":                        {"If-Match", strings.Repeat(`"x",`, 1_000_000/4)},
	} {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST"} {
			t.Run(name+" in a "+method, func(t *testing.T) {
				a := caddytest.Send(t, method, base+"/page", "", fields...).Expect(t, 431)
				if a.Header.Get("Cache-Control") != "no-store" {
					t.Error(a.Header)
				}
			})
		}
	}
	if all := backend.All(); len(all) > 0 {
		t.Errorf("the backend got %d requests", len(all))
	}
	t.Run("as many tags as an honest client sends", func(t *testing.T) {
		caddytest.Send(t, "GET", base+"/page", "", "If-None-Match", strings.TrimSuffix(strings.Repeat(`"x",`, 256), ",")).Expect(t, 200)
	})
}

// h2c returns a client that speaks only HTTP/2 without TLS.
func h2c(t testing.TB) *http.Client {
	transport := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// TestHTTP2Refusal: over HTTP/2, a refusal doesn't wait for the content either (RFC
// 9113, section 8.1).
func TestHTTP2Refusal(t *testing.T) {
	backend := caddytest.Page("content")
	address := caddytest.Address(t)
	base := "http://" + address
	caddytest.StartWith(t, "protocols h1 h2c", fmt.Sprintf("http://%s {\n\tpreconditions\n\treverse_proxy %s\n}\n", address, caddytest.Serve(t, backend)))
	c := h2c(t)

	get, err := c.Get(base + "/page")
	if err != nil {
		t.Fatal(err)
	}
	get.Body.Close()
	if get.ProtoMajor != 2 || get.Header.Get("ETag") == "" {
		t.Fatal(get)
	}
	put := func(t *testing.T, content io.Reader) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "PUT", base+"/page", content)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("If-Match", `"stale"`)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Error(err)
		}
		if resp.StatusCode != 412 {
			t.Error(resp.Status)
		}
	}
	t.Run("content withheld", func(t *testing.T) {
		content, hold := io.Pipe()
		defer hold.Close()
		put(t, content)
	})
	t.Run("1 MiB at once", func(t *testing.T) {
		for range 20 {
			put(t, strings.NewReader(strings.Repeat("x", 1<<20)))
		}
	})
	backend.Unwritten(t)
}

// chunks encodes content in chunks, without the terminating zero-length chunk.
func chunks(content string) string {
	var b strings.Builder
	for piece := range slices.Chunk([]byte(content), 700) {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
	}
	return b.String()
}
