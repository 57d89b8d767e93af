package clients

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// open sends a GET and returns the response with its content unread.
func open(t testing.TB, c *http.Client, url string, fields ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// Content that exceeds the buffer is streamed to the client without a tag. Whoever makes a
// condition on it makes the handler ask the origin.
func TestLargeContent(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %t", chunked), func(t *testing.T) {
			first, rest := strings.Repeat("a", 20_000), strings.Repeat("b", 50_000)
			received := make(chan struct{}) // closed once the client has received the first part
			var reads atomic.Int32
			backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "GET" {
					return
				}
				if !chunked {
					w.Header().Set("Content-Length", fmt.Sprint(len(first)+len(rest)))
				}
				_, _ = io.WriteString(w, first)
				w.(http.Flusher).Flush()
				if reads.Add(1) == 1 {
					<-received
				}
				_, _ = io.WriteString(w, rest)
			}}
			base := caddytest.Site(t, "verify never\nwrite_etag off\nbuffer 1000", backend)

			resp := open(t, caddytest.Client, base+"/page")
			if got := resp.Header.Get("ETag"); got != "" {
				t.Errorf("ETag: %s", got)
			}
			begin := make([]byte, 1) // Caddy may hold back some of the first part
			if _, err := io.ReadFull(resp.Body, begin); err != nil {
				t.Fatal(err)
			}
			close(received)
			end, err := io.ReadAll(resp.Body)
			if err != nil || string(begin)+string(end) != first+rest {
				t.Fatalf("%d bytes, %v", len(begin)+len(end), err)
			}

			a := caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"stale"`).Expect(t, 412)
			tag, _ := problemOf(t, a)["current_etag"].(string)
			if n := len(backend.All()); n != 2 || tag == "" {
				t.Fatalf("the backend heard %d requests, current_etag is %q", n, tag)
			}
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 200)
			if n := len(backend.All()); n != 3 {
				t.Errorf("the backend heard %d requests", n)
			}
			// Now the origin is asked, and the same content gets the same tag.
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 200)
		})
	}
}

// The stored tag of content that exceeds the buffer follows what a read shows: the content is
// hashed on the way if its tag is stored.
func TestLargeContentIsWatched(t *testing.T) {
	var content atomic.Pointer[string]
	content.Store(new(strings.Repeat("a", 5000)))
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			_, _ = io.WriteString(w, *content.Load())
		}
	}}
	base := caddytest.Site(t, "verify never\nwrite_etag off\nbuffer 1000", backend)
	refused := func() string {
		t.Helper()
		tag, _ := problemOf(t, caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"stale"`).Expect(t, 412))["current_etag"].(string)
		return tag
	}
	before := refused() // the origin was asked, and the tag is stored
	expectGets(t, backend, 1)
	content.Store(new(strings.Repeat("b", 5000)))
	caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
	after := refused()
	if after == before || after == "" {
		t.Errorf("the tag was %s and is %s", before, after)
	}
	caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", before).Expect(t, 412)
	caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", after).Expect(t, 200)
	expectGets(t, backend, 2)
}

// A HEAD asks for the tag of content that exceeds the buffer only if that is at most 64 MiB.
func TestHeadOfContentNobodyHashes(t *testing.T) {
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		length := 64 << 20
		if r.URL.Path == "/longer" {
			length++
		}
		w.Header().Set("Content-Length", fmt.Sprint(length))
		if r.Method == "GET" {
			_, _ = io.CopyN(w, zeros{}, int64(length))
		}
	}}
	base := caddytest.Site(t, "", backend)
	caddytest.Send(t, "HEAD", base+"/longer", "").Expect(t, 200)
	resp := open(t, caddytest.Client, base+"/longer") // its content would count as memory of other tests
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	if a := caddytest.Send(t, "HEAD", base+"/longer", "").Expect(t, 200); a.Header.Get("ETag") != "" {
		t.Errorf("header %v", a.Header)
	}
	expectGets(t, backend, 1)
}

