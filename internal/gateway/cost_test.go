package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// task is one request again and again, without the network.
type task struct {
	name  string
	serve func()
}

// tasks returns what is measured: each request as a backend alone would answer it, and
// through the handler.
func tasks(tb testing.TB) []task {
	content := bytes.Repeat([]byte("x"), 10<<10)
	sent := bytes.Repeat([]byte("y"), 1<<10)
	origin := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet {
			w.Header()["Content-Type"] = []string{"text/plain"}
			w.Header()["Content-Length"] = []string{strconv.Itoa(len(content))}
			_, err := w.Write(content)
			return err
		}
		_, err := io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
		return err
	})
	s := newSite()
	s.Namer.Template = "{http.request.host}{http.request.uri.path}"
	s.Gateway.Template = s.Namer.Template
	s.Deriver.Limit, s.Buffer = 1<<20, 1<<20
	s.share = storeshare.New(etagcache.NewMemory(0), zap.NewNop())
	s.Gateway.Store = s
	s.Answers.Observer = answer.NewObserver("example.com", answer.Enforce, zap.NewNop(), nil)
	through := func(w http.ResponseWriter, r *http.Request) error { return s.Gateway.ServeHTTP(w, r, origin) }

	request := func(method string, fields ...string) func(serve func(http.ResponseWriter, *http.Request) error, want int) http.Header {
		return func(serve func(http.ResponseWriter, *http.Request) error, want int) http.Header {
			var body io.Reader
			if method != http.MethodGet {
				body = bytes.NewReader(sent)
			}
			r := httptest.NewRequestWithContext(context.Background(), method, "http://example.com/documents/1", body)
			for i := 0; i < len(fields); i += 2 {
				r.Header[fields[i]] = []string{fields[i+1]}
			}
			w := &discarding{header: make(http.Header)}
			r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
			if err := serve(w, r); err != nil || w.status != want {
				tb.Fatalf("got %d, %v, want %d", w.status, err, want)
			}
			return w.header
		}
	}
	tag := request(http.MethodGet)(through, http.StatusOK).Get("Etag")
	var list []task
	for _, t := range []struct {
		name    string
		request func(func(http.ResponseWriter, *http.Request) error, int) http.Header
		status  int
		bare    int
	}{
		{"refused PUT", request(http.MethodPut, "If-Match", `"outdated"`), http.StatusPreconditionFailed, http.StatusNoContent},
		{"labelled GET", request(http.MethodGet), http.StatusOK, http.StatusOK},
		{"GET answered 304", request(http.MethodGet, "If-None-Match", tag), http.StatusNotModified, http.StatusOK},
		{"passing PUT", request(http.MethodPut, "If-Match", tag), http.StatusNoContent, http.StatusNoContent},
	} {
		list = append(list,
			task{t.name + "/bare", func() { t.request(origin, t.bare) }},
			task{t.name + "/handler", func() { t.request(through, t.status) }})
	}
	return list
}

// discarding is a response writer that keeps nothing but the header section.
type discarding struct {
	header http.Header
	status int
}

func (d *discarding) Header() http.Header { return d.header }
func (d *discarding) WriteHeader(s int) {
	if d.status == 0 {
		d.status = s
	}
}

func (d *discarding) Write(p []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	return len(p), nil
}

// Like the writer of net/http, it can do what answers before the end of the content need.
func (*discarding) FlushError() error               { return nil }
func (*discarding) EnableFullDuplex() error         { return nil }
func (*discarding) SetReadDeadline(time.Time) error { return nil }

// BenchmarkTask shows what the handler itself costs, on the store in memory.
func BenchmarkTask(b *testing.B) {
	for _, task := range tasks(b) {
		b.Run(task.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				task.serve()
			}
		})
	}
}

// The handler allocates no more than this beside what the request costs anyway. Garbage is
// what most of its time goes to.
func TestAllocations(t *testing.T) {
	budgets := map[string]float64{"refused PUT": 39, "labelled GET": 47, "GET answered 304": 52, "passing PUT": 157}
	synctest.Test(t, func(t *testing.T) {
		list := tasks(t)
		time.Sleep(2 * time.Second) // from then on, the content that was read has a date
		for i := 0; i < len(list); i += 2 {
			name, _, _ := strings.Cut(list[i].name, "/")
			bare, through := testing.AllocsPerRun(200, list[i].serve), testing.AllocsPerRun(200, list[i+1].serve)
			if through-bare > budgets[name]+racing {
				t.Errorf("%s: the handler makes %v allocations, want at most %v", name, through-bare, budgets[name]+racing)
			}
		}
	})
}
