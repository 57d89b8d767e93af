package clients

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// loginPage is where pagesBehindLogin sends strangers.
const loginPage = "/login?next=page"

// pagesBehindLogin is a backend that sends everybody but the owner to a page for logging in,
// whatever they ask for. It calls pass before.
func pagesBehindLogin(status int, pass func(*http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") == "":
			if pass != nil {
				pass(r)
			}
			w.Header().Set("Location", loginPage)
			w.WriteHeader(status)
		case r.Method == "GET":
			_, _ = io.WriteString(w, "page "+r.URL.Path)
		default:
			w.WriteHeader(204)
		}
	})
}

// A stranger whom the backend sends to a page for logging in, whatever he asks for, has
// changed nothing. The first time, nobody knows that.
func TestRedirectedStrangers(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, status := range []int{301, 302, 303} {
			for _, options := range []string{"etag version\nlag 0s", "etag version\nlag 30s", "etag version\nlag 30s\nverify never"} {
				n := deploy(t, options, pagesBehindLogin(status, nil))
				url, me := n.First()+"/page", []string{"Authorization", "me"}
				for _, node := range []string{n.First(), n.Other()} {
					caddytest.Send(t, "PUT", node+"/page", "x").Expect(t, status)
				}
				tag := caddytest.Send(t, "GET", url, "", me...).Expect(t, 200).Tag(t)
				for _, write := range [][]string{{"DELETE"}, {"POST"}, {"PUT"}, {"PUT", "If-Match", "*"}, {"PUT", "If-Match", tag}, {"MOVE", "Destination", "/other"}} {
					caddytest.Send(t, write[0], n.Other()+"/page", "x", write[1:]...).Expect(t, status)
					if got := caddytest.Send(t, "GET", url, "", me...).Tag(t); got != tag {
						t.Fatalf("%d, %s: after %q the tag is %s, before %s", status, options, write, got, tag)
					}
				}
				caddytest.Send(t, "PUT", url, "x", append(me, "If-Match", tag)...).Expect(t, 204)
				caddytest.Send(t, "PUT", url, "x", append(me, "If-Match", tag)...).Expect(t, 412)
			}
		}
	})
}

// So it is if writes of strangers overlap, and one that isn't redirected still counts.
func TestOverlappingRedirectedStrangers(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		const writes = 3
		var arrived sync.WaitGroup
		n := deploy(t, "etag version\nlag 0s", pagesBehindLogin(302, func(r *http.Request) {
			if r.Method == "DELETE" {
				arrived.Done()
				arrived.Wait()
			}
		}))
		url, me := n.First()+"/page", []string{"Authorization", "me"}
		caddytest.Send(t, "PUT", url, "x").Expect(t, 302)
		for _, owner := range []bool{false, true} {
			tag := caddytest.Send(t, "GET", url, "", me...).Expect(t, 200).Tag(t)
			caddytest.Send(t, "PUT", url, "x").Expect(t, 302)
			arrived.Add(writes)
			var answered sync.WaitGroup
			for range writes {
				answered.Go(func() {
					if a, err := caddytest.Try(context.Background(), "DELETE", url, ""); err != nil || a.StatusCode != 302 {
						t.Errorf("got %v and %v", a, err)
					}
				})
			}
			if owner {
				caddytest.Send(t, "PUT", url, "x", me...).Expect(t, 204)
			}
			answered.Wait()
			if got := caddytest.Send(t, "GET", url, "", me...).Expect(t, 200).Tag(t); (got == tag) == owner {
				t.Errorf("the owner has written: %v, but the tag was %s and is %s", owner, tag, got)
			}
		}
	})
}

// A redirection after a write that was performed isn't taken for a refusal, whatever a GET
// is answered.
func TestRedirectedAfterSuccess(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		var deleted atomic.Bool
		for name, backend := range map[string]http.HandlerFunc{
			"to the list": func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "GET" {
					w.Header().Set("Location", "/list")
					w.WriteHeader(303)
					return
				}
				_, _ = io.WriteString(w, "page")
			},
			"to where those are sent who may not see it": func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "GET" || r.Header.Get("Authorization") == "" {
					w.Header().Set("Location", map[bool]string{true: "/", false: "/list"}[r.Method == "GET"])
					w.WriteHeader(302)
					return
				}
				_, _ = io.WriteString(w, "page")
			},
			"of everybody who asks": func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/page" && r.Method == "GET" {
					_, _ = io.WriteString(w, "page")
					return
				}
				w.Header().Set("Location", "/list")
				w.WriteHeader(302)
			},
			"because it is gone": func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "DELETE" {
					deleted.Store(true)
				}
				if deleted.Load() {
					w.Header().Set("Location", "/list")
					w.WriteHeader(302)
					return
				}
				_, _ = io.WriteString(w, "page")
			},
		} {
			n := deploy(t, "etag version\nlag 0s\naffects /page/delete /page", backend)
			me := []string{"Authorization", "me"}
			method, path := "POST", "/page"
			switch name {
			case "of everybody who asks":
				path = "/page/delete"
			case "because it is gone":
				method = "DELETE"
			}
			for range 3 {
				deleted.Store(false)
				tag := caddytest.Send(t, "GET", n.First()+"/page", "", me...).Expect(t, 200).Tag(t)
				if a := caddytest.Send(t, method, n.Other()+path, "x"); a.StatusCode/100 != 3 {
					t.Fatalf("%s: got %d", name, a.StatusCode)
				}
				deleted.Store(false)
				if got := caddytest.Send(t, "GET", n.First()+"/page", "", me...).Tag(t); got == tag {
					t.Errorf("%s: the tag is still %s", name, tag)
				}
			}
		}
	})
}

// What Caddy makes of the backend's answer says nothing about the write.
func TestRedirectedByCaddy(t *testing.T) {
	t.Parallel()
	backend := caddytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" && r.Header.Get("Authorization") != "" {
			_, _ = io.WriteString(w, "page")
			return
		}
		w.Header().Set("Location", "/answer/to/"+r.Method)
		w.WriteHeader(302)
	}))
	const away = "{\n@away status 302\nhandle_response @away {\nredir * /login\n}\n}"
	for name, directives := range map[string]string{
		"handle_response": "reverse_proxy " + backend + " " + away,
		"header_down":     "reverse_proxy " + backend + " {\nheader_down Location .+ /login\n}",
		"intercept":       "intercept " + away + "\nreverse_proxy " + backend,
		"header":          "header >Location .+ /login\nreverse_proxy " + backend,
	} {
		n := caddytest.OneNodeAt(t, "route {\npreconditions {\netag version\nlag 0s\n}\n"+directives+"\n}")
		url, me := n.First()+"/page", []string{"Authorization", "me"}
		for range 3 {
			tag := caddytest.Send(t, "GET", url, "", me...).Expect(t, 200).Tag(t)
			if a := caddytest.Send(t, "PUT", url, "x"); a.StatusCode != 302 || a.Header.Get("Location") != "/login" {
				t.Fatalf("%s: got %d, %q", name, a.StatusCode, a.Header.Get("Location"))
			}
			if got := caddytest.Send(t, "GET", url, "", me...).Tag(t); got == tag {
				t.Errorf("%s: the tag is still %s", name, tag)
			}
		}
	}
}
