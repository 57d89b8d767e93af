package proxyhooks

import (
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
)

// heldBytes is how much content all exchanges of this process hold in memory.
var heldBytes atomic.Int64

// HeldBytes returns how many bytes of content all exchanges of this process hold in memory.
func HeldBytes() int64 { return heldBytes.Load() }

// Memory counts the content that one exchange holds in memory. What all exchanges of the
// process hold together has a bound. A nil *Memory neither counts nor has a bound.
type Memory struct {
	limit int64
	full  func()

	mu     sync.Mutex // protects everything below
	held   int64
	closed bool
}

// NewMemory returns a Memory that refuses to hold more once all exchanges of the process
// hold limit bytes. It then calls full, which may be nil and must not block. The caller must
// call Close when the exchange is over.
func NewMemory(limit int64, full func()) *Memory { return &Memory{limit: limit, full: full} }

// Part returns a Memory for a part of the exchange that ends earlier.
func (m *Memory) Part() *Memory {
	if m == nil {
		return nil
	}
	return NewMemory(m.limit, m.full)
}

// Take counts n more bytes. It reports false if they must not be held.
func (m *Memory) Take(n int64) bool { return m == nil || m.take(n, m.limit) }

// takeForProbe is Take for what no client can hold on to. It may use a quarter more: clients
// that have filled the memory must not keep others from writing.
func (m *Memory) takeForProbe(n int64) bool { return m == nil || m.take(n, m.limit+m.limit/4) }

func (m *Memory) take(n, limit int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	for {
		held := heldBytes.Load()
		if held+n > limit {
			if m.full != nil {
				m.full()
			}
			return false
		}
		if heldBytes.CompareAndSwap(held, held+n) {
			m.held += n
			return true
		}
	}
}

// insist counts n more bytes that are held in any case, for a moment.
func (m *Memory) insist(n int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.held += n
		heldBytes.Add(n)
	}
}

// Give counts n bytes less.
func (m *Memory) Give(n int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n = min(n, m.held)
	m.held -= n
	heldBytes.Add(-n)
}

// Close ends the counting: nothing is held any more.
func (m *Memory) Close() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	heldBytes.Add(-m.held)
	m.held, m.closed = 0, true
}

// The sizes of the pieces in which content is held.
const (
	minPiece = 512
	maxPiece = 64 << 10
)

// pieces is content that is held in memory, piece by piece: what has been sent can be let go
// before the rest.
type pieces struct {
	memory *Memory
	probe  bool // whether a probe holds it

	list  [][]byte
	size  int64
	lent  bool         // whether somebody else may still read the content
	taken atomic.Int64 // of the memory; release may be called while somebody reads
}

// write appends p. It reports false if p must not be held; then nothing has changed.
func (c *pieces) write(p []byte) bool {
	before, length, free := len(c.list), 0, 0
	if before > 0 {
		last := c.list[before-1]
		length, free = len(last), cap(last)-len(last)
	}
	for missing := len(p) - free; missing > 0; {
		added := c.add(missing)
		if added == 0 {
			c.undo(before)
			return false
		}
		missing -= added
	}
	c.size += int64(len(p))
	if free > 0 {
		n := min(free, len(p))
		c.list[before-1] = append(c.list[before-1][:length], p[:n]...)
		p = p[n:]
	}
	for i := before; i < len(c.list); i++ {
		n := min(cap(c.list[i]), len(p))
		c.list[i] = append(c.list[i], p[:n]...)
		p = p[n:]
	}
	return true
}

// add appends an empty piece for about n bytes. It returns its capacity, or zero if it must
// not be held.
func (c *pieces) add(n int) int {
	if last := len(c.list) - 1; last >= 0 {
		n = max(n, 2*cap(c.list[last]))
	}
	n = min(max(n, minPiece), maxPiece)
	if n > minPooled {
		n = 1 << bits.Len(uint(n-1)) // a size that has a pool
	}
	take := c.memory.Take
	if c.probe {
		take = c.memory.takeForProbe
	}
	if !take(int64(n)) {
		return 0
	}
	c.taken.Add(int64(n))
	c.list = append(c.list, newPiece(n))
	return n
}

// piecePools hold pieces to be used again: of minPooled bytes, twice that, and so on up to
// maxPiece. Smaller ones cost less than that.
var piecePools [5]sync.Pool

const minPooled = 4 << 10

// poolOf returns the pool of the pieces of a size, or nil if there is none.
func poolOf(size int) *sync.Pool {
	if size < minPooled || size > maxPiece || size&(size-1) != 0 {
		return nil
	}
	return &piecePools[bits.Len(uint(size/minPooled))-1]
}

// newPiece returns an empty piece.
func newPiece(size int) []byte {
	if pool := poolOf(size); pool != nil {
		if piece, ok := pool.Get().(*[]byte); ok {
			return *piece
		}
	}
	return make([]byte, 0, size)
}

