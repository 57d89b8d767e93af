package caddytest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Answer is a response whose content has been read.
type Answer struct {
	*http.Response
	Content string
}

// Send sends a request whose fields are pairs of name and value, and reads the
// answer.
func Send(t testing.TB, method, url, content string, fields ...string) Answer {
	t.Helper()
	a, err := Try(context.Background(), method, url, content, fields...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

// Client is the HTTP client of the tests. It doesn't follow redirects, and doesn't
// ask for compression.
var Client = &http.Client{
	Transport: transports,
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

var transports = new(hostTransports)

// hostTransports has a transport for each host, so that the end of a test closes no
// connection of the tests beside it.
type hostTransports struct{ all sync.Map }

func (h *hostTransports) of(host string) *http.Transport {
	t, ok := h.all.Load(host)
	if !ok {
		t, _ = h.all.LoadOrStore(host, &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100})
	}
	return t.(*http.Transport)
}

func (h *hostTransports) RoundTrip(r *http.Request) (*http.Response, error) {
	return h.of(r.URL.Hostname()).RoundTrip(r)
}

// CloseIdleConnections closes the connections to all hosts.
func (h *hostTransports) CloseIdleConnections() {
	h.all.Range(func(_, t any) bool {
		t.(*http.Transport).CloseIdleConnections()
		return true
	})
}

// Try is like Send, but returns the error.
func Try(ctx context.Context, method, url, content string, fields ...string) (Answer, error) {
	var body io.Reader
	if content != "" {
		body = strings.NewReader(content)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return Answer{}, err
	}
	for i := 0; i < len(fields); i += 2 {
		if strings.EqualFold(fields[i], "Host") {
			r.Host = fields[i+1]
			continue
		}
		r.Header[http.CanonicalHeaderKey(fields[i])] = append(r.Header[http.CanonicalHeaderKey(fields[i])], fields[i+1])
	}
	resp, err := Client.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return Answer{resp, string(read)}, err
}

// Result is what became of a request: what Try returns.
type Result struct {
	Answer
	Err error
}

// Go sends a request in the background. Its result comes once.
func Go(ctx context.Context, method, url, content string, fields ...string) <-chan Result {
	done := make(chan Result, 1)
	go func() {
		a, err := Try(ctx, method, url, content, fields...)
		done <- Result{a, err}
	}()
	return done
}

// ExpectResult waits for a request that was sent in the background, and fails the
// test unless the answer has the status.
func ExpectResult(t testing.TB, done <-chan Result, status int) Answer {
	t.Helper()
	select {
	case r := <-done:
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Expect(t, status)
	case <-time.After(time.Minute):
		t.Fatal("no answer")
		panic("unreachable")
	}
}

// Expect fails the test unless the answer has the status.
func (a Answer) Expect(t testing.TB, status int) Answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: got %s, want %d\n%s", a.Request.Method, a.Request.URL, a.Status, status, a.Content)
	}
	return a
}

// Tag returns the answer's ETag, and fails the test if there isn't one.
func (a Answer) Tag(t testing.TB) string {
	t.Helper()
	tag := a.Header.Get("ETag")
	if tag == "" {
		t.Fatalf("%s %s: no ETag", a.Request.Method, a.Request.URL)
	}
	return tag
}

// ExpectOutcome fails the test unless the handler reported the outcome. The site
// must be [Guarded].
func (a Answer) ExpectOutcome(t testing.TB, want string) Answer {
	t.Helper()
	if got := a.Header.Get("X-Outcome"); got != want {
		t.Fatalf("%s %s: outcome %q, want %q", a.Request.Method, a.Request.URL, got, want)
	}
	return a
}

// ExpectSuccess fails the test unless the status is 2xx.
func (a Answer) ExpectSuccess(t testing.TB) Answer {
	t.Helper()
	if a.StatusCode/100 != 2 {
		t.Fatalf("%s %s: got %s\n%s", a.Request.Method, a.Request.URL, a.Status, a.Content)
	}
	return a
}

// MembersOf returns a string member of each object in a JSON array, by the member
// id.
func MembersOf(t testing.TB, a Answer, member string) map[string]string {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal([]byte(a.Content), &list); err != nil {
		t.Fatalf("%s: %v", a.Content, err)
	}
	got := make(map[string]string)
	for _, item := range list {
		if tag, ok := item[member].(string); ok {
			got[fmt.Sprint(item["id"])] = tag
		}
	}
	return got
}
