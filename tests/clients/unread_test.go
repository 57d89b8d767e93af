package clients

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A client that doesn't read the long answer to its write keeps nobody waiting. What it reads
// later is the answer.
func TestUnreadAnswerKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	answer := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	url := caddytest.Site(t, "verify never\nwrite_etag off\nwait 5s", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		switch {
		case r.Method == "GET":
			_, _ = io.WriteString(w, "page")
		case string(content) == "long":
			_, _ = w.Write(answer)
		}
	})) + "/page"
	for i := range 3 {
		tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
		resp := writeUnread(t, url, "long", tag)
		if resp.StatusCode != 200 {
			t.Fatalf("write %d: %s", i, resp.Status)
		}
		tag = caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
		caddytest.Send(t, "PUT", url, "short", "If-Match", tag).Expect(t, 200)
		if content, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(content, answer) {
			t.Errorf("%d bytes, %v", len(content), err)
		}
	}
}

// A stream in answer to a write arrives piece by piece, as it does without a handler.
func TestStreamInAnswerToAWrite(t *testing.T) {
	t.Parallel()
	for _, mediaType := range []string{"text/event-stream", "application/grpc", "text/plain"} {
		t.Run(mediaType, func(t *testing.T) {
			t.Parallel()
			received := make(chan struct{})
			url := caddytest.Site(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", mediaType)
				for i := range 5 {
					fmt.Fprintf(w, "data: %d\n\n", i)
					w.(http.Flusher).Flush()
					select {
					case <-received:
					case <-r.Context().Done():
						return
					}
				}
			}))
			resp := writeUnread(t, url+"/page", "x", "")
			for i := range 5 {
				event := make([]byte, len("data: 0\n\n"))
				if _, err := io.ReadFull(resp.Body, event); err != nil || !strings.Contains(string(event), fmt.Sprint(i)) {
					t.Fatalf("event %d: %q, %v", i, event, err)
				}
				received <- struct{}{}
			}
		})
	}
}

// writeUnread sends a POST, or a PUT if there is a tag, over a connection that takes little at
// once. It returns the answer with its content unread.
func writeUnread(t *testing.T, url, content, tag string) *http.Response {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return c, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	method := "POST"
	if tag != "" {
		method = "PUT"
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if tag != "" {
		r.Header.Set("If-Match", tag)
	}
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}
