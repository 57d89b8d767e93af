package relations

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// shop is a backend with orders. Each order has an action and an entry in a
// list.
type shop struct {
	mu       sync.Mutex
	orders   map[string]string
	before   func(r *http.Request)
	shipping []string // the state of each order at the time it was shipped
}

func newShop() *shop { return &shop{orders: map[string]string{"1": "new", "2": "new"}} }

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	if s.before != nil {
		s.before(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var id, action string
	_, _ = fmt.Sscanf(r.URL.Path, "/orders/%1s/%s", &id, &action)
	switch {
	case r.Method == "GET" && id == "":
		_, _ = fmt.Fprint(w, s.orders)
	case r.Method == "GET":
		_, _ = io.WriteString(w, s.orders[id])
	case action == "ship":
		s.shipping = append(s.shipping, s.orders[id])
		s.orders[id] += ", shipped"
	default:
		s.orders[id] = string(content)
	}
}

// A write invalidates the other resources that it is declared to affect, and no
// others.
func TestAffects(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, more := range []string{"", "unconditional forward\n"} {
			s := newShop()
			n := deploy(t, "verify never\nwrite_etag off\n"+more+"affects /orders/*/ship /orders/* /orders\naffects /orders/* /orders", s)
			tag := func(path string) string { return caddytest.Send(t, "GET", n.First()+path, "").Expect(t, 200).Tag(t) }
			order, other, list := tag("/orders/1"), tag("/orders/2"), tag("/orders")

			caddytest.Send(t, "POST", n.Other()+"/orders/1/ship", "").Expect(t, 200)
			caddytest.Send(t, "PUT", n.First()+"/orders/1", "x", "If-Match", order).Expect(t, 412)
			caddytest.Send(t, "PUT", n.First()+"/orders", "x", "If-Match", list).Expect(t, 412)
			caddytest.Send(t, "PUT", n.First()+"/orders/2", "y", "If-Match", other).Expect(t, 200)

			list = tag("/orders")
			caddytest.Send(t, "PUT", n.Other()+"/orders/1", "z", "If-Match", tag("/orders/1")).Expect(t, 200)
			caddytest.Send(t, "PUT", n.First()+"/orders", "x", "If-Match", list).Expect(t, 412)
		}
	})
}

// While a write is in flight, a conditional write of a resource that it affects
// waits. The reverse holds, too.
func TestAffectsWhileInFlight(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"/orders/0", "/orders/zz"} { // its lock is taken before the write's own, or after it
		for _, ours := range []string{"action", "edit"} {
			t.Run(ours+" of "+key, func(t *testing.T) {
				g := caddytest.NewGate()
				s := &shop{orders: map[string]string{}, before: func(r *http.Request) { g.Pass(r) }}
				url := caddytest.Site(t, "verify never\naffects /orders/m "+key, s)
				held, waits := []string{"POST", "/orders/m"}, []string{"PUT", key}
				if ours == "edit" {
					held, waits = waits, held
				}
				first := g.Send(context.Background(), t, held[0], url+held[1], "1", "If-Match", "*")
				second := caddytest.Go(context.Background(), waits[0], url+waits[1], "2", "If-Match", "*")
				select {
				case r := <-second:
					t.Fatalf("the second write did not wait: %v %v", r.Response, r.Err)
				case <-time.After(100 * time.Millisecond): // long enough to call it waiting
				}
				g.Open()
				caddytest.ExpectResult(t, first, 200)
				caddytest.ExpectResult(t, second, 200)
			})
		}
	}
}

// A write is cut off once it has lost its claim, or its pass on another resource
// that it affects. This can happen after a failover to a different master of a
// cluster.
func TestAffectsLost(t *testing.T) {
	for _, lost := range []string{"/orders/1", "/orders/2"} {
		m := caddytest.UsedMiniredis(t)
		g := caddytest.NewGate()
		s := &shop{orders: map[string]string{}, before: func(r *http.Request) { g.Pass(r) }}
		url := caddytest.Site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nlease 1s\naffects /orders/1 /orders/2", m.Addr()), s)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		write := g.Send(ctx, t, "PUT", url+"/orders/1", "x", "If-Match", "*")
		m.Del("caddy:preconditions:" + caddytest.Host(t) + lost)
		r := <-write
		g.Open()
		if r.Err != nil || r.StatusCode != 503 || !strings.Contains(r.Content, "nobody knows whether the request was performed") {
			t.Errorf("after losing what it held on %s: %v %v %s", lost, r.Response, r.Err, r.Content)
		}
	}
}

