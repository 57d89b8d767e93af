package proxyhooks

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// TestParseRange: which ranges are satisfied, unsatisfiable or ignored (RFC 9110,
// sections 14.1.1, 14.1.2 and 14.2).
func TestParseRange(t *testing.T) {
	for _, test := range []struct {
		field string
		want  []Part // of 10 bytes; nil: unsatisfiable
		ok    bool
	}{
		{"bytes=0-0", []Part{{0, 0}}, true},
		{"bytes=2-4", []Part{{2, 4}}, true},
		{"bytes=0-9", []Part{{0, 9}}, true},
		{"bytes=5-", []Part{{5, 9}}, true},
		{"bytes=9-99", []Part{{9, 9}}, true},
		{"bytes=0-99999999999999999999999999", []Part{{0, 9}}, true},
		{"bytes=-3", []Part{{7, 9}}, true},
		{"bytes=-10", []Part{{0, 9}}, true},
		{"bytes=-11", []Part{{0, 9}}, true},
		{"bytes=-99999999999999999999999999", []Part{{0, 9}}, true},
		{"bytes=0-1,3-4", []Part{{0, 1}, {3, 4}}, true},
		{"bytes= 0-1 ,, \t3-4 ,", []Part{{0, 1}, {3, 4}}, true},
		{"bytes=-1,0-1", []Part{{9, 9}, {0, 1}}, true},
		{"bytes=0-1,20-30", []Part{{0, 1}}, true},
		{"Bytes=2-4", []Part{{2, 4}}, true},
		{"bytes=002-004", []Part{{2, 4}}, true},

		{"bytes=10-", nil, true},
		{"bytes=10-20", nil, true},
		{"bytes=99999999999999999999999999-", nil, true},
		{"bytes=-0", nil, true},
		{"bytes=10-,-0,50-60", nil, true},

		{"", nil, false},
		{"bytes", nil, false},
		{"bytes=", nil, false},
		{"bytes=,", nil, false},
		{"bytes=-", nil, false},
		{"bytes=--1", nil, false},
		{"bytes=4-2", nil, false},
		{"bytes=99-98", nil, false},
		{"bytes=0-1,4-2", nil, false},
		{"bytes=0-1,x", nil, false},
		{"bytes=a-b", nil, false},
		{"bytes=+1-2", nil, false},
		{"bytes=1.0-2", nil, false},
		{"bytes=1 -2", nil, false},
		{"bytes=0x1-2", nil, false},
		{"bytes=1", nil, false},
		{"bytes=1-2-3", nil, false},
		{"bytes 1-2", nil, false},
		{"bytes =1-2", nil, false},
		{"items=1-2", nil, false},
		{"none", nil, false},
		{"bytes=0-9,0-0", nil, false}, // more bytes than there are
		{"bytes=0-5,5-9", nil, false},
		{"bytes=" + strings.Repeat("20-,", 101), nil, false},
	} {
		parts, ok := ParseRange([]string{test.field}, 10)
		if ok != test.ok || ok && !reflect.DeepEqual(parts, test.want) {
			t.Errorf("%q: %v, %t", test.field, parts, ok)
		}
	}
	if _, ok := ParseRange([]string{"bytes=0-1", "bytes=2-3"}, 10); ok {
		t.Error("two lines form no list, because Range isn't one (5.3)")
	}
	if _, ok := ParseRange(nil, 10); ok {
		t.Error("a missing field is not ignored")
	}
	for _, field := range []string{"bytes=0-", "bytes=-1", "bytes=5-6"} {
		if _, ok := ParseRange([]string{field}, 0); ok {
			t.Errorf("%q of an empty representation is not ignored", field)
		}
	}
}

// FuzzParseRange: every part lies within the representation, and can be sent.
func FuzzParseRange(f *testing.F) {
	for _, field := range []string{"bytes=0-1,3-4", "bytes=-3", "bytes=5-", "bytes=10-20", "items=1"} {
		f.Add(field, 10)
	}
	f.Fuzz(func(t *testing.T, field string, n int) {
		size := int64(n & 0xFFFF)
		parts, ok := ParseRange([]string{field}, size)
		if !ok {
			return
		}
		content := make([]byte, size)
		w := httptest.NewRecorder()
		SendParts(w, parts, bytes.NewReader(content), size)
		want := http.StatusPartialContent
		if len(parts) == 0 {
			want = http.StatusRequestedRangeNotSatisfiable
		}
		if w.Code != want || w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
			t.Errorf("%q of %d: %d, %v, %d bytes", field, size, w.Code, w.Header(), w.Body.Len())
		}
		for _, p := range parts {
			if p.first < 0 || p.first > p.last || p.last >= size {
				t.Errorf("%q of %d: %v", field, size, parts)
			}
		}
	})
}

