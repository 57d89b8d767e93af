package atomicity

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// ownersPage is a page that everybody may read, or only its owner, and that only its owner
// may write. It takes its time.
func ownersPage(open bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(100 * time.Millisecond)
		switch {
		case r.Header.Get("Authorization") != "Bearer owner" && (r.Method != http.MethodGet || !open):
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodGet:
			_, _ = io.WriteString(w, "page")
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

// from returns a client with an address of its own.
func from(t *testing.T, address string) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1000}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// send sends a request and returns the answer, without its content.
func send(ctx context.Context, c *http.Client, method, url string, fields ...string) (*http.Response, error) {
	content := "x"
	if method == http.MethodGet {
		content = ""
	}
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(content))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	answer, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer, answer.Body.Close()
}

// The owner of a page can write it although any number of strangers, whom the backend
// refuses, try the same all the time.
func TestOwnerAmongStrangers(t *testing.T) {
	for name, tt := range map[string]struct {
		strangers int
		open      bool // whether strangers may read
		options   string
		invented  bool // whether each stranger has credentials of its own, which are wrong
		fields    []string
	}{
		"protected":                      {150, false, "", false, []string{"If-Match", "*"}},
		"protected, verify all":          {150, false, "verify all", false, []string{"If-Match", "*"}},
		"protected, verify never":        {150, false, "verify never", false, []string{"If-Match", "*"}},
		"protected, more":                {300, false, "", true, []string{"If-Match", "*"}},
		"open":                           {150, true, "", false, []string{"If-Match", "*"}},
		"open, invented credentials":     {150, true, "", true, []string{"If-Match", "*"}},
		"open, verify all":               {150, true, "verify all", true, []string{"If-Match", "*"}},
		"open, verify never, more":       {300, true, "verify never", true, []string{"If-Match", "*"}},
		"open, more":                     {300, true, "", false, []string{"If-Match", "*"}},
		"without a condition":            {150, true, "", false, nil},
		"without a condition, invented":  {300, false, "", true, nil},
		"without a condition, unchecked": {150, true, "verify never", true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
				nodes := deploy(t, tt.options, ownersPage(tt.open))
				ctx, stop := context.WithCancel(t.Context())
				owner, strangers := from(t, "127.0.0.2"), from(t, "127.0.0.3")
				var all sync.WaitGroup
				defer all.Wait()
				defer stop()
				read, err := send(ctx, owner, "GET", nodes.First()+"/page", "Authorization", "Bearer owner")
				if err != nil || read.StatusCode != 200 {
					t.Fatalf("%v, %v", read, err)
				}
				for i := range tt.strangers {
					fields := tt.fields
					if tt.invented {
						fields = append([]string{"Authorization", fmt.Sprint("Bearer ", i)}, fields...)
					}
					url := nodes[i%len(nodes)] + "/page"
					all.Go(func() {
						for ctx.Err() == nil {
							a, err := send(ctx, strangers, "PUT", url, fields...)
							switch {
							case err != nil:
							case a.StatusCode == 503:
								time.Sleep(50 * time.Millisecond) // as even strangers may have to
							case a.StatusCode != 401:
								t.Errorf("a stranger gets %d", a.StatusCode)
							}
						}
					})
				}
				time.Sleep(200 * time.Millisecond) // for a crowd to gather; it takes no more than that
				for i := range 3 {
					begun := time.Now()
					a, err := send(ctx, owner, "PUT", nodes.First()+"/page", "Authorization", "Bearer owner", "If-Match", read.Header.Get("ETag"))
					if err != nil || a.StatusCode != 204 {
						t.Fatalf("write %d after %s: %v, %v", i, time.Since(begun), a, err)
					}
					t.Logf("write %d took %s", i, time.Since(begun))
				}
			})
		})
	}
}
