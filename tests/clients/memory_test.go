package clients

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// These tests don't run beside others: what is held in memory is counted for the whole process.

// However many clients don't read, their responses take no more memory than buffer_total. What
// comes then streams through without a tag, and gets it again once there is room.
func TestSlowReadersFillNoMemory(t *testing.T) {
	const total = 24 << 20
	large := bytes.Repeat([]byte("x"), 8<<20)
	url := caddytest.Site(t, "buffer 8MiB\nbuffer_total 24MiB\nwrite_etag off\nverify never", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != "GET":
			_, _ = io.Copy(io.Discard, r.Body)
		case strings.HasPrefix(r.URL.Path, "/large"):
			_, _ = w.Write(large)
		default:
			_, _ = io.WriteString(w, strings.Repeat("small", 1000))
		}
	}))
	tag := caddytest.Send(t, "GET", url+"/small", "").Expect(t, 200).Tag(t)

	slow := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				err = c.(*net.TCPConn).SetReadBuffer(4096)
			}
			return c, err
		},
	}}
	defer slow.CloseIdleConnections()
	untagged := 0
	var responses []*http.Response
	for i := range 40 {
		resp := open(t, slow, fmt.Sprintf("%s/large/%d", url, i))
		responses = append(responses, resp)
		if resp.Header.Get("ETag") == "" {
			untagged++
		}
		if held := proxyhooks.HeldBytes(); held > total {
			t.Errorf("%d bytes are held", held)
		}
	}
	if untagged == 0 || untagged == len(responses) {
		t.Errorf("%d of %d responses have no tag", untagged, len(responses))
	}

	// The client gets all of it, with a tag or without.
	if a := caddytest.Send(t, "GET", url+"/large/last", ""); a.Content != string(large) {
		t.Errorf("got %d bytes", len(a.Content))
	}
	for _, resp := range responses {
		resp.Body.Close()
	}
	expectNothingHeld(t)
	if again := caddytest.Send(t, "GET", url+"/small", "").Expect(t, 200).Tag(t); again != tag {
		t.Errorf("the tag was %s and is %s", tag, again)
	}
}

// While the memory is full, no tag is made of anything else than when there is room, and writes
// go on.
func TestFullMemory(t *testing.T) {
	hog := proxyhooks.NewMemory(1<<30, nil)
	defer hog.Close()
	backend := &caddytest.Witness{Answer: func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "PUT":
			w.WriteHeader(http.StatusOK)
			_, _ = io.WriteString(w, strings.Repeat("answer", 1000))
		case r.URL.Path == "/json":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"v": 1}`)
		case r.URL.Path == "/header":
			w.Header().Set("X-Version", "1")
			_, _ = io.WriteString(w, "content")
		default:
			_, _ = io.WriteString(w, "content")
		}
	}}
	url := caddytest.Site(t, "buffer_total 1MiB\netag header X-Version\netag json /v\netag body\nwrite_etag off", backend)
	tags := make(map[string]string)
	for _, path := range []string{"/json", "/header", "/body"} {
		tags[path] = caddytest.Send(t, "GET", url+path, "").Expect(t, 200).Tag(t)
	}
	if !hog.Take(2 << 20) {
		t.Fatal("nothing can be held")
	}
	for path, tag := range tags {
		a := caddytest.Send(t, "GET", url+path, "").Expect(t, 200)
		switch got := a.Header.Get("ETag"); {
		case path == "/header" && got != tag, path != "/header" && got != "":
			t.Errorf("%s: with the memory full, the tag is %q", path, got)
		}
		status := 200
		if path == "/json" {
			status = 503 // the value can't be read now
		}
		if a := caddytest.Send(t, "GET", url+path, "", "If-Match", tag); a.StatusCode != status {
			t.Errorf("%s: a read with If-Match got %d", path, a.StatusCode)
		}
		a = caddytest.Send(t, "PUT", url+path, "new", "If-Match", tag)
		if a.StatusCode != status || status == 200 && a.Content != strings.Repeat("answer", 1000) {
			t.Errorf("%s: a write got %d with %d bytes", path, a.StatusCode, len(a.Content))
		}
		if a := caddytest.Send(t, "PUT", url+path, "new", "If-Match", `"old"`); a.StatusCode != 412 {
			t.Errorf("%s: a write with an old tag got %d", path, a.StatusCode)
		}
	}
	hog.Close()
	for path, tag := range tags {
		if got := caddytest.Send(t, "GET", url+path, "").Expect(t, 200).Tag(t); got != tag {
			t.Errorf("%s: the tag was %s and is %s", path, tag, got)
		}
	}
	expectNothingHeld(t)
}

// Whatever becomes of requests and their responses, nothing stays held.
func TestNothingStaysHeld(t *testing.T) {
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		for range rand.IntN(4) {
			_, _ = io.WriteString(w, strings.Repeat("1", 20_000))
			switch rand.IntN(8) {
			case 0:
				panic(http.ErrAbortHandler)
			case 1:
				w.(http.Flusher).Flush()
			}
		}
	})
	url := caddytest.Site(t, "buffer 50000\nbuffer_total 200000\nreplay\nwait 200ms\nlease 1s\netag json /v\netag body\nitems \"\" /{id}", backend)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 30 {
				method := []string{"GET", "GET", "PUT", "POST", "DELETE"}[rand.IntN(5)]
				fields := [][]string{nil, {"If-Match", "*"}, {"If-Match", `"x"`, "Prefer", "return=representation"}, {"If-None-Match", `"x"`, "Range", "bytes=1-2"}}[rand.IntN(4)]
				content := ""
				if method != "GET" {
					content = strings.Repeat("c", rand.IntN(100_000))
				}
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(3) == 0 {
					time.AfterFunc(time.Duration(rand.IntN(20))*time.Millisecond, cancel)
				}
				_, _ = caddytest.Try(ctx, method, fmt.Sprintf("%s/%d", url, rand.IntN(20)), content, fields...)
				cancel()
			}
		})
	}
	wg.Wait()
	expectNothingHeld(t)
}

func expectNothingHeld(t *testing.T) {
	t.Helper()
	caddytest.Eventually(t, "nothing is held", func() bool { return proxyhooks.HeldBytes() == 0 })
}
