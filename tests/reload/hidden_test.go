package reload

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// named is a site of a config, which its host tells from others.
type named struct{ host, options string }

// siteConfig returns a config with sites at one new address, and its URL.
func siteConfig(t *testing.T, backend string, sites []named) (config, url string) {
	t.Helper()
	address := caddytest.Address(t)
	port := address[strings.LastIndex(address, ":"):]
	for _, s := range sites {
		config += fmt.Sprintf("http://%s%s {\n%s\n}\n", s.host, port, caddytest.Guarded(s.options+"\nwait 1ms", backend))
	}
	return config, "http://" + address
}

func loadNamed(t *testing.T, backend string, sites ...named) (url string) {
	t.Helper()
	config, url := siteConfig(t, backend, sites)
	caddytest.Load(t, config)
	return url
}

func reloadNamed(t *testing.T, backend string, sites ...named) (url string) {
	t.Helper()
	config, url := siteConfig(t, backend, sites)
	if err := caddytest.Reload(t, config); err != nil {
		t.Fatal(err)
	}
	return url
}

// A reload that changes the key of one site may add or remove another one that makes up
// for it in the numbers. Writes to the first site exclude each other all the same.
func TestRenamingBesideAnotherSite(t *testing.T) {
	const key = "key x{http.request.uri.path}\n"
	site := func(options string) named { return named{"site.example", options} }
	other := func(options string) named { return named{"other.example", options} }
	for _, tt := range []struct {
		name          string
		before, after []named
	}{
		{"one with the old options is added", []named{site("")}, []named{site(key), other("")}},
		{"one with the new options is removed", []named{site(""), other(key)}, []named{site(key)}},
		{"one with the default is removed", []named{site(key), other("")}, []named{site("")}},
	} {
		for _, trust := range []string{"verify passing", "verify never"} {
			t.Run(tt.name+", "+trust, func(t *testing.T) {
				with := func(sites []named) (all []named) {
					for _, s := range sites {
						all = append(all, named{s.host, s.options + trust})
					}
					return all
				}
				g := caddytest.NewGate()
				docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
				caddytest.Bypass(t, docs, "PUT", "/docs/a", "old")
				backend := caddytest.Serve(t, docs)
				url := loadNamed(t, backend, with(tt.before)...) + "/docs/a"
				tag := caddytest.Send(t, "GET", url, "", "Host", "site.example").Tag(t)
				first := g.Send(t.Context(), t, "PUT", url, "first", "If-Match", tag, "Host", "site.example")
				url = reloadNamed(t, backend, with(tt.after)...) + "/docs/a"
				// What is read now must not be believed after the first write.
				caddytest.Send(t, "GET", url, "", "Host", "site.example").Expect(t, 200)
				second := func() caddytest.Answer {
					return caddytest.Send(t, "PUT", url, "second", "If-Match", tag, "Host", "site.example")
				}
				second().Expect(t, 503).ExpectOutcome(t, "conflict")
				g.Open()
				caddytest.ExpectResult(t, first, 204)
				second().Expect(t, 412)
			})
		}
	}
}

// A reload that adds a site with new options affects no other host, whatever writes are
// in flight there.
func TestAddedSiteAffectsNoOther(t *testing.T) {
	g := caddytest.NewGate()
	docs := legacydocs.New(legacydocs.Options{Before: g.Pass})
	for _, path := range []string{"/docs/a", "/docs/b"} {
		caddytest.Bypass(t, docs, "PUT", path, "old")
	}
	backend := caddytest.Serve(t, docs)
	sites := []named{{"one.example", ""}, {"two.example", "key two{http.request.uri.path}"}}
	url := loadNamed(t, backend, sites...)
	tag := caddytest.Send(t, "GET", url+"/docs/a", "", "Host", "one.example").Tag(t)
	first := g.Send(t.Context(), t, "PUT", url+"/docs/a", "first", "If-Match", tag, "Host", "one.example")
	url = reloadNamed(t, backend, append(sites, named{"three.example", "key three{http.request.uri.path}"})...)
	for i, host := range []string{"one.example", "two.example", "three.example"} {
		tag := caddytest.Send(t, "GET", url+"/docs/b", "", "Host", host).Tag(t)
		caddytest.Send(t, "PUT", url+"/docs/b", fmt.Sprint(i), "If-Match", tag, "Host", host).Expect(t, 204)
	}
	g.Open()
	caddytest.ExpectResult(t, first, 204)
}
