package proxyhooks

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWindow: whatever the pieces of the content, exactly the part is sent.
func TestWindow(t *testing.T) {
	const content = "0123456789"
	for _, p := range []Part{{0, 0}, {0, 9}, {2, 4}, {9, 9}, {5, 9}} {
		for size := 1; size <= len(content); size++ {
			w, got := &window{Part: p, size: 10}, ""
			for at := 0; at < len(content) && !w.over(); at += size {
				got += string(w.take([]byte(content[at:min(at+size, len(content))])))
			}
			if want := content[p.first : p.last+1]; got != want || !w.over() {
				t.Errorf("%v in pieces of %d: %q, want %q", p, size, got, want)
			}
		}
	}
}

// partly is a recorder that asks for a part.
type partly struct {
	*recorder
	capture *Capture
}

func (p *partly) Label(status int, header http.Header, s Shown) bool {
	p.capture.SendPart(Part{2, 4}, 10_000)
	return p.recorder.Label(status, header, s)
}

// TestSendPart: a part of content that streams by goes out as 206. Once it is complete, the
// client has it, and the backend is cut off rather than read to its end.
func TestSendPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		rec.header.Set("Content-Digest", "x")
		c := NewCapture(rec, both, nil)
		c.reading = &partly{rec, c}
		var cut bool
		err := c.Serve(handler(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"own"`)
			w.Header().Set("Content-Length", "10000")
			for _, piece := range []string{"01", "234567", "89"} {
				_, _ = io.WriteString(w, piece)
			}
			select {
			case <-r.Context().Done():
				cut = true
				panic(http.ErrAbortHandler) // as the proxy does
			case <-time.After(time.Minute):
			}
		}), newRequest("GET", nil))
		if err != nil || rec.content.String() != "234" || !cut {
			t.Errorf("%v, content %q, cut off: %t", err, rec.content.String(), cut)
		}
		rec.expect(t, "label 200", "header 206", "content", "flush")
		if h := rec.header; h.Get("Content-Range") != "bytes 2-4/10000" || h.Get("Content-Length") != "3" || h["Content-Digest"] != nil {
			t.Errorf("%v", h)
		}
	})
}

// TestSpool: content that parts are wanted of, and that is too large to be buffered, is kept
// in a file until its tag is known. Without room, too late, or too large, it is sent without
// a tag, as it would be otherwise.
func TestSpool(t *testing.T) {
	content := strings.Repeat("0123456789", 10)
	for _, tt := range []struct {
		name   string
		parts  bool
		length string
		wait   time.Duration
		full   bool
		kept   bool
	}{
		{name: "announced", parts: true, length: "100", kept: true},
		{name: "not announced", parts: true, kept: true},
		{name: "nobody wants parts", length: "100"},
		{name: "nobody wants parts, not announced"},
		{name: "too large", parts: true, length: "99999999999"},
		{name: "slow, but in time", parts: true, length: "100", wait: 5 * time.Second, kept: true},
		{name: "too slow", parts: true, length: "100", wait: time.Minute},
		{name: "no room", parts: true, length: "100", full: true},
		{name: "no room, not announced", parts: true, full: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range cap(spoolRoom) {
				if tt.full {
					spoolRoom <- struct{}{}
				}
			}
			synctest.Test(t, func(t *testing.T) {
				rec := newRecorder()
				c := NewCapture(rec, both, rec)
				c.BufferParts = tt.parts
				err := c.Serve(handler(func(w http.ResponseWriter, _ *http.Request) {
					if tt.length != "" {
						w.Header().Set("Content-Length", tt.length)
					}
					_, _ = io.WriteString(w, content[:50])
					time.Sleep(tt.wait)
					_, _ = io.WriteString(w, content[50:])
				}), newRequest("GET", nil))
				if err != nil || rec.content.String() != content || len(rec.shown) != 1 {
					t.Fatalf("%v, %d bytes, %v", err, rec.content.Len(), rec.events)
				}
				s := rec.shown[0]
				if (s.Spooled != nil) != tt.kept || s.ETag.Valid != tt.kept || s.Untagged == tt.kept {
					t.Errorf("%+v", s)
				}
				if !tt.kept && len(rec.late) != 1 {
					t.Error("the tag wasn't reported later")
				}
				c.Close()
				c.Close()
			})
			for range cap(spoolRoom) {
				if tt.full {
					<-spoolRoom
				}
			}
			if len(spoolRoom) > 0 {
				t.Errorf("%d files are left", len(spoolRoom))
			}
		})
	}
}

// TestSpoolDropped: the file outlives a response that was dropped, until Close.
func TestSpoolDropped(t *testing.T) {
	content := strings.Repeat("0123456789", 10)
	rec := newRecorder()
	rec.drop = true
	c := NewCapture(rec, both, rec)
	c.BufferParts = true
	if err := c.Serve(responding(200, content), newRequest("GET", nil)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(rec.shown[0].Spooled)
	if string(got) != content || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	c.Close()
	if _, err := rec.shown[0].Spooled.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("the file is still open")
	}
}

// TestSpoolBounds: a spool accepts no more than its bound, and what the disk takes.
func TestSpoolBounds(t *testing.T) {
	s := newResponseSpool(spoolRoom)
	defer s.close()
	s.size = maxSpooled - 1
	if !s.write([]byte("x")) || s.write([]byte("x")) {
		t.Error("the bound doesn't hold")
	}
	broken := &responseSpool{}
	broken.file, _ = os.Open(os.DevNull)
	if broken.write([]byte("x")) {
		t.Error("an error is taken for a success")
	}
	_ = broken.file.Close()
}

// TestAllowsParts: whether parts can be had under the tag that a response gets.
func TestAllowsParts(t *testing.T) {
	pointer, err := ParsePointer("/v")
	if err != nil {
		t.Fatal(err)
	}
	json := Deriver{Sources: []Source{{Kind: SourceJSON, Pointers: []Pointer{pointer}}, {Kind: SourceBody}}, Limit: testLimit}
	now := time.Now()
	for _, tt := range []struct {
		d      Deriver
		fields []string
		want   bool
	}{
		{both, []string{"ETag", `"own"`, "Content-Length", "99999999999"}, true},
		{both, []string{"Content-Length", "11"}, true},
		{both, []string{"Content-Length", "99999999999"}, false},
		{both, nil, true},
		{json, []string{"Content-Type", "application/json"}, false},
		{json, []string{"Content-Type", "application/json", "Content-Length", "11"}, true}, // too long for JSON
		{json, []string{"Content-Type", "text/plain"}, true},
		{deriver(SourceVersion), nil, false},
		{deriver(SourceUpstream), nil, true},
	} {
		h := make(http.Header)
		for i := 0; i < len(tt.fields); i += 2 {
			h.Set(tt.fields[i], tt.fields[i+1])
		}
		if got := tt.d.AllowsParts(h, now); got != tt.want {
			t.Errorf("%s, %v: %t", tt.d.Scheme(), h, got)
		}
	}
}
