package proxyhooks

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"os"
)

// ReadAhead reads the request content and replaces r.Body with a copy of it. After that,
// a client that sends slowly or disconnects can't delay others.
//
// It keeps up to limit bytes in memory, or less if memory, which may be nil, has no room
// for it. If there is more, the rest depends on spool: if
// true, all of the content goes to a temporary file, which exists until done is called;
// if false, the rest is read from the client later, and so is all of what the client calls
// a stream, such as gRPC. A write that others must wait for needs spool, because what the
// client calls its content is no reason to keep them waiting.
//
// The caller must call done when the content is no longer needed. An error wraps
// [ErrSpool] if the temporary file failed; otherwise it is the error of r.Body.
func ReadAhead(r *http.Request, limit int64, spool bool, memory *Memory) (done func(), err error) {
	done = func() {}
	if !hasContent(r) || !spool && mustStream(r.Header) {
		return done, nil
	}
	head, first := &pieces{memory: memory}, limit
	if spool && r.ContentLength > limit {
		first = min(limit, largeCopy) // a file is for those who send something
	}
	whole, err := head.fill(r.Body, first, max(0, r.ContentLength))
	if err != nil {
		head.drop()
		return done, err
	}
	done = head.release
	body := aheadBody{Closer: r.Body, content: head, size: head.size}
	if !whole {
		all := io.MultiReader(head.consumed(), r.Body)
		body.Reader, body.content = all, nil
		if spool {
			file, n, err := spoolContent(all, memory)
			head.drop()
			if err != nil {
				return func() {}, err
			}
			body.content, body.size = file, n
			done = func() { _ = file.Close(); _ = os.Remove(file.Name()); CountSpooled(-n) }
		}
	}
	if body.content != nil {
		body.Reader = body.reader()
	}
	if body.content != nil && r.ContentLength < 0 && len(r.Trailer) == 0 {
		r.ContentLength = body.size
		r.TransferEncoding = nil
	}
	r.Body = body
	return done, nil
}

// Content is request content that was read ahead.
type Content struct {
	at   io.ReaderAt
	Size int64
}

// ContentOf returns the content of a request. It reports false if ReadAhead hasn't read all of
// it. The content is valid until the function that ReadAhead returned is called.
func ContentOf(r *http.Request) (content Content, ok bool) {
	switch {
	case !hasContent(r):
		return Content{}, true
	case ContentPending(r):
		return Content{}, false
	default:
		body := r.Body.(aheadBody)
		return Content{body.content, body.size}, true
	}
}

// Digest returns the SHA-256 of the content.
func (c Content) Digest() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if c.Size > 0 {
		_, err = io.Copy(h, io.NewSectionReader(c.at, 0, c.Size))
	}
	return [sha256.Size]byte(h.Sum(nil)), err
}

// Has reports whether the content has p at an offset.
func (c Content) Has(p []byte, at int64) bool {
	if at+int64(len(p)) > c.Size {
		return false
	}
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	for len(p) > 0 {
		own := (*buffer)[:min(len(p), len(*buffer))]
		if n, _ := c.at.ReadAt(own, at); n < len(own) || !bytes.Equal(own, p[:n]) {
			return false
		}
		at, p = at+int64(len(own)), p[len(own):]
	}
	return true
}

// ContentDigest returns the SHA-256 of the request content. It reports false if ReadAhead
// hasn't read all of it.
func ContentDigest(r *http.Request) (sum [sha256.Size]byte, ok bool) {
	content, ok := ContentOf(r)
	if ok {
		sum, err := content.Digest()
		return sum, err == nil // reading the content to forward it will return the error
	}
	return sum, false
}

// ContentPending reports whether content may still come from the client: the request has
// content, and ReadAhead hasn't read all of it.
func ContentPending(r *http.Request) bool {
	body, _ := r.Body.(aheadBody)
	return hasContent(r) && body.content == nil
}

// Reopen replaces r.Body with the whole content again, so that the request can be forwarded
// once more. Whoever still reads the earlier body isn't disturbed. It reports false if
// ReadAhead hasn't read all of the content.
func Reopen(r *http.Request) bool {
	if !hasContent(r) {
		return true
	}
	body, ok := r.Body.(aheadBody)
	if !ok || body.content == nil {
		return false
	}
	body.Reader, body.Closer = body.reader(), io.NopCloser(nil)
	r.Body = body
	return true
}

func hasContent(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// aheadBody reads the content that was read ahead, and closes the client's body.
type aheadBody struct {
	io.Reader
	io.Closer
	content io.ReaderAt // nil if some content is still to be read from the client
	size    int64       // of content
}

// reader returns a reader of the whole content that is independent of all others.
func (b aheadBody) reader() io.Reader {
	return io.NewSectionReader(b.content, 0, b.size)
}