// reuse gives a piece back that nobody reads any more.
func reuse(piece []byte) {
	if pool := poolOf(cap(piece)); pool != nil {
		piece = piece[:0]
		pool.Put(&piece)
	}
}

// undo drops the pieces from the given one on.
func (c *pieces) undo(from int) {
	for _, piece := range c.list[from:] {
		c.give(int64(cap(piece)))
	}
	c.list = c.list[:from]
}

// fill reads from r until its end, or until more than limit bytes are held. It reports whether
// that was all. Expected is how many bytes may be expected, or less than zero.
func (c *pieces) fill(r io.Reader, limit, expected int64) (whole bool, err error) {
	r = io.LimitReader(r, limit+1)
	next := int(min(expected, limit, maxPiece-1)) + 1 // one more, to meet the end
	for c.size <= limit {
		last := len(c.list) - 1
		if last < 0 || len(c.list[last]) == cap(c.list[last]) {
			if c.add(next) == 0 {
				return false, nil
			}
			last, next = len(c.list)-1, minPiece
		}
		piece := c.list[last]
		n, err := r.Read(piece[len(piece):cap(piece)])
		c.list[last], c.size = piece[:len(piece)+n], c.size+int64(n)
		switch {
		case err == io.EOF:
			return c.size <= limit, nil
		case err != nil:
			return false, err
		}
	}
	return false, nil
}

// give counts n bytes less, unless release has done so.
func (c *pieces) give(n int64) {
	for {
		taken := c.taken.Load()
		n = min(n, taken)
		if c.taken.CompareAndSwap(taken, taken-n) {
			c.memory.Give(n)
			return
		}
	}
}

// release counts the content as let go. Whoever reads it isn't disturbed.
func (c *pieces) release() { c.memory.Give(c.taken.Swap(0)) }

// drop lets the content go.
func (c *pieces) drop() {
	c.list, c.size, c.lent = nil, 0, false
	c.release()
}

// recycle lets the content go. Its pieces are used again, unless they were lent: net/http
// may go on reading what a Write over HTTP/2 was given after that has failed.
func (c *pieces) recycle() {
	if !c.lent {
		for _, piece := range c.list {
			reuse(piece)
		}
	}
	c.drop()
}

// moveTo moves the content to an empty holder.
func (c *pieces) moveTo(to *pieces) {
	to.memory, to.list, to.size = c.memory, c.list, c.size
	to.taken.Store(c.taken.Swap(0))
	c.list, c.size = nil, 0
}

// shift takes the first piece out. Its bytes are still counted.
func (c *pieces) shift() []byte {
	first := c.list[0]
	c.list[0] = nil
	c.list = c.list[1:]
	c.size -= int64(len(first))
	return first
}

// sendTo writes the content to w, and lets each piece go once it is written.
func (c *pieces) sendTo(w io.Writer) error {
	defer c.drop()
	for len(c.list) > 0 {
		piece := c.shift()
		if _, err := w.Write(piece); err != nil {
			return err
		}
		c.give(int64(cap(piece)))
		reuse(piece)
	}
	return nil
}

// bytes returns the content in one piece, which it then is. It is lent from then on.
func (c *pieces) bytes() []byte {
	c.lent = true
	switch len(c.list) {
	case 0:
		return nil
	case 1:
	default:
		content, done := c.copied()
		defer done()
		before := c.taken.Load()
		c.list = [][]byte{content}
		c.memory.insist(int64(len(content)))
		c.taken.Add(int64(len(content)))
		c.give(before)
	}
	return c.list[0]
}

// copied returns the content in one piece, until done is called.
func (c *pieces) copied() (content []byte, done func()) {
	switch len(c.list) {
	case 0:
		return nil, func() {}
	case 1:
		return c.list[0], func() {}
	}
	c.memory.insist(c.size)
	content = make([]byte, 0, c.size)
	for _, piece := range c.list {
		content = append(content, piece...)
	}
	size := c.size
	return content, func() { c.memory.Give(size) }
}

// ReadAt implements [io.ReaderAt].
func (c *pieces) ReadAt(p []byte, at int64) (n int, err error) {
	for _, piece := range c.list {
		size := int64(len(piece))
		if at < size {
			copied := copy(p[n:], piece[at:])
			n, at = n+copied, 0
			if n == len(p) {
				return n, nil
			}
			continue
		}
		at -= size
	}
	return n, io.EOF
}

// consumed returns a reader of the content that lets each piece go once it is read.
func (c *pieces) consumed() io.Reader { return &consumer{pieces: c} }

type consumer struct {
	*pieces
	piece []byte
	read  int
}

func (c *consumer) Read(p []byte) (int, error) {
	for c.read == len(c.piece) {
		c.give(int64(cap(c.piece)))
		reuse(c.piece)
		c.piece, c.read = nil, 0
		if len(c.list) == 0 {
			return 0, io.EOF
		}
		c.piece = c.shift()
	}
	n := copy(p, c.piece[c.read:])
	c.read += n
	return n, nil
}
