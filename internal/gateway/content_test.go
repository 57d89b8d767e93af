package gateway

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-preconditions/preconditions/internal/answer"
)

// upload is the content of a write. It records when the client has sent the last of it.
type upload struct {
	io.Reader
	*events
}

func (u upload) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err == io.EOF {
		u.add("complete")
	}
	return n, err
}

func (upload) Close() error { return nil }

// Nobody waits for a client that still sends: the content of a write is complete before
// the write takes a claim or a pass, whatever the client calls its content. A write that
// takes neither may be forwarded while its content comes, and a stream is.
func TestContentIsCompleteFirst(t *testing.T) {
	t.Parallel()
	none := func(*site) {}
	down := func(s *site) { s.StoreDown.ForwardConditional, s.store.fail = true, unavailable("") }
	forwarding := func(s *site) { s.ForwardUnconditional = true }
	reporting := func(s *site) { s.Answers.Mode = answer.ReportOnly }
	const condition, stream = "If-Match: *", "Incremental: ?1"
	ahead := [3]string{"complete", "claim /m", "PUT /m"}
	for _, tt := range []struct {
		name    string
		prepare func(*site)
		field   string
		want    [3]string // the events up to the write at the backend
	}{
		{"with a condition", none, condition, ahead},
		{"without one", none, "", [3]string{"complete", "pass /m", "PUT /m"}},
		{"without the store", down, condition, [3]string{"complete", "GET /m", "PUT /m"}},
		{"unconditional forward, with a condition", forwarding, condition, ahead},
		{"unconditional forward", forwarding, "", [3]string{"invalidate /m", "PUT /m", "complete"}},
		{"mode report", reporting, "", [3]string{"invalidate /m", "PUT /m", "complete"}},
	} {
		for _, called := range []string{stream, "Content-Type: application/grpc", "Content-Type: text/event-stream", "Content-Type: text/plain"} {
			if called == "Content-Type: text/plain" && tt.want[2] == "complete" {
				continue // read ahead as far as the buffer goes
			}
			for _, size := range []int{10, 10_000} {
				t.Run(fmt.Sprintf("%s, %s, %d bytes", tt.name, called, size), func(t *testing.T) {
					t.Parallel()
					s := newSite()
					answers := s.origin
					s.origin = func(w http.ResponseWriter, r *http.Request) error {
						if r.Method == http.MethodPut {
							_, _ = io.Copy(io.Discard, r.Body)
						}
						return answers(w, r)
					}
					tt.prepare(s)
					fields := []string{called}
					if tt.field != "" {
						fields = append(fields, tt.field)
					}
					r := requestOf(t.Context(), "PUT /m", fields...)
					r.Body = upload{iotest.HalfReader(strings.NewReader(strings.Repeat("x", size))), s.events}
					r.ContentLength = -1
					if w, err := s.serve(r); err != nil || w.Code != http.StatusNoContent {
						t.Fatalf("got %d, %v", w.Code, err)
					}
					got := slices.DeleteFunc(s.take(), func(event string) bool {
						return event == "GET /m" && !slices.Contains(tt.want[:], event)
					})
					expectEvents(t, got[:3], tt.want[:])
				})
			}
		}
	}
}
