package proxyhooks

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// window is the part of a response that is sent while the whole response passes by.
type window struct {
	Part
	size int64 // of the whole content
	at   int64 // how many bytes have passed by
}

// take returns the bytes of p that lie in the part. The bytes follow those of the previous
// call.
func (w *window) take(p []byte) []byte {
	begin := w.at
	w.at += int64(len(p))
	from, to := max(w.first, begin), min(w.last+1, w.at)
	if from >= to {
		return nil
	}
	return p[from-begin : to-begin]
}

// over reports whether the part is complete.
func (w *window) over() bool { return w.at > w.last }

// SendPart makes the Capture send only a part of the content, which has size bytes, with
// status 206 (Partial Content). It may only be called in Label, if Label returns true, for
// a response with status 200 (OK) whose content has not been buffered as a whole.
func (c *Capture) SendPart(p Part, size int64) { c.window = &window{Part: p, size: size} }

// begin sends the header section of a 206, and what is held back of the part.
func (w *window) begin(c *Capture) (err error) {
	header := c.client.Header()
	removeDigests(header)
	header["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%d", w.first, w.last, w.size)}
	header["Content-Length"] = []string{strconv.FormatInt(w.last-w.first+1, 10)}
	c.status = http.StatusPartialContent
	c.client.WriteHeader(c.status)
	if c.spool != nil {
		w.at = c.spool.size
		if to := min(w.last+1, w.at); w.first < to {
			_, err = io.Copy(c.client, io.NewSectionReader(c.spool.file, w.first, to-w.first))
		}
		c.spool.close()
	} else {
		for _, piece := range c.buffered.list {
			if err = w.write(c, piece); err != nil {
				break
			}
		}
		c.buffered.drop()
	}
	if w.over() {
		c.flush()
		c.discard()
	}
	return err
}

// write writes what p has of the part.
func (w *window) write(c *Capture, p []byte) error {
	p = w.take(p)
	if len(p) == 0 {
		return nil
	}
	_, err := c.client.Write(p)
	return err
}

// pass sends what p has of the part. When the part is complete, it lets the client have it,
// and drops the rest of the response.
func (w *window) pass(c *Capture, p []byte) error {
	err := w.write(c, p)
	if !w.over() {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	c.discard()
	return err
}