// The handler holds at most one buffer of a response in memory, however long it is.
func TestMemory(t *testing.T) {
	const size = 256 << 20
	base := caddytest.Site(t, "", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range size / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	resp := open(t, caddytest.Client, base+"/page")
	var highest uint64
	var n int64
	for range 8 {
		read, err := io.CopyN(io.Discard, resp.Body, size/8)
		n += read
		if err != nil {
			t.Fatal(err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		highest = max(highest, m.HeapAlloc)
	}
	if rest, err := io.Copy(io.Discard, resp.Body); n+rest != size || err != nil {
		t.Errorf("%d bytes, %v", n+rest, err)
	}
	if highest > size/2 {
		t.Errorf("%d MiB of memory for %d MiB of content", highest>>20, size>>20)
	}
}

// An event stream reaches the client piece by piece.
func TestEventStream(t *testing.T) {
	for _, fields := range [][]string{
		{"Content-Type", "text/event-stream"},
		{"Content-Type", "text/event-stream; charset=utf-8", "ETag", `"own"`},
		{"Content-Type", "application/octet-stream", "Incremental", "?1"},
	} {
		t.Run(fmt.Sprint(fields), func(t *testing.T) {
			received := make(chan struct{})
			done := make(chan struct{})
			base := caddytest.Site(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for i := 0; i < len(fields); i += 2 {
					w.Header().Set(fields[i], fields[i+1])
				}
				for i := range 3 {
					fmt.Fprintf(w, "data: %d\n", i)
					w.(http.Flusher).Flush()
					select {
					case <-received:
					case <-r.Context().Done():
						done <- struct{}{}
						return
					}
				}
			}))
			resp := open(t, caddytest.Client, base+"/events")
			lines := bufio.NewScanner(resp.Body)
			for i := range 3 {
				if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) {
					t.Fatalf("got %q, %v", lines.Text(), lines.Err())
				}
				received <- struct{}{}
			}
			if lines.Scan() {
				t.Errorf("got %q", lines.Text())
			}
			// A false condition is answered at once, and the stream is ended.
			caddytest.Send(t, "GET", base+"/events", "", "If-Match", `"stale"`).Expect(t, 412)
			<-done
			caddytest.Send(t, "GET", base+"/events", "", "If-None-Match", "*").Expect(t, 304)
			<-done
		})
	}
}

// Early hints reach the client (RFC 8297), whatever the final response is.
func TestEarlyHints(t *testing.T) {
	base := caddytest.Site(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "content")
	}))
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
	for _, test := range []struct {
		method string
		fields []string
		status int
	}{
		{"GET", nil, 200},
		{"GET", []string{"If-None-Match", tag}, 304},
		{"PUT", nil, 200},
		{"PUT", []string{"If-Match", tag}, 200},
	} {
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(status, header.Get("Link")))
				return nil
			},
		})
		a, err := caddytest.Try(ctx, test.method, base+"/page", "", test.fields...)
		if err != nil {
			t.Fatal(err)
		}
		a.Expect(t, test.status)
		// Exactly one, without the probe's.
		if want := []string{"103</style.css>; rel=preload"}; !slices.Equal(hints, want) {
			t.Errorf("%s %s: got %q", test.method, test.fields, hints)
		}
	}
}

// Trailer fields reach the client (RFC 9110, section 6.5).
func TestTrailers(t *testing.T) {
	const small, large = 100, 5000
	for _, announced := range []bool{true, false} {
		for _, size := range []int{small, large} {
			for _, method := range []string{"GET", "PUT"} {
				t.Run(fmt.Sprintf("%s announced %t %d bytes", method, announced, size), func(t *testing.T) {
					base := caddytest.Site(t, "buffer 1000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						name := http.TrailerPrefix + "X-Checksum"
						if announced {
							name = "X-Checksum"
							w.Header().Set("Trailer", name)
						}
						_, _ = io.WriteString(w, strings.Repeat("x", size))
						w.(http.Flusher).Flush()
						w.Header().Set(name, "of the content")
					}))
					for range 2 {
						a := caddytest.Send(t, method, base+"/page", "").Expect(t, 200)
						if len(a.Content) != size || a.Trailer.Get("X-Checksum") != "of the content" || a.Header["X-Checksum"] != nil {
							t.Errorf("%d bytes, header %v, trailer %v", len(a.Content), a.Header, a.Trailer)
						}
					}
				})
			}
		}
	}
}

// echo is a backend that goes on in any protocol that the client asks for, and then repeats
// what it gets.
func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol := r.Header.Get("Upgrade")
		if protocol == "" {
			_, _ = io.WriteString(w, "content")
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", protocol)
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, rw)
	})
}

