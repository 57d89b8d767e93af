package atomicity

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// At a URL that everything is sent to, a condition that can't hold keeps nobody waiting: it
// is answered at once, while a long request is at the backend and beside others. A condition
// that the origin leaves open gets the origin's own answer.
func TestSharedURL(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		shown  int // the status that the origin gives to a GET
		field  string
		value  string
		status int
	}{
		"a tag, where GET isn't allowed":  {405, "If-Match", `"stale"`, 405},
		"any, where GET isn't allowed":    {405, "If-Match", "*", 405},
		"none, where GET isn't allowed":   {405, "If-None-Match", "*", 405},
		"a tag, where GET lacks a query":  {400, "If-Match", `"stale"`, 400},
		"a tag, where there is a page":    {200, "If-Match", `"stale"`, 412},
		"none, where there is a page":     {200, "If-None-Match", "*", 412},
		"a tag, where there is nothing":   {404, "If-Match", `"stale"`, 412},
		"any, where the origin is broken": {500, "If-Match", "*", 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
				g := caddytest.NewGate()
				url := deploy(t, "wait 2m", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					g.Pass(r)
					if r.Method == http.MethodGet {
						w.WriteHeader(tt.shown)
					}
					_, _ = io.WriteString(w, "content")
				})).First() + "/graphql"
				long := g.Send(t.Context(), t, "POST", url, "{}")
				for range 5 {
					caddytest.Send(t, "POST", url, "{}", tt.field, tt.value).Expect(t, tt.status)
					caddytest.Send(t, "POST", url, "{}").Expect(t, 200).ExpectOutcome(t, "unconditional")
				}
				g.Open()
				caddytest.ExpectResult(t, long, 200)
			})
		})
	}
}

// One client whose condition holds gets its turn although others send conditions that can't
// hold, and writes without conditions, all the time.
func TestSharedURLGoodClient(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		nodes := deploy(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				time.Sleep(5 * time.Millisecond) // a backend takes time
			}
			_, _ = io.WriteString(w, "page")
		}))
		url := nodes.First() + "/rpc"
		stop, done := make(chan struct{}), make(chan struct{}, 4)
		for _, fields := range [][]string{nil, nil, {"If-Match", `"stale"`}, {"If-None-Match", "*"}} {
			go func() {
				defer func() { done <- struct{}{} }()
				for {
					select {
					case <-stop:
						return
					default:
						if _, err := caddytest.Try(t.Context(), "POST", nodes.Other()+"/rpc", "{}", fields...); err != nil {
							t.Error(err)
							return
						}
					}
				}
			}()
		}
		for range 5 {
			tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "POST", url, "{}", "If-Match", tag).Expect(t, 200).ExpectOutcome(t, "passed")
		}
		close(stop)
		for range 4 {
			<-done
		}
	})
}
