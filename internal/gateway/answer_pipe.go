package gateway

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// answerPipe passes the content of an answer on, from the backend to whoever changes it. While
// as much as the limit is in memory, the backend waits. After keepAll, it waits for nobody: what
// finds no room in memory goes to a temporary file.
type answerPipe struct {
	memory *proxyhooks.Memory
	limit  int64 // of bytes in memory

	mu      sync.Mutex // protects everything below
	moved   *sync.Cond // something has changed
	kept    bytes.Buffer
	counted int64 // of the memory
	file    *os.File
	size    int64 // of what was written to the file
	read    int64 // of that
	all     bool  // keepAll was called
	end     error // io.EOF once the answer is complete
	gone    error // why nobody reads any more
}

const (
	// maxAnswer is how much content goes to a temporary file. Then the backend waits.
	maxAnswer = 1 << 30
	// minWindow is how much may be in memory, however little room there is.
	minWindow = 16 << 10
)

func newAnswerPipe(memory *proxyhooks.Memory, limit int64) *answerPipe {
	p := &answerPipe{memory: memory, limit: max(limit, minWindow)}
	p.moved = sync.NewCond(&p.mu)
	return p
}

// Write takes content from the backend. It fails if nobody reads it any more.
func (p *answerPipe) Write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n < len(b) && err == nil {
		room := p.room(int64(len(b) - n))
		switch {
		case p.gone != nil:
			return n, p.gone
		case room > 0:
			p.kept.Write(b[n : n+int(room)])
			n += int(room)
			p.moved.Broadcast()
		case p.all && p.size < maxAnswer:
			var spilt int
			spilt, err = p.spill(b[n:])
			n += spilt
			p.moved.Broadcast()
		default:
			p.moved.Wait()
		}
	}
	return n, err
}

// room returns how many of some bytes may be kept in memory.
func (p *answerPipe) room(wanted int64) int64 {
	if p.file != nil {
		return 0 // what is in it comes first
	}
	held := int64(p.kept.Len())
	wanted = min(wanted, p.limit-held)
	if more := held + wanted - minWindow - p.counted; more > 0 {
		if !p.memory.Take(more) {
			return min(wanted, minWindow+p.counted-held)
		}
		p.counted += more
	}
	return wanted
}

// spill writes to the file.
func (p *answerPipe) spill(b []byte) (int, error) {
	if p.file == nil {
		file, err := os.CreateTemp("", "caddy-preconditions-*")
		if err != nil {
			return 0, err
		}
		_ = os.Remove(file.Name()) // where the system allows it, the open file is enough
		p.file = file
	}
	n, err := p.file.WriteAt(b[:min(int64(len(b)), maxAnswer-p.size)], p.size)
	p.size += int64(n)
	proxyhooks.CountSpooled(int64(n))
	return n, err
}

// Read waits for content. Its error is io.EOF at the end of an answer that is complete.
func (p *answerPipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.kept.Len() > 0:
			p.moved.Broadcast()
			return p.kept.Read(b)
		case p.read < p.size:
			n, err := p.file.ReadAt(b[:min(int64(len(b)), p.size-p.read)], p.read)
			p.read += int64(n)
			if n > 0 {
				err = nil
			}
			return n, err
		case p.end != nil:
			return 0, p.end
		}
		p.moved.Wait()
	}
}

// keepAll lets the backend send the rest of the answer, whatever becomes of it, and waits for
// the end. A backend that handles one request at a time can then be asked what to change in
// the answer. Its error says why the answer has no end.
func (p *answerPipe) keepAll() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = true
	p.moved.Broadcast()
	for p.end == nil {
		p.moved.Wait()
	}
	if errors.Is(p.end, io.EOF) {
		return nil
	}
	return p.end
}

// finish says that no more content comes, and why. It is io.EOF if the answer is complete.
func (p *answerPipe) finish(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = why
	p.moved.Broadcast()
}

// abandon says that nobody reads any more, and why.
func (p *answerPipe) abandon(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = why
	p.moved.Broadcast()
}

func (p *answerPipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		_ = p.file.Close()
		_ = os.Remove(p.file.Name())
		proxyhooks.CountSpooled(-p.size)
		p.size = 0
	}
}