// A connection can become a WebSocket through the handler (RFC 9110, section 7.8).
func TestUpgrade(t *testing.T) {
	base := caddytest.Site(t, "", echo())
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
	for _, request := range [][]string{
		{"GET /page HTTP/1.1"},
		{"GET /page HTTP/1.1", `If-None-Match: "x"`},
		{"POST /page HTTP/1.1"},
		{"POST /page HTTP/1.1", "If-Match: " + tag},
	} {
		t.Run(strings.Join(request, " "), func(t *testing.T) {
			caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
			c := dialWire(t, base)
			c.send(slices.Concat(request, []string{"Host: " + c.RemoteAddr().String(), "Connection: Upgrade", "Upgrade: WebSocket", ""})...)
			c.answer("GET").Expect(t, 101)
			for _, word := range []string{"one\n", "two\n"} {
				c.raw(word)
				if got, err := c.in.ReadString('\n'); got != word {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			c.Close()
		})
	}
}

// In no other protocol can a client go on behind the handler, and send there what the
// handler would refuse. The request is answered as if it hadn't asked.
func TestOtherUpgrades(t *testing.T) {
	base := caddytest.Site(t, "require PUT\nverify never", echo())
	tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
	for _, upgrade := range [][]string{
		{"Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
		{"Upgrade: foo"},
		{"Upgrade: websocket, h2c"},
		{"Upgrade: h2c, websocket"},
		{"Upgrade: websocket", "Upgrade: h2c"},
		{"Upgrade: TLS/1.2"},
		{"upgrade:\tHTTP/2.0"},
	} {
		for _, request := range [][]string{
			{"GET /page HTTP/1.1"},
			{"HEAD /page HTTP/1.1"},
			{"OPTIONS /page HTTP/1.1"},
			{"PROPFIND /page HTTP/1.1"},
			{"POST /page HTTP/1.1"},
			{"POST /page HTTP/1.1", "If-Match: " + tag},
		} {
			t.Run(strings.Join(append(upgrade, request...), " "), func(t *testing.T) {
				caddytest.Send(t, "GET", base+"/page", "").Expect(t, 200)
				c := dialWire(t, base)
				c.send(slices.Concat(request, []string{"Host: " + c.RemoteAddr().String(), "Connection: Upgrade, HTTP2-Settings"}, upgrade, []string{""})...)
				method, _, _ := strings.Cut(request[0], " ")
				c.answer(method).Expect(t, 200)
			})
		}
	}
}

// Conditional reads and writes work over HTTP/2 (RFC 9113).
func TestHTTP2(t *testing.T) {
	address := caddytest.Address(t)
	backend := caddytest.Page("content")
	caddytest.StartWith(t, "protocols h1 h2c", fmt.Sprintf("http://%s {\n\tpreconditions {\n\t\trequire\n\t\tlag 0s\n\t}\n\treverse_proxy %s\n}\n", address, caddytest.Serve(t, backend)))
	exchanges(t, h2c(t), "http://"+address+"/page", 2)
}

// exchanges sends conditional reads and writes over the given major version of HTTP.
func exchanges(t *testing.T, c *http.Client, url string, version int) {
	do := func(status int, method, content string, fields ...string) caddytest.Answer {
		t.Helper()
		a := versioned{c, url}.expect(t, status, method, content, fields...)
		if a.ProtoMajor != version {
			t.Fatalf("got %s", a.Proto)
		}
		return a
	}
	tag := do(200, "GET", "").Tag(t)
	if got := do(200, "HEAD", "").Tag(t); got != tag {
		t.Errorf("HEAD has %s, GET has %s", got, tag)
	}
	do(304, "GET", "", "If-None-Match", `"x"`, "If-None-Match", tag)
	do(412, "GET", "", "If-Match", `"x"`)
	do(428, "PUT", "unconditional")
	do(412, "PUT", "stale", "If-Match", `"x"`)
	do(412, "HEAD", "", "If-Match", `"x"`)
	do(204, "PUT", "right", "If-Match", `"x"`, "If-Match", tag)
	do(204, "PUT", strings.Repeat("large", 1<<20), "If-Match", tag)
}

// If the backend breaks off its response, the client sees an error, and the handler
// stores no tag of the incomplete content.
func TestBrokenResponse(t *testing.T) {
	for _, size := range []int{100, 5000} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, chunked %t", size, chunked), func(t *testing.T) {
				var whole atomic.Bool
				backend := &caddytest.Witness{}
				backend.Answer = func(w http.ResponseWriter, r *http.Request) {
					if !chunked {
						w.Header().Set("Content-Length", fmt.Sprint(2*size))
					}
					_, _ = io.WriteString(w, strings.Repeat("a", size))
					w.(http.Flusher).Flush()
					if !whole.Load() {
						panic(http.ErrAbortHandler)
					}
					_, _ = io.WriteString(w, strings.Repeat("b", size))
				}
				base := caddytest.Site(t, "verify never\nbuffer 1000", backend)
				for range 2 {
					if a, err := caddytest.Try(t.Context(), "GET", base+"/page", ""); err == nil {
						t.Errorf("got %s and %d bytes without an error", a.Status, len(a.Content))
					}
				}
				whole.Store(true)
				heard := len(backend.All())
				a := caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", `"stale"`).Expect(t, 412)
				if got := len(backend.All()) - heard; got != 1 {
					t.Errorf("the backend was asked %d times: a tag of incomplete content was stored", got)
				}
				tag, _ := problemOf(t, a)["current_etag"].(string)
				caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 200)
			})
		}
	}
}

