package clients

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// overTLS starts a site with TLS, and calls f with a client for each version of HTTP that
// carries many requests on one connection.
func overTLS(t *testing.T, options string, backend http.Handler, f func(t *testing.T, c *http.Client, base string, version int)) {
	t.Helper()
	address := caddytest.LocalAddress(t) // the certificate's host
	certificate, key := certificateFiles(t)
	global := strings.Replace(caddytest.GlobalOptions, "auto_https off", "auto_https disable_redirects", 1)
	caddytest.LoadCaddyfile(t, fmt.Sprintf("%shttps://%s {\ntls %s %s\n%s\n}\n",
		global, address, certificate, key, caddytest.Guarded(options, caddytest.Serve(t, backend))))
	insecure := &tls.Config{InsecureSkipVerify: true}
	t.Run("HTTP/2", func(t *testing.T) {
		transport := &http.Transport{ForceAttemptHTTP2: true, DisableCompression: true, TLSClientConfig: insecure}
		defer transport.CloseIdleConnections()
		f(t, &http.Client{Transport: transport}, "https://"+address, 2)
	})
	t.Run("HTTP/3", func(t *testing.T) {
		transport := &http3.Transport{DisableCompression: true, TLSClientConfig: insecure}
		defer transport.Close()
		f(t, &http.Client{Transport: transport}, "https://"+address, 3)
	})
}

// versioned sends requests to one URL with one version of HTTP.
type versioned struct {
	*http.Client
	url string
}

// do sends a request and reads the answer.
func (c versioned) do(ctx context.Context, method string, content io.Reader, fields ...string) (caddytest.Answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url, content)
	if err != nil {
		return caddytest.Answer{}, err
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	resp, err := c.Client.Do(r)
	if err != nil {
		return caddytest.Answer{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return caddytest.Answer{Response: resp, Content: string(got)}, err
}

func (c versioned) expect(t *testing.T, status int, method, content string, fields ...string) caddytest.Answer {
	t.Helper()
	a, err := c.do(t.Context(), method, strings.NewReader(content), fields...)
	if err != nil {
		t.Fatal(err)
	}
	return a.Expect(t, status)
}

// The streams of one connection don't disturb each other: content that comes slowly keeps
// nobody waiting, content that breaks off is never written, and a refusal arrives although
// nobody reads the content.
func TestStreamsOfOneConnection(t *testing.T) {
	backend := new(caddytest.Witness)
	backend.Answer = func(w http.ResponseWriter, r *http.Request) {
		written := backend.All("PUT")
		switch {
		case r.Method == "PUT":
			w.WriteHeader(http.StatusNoContent)
		case len(written) == 0:
			_, _ = io.WriteString(w, "new")
		default:
			_, _ = io.WriteString(w, written[len(written)-1].Content)
		}
	}
	overTLS(t, "require\nlag 0s\nwait 2s", backend, func(t *testing.T, client *http.Client, base string, version int) {
		c := versioned{client, fmt.Sprintf("%s/page%d", base, version)}
		tag := c.expect(t, 200, "GET", "").Tag(t)

		slow, more := io.Pipe()
		answer := make(chan caddytest.Result, 1)
		go func() {
			a, err := c.do(t.Context(), "PUT", slow, "If-Match", tag)
			answer <- caddytest.Result{Answer: a, Err: err}
		}()
		if _, err := more.Write([]byte("slow")); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		c.expect(t, 204, "PUT", "quick", "If-Match", tag)
		if took := time.Since(begun); took > patience {
			t.Errorf("the quick write took %v", took)
		}
		_ = more.Close()
		caddytest.ExpectResult(t, answer, 412)

		tag = c.expect(t, 200, "GET", "").Tag(t)
		for i := range 100 {
			ctx, leave := context.WithCancel(t.Context())
			broken, more := io.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = c.do(ctx, "PUT", broken, "If-Match", tag)
			}()
			if i%2 == 0 {
				_, _ = more.Write([]byte("broken"))
			}
			leave()
			<-done
			_ = more.CloseWithError(context.Canceled)
		}
		c.expect(t, 204, "PUT", "whole", "If-Match", tag)

		endless := io.LimitReader(zeros{}, 1<<30)
		a, err := c.do(t.Context(), "PUT", endless, "If-Match", tag)
		if err != nil {
			t.Fatal(err)
		}
		a.Expect(t, 412)
		for _, w := range backend.All("PUT") {
			if w.Content != "quick" && w.Content != "whole" {
				t.Errorf("the backend got %.20q", w.Content)
			}
		}
	})
}

// zeros is content without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