// Writes that affect each other's resources don't deadlock.
func TestAffectsEachOther(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		n := deploy(t, "wait 1m\nwrite_etag off\naffects /orders/1 /orders/2 /orders/3\naffects /orders/2 /orders/1 /orders/3\naffects /orders/3 /orders/1", newShop())
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				for range 10 {
					var fields []string
					if i%2 == 0 {
						fields = []string{"If-Match", "*"}
					}
					a, err := caddytest.Try(context.Background(), "PUT", fmt.Sprintf("%s/orders/%d", n.Random(), i%3+1), "x", fields...)
					if err != nil || a.StatusCode != 200 {
						t.Errorf("%v %v", a.Response, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// MOVE and COPY change the resource at their Destination (RFC 4918, section 10.3), even
// if that names another host: not all backends compare it with their own.
func TestAffectsDestination(t *testing.T) {
	for _, method := range []string{"MOVE", "COPY"} {
		url := caddytest.Site(t, "verify never", newShop())
		tag := caddytest.Send(t, "GET", url+"/orders/2", "").Tag(t)
		for _, host := range []string{"http://other.example", url} {
			caddytest.Send(t, method, url+"/orders/1", "new", "Destination", host+"/orders/2").Expect(t, 200)
			if caddytest.Send(t, "GET", url+"/orders/2", "").Tag(t) != tag {
				t.Fatal("the shop itself has changed the order")
			}
			caddytest.Send(t, "PUT", url+"/orders/2", "x", "If-Match", `"x"`).Expect(t, 412)
		}
	}
}

// A PUT that moves something to its target changes what it names as the source.
func TestAffectsRenameSource(t *testing.T) {
	url := caddytest.Site(t, "etag version", newShop())
	for _, field := range []string{"X-Amz-Rename-Source", "X-Ms-Rename-Source", "X-Ms-File-Rename-Source"} {
		tag := caddytest.Send(t, "GET", url+"/orders/2", "").Tag(t)
		caddytest.Send(t, "PUT", url+"/orders/1", "new", "X-Amz-Copy-Source", "/orders/2").Expect(t, 200)
		caddytest.Send(t, "PUT", url+"/orders/1", "new", field, "/../orders/2").Expect(t, 400)
		if caddytest.Send(t, "GET", url+"/orders/2", "").Tag(t) != tag {
			t.Errorf("%s: the version has moved too early", field)
		}
		caddytest.Send(t, "PUT", url+"/orders/1", "new", field, "/orders/2").Expect(t, 200)
		if caddytest.Send(t, "GET", url+"/orders/2", "").Tag(t) == tag {
			t.Errorf("%s: the version stays", field)
		}
	}
}

// A Destination counts in every form in which a backend may find a path in it, also after
// a rewrite. If nobody can tell which path that is, the request is refused.
func TestAffectsDestinationByAnyName(t *testing.T) {
	for _, tt := range []struct {
		directive, before, host string
		destination             []string
		marked                  bool // and not refused
	}{
		{"", "", "a.example", []string{"http://a.example:80/cars/2"}, true},
		{"", "", "a.example:80", []string{"http://a.example/cars/2"}, true},
		{"", "", "a.example", []string{"https://A.example:443/cars/2"}, true}, // TLS is terminated in front of Caddy
		{"", "", "a.example", []string{"https://a.example/cars/2"}, true},
		{"", "", "a.example", []string{"http://a.example./cars/%32"}, true},
		{"", "", "a.example", []string{"http://user@a.example/cars/2"}, true},
		{"", "", "[::1]", []string{"http://[::1]:80/cars/2"}, true},
		{"", "", "a.example", []string{"/cars/2"}, true},
		{"", "", "a.example", []string{"2"}, true},
		{"", "", "a.example", []string{"http://a.example/cars/3", "/cars/4", "http://a.example/cars/2"}, false},
		{"", "", "a.example", []string{"http://a.example/cars/3", "/cars/2", "http://a.example/cars/4"}, false}, // some backends take the first, some the last
		{"uri strip_prefix /api", "/api", "a.example", []string{"http://a.example/api/cars/2"}, true},
		{"rewrite * /v1{uri}", "", "a.example", []string{"http://a.example/cars/2"}, true},
		{"request_header Host inner.example", "", "a.example", []string{"http://inner.example/cars/2"}, true},
		{"", "", "a.example", []string{"http://b.example/cars/2"}, true}, // not every backend compares the host
		{"", "", "a.example", []string{"http://a.example.evil:80/cars/2"}, true},
		{"", "", "a.example", []string{"//b.example/cars/2"}, true},
		{"", "", "a.example", []string{"http://a.example:x/cars/2"}, false},
		{"", "", "a.example", []string{"http://a.example:80:80/cars/2"}, false},
		{"", "", "a.example", []string{"http://a.example/cars%zz/../2"}, false},
		{"", "", "a.example", []string{"http://[/cars/2"}, false},
		{"", "", "a.example", []string{"http://a example/cars/2"}, false},
		{"", "", "a.example", []string{"/cars/x/../2"}, false},
		{"", "", "a.example", []string{"http://a.example:8080/cars/2"}, true}, // nginx accepts any port
		{"", "", "a.example", []string{"mailto:cars/2"}, false},
	} {
		b := caddytest.Obedient()
		base := caddytest.AnyHost(t, fmt.Sprintf("%s\npreconditions {\nkey {path}\n%s}\nreverse_proxy %s",
			tt.directive, caddytest.Trusting, caddytest.Serve(t, b))) + tt.before
		tag := caddytest.Send(t, "GET", base+"/cars/2", "").Tag(t)
		fields := []string{"Host", tt.host}
		for _, line := range tt.destination {
			fields = append(fields, "Destination", line)
		}
		want := 200
		if !tt.marked {
			want = 400
		}
		if a := caddytest.Send(t, "MOVE", base+"/cars/1", "", fields...); a.StatusCode != want {
			t.Errorf("%q: got %d, want %d: %s", tt.destination, a.StatusCode, want, a.Content)
		}
		caddytest.ExpectInvalidated(t, b, base+"/cars/2", tag, tt.marked)
	}
}

// `*` matches a segment that contains an escaped slash, as in project names, for
// backends that keep such slashes escaped.
func TestEscapedSlash(t *testing.T) {
	b := caddytest.Obedient()
	base := caddytest.Site(t, caddytest.Trusting+"affects /orders/*/ship /orders/*\nguards /orders/*/bill /orders/*", b)
	for _, order := range []string{"/orders/a%2Fb", "/orders/a%2fb", "/orders/a%252Fb", "/orders/a%2Fb%252Fc%25%20d"} {
		tag := caddytest.Send(t, "GET", base+order, "").Tag(t)
		caddytest.Send(t, "POST", base+order+"/ship", "").Expect(t, 200)
		caddytest.ExpectInvalidated(t, b, base+order, tag, true)
		caddytest.Send(t, "POST", base+order+"/bill", "", "If-Match", tag).Expect(t, 200)
		caddytest.Send(t, "POST", base+order+"/bill", "", "If-Match", `"other"`).Expect(t, 412)
	}
}

// The conditions of an action apply to the resource that it acts on.
func TestGuards(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, verify := range []string{"passing", "all", "never"} {
			s := newShop()
			n := deploy(t, "verify "+verify+"\nguards /orders/*/ship /orders/*", s)
			tag := caddytest.Send(t, "GET", n.First()+"/orders/1", "").Expect(t, 200).Tag(t)
			ship := func(order, tag string) caddytest.Answer {
				return caddytest.Send(t, "POST", n.Other()+"/orders/"+order+"/ship", "", "If-Match", tag)
			}
			ship("1", `"stale"`).Expect(t, 412)
			a := ship("1", tag).Expect(t, 200)
			if got := a.Header.Get("ETag"); got != "" {
				t.Errorf("the answer has the tag %s", got)
			}
			ship("1", tag).Expect(t, 412)
			caddytest.Send(t, "PUT", n.First()+"/orders/1", "x", "If-Match", tag).Expect(t, 412)
			ship("2", "*").Expect(t, 200)
			// The refusal also describes the order.
			a = caddytest.Send(t, "POST", n.First()+"/orders/1/ship", "", "If-Match", tag, "Prefer", "return=representation").Expect(t, 412)
			if a.Content != "new, shipped" || a.Header.Get("Content-Location") != "/orders/1" {
				t.Errorf("got %q from %s", a.Content, a.Header.Get("Content-Location"))
			}
			ship("1", a.Tag(t)).Expect(t, 200)
		}
	})
}

// An action also changes what its own URL shows.
func TestGuardsAndTarget(t *testing.T) {
	action := caddytest.Site(t, "etag version\nguards /orders/*/ship /orders/*", newShop()) + "/orders/1/ship"
	tag := caddytest.Send(t, "GET", action, "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "GET", action, "", "If-None-Match", tag).Expect(t, 304)
	caddytest.Send(t, "POST", action, "", "If-Match", "*").Expect(t, 200)
	caddytest.Send(t, "GET", action, "", "If-None-Match", tag).Expect(t, 200)
}

// Of many clients that act on the same state, exactly one succeeds, and no edit
// of the same state gets in between.
func TestGuardsContest(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		s := newShop()
		n := deploy(t, "guards /orders/*/ship /orders/*", s)
		tag := caddytest.Send(t, "GET", n.First()+"/orders/1", "").Tag(t)
		var mu sync.Mutex
		statuses := make(map[int]int)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				method, path := "POST", "/orders/1/ship"
				if i%2 == 0 {
					method, path = "PUT", "/orders/1"
				}
				a, err := caddytest.Try(context.Background(), method, n.Random()+path, "edited", "If-Match", tag)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[a.StatusCode]++
			})
		}
		wg.Wait()
		if statuses[200] != 1 || statuses[412] != 15 {
			t.Errorf("the statuses are %v", statuses)
		}
	})
}

