package proxyhooks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// source is the content of a client, that tells what was done with it.
type source struct {
	io.Reader
	read   int
	closed bool
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.read += n
	return n, err
}

func (s *source) Close() error {
	s.closed = true
	return nil
}

func TestReadAhead(t *testing.T) {
	const limit = 10
	for size, whole := range map[int]bool{1: true, 9: true, 10: true, 11: false, 5000: false} {
		for _, announced := range []bool{true, false} {
			for _, trailer := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d bytes, announced %t, trailer %t", size, announced, trailer), func(t *testing.T) {
					content := strings.Repeat("x", size)
					s := &source{Reader: iotest.OneByteReader(strings.NewReader(content))}
					r := newRequest("PUT", s)
					r.ContentLength = -1
					if announced {
						r.ContentLength = int64(size)
					} else {
						r.TransferEncoding = []string{"chunked"}
					}
					if trailer {
						r.Trailer = http.Header{"X-Checksum": nil}
					}
					if err := ReadAhead(r, limit); err != nil {
						t.Fatal(err)
					}
					if want := min(size, limit+1); s.read != want {
						t.Errorf("read %d bytes", s.read)
					}
					length := int64(-1)
					if announced || whole && !trailer {
						length = int64(size)
					}
					if r.ContentLength != length {
						t.Errorf("length %d, want %d", r.ContentLength, length)
					}
					if chunked := len(r.TransferEncoding) > 0; !announced && chunked != (length < 0) {
						t.Errorf("transfer encoding %s", r.TransferEncoding)
					}
					tracked := trackBody(r)
					if (tracked == nil) != whole || tracked.complete() != whole {
						t.Errorf("at hand: %t", tracked == nil)
					}
					got, err := io.ReadAll(r.Body)
					if string(got) != content || err != nil {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					if !tracked.complete() {
						t.Error("not complete")
					}
					if r.Body.Close() != nil || !s.closed {
						t.Error("not closed")
					}
				})
			}
		}
	}
	t.Run("no content", func(t *testing.T) {
		for _, body := range []io.ReadCloser{nil, http.NoBody, &source{Reader: iotest.ErrReader(errLegacy)}} {
			r := newRequest("PUT", nil)
			r.Body, r.ContentLength = body, 0
			if err := ReadAhead(r, limit); err != nil || r.Body != body {
				t.Errorf("%v %v", err, r.Body)
			}
			if !trackBody(r).complete() {
				t.Error("not complete")
			}
		}
	})
	t.Run("an error", func(t *testing.T) {
		for before := range limit + 1 {
			for _, length := range []int64{-1, 100} {
				r := newRequest("PUT", io.MultiReader(strings.NewReader(strings.Repeat("x", before)), iotest.ErrReader(errLegacy)))
				r.ContentLength = length
				if err := ReadAhead(r, limit); !errors.Is(err, errLegacy) {
					t.Errorf("after %d bytes: %v", before, err)
				}
			}
		}
	})
	t.Run("an error after the limit comes later", func(t *testing.T) {
		r := newRequest("PUT", io.MultiReader(strings.NewReader("01234567890"), iotest.ErrReader(errLegacy)))
		r.ContentLength = 100
		if err := ReadAhead(r, limit); err != nil {
			t.Fatal(err)
		}
		tracked := trackBody(r)
		if content, err := io.ReadAll(r.Body); string(content) != "01234567890" || !errors.Is(err, errLegacy) || tracked.complete() {
			t.Errorf("%q %v", content, err)
		}
	})
}
