package speed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/redis/go-redis/v9"
)

// steps are what the handler can't do without for a work: requests to the backend before and
// after a PUT, and calls of Redis for a GET and a PUT.
type steps struct{ before, after, get, put int }

// directive returns the directive that takes these steps. The address of a Redis may follow.
func (s *steps) directive() string {
	return fmt.Sprintf("steps %d %d %d %d ", s.before, s.after, s.get, s.put)
}

// stepper is a handler that takes the steps and does nothing else, so no handler that takes them
// is faster. It keeps the content of a PUT, and gives the content of a GET a tag.
type stepper struct {
	Before, After, Get, Put int
	Addr                    string

	client *redis.Client
}

func init() {
	caddy.RegisterModule(new(stepper))
	httpcaddyfile.RegisterHandlerDirective("steps", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		args, s := h.RemainingArgs()[1:], new(stepper)
		for i, n := range []*int{&s.Before, &s.After, &s.Get, &s.Put} {
			*n, _ = strconv.Atoi(args[i])
		}
		if len(args) > 4 {
			s.Addr = args[4]
		}
		return s, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("steps", httpcaddyfile.Before, "reverse_proxy")
}

// CaddyModule implements [caddy.Module].
func (*stepper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.steps", New: func() caddy.Module { return new(stepper) }}
}

// Provision implements [caddy.Provisioner].
func (s *stepper) Provision(caddy.Context) error {
	if s.Addr != "" {
		s.client = redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true})
	}
	return nil
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (s *stepper) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Method == http.MethodGet {
		if err := s.call(r.Context(), s.Get); err != nil {
			return err
		}
		return forwardTagged(w, r, next)
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := s.call(r.Context(), s.Put); err != nil {
		return err
	}
	if err := ask(r, next, s.Before); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	if err := next.ServeHTTP(w, r); err != nil {
		return err
	}
	return ask(r, next, s.After)
}

// call calls Redis n times, if there is one.
func (s *stepper) call(ctx context.Context, n int) error {
	if s.client == nil {
		return nil
	}
	for range n {
		if err := s.client.HGetAll(ctx, "steps").Err(); err != nil {
			return err
		}
	}
	return nil
}

// forwardTagged forwards a GET, and sends the response with a tag made from its content.
func forwardTagged(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	var content bytes.Buffer
	rec := caddyhttp.NewResponseRecorder(w, &content, func(int, http.Header) bool { return true })
	if err := next.ServeHTTP(rec, r); err != nil || !rec.Buffered() {
		return err
	}
	w.Header().Set("Etag", tagOf(content.Bytes()))
	w.Header().Set("Content-Length", strconv.Itoa(content.Len()))
	return rec.WriteResponse()
}

// ask sends n GETs for the target of r, and hashes their content.
func ask(r *http.Request, next caddyhttp.Handler, n int) error {
	for range n {
		get := r.Clone(r.Context())
		get.Method, get.Body, get.ContentLength = http.MethodGet, http.NoBody, 0
		get.Header.Del("Content-Length")
		to := &sink{header: make(http.Header)}
		if err := next.ServeHTTP(to, get); err != nil {
			return err
		}
		_ = tagOf(to.content.Bytes())
	}
	return nil
}

func tagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// sink is a response writer that keeps the content.
type sink struct {
	header  http.Header
	content bytes.Buffer
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { return s.content.Write(p) }
