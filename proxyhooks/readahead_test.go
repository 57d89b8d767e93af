package proxyhooks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// source is the content of a client. It records what was done with it.
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

// watchful is endless content that looks at how much is held in memory when it is read.
type watchful struct {
	memory *Memory
	most   int64
}

func (w *watchful) Read(p []byte) (int, error) {
	w.most = max(w.most, w.memory.held)
	return len(p), nil
}

// streamFields are ways in which a client says that its content is a stream.
var streamFields = [][2]string{
	{"Incremental", "?1"},
	{"Incremental", "?1;a=b"},
	{"Content-Type", "text/event-stream"},
	{"Content-Type", "TEXT/Event-Stream; charset=utf-8"},
	{"Content-Type", "application/grpc"},
	{"Content-Type", "application/grpc+proto"},
	{"Content-Type", "application/grpc-web-text"},
}

// TestReadAhead: content is read ahead up to the limit, or all of it with a file.
func TestReadAhead(t *testing.T) {
	const limit = 10
	for _, spool := range []bool{false, true} {
		for size, fits := range map[int]bool{1: true, 9: true, 10: true, 11: false, 5000: false} {
			testReadAhead(t, limit, size, fits || spool, spool)
		}
	}
	t.Run("no content", func(t *testing.T) {
		for _, body := range []io.ReadCloser{nil, http.NoBody, &source{Reader: iotest.ErrReader(errLegacy)}} {
			r := newRequest("PUT", nil)
			r.Body, r.ContentLength = body, 0
			if _, err := ReadAhead(r, limit, true, nil); err != nil || r.Body != body {
				t.Errorf("%v %v", err, r.Body)
			}
			if !trackBody(r).complete() {
				t.Error("not complete")
			}
		}
	})
	t.Run("what the client calls a stream is read only if others must wait for it", func(t *testing.T) {
		for _, field := range streamFields {
			for _, spool := range []bool{false, true} {
				for _, size := range []int{1, limit + 1} {
					s := &source{Reader: strings.NewReader(strings.Repeat("x", size))}
					r := newRequest("POST", s)
					r.ContentLength = -1
					r.Header.Set(field[0], field[1])
					done, err := ReadAhead(r, limit, spool, nil)
					defer done()
					want := 0
					if spool {
						want = size
					}
					if err != nil || s.read != want || ContentPending(r) == spool {
						t.Errorf("%s, spool %t: read %d of %d bytes, %v", field, spool, s.read, size, err)
					}
				}
			}
		}
	})
	t.Run("what the client announces to be too large goes to the file early", func(t *testing.T) {
		const limit = 1 << 20
		content := &watchful{memory: NewMemory(10*limit, nil)}
		r := newRequest("PUT", io.LimitReader(content, limit+1))
		r.ContentLength = limit + 1
		done, err := ReadAhead(r, limit, true, content.memory)
		defer done()
		if err != nil || ContentPending(r) || content.most >= limit {
			t.Errorf("%d bytes in memory, %v", content.most, err)
		}
	})
	t.Run("content that breaks off", func(t *testing.T) {
		for _, room := range []int64{0, 1 << 20} {
			memory := NewMemory(room, nil)
			r := newRequest("PUT", io.MultiReader(strings.NewReader("01234567890"), iotest.ErrReader(io.ErrUnexpectedEOF)))
			r.ContentLength = 100
			if _, err := ReadAhead(r, limit, true, memory); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrSpool) {
				t.Errorf("with room for %d bytes: %v", room, err)
			}
			if memory.held != 0 {
				t.Errorf("%d bytes are still held", memory.held)
			}
		}
	})
	t.Run("an error of the client", func(t *testing.T) {
		for before := range limit + 2 {
			for _, length := range []int64{-1, 100} {
				r := newRequest("PUT", io.MultiReader(strings.NewReader(strings.Repeat("x", before)), iotest.ErrReader(errLegacy)))
				r.ContentLength = length
				if _, err := ReadAhead(r, limit, true, nil); !errors.Is(err, errLegacy) || errors.Is(err, ErrSpool) {
					t.Errorf("after %d bytes: %v", before, err)
				}
			}
		}
	})
	t.Run("without a file, an error after the limit comes later", func(t *testing.T) {
		r := newRequest("PUT", io.MultiReader(strings.NewReader("01234567890"), iotest.ErrReader(errLegacy)))
		r.ContentLength = 100
		if _, err := ReadAhead(r, limit, false, nil); err != nil {
			t.Fatal(err)
		}
		tracked := trackBody(r)
		if content, err := io.ReadAll(r.Body); string(content) != "01234567890" || !errors.Is(err, errLegacy) || tracked.complete() {
			t.Errorf("%q %v", content, err)
		}
	})
	t.Run("the file can't be created", func(t *testing.T) {
		t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
		r := newRequest("PUT", strings.NewReader("01234567890"))
		r.ContentLength = 11
		if _, err := ReadAhead(r, limit, true, nil); !errors.Is(err, ErrSpool) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no file is left behind", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		for _, content := range []io.Reader{
			strings.NewReader("01234567890"),
			io.MultiReader(strings.NewReader("01234567890"), iotest.ErrReader(errLegacy)),
		} {
			r := newRequest("PUT", content)
			r.ContentLength = -1
			done, _ := ReadAhead(r, limit, true, nil)
			done()
			if files, err := os.ReadDir(dir); len(files) > 0 || err != nil {
				t.Errorf("%v %v", files, err)
			}
		}
	})
}

// testReadAhead reads size bytes of content ahead. If whole, nothing should be left to
// read from the client.
func testReadAhead(t *testing.T, limit int64, size int, whole, spool bool) {
	for _, announced := range []bool{true, false} {
		for _, trailer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, announced %t, trailer %t, spool %t", size, announced, trailer, spool), func(t *testing.T) {
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
				done, err := ReadAhead(r, limit, spool, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer done()
				want := min(size, int(limit)+1)
				if whole {
					want = size
				}
				if s.read != want {
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
					t.Errorf("complete: %t", tracked == nil)
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