// An endless stream of unconditional writes doesn't starve a conditional one.
func TestClaimAmongPasses(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		var mu sync.Mutex
		next := make(chan struct{}) // closed when the next unconditional write arrives
		s := newShop()
		s.before = func(r *http.Request) {
			if r.Method != "POST" {
				return
			}
			// No write ends before the next one has arrived, unless that one is kept out.
			mu.Lock()
			close(next)
			next = make(chan struct{})
			came := next
			mu.Unlock()
			select {
			case <-came:
			case <-time.After(200 * time.Millisecond):
			}
		}
		n := deploy(t, "wait 5s\nverify never\nwrite_etag off", s)
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						if a, err := caddytest.Try(context.Background(), "POST", n.First()+"/orders/2", "x"); err != nil || a.StatusCode != 200 {
							t.Errorf("%v %v", a.Response, err)
							return
						}
					}
				}
			})
		}
		defer wg.Wait()
		defer close(done)
		for range 3 {
			caddytest.Send(t, "PUT", n.Other()+"/orders/2", "y", "If-Match", "*").Expect(t, 200)
		}
	})
}

// The probe of a guarded resource keeps the path as written, with an escaped
// slash still escaped.
func TestGuardsWithinASegment(t *testing.T) {
	shows := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.EscapedPath()) })
	order := caddytest.Site(t, "verify all\nguards /orders/*/ship /orders/*", shows) + "/orders/a%2Fb"
	caddytest.Send(t, "POST", order+"/ship", "", "If-Match", caddytest.Send(t, "GET", order, "").Tag(t)).Expect(t, 200)
}