// The next handler need not be a proxy.
func TestOtherHandlers(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "page.txt"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "large.bin"), make([]byte, 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sources := range []string{"", "etag body"} {
		address := caddytest.Address(t)
		caddytest.Start(t, fmt.Sprintf(`http://%s {
			root * %s
			handle /files/* {
				uri strip_prefix /files
				preconditions {
					%s
				}
				file_server
			}
			handle {
				preconditions {
					%[3]s
				}
				respond /respond "said"
				error /error 404
			}
		}
		`, address, root, sources))
		base := "http://" + address
		for path, content := range map[string]string{"/files/page.txt": "content", "/respond": "said"} {
			a := caddytest.Send(t, "GET", base+path, "").Expect(t, 200)
			if a.Content != content {
				t.Errorf("%s: got %q", path, a.Content)
			}
			tag := a.Tag(t)
			if got := caddytest.Send(t, "HEAD", base+path, "").Expect(t, 200).Tag(t); got != tag {
				t.Errorf("%s: HEAD has %s, GET has %s", path, got, tag)
			}
			caddytest.Send(t, "GET", base+path, "", "If-None-Match", tag).Expect(t, 304)
			caddytest.Send(t, "GET", base+path, "", "If-Match", `"x"`).Expect(t, 412)
			if a := caddytest.Send(t, "GET", base+path, "", "If-None-Match", `"x"`).Expect(t, 200); a.Content != content {
				t.Errorf("%s: got %q", path, a.Content)
			}
			caddytest.Send(t, "PUT", base+path, "x", "If-Match", `"x"`).Expect(t, 412)
		}
		if a := caddytest.Send(t, "GET", base+"/files/large.bin", "").Expect(t, 200); len(a.Content) != 5<<20 || (a.Header.Get("ETag") != "") != (sources == "") {
			t.Errorf("%d bytes, ETag %q", len(a.Content), a.Header.Get("ETag"))
		}
		if a := caddytest.Send(t, "GET", base+"/files/page.txt", "", "Range", "bytes=0-1").Expect(t, 206); a.Content != "co" || (a.Header.Get("ETag") != "") != (sources == "") {
			t.Errorf("%q, ETag %q", a.Content, a.Header.Get("ETag"))
		}
		for _, path := range []string{"/files/none", "/error"} {
			caddytest.Send(t, "GET", base+path, "", "If-Match", `"x"`).Expect(t, 404)
			caddytest.Send(t, "GET", base+path, "", "If-None-Match", `*`).Expect(t, 404)
			caddytest.Send(t, "PUT", base+path, "x", "If-Match", "*").Expect(t, 412)
			caddytest.Send(t, "DELETE", base+path, "", "If-Match", `"x"`).Expect(t, 404)
		}
	}
}

