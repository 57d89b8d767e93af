package relations

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// answering returns the request fields that tell an obedient backend what to
// answer.
func answering(status int, lines ...string) []string {
	fields := []string{"X-Status", fmt.Sprint(status)}
	for _, line := range lines {
		fields = append(fields, "X-Field", line)
	}
	return fields
}

// A write whose response is no error invalidates the resources that Location and
// Content-Location name (RFC 9111, section 4.4), and those that links of the
// type "invalidates" name, if they are of the same origin.
func TestInvalidate(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b := caddytest.Obedient()
		n := deploy(t, caddytest.Trusting, b)
		u, err := url.Parse(n.Other())
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name   string
			lines  []string // of the response to a write of /cars/1; HOST stands for the target's host
			marked bool     // whether /cars/2 is then invalidated
		}{
			{"nothing", nil, false},
			{"the target itself", []string{"Location: /cars/1", "Content-Location: /cars/1"}, false},
			{"an absolute path", []string{"Location: /cars/2"}, true},
			{"Content-Location", []string{"Content-Location: /cars/2"}, true},
			{"a relative path", []string{"Location: 2"}, true},
			{"a path with dot segments", []string{"Location: ../x/../cars/./2"}, true},
			{"another spelling", []string{"Location: /CARS/%32/"}, true},
			{"a query and a fragment", []string{"Location: /cars/2?page=1#top"}, true},
			{"an absolute URI", []string{"Location: http://HOST/cars/2"}, true},
			{"an absolute URI in capitals", []string{"Location: HTTP://HOST/cars/2"}, true},
			{"without a scheme", []string{"Location: //HOST/cars/2"}, true},
			{"another scheme", []string{"Location: https://HOST/cars/2"}, false},
			{"another host", []string{"Location: http://backend.internal/cars/2"}, false},
			{"another port", []string{"Location: http://HOSTNAME:1/cars/2"}, false},
			{"no port", []string{"Location: http://HOSTNAME/cars/2"}, false},
			{"no hierarchy", []string{"Location: http:/cars/2", "Content-Location: mailto:a@HOST"}, false},
			{"malformed", []string{"Location: http://[::1/cars/2", "Content-Location: /cars/2%zz"}, false},
			{"empty", []string{"Location: ", "Content-Location: "}, false},
			{"a malformed line and another one", []string{"Location: %", "Location: /cars/2"}, true},
			{"both", []string{"Location: /cars/1", "Content-Location: /cars/2"}, true},
			{"the member of a collection", []string{"Location: /cars/2/doors"}, false},

			{"a link", []string{`Link: </cars/2>; rel="invalidates"`}, true},
			{"a relative link", []string{`Link: <2>; rel=invalidates`}, true},
			{"one of several links", []string{`Link: </cars/1>; rel=self, </a>; rel=invalidates, </cars/2>; rel="x INVALIDATES"`}, true},
			{"a link on another line", []string{`Link: </a>; rel=invalidates`, `Link: </cars/2>; rel=invalidates`}, true},
			{"a link of another type", []string{`Link: </cars/2>; rel=next`}, false},
			{"a link to another origin", []string{`Link: <http://elsewhere.example/cars/2>; rel=invalidates`}, false},
			{"a malformed link", []string{`Link: /cars/2; rel=invalidates`}, false},
			{"the last of 64 targets", []string{links(63), `Link: </cars/2>; rel=invalidates`}, true},
			{"one target too many", []string{links(64), `Link: </cars/2>; rel=invalidates`}, false},
			{"one target many times", []string{"Link: </a>; rel=invalidates" + strings.Repeat(`, </a>; rel=invalidates`, 100), `Link: </cars/2>; rel=invalidates`}, true},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tag := caddytest.Send(t, "GET", n.First()+"/cars/2", "").Expect(t, 200).Tag(t)
				caddytest.Send(t, "GET", n.First()+"/cars/3", "").Expect(t, 200)
				for i := range tt.lines {
					tt.lines[i] = strings.NewReplacer("HOSTNAME", u.Hostname(), "HOST", u.Host).Replace(tt.lines[i])
				}
				caddytest.Send(t, "POST", n.Other()+"/cars/1", "x", answering(201, tt.lines...)...).Expect(t, 201)
				caddytest.ExpectInvalidated(t, b, n.First()+"/cars/2", tag, tt.marked)
			})
		}
	})
}

// links returns a Link field with n links of the type "invalidates".
func links(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("</link%d>; rel=invalidates", i))
	}
	return "Link: " + strings.Join(list, ", ")
}