// TestSendParts: the status, header and content of 206 and 416 (RFC 9110, sections
// 15.3.7 and 15.5.17).
func TestSendParts(t *testing.T) {
	const content = "0123456789"
	header := func() http.Header {
		return http.Header{
			"Etag": {`"tag"`}, "Content-Type": {"text/x-legacy"}, "Content-Length": {"10"}, "Cache-Control": {"max-age=60"},
			"Expires": {"0"}, "Content-Location": {"/x"}, "Vary": {"Accept"}, "Last-Modified": {changedAt}, "Date": {provenAt},
			"Content-Digest": {"x"}, "Content-Md5": {"x"}, "Set-Cookie": {"a", "b"},
		}
	}
	sent := func(field string, h http.Header) *httptest.ResponseRecorder {
		t.Helper()
		parts, ok := ParseRange([]string{field}, int64(len(content)))
		if !ok {
			t.Fatalf("%q is ignored", field)
		}
		w := httptest.NewRecorder()
		for name, lines := range h {
			w.Header()[name] = lines
		}
		SendParts(w, parts, strings.NewReader(content), int64(len(content)))
		return w
	}
	t.Run("one part", func(t *testing.T) {
		w := sent("bytes=2-4", header())
		want := header()
		delete(want, "Content-Digest")
		delete(want, "Content-Md5")
		want.Set("Content-Length", "3")
		want.Set("Content-Range", "bytes 2-4/10")
		want.Set("Accept-Ranges", "bytes")
		if w.Code != 206 || w.Body.String() != "234" || !reflect.DeepEqual(w.Header(), want) {
			t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
		}
	})
	t.Run("one of two ranges is satisfiable", func(t *testing.T) {
		if w := sent("bytes=20-,-1", header()); w.Code != 206 || w.Body.String() != "9" || w.Header().Get("Content-Range") != "bytes 9-9/10" {
			t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
		}
	})
	t.Run("encoded content", func(t *testing.T) {
		h := header()
		h.Set("Content-Encoding", "x-legacy")
		if w := sent("bytes=2-4", h); w.Body.String() != "234" || w.Header().Get("Content-Length") != "3" || w.Header().Get("Content-Encoding") != "x-legacy" {
			t.Errorf("%q %v", w.Body, w.Header())
		}
	})
	t.Run("several parts", func(t *testing.T) {
		w := sent("bytes=0-1,-2,4-4", header())
		if w.Code != 206 || w.Header().Get("Content-Range") != "" || w.Header().Get("Etag") != `"tag"` ||
			w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		mediatype, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
		if mediatype != "multipart/byteranges" || err != nil {
			t.Fatalf("%s, %v", mediatype, err)
		}
		reader := multipart.NewReader(bytes.NewReader(w.Body.Bytes()), params["boundary"])
		for _, want := range []struct{ content, place string }{{"01", "bytes 0-1/10"}, {"89", "bytes 8-9/10"}, {"4", "bytes 4-4/10"}} {
			part, err := reader.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(part)
			if err != nil || string(got) != want.content || part.Header.Get("Content-Range") != want.place || part.Header.Get("Content-Type") != "text/x-legacy" {
				t.Errorf("%q, %v, %v", got, part.Header, err)
			}
		}
		if _, err := reader.NextPart(); err != io.EOF {
			t.Error(err)
		}
	})
	t.Run("no part", func(t *testing.T) {
		w := sent("bytes=10-", header())
		want := http.Header{
			"Content-Range": {"bytes */10"}, "Content-Length": {"0"}, "Etag": {`"tag"`}, "Vary": {"Accept"},
			"Last-Modified": {changedAt}, "Date": {provenAt}, "Set-Cookie": {"a", "b"},
		}
		if w.Code != 416 || w.Body.Len() > 0 || !reflect.DeepEqual(w.Header(), want) {
			t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
		}
	})
}
