package proxyhooks

import (
	"cmp"
	"io"
	"net/http"
	"os"
	"time"
)

// Content that exceeds the limit of a Deriver can be spooled to a temporary file until its
// tag is known, so that parts of it can be sent under that tag. These are the bounds.
const (
	// maxSpooled is the largest content that is spooled.
	maxSpooled = 64 << 20
	// maxSpools is how many responses are spooled at once.
	maxSpools = 16
	// spoolPatience is how long a client waits for the whole content.
	spoolPatience = 10 * time.Second
)

// spoolRoom has one element for each response that is being spooled.
var spoolRoom = make(chan struct{}, maxSpools)

// responseSpool is a temporary file with the content of a response.
type responseSpool struct {
	file *os.File
	size int64
	room chan struct{}
}

// newResponseSpool returns an empty spool, or nil if there is no room for one.
func newResponseSpool(room chan struct{}) *responseSpool {
	select {
	case room <- struct{}{}:
	default:
		return nil
	}
	file, err := os.CreateTemp("", "caddy-preconditions-*")
	if err != nil {
		<-room
		return nil
	}
	_ = os.Remove(file.Name()) // where the system allows it, the open file is enough
	return &responseSpool{file: file, room: room}
}

// write appends p, and reports whether that was possible within the bounds. If not, the
// spool still has what was written before.
func (s *responseSpool) write(p []byte) bool {
	if s.size+int64(len(p)) > maxSpooled {
		return false
	}
	if _, err := s.file.WriteAt(p, s.size); err != nil {
		return false
	}
	s.size += int64(len(p))
	CountSpooled(int64(len(p)))
	return true
}

// writeAll appends content, and reports whether that was possible.
func (s *responseSpool) writeAll(content *pieces) bool {
	for _, piece := range content.list {
		if !s.write(piece) {
			return false
		}
	}
	return true
}

// content returns the content from its beginning.
func (s *responseSpool) content() *io.SectionReader { return io.NewSectionReader(s.file, 0, s.size) }

// close removes the file. It may be called again, and of a nil spool.
func (s *responseSpool) close() {
	if s == nil || s.file == nil {
		return
	}
	_ = s.file.Close()
	_ = os.Remove(s.file.Name())
	s.file = nil
	CountSpooled(-s.size)
	<-s.room
}

// beginSpool starts to spool a response that parts are wanted of, with what is buffered:
// because its tag is made from the content, or because only its end tells its length. It
// reports false if that isn't possible, and then nothing has changed.
func (c *Capture) beginSpool() bool {
	header := c.client.Header()
	length, announced := ContentLength(header)
	if !c.BufferParts || c.isHead || c.status != http.StatusOK || MustNotBuffer(header) ||
		announced && (c.derivation.Need != NeedContent || length > maxSpooled) {
		return false
	}
	spool := newResponseSpool(spoolRoom)
	if spool == nil || !spool.writeAll(&c.buffered) {
		spool.close()
		return false
	}
	c.buffered.drop()
	c.spool = spool
	if c.timer != nil {
		c.timer.Stop()
	}
	c.hold(cmp.Or(c.SpoolPatience, spoolPatience), c)
	return true
}