// The probe reaches the guarded resource even if the backend goes by the
// original URI, as with php_fastcgi.
func TestGuardsAfterRewrite(t *testing.T) {
	s := newShop()
	byOriginal := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		original, err := url.ParseRequestURI(r.Header.Get("X-Original"))
		if err != nil || original.RequestURI() != r.Header.Get("X-Original-Path") {
			t.Errorf("the original URI is %q, but the original path is %q", r.Header.Get("X-Original"), r.Header.Get("X-Original-Path"))
			return
		}
		r.URL = original
		s.ServeHTTP(w, r)
	})
	for _, options := range []string{"", "replay\n"} {
		address := caddytest.Address(t)
		caddytest.Start(t, fmt.Sprintf("http://%s {\nrewrite * /app{uri}\npreconditions {\nguards /app/orders/*/ship /app/orders/*\n%s}\nreverse_proxy %s {\n"+
			"header_up X-Original {http.request.orig_uri}\nheader_up X-Original-Path {http.request.orig_uri.path}\n}\n}\n", address, options, caddytest.Serve(t, byOriginal)))
		order := "http://" + address + "/orders/1"
		tag := caddytest.Send(t, "GET", order, "").Expect(t, 200).Tag(t)
		caddytest.Send(t, "POST", order+"/ship", "", "If-Match", `"stale"`).Expect(t, 412)
		caddytest.Send(t, "POST", order+"/ship", "", "If-Match", tag).Expect(t, 200)
		if options != "" {
			caddytest.Send(t, "POST", order+"/ship", "", "If-Match", tag).Expect(t, 200) // a repetition
		}
	}
}

