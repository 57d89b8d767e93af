package proxyhooks

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"os"
)

// maxPreallocated is how much memory, in bytes, is allocated on the strength of an
// announced length alone.
const maxPreallocated = 64 << 10

// ReadAhead reads the request content and replaces r.Body with a copy of it. After that,
// a client that sends slowly or disconnects can't delay others.
//
// It keeps up to limit bytes in memory. If there is more, the rest depends on spool: if
// true, all of the content goes to a temporary file, which exists until done is called;
// if false, the rest is read from the client later, and so is all of what the client calls
// a stream, such as gRPC. A write that others must wait for needs spool, because what the
// client calls its content is no reason to keep them waiting.
//
// The caller must call done when the content is no longer needed. An error wraps
// [ErrSpool] if the temporary file failed; otherwise it is the error of r.Body.
func ReadAhead(r *http.Request, limit int64, spool bool) (done func(), err error) {
	done = func() {}
	if !hasContent(r) || !spool && mustStream(r.Header) {
		return done, nil
	}
	var head bytes.Buffer
	if r.ContentLength > 0 {
		head.Grow(int(min(r.ContentLength, limit, maxPreallocated)) + bytes.MinRead)
	}
	n, err := head.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return done, err
	}
	body := aheadBody{Closer: r.Body, content: inMemory(head.Bytes())}
	if n > limit {
		all := io.MultiReader(&head, r.Body)
		body.Reader, body.content = all, nil
		if spool {
			var file *os.File
			if file, n, err = spoolContent(all); err != nil {
				return done, err
			}
			body.content = file
			done = func() { _ = file.Close(); _ = os.Remove(file.Name()) }
		}
	}
	if body.content != nil {
		body.size = n
		body.Reader = body.reader()
	}
	if body.content != nil && r.ContentLength < 0 && len(r.Trailer) == 0 {
		r.ContentLength = n
		r.TransferEncoding = nil
	}
	r.Body = body
	return done, nil
}

// ContentDigest returns the SHA-256 of the request content. It reports false if ReadAhead
// hasn't read all of it.
func ContentDigest(r *http.Request) (sum [sha256.Size]byte, ok bool) {
	if !hasContent(r) {
		return sha256.Sum256(nil), true
	}
	if ContentPending(r) {
		return sum, false
	}
	body := r.Body.(aheadBody)
	if content, ok := body.content.(inMemory); ok {
		return sha256.Sum256(content), true
	}
	h := sha256.New()
	if _, err := io.Copy(h, body.reader()); err != nil {
		return sum, false // reading the content to forward it will return the error
	}
	return [sha256.Size]byte(h.Sum(nil)), true
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
	if content, ok := b.content.(inMemory); ok {
		return bytes.NewReader(content)
	}
	return io.NewSectionReader(b.content, 0, b.size)
}

// inMemory is content in memory.
type inMemory []byte

func (m inMemory) ReadAt(p []byte, at int64) (int, error) { return bytes.NewReader(m).ReadAt(p, at) }