// Every unsafe method invalidates, known or not, with or without a condition,
// and whether or not it waits for others. An error response doesn't (RFC 9111,
// section 4.4).
func TestInvalidateOrNot(t *testing.T) {
	const location = "Location: /cars/2"
	b := caddytest.Obedient()
	for _, options := range []string{"", "unconditional forward\n", "mode report\n"} {
		base := caddytest.Site(t, caddytest.Trusting+options, b)
		for _, tt := range []struct {
			name, method string
			fields       []string
			status       int
			marked       bool
		}{
			{name: "PUT", method: "PUT", status: 200, marked: true},
			{name: "DELETE", method: "DELETE", status: 204, marked: true},
			{name: "a method that nobody knows", method: "FROBNICATE", status: 200, marked: true},
			{name: "a safe method that the handler doesn't know", method: "M-SEARCH", status: 200, marked: true},
			{name: "a condition", method: "PUT", fields: []string{"If-Match", "*"}, status: 200, marked: true},
			{name: "a signature", method: "PUT", fields: []string{"Authorization", "AWS4-HMAC-SHA256 Credential=x"}, status: 200, marked: true},
			{name: "an overridden method", method: "POST", fields: []string{"X-HTTP-Method-Override", "PATCH"}, status: 200, marked: true},
			{name: "202", method: "POST", status: 202, marked: true},
			{name: "303", method: "POST", status: 303, marked: true},
			{name: "404", method: "POST", status: 404},
			{name: "409", method: "PUT", fields: []string{"If-Match", "*"}, status: 409},
			{name: "500", method: "POST", status: 500},
			{name: "a safe method", method: "OPTIONS", status: 200},
		} {
			t.Run(strings.TrimSpace(options+tt.name), func(t *testing.T) {
				tag := caddytest.Send(t, "GET", base+"/cars/2", "").Tag(t)
				caddytest.Send(t, tt.method, base+"/cars/1", "x", append(answering(tt.status, location, "Preconditions-Settled: ?1"), tt.fields...)...).Expect(t, tt.status)
				caddytest.ExpectInvalidated(t, b, base+"/cars/2", tag, tt.marked)
			})
		}
	}
}

// If the path was rewritten before it reached the handler, the paths in the
// response are rewritten in the same way.
func TestInvalidateRewritten(t *testing.T) {
	for _, tt := range []struct{ directive, before, location string }{
		{"uri strip_prefix /api", "/api", "/api/cars/2"},
		{"uri strip_prefix /api", "/api", "2"},
		{"uri strip_prefix /api", "/api", "/cars/2"}, // as the backend sees it
		{"rewrite * /v1{uri}", "", "/cars/2"},
	} {
		b := caddytest.Obedient()
		address := caddytest.Address(t)
		caddytest.Start(t, fmt.Sprintf("http://%s {\n%s\npreconditions {\n%s}\nreverse_proxy %s\n}\n", address, tt.directive, caddytest.Trusting, caddytest.Serve(t, b)))
		base := "http://" + address + tt.before
		tag := caddytest.Send(t, "GET", base+"/cars/2", "").Tag(t)
		caddytest.Send(t, "POST", base+"/cars/1", "x", answering(200, "Location: "+tt.location)...).Expect(t, 200)
		caddytest.ExpectInvalidated(t, b, base+"/cars/2", tag, true)
	}
}

// Resources that changed while the store was down are invalidated before the
// store is trusted again.
func TestInvalidateWithoutStore(t *testing.T) {
	for _, fields := range [][]string{nil, {"If-Match", "*"}} {
		for _, line := range []string{`Link: </cars/2>; rel=invalidates`, `Cache-Group-Invalidation: "cars"`} {
			m := caddytest.UsedMiniredis(t)
			b, _ := caddytest.Grouped(map[string]string{"/cars/2": `"cars"`})
			base := caddytest.Site(t, fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nstore_down {\nconditional forward\n}\n%s", m.Addr(), caddytest.Trusting), b)
			caddytest.Send(t, "PUT", base+"/cars/1", "x").Expect(t, 200) // returns once the grace period is over
			tag := caddytest.ReadTwice(t, base+"/cars/2")
			caddytest.ExpectInvalidated(t, b, base+"/cars/2", tag, false)
			caddytest.ReadTwice(t, base+"/cars/2")
			back := caddytest.TakeAway(t, m)
			caddytest.Send(t, "POST", base+"/cars/1", "x", append(fields, answering(200, line)...)...).Expect(t, 200)
			back()
			caddytest.ExpectInvalidated(t, b, base+"/cars/2", tag, true)
		}
	}
}