// A guard doesn't change how the Location of an action's response is resolved.
func TestGuardsAndLocation(t *testing.T) {
	s := newShop()
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/app")
		if r.Method == "POST" {
			caddytest.Bypass(t, s, "PUT", "/orders/2", "made by the action")
			w.Header().Set("Location", "/orders/2")
		}
		s.ServeHTTP(w, r)
	})
	address := caddytest.Address(t)
	caddytest.Start(t, fmt.Sprintf("http://%s {\nrewrite * /app{uri}\npreconditions {\nverify never\nguards /app/orders/*/ship /app/orders/*\n}\n"+
		"reverse_proxy %s\n}\n", address, caddytest.Serve(t, backend)))
	url := "http://" + address
	tag := caddytest.Send(t, "GET", url+"/orders/2", "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "POST", url+"/orders/1/ship", "", "If-Match", "*").Expect(t, 200)
	caddytest.Send(t, "PUT", url+"/orders/2", "x", "If-Match", tag).Expect(t, 412)
}

// Rules find their resources even if the key contains the original path and a
// rewrite has replaced the beginning of that path.
func TestRulesAndOriginalPath(t *testing.T) {
	for _, key := range []string{"{http.request.orig_uri.path}", "{http.request.orig_uri}", "{http.request.orig_uri.path} {path}", "{path}"} {
		t.Run(key, func(t *testing.T) {
			address := caddytest.Address(t)
			caddytest.Start(t, fmt.Sprintf("http://%s {\nhandle_path /api/* {\npreconditions {\nkey %q\nverify never\n"+
				"guards /orders/*/ship /orders/*\naffects /orders/*/ship /orders/*\n}\nreverse_proxy %s\n}\n}\n", address, key, caddytest.Serve(t, newShop())))
			order := "http://" + address + "/api/orders/"
			tag := caddytest.Send(t, "GET", order+"1", "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "POST", order+"1/ship", "", "If-Match", tag).Expect(t, 200)
			caddytest.Send(t, "PUT", order+"1", "x", "If-Match", tag).Expect(t, 412)
			tag = caddytest.Send(t, "GET", order+"2", "").Expect(t, 200).Tag(t)
			caddytest.Send(t, "POST", order+"2/ship", "").Expect(t, 200)
			caddytest.Send(t, "PUT", order+"2", "x", "If-Match", tag).Expect(t, 412)
		})
	}
}

// An action may be rewritten to the resource that it acts on and reach a second
// handler there. The inner handler doesn't wait for the outer one.
func TestGuardsAroundAnother(t *testing.T) {
	address := caddytest.Address(t)
	caddytest.Start(t, fmt.Sprintf("http://%s {\npreconditions {\nguards /orders/*/ship /orders/*\n}\n"+
		"handle {\nrewrite /orders/1/ship /orders/1\npreconditions {\nwait 1s\n}\nreverse_proxy %s\n}\n}\n", address, caddytest.Serve(t, newShop())))
	order := "http://" + address + "/orders/1"
	tag := caddytest.Send(t, "GET", order, "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "POST", order+"/ship", "shipped", "If-Match", `"stale"`).Expect(t, 412)
	caddytest.Send(t, "POST", order+"/ship", "shipped", "If-Match", tag).Expect(t, 200)
	caddytest.Send(t, "POST", order+"/ship", "shipped", "If-Match", tag).Expect(t, 412)
}
