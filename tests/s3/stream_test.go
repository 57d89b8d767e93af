package s3

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

const signature = "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b"

// A part of an upload, and with unconditional forward a whole object, reaches the store while the
// client is still sending it: nothing keeps it in memory or in a file.
func TestStreams(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ options, target string }{
		"part":   {"", "/b/k?partNumber=1&uploadId=u&x-id=UploadPart"},
		"object": {"unconditional forward", "/b/k"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan int64, 1)
			backend := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				n, _ := io.CopyN(io.Discard, r.Body, 4<<20) // more than the buffer
				arrived <- n
				n, _ = io.Copy(io.Discard, r.Body)
				arrived <- n
			})
			url := caddytest.Site(t, "profile s3\n"+tt.options, backend) + tt.target
			content, send := io.Pipe()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, content)
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = 8 << 20
			r.Header.Set("Authorization", signature)
			done := make(chan error, 1)
			go func() {
				response, err := http.DefaultTransport.RoundTrip(r)
				if err == nil {
					_ = response.Body.Close()
				}
				done <- err
			}()
			half := bytes.Repeat([]byte("x"), 4<<20)
			if _, err := send.Write(half); err != nil {
				t.Fatal(err)
			}
			if n := <-arrived; n != 4<<20 {
				t.Errorf("%d bytes arrived before the client sent the rest", n)
			}
			go func() {
				_, _ = send.Write(half)
				_ = send.Close()
			}()
			if n := <-arrived; n != 4<<20 {
				t.Errorf("%d bytes of the rest arrived", n)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// An upload that others may have to wait for is kept in a file until the client has sent it, and not
// in memory, however large it is.
func TestLargeUpload(t *testing.T) {
	t.Parallel()
	const size, most = 96 << 20, 32 << 20
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) //nolint:gosec // no heap is that large
	}
	var before, during, arrived int64
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
			return
		}
		during = heap()
		arrived, _ = io.Copy(io.Discard, r.Body)
	})
	url := caddytest.Site(t, "profile s3\nbuffer 1MiB\nbuffer_total 4MiB", backend) + "/b/k"
	before = heap()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = size
	r.Header.Set("Authorization", signature)
	r.Header.Set("If-None-Match", "*")
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || arrived != size || during-before > most {
		t.Errorf("status %d, %d bytes arrived, and the heap grew by %d bytes", response.StatusCode, arrived, during-before)
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A signed write reaches the store as it is: content in signed chunks with a trailer, and fields
// with conditions, too. So does its answer.
func TestUntouched(t *testing.T) {
	t.Parallel()
	const content = "3;chunk-signature=a\r\nabc\r\n0;chunk-signature=b\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
	var got http.Header
	var said string
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
			return
		}
		all, _ := io.ReadAll(r.Body)
		got, said = r.Header.Clone(), string(all)
		w.Header().Set("ETag", `"stored"`)
		w.Header().Set("X-Amz-Version-Id", "v")
	})
	url := caddytest.Site(t, "profile s3", backend) + "/b/k"
	fields := []string{
		"Authorization", signature, "If-None-Match", "*", "Expect", "100-continue", "Content-Encoding", "aws-chunked", "X-Amz-Trailer",
		"x-amz-checksum-crc32", "X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", "3",
		"Accept-Encoding", "gzip",
	}
	a := caddytest.Send(t, http.MethodPut, url, content, fields...).Expect(t, 200)
	if a.Header.Get("ETag") != `"stored"` || a.Header.Get("X-Amz-Version-Id") != "v" {
		t.Errorf("the client got %v", a.Header)
	}
	if said != content {
		t.Errorf("the store got %q", said)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] != "Expect" && got.Get(fields[i]) != fields[i+1] {
			t.Errorf("the store got %s: %s", fields[i], got.Get(fields[i]))
		}
	}
	second := caddytest.Send(t, http.MethodPut, url, content, fields...).Expect(t, 412)
	if !strings.Contains(second.Content, "<Code>PreconditionFailed</Code>") || strings.Contains(second.Header.Get("ETag"), "gzip") {
		t.Errorf("%v %s", second.Header, second.Content)
	}
}
