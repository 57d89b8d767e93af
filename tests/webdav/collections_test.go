package webdav

import (
	"context"
	"net/http"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestCollections: what happens to a collection happens to everything below it.
func TestCollections(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, target string
		fields         []string
	}{
		{"DELETE", "/dir", nil},
		{"UNBIND", "/dir", nil},
		{"MOVE", "/dir/", []string{"Destination", "/elsewhere"}},
		{"COPY", "/other", []string{"Destination", "/dir"}},
	} {
		t.Run(tt.method, func(t *testing.T) {
			t.Parallel()
			s := newShare("/dir/below/doc", "/dir")
			arrived, proceed := make(chan struct{}, 2), make(chan struct{})
			s.before = func(r *http.Request) {
				if r.Method == tt.method {
					arrived <- struct{}{}
					<-proceed
				}
			}
			site := caddytest.Site(t, "profile webdav\nverify never\nlag 0s", s)
			tag := caddytest.Send(t, "GET", site+"/dir/below/doc", "").Expect(t, 200).Tag(t)
			change := caddytest.Go(context.Background(), tt.method, site+tt.target, "", tt.fields...)
			<-arrived
			save := caddytest.Go(context.Background(), "PUT", site+"/dir/below/doc", "new", "If-Match", tag)
			s.set("/dir/below/doc", "moved here")
			close(proceed)
			caddytest.ExpectResult(t, change, 204)
			caddytest.ExpectResult(t, save, 412)
		})
	}
}
