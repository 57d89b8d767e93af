package backends

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// stream is a response without an end, of which the client needs each part when it
// comes.
type stream struct {
	name        string
	contentType string
	part        func(i int) string
}

var streams = []stream{
	{"a watch of Kubernetes", "application/json;stream=watch", watchEvent},
	{"a watch of Kubernetes that looks like a document", "application/json", watchEvent},
	{"NDJSON", "application/x-ndjson", func(i int) string { return fmt.Sprintf("{\"line\":%d}\n", i) }},
	{"lines of text", "text/plain", func(i int) string { return fmt.Sprintf("line %d\n", i) }},
	{"a camera", "multipart/x-mixed-replace; boundary=frame", func(i int) string {
		picture := strings.Repeat(string(rune('a'+i)), 40_000)
		return fmt.Sprintf("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(picture), picture)
	}},
}

func watchEvent(i int) string {
	return fmt.Sprintf(`{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":"web","resourceVersion":"%d"}}}`+"\n", i)
}

// fronts are the ways to reach a backend: through reverse_proxy alone, and through the
// handler as well.
var fronts = map[string]func(backend string) string{
	"reverse_proxy":   func(backend string) string { return "reverse_proxy " + backend },
	"handler":         func(backend string) string { return caddytest.Guarded("", backend) },
	"handler, verify": func(backend string) string { return caddytest.Guarded("verify all\nitems \"\" /docs/{id}", backend) },
}

// A stream arrives through the handler as through reverse_proxy alone: each part before
// the backend sends the next one, and without a tag, because nobody knows its content.
func TestStreamsArrive(t *testing.T) {
	for _, s := range streams {
		for front, directives := range fronts {
			t.Run(s.name+", "+front, func(t *testing.T) {
				t.Parallel()
				next := make(chan struct{})
				n := caddytest.OneNodeAt(t, directives(caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", s.contentType)
					for i := 0; ; i++ {
						_, _ = io.WriteString(w, s.part(i))
						_ = http.NewResponseController(w).Flush()
						select {
						case <-next:
						case <-r.Context().Done():
							return
						}
					}
				}))))
				resp := openStream(t, n.First()+"/stream")
				if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != s.contentType {
					t.Errorf("got %s, %s", resp.Status, got)
				}
				if tag := resp.Header.Get("ETag"); tag != "" {
					t.Errorf("a stream has the tag %s", tag)
				}
				for i := range 3 {
					want := s.part(i)
					got := make([]byte, len(want))
					if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
						t.Fatalf("part %d: got %d bytes, %v", i, len(bytes.TrimRight(got, "\x00")), err)
					}
					next <- struct{}{} // only now does the backend go on
				}
			})
		}
	}
}

// The continuous feed of CouchDB tells every change through the handler as it does
// through reverse_proxy alone, when the change comes and not later.
func TestStreamOfCouchDB(t *testing.T) {
	for front, directives := range fronts {
		t.Run(front, func(t *testing.T) {
			t.Parallel()
			address := caddytest.CouchDB().Run(t)
			direct := "http://" + address + "/db"
			n := caddytest.OneNodeAt(t, directives(address))
			caddytest.Send(t, "PUT", direct, "").Expect(t, 201)
			change := func(i int) {
				t.Helper()
				caddytest.Send(t, "PUT", fmt.Sprintf("%s/doc%d", direct, i), "{}", "Content-Type", "application/json").Expect(t, 201)
			}
			change(0)
			resp := openStream(t, n.First()+"/db/_changes?feed=continuous")
			lines := bufio.NewScanner(resp.Body)
			for i := range 3 {
				if want := fmt.Sprintf(`"id":"doc%d"`, i); !lines.Scan() || !strings.Contains(lines.Text(), want) {
					t.Fatalf("want a change of doc%d, got %q, %v", i, lines.Text(), lines.Err())
				}
				change(i + 1)
			}
		})
	}
}

// openStream sends a GET, and returns the response with its content unread.
func openStream(t *testing.T, url string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Otherwise reverse_proxy asks for gzip, and what compresses a stream holds it back.
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := caddytest.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}