// A HEAD with a condition doesn't make the handler fetch all of large content. What that
// leaves undecided is no reason to refuse.
func TestHeadOfLargeContent(t *testing.T) {
	var sent atomic.Int64
	stopped := make(chan struct{}, 1)
	base := caddytest.Site(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush() // leaves no Content-Length that would show the size
		if r.Method != "GET" {
			return
		}
		if r.Header.Get("X-Small") != "" {
			_, _ = io.WriteString(w, "small")
			return
		}
		defer func() { stopped <- struct{}{} }()
		chunk := make([]byte, 64<<10)
		for range 16 << 10 { // 1 GiB
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	caddytest.Send(t, "GET", base+"/page", "", "X-Small", "1").Expect(t, 200)
	for _, field := range []string{"If-Match", "If-None-Match"} {
		a := caddytest.Send(t, "HEAD", base+"/page", "", field, `"x"`).Expect(t, 200)
		<-stopped
		if got := a.Header.Get("ETag"); got != "" {
			t.Errorf("ETag: %s", got)
		}
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes were fetched", n)
	}
}

// The content of a request reaches the backend as the client sent it.
func TestRequestContent(t *testing.T) {
	backend := caddytest.Page("content")
	base := caddytest.Site(t, "buffer 1000", backend)
	sizes := []int{0, 1, 999, 1000, 1001, 5000, 3 << 20}
	for _, size := range sizes {
		content := strings.Repeat("0123456789", size/10+1)[:size]
		for _, framing := range []string{"length", "chunked", "chunked with trailer fields"} {
			for _, condition := range []string{"", "If-Match"} {
				t.Run(fmt.Sprintf("%d bytes, %s %s", size, framing, condition), func(t *testing.T) {
					tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
					c := dialWire(t, base)
					head := "PUT /page HTTP/1.1\r\nHost: " + c.RemoteAddr().String() + "\r\n"
					if condition != "" {
						head += condition + ": " + tag + "\r\n"
					}
					var body bytes.Buffer
					switch framing {
					case "length":
						fmt.Fprintf(&body, "Content-Length: %d\r\n\r\n%s", size, content)
					case "chunked":
						body.WriteString("Transfer-Encoding: chunked\r\n\r\n" + chunks(content) + "0\r\n\r\n")
					default:
						body.WriteString("Trailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(content) + "0\r\nX-Checksum: of the content\r\n\r\n")
					}
					c.raw(head + body.String())
					c.answer("PUT").Expect(t, 204)

					got := backend.Last(t, "PUT")
					if got.Content != content || got.Err != nil {
						t.Errorf("the backend got %d bytes, %v", len(got.Content), got.Err)
					}
					switch framing {
					case "length":
						if got.ContentLength != int64(size) || got.TransferEncoding != nil {
							t.Errorf("length %d, %s", got.ContentLength, got.TransferEncoding)
						}
					case "chunked":
						// The handler may send small content with a Content-Length.
						if got.ContentLength != int64(size) && !slices.Equal(got.TransferEncoding, []string{"chunked"}) {
							t.Errorf("length %d, %s", got.ContentLength, got.TransferEncoding)
						}
					default:
						if want := map[string][]string{"X-Checksum": {"of the content"}}; !maps.EqualFunc(got.Trailer, want, slices.Equal) {
							t.Errorf("trailer %v", got.Trailer)
						}
					}
				})
			}
		}
	}
}

// A request whose content breaks off is never performed.
func TestBrokenRequest(t *testing.T) {
	for _, begin := range []string{
		"Content-Length: 100\r\n\r\nhalf",
		"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nno chunk\r\n",
	} {
		backend := caddytest.Page("content")
		base := caddytest.Site(t, "", backend)
		tag := caddytest.Send(t, "GET", base+"/page", "").Tag(t)
		for _, condition := range []string{"X-None: x\r\n", "If-Match: " + tag + "\r\n"} {
			c := dialWire(t, base)
			c.raw("PUT /page HTTP/1.1\r\nHost: " + c.RemoteAddr().String() + "\r\n" + condition + begin)
			if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			c.ends()
			// It blocks no other request.
			caddytest.Send(t, "PUT", base+"/page", "x", "If-Match", tag).Expect(t, 204)
			if got := backend.All("PUT"); slices.ContainsFunc(got, func(h caddytest.Heard) bool { return h.Content != "x" }) {
				t.Errorf("the backend received it: %v", got)
			}
		}
	}
}

// Conditional requests work over TLS with HTTP/2 and HTTP/3, as browsers use them (RFC
// 9113 and RFC 9114).
func TestTLS(t *testing.T) {
	overTLS(t, "require\nlag 0s", caddytest.Page("content"), func(t *testing.T, c *http.Client, base string, version int) {
		exchanges(t, c, base+"/page", version)
	})
}

// certificateFiles returns the names of files with a certificate for host and its key.
func certificateFiles(t testing.TB) (certificate, key string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pair := s.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, content []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("certificate.pem", "CERTIFICATE", pair.Certificate[0]), write("key.pem", "PRIVATE KEY", private)
}
