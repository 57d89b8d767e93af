package etagcache

import "unsafe"

// row is the part of an entry that has a fixed size. The rest is in a block of an arena. A
// row contains no pointer, so a million of them cost the garbage collector nothing.
type row struct {
	until, used  int64 // as in entry, since the store was made
	length       uint32
	newer, older uint32 // in its list
	same         uint32 // another row whose key has the same hash, or the next free row
	page         uint32 // of the block
	at           uint16
	brief        bool
}

// entrySize is what an entry takes besides its block: its row, and its part of the index.
const entrySize = int64(unsafe.Sizeof(row{})) + 16

const rowsPerPage = 256

// rows holds numbered rows. Number 0 is never used.
type rows struct {
	pages []*[rowsPerPage]row
	begun uint32 // how many have ever been in use
	free  uint32 // the first of those that no longer are
}

func (s *rows) at(number uint32) *row { return &s.pages[number/rowsPerPage][number%rowsPerPage] }

// take returns the number of a row that is empty.
func (s *rows) take() uint32 {
	if number := s.free; number != 0 {
		s.free = s.at(number).same
		*s.at(number) = row{}
		return number
	}
	s.begun++
	if int(s.begun/rowsPerPage) == len(s.pages) {
		s.pages = append(s.pages, new([rowsPerPage]row))
	}
	return s.begun
}

func (s *rows) giveBack(number uint32) {
	*s.at(number) = row{same: s.free}
	s.free = number
}

func (r *row) block() block { return block{r.page, r.at} }

func (r *row) setBlock(b block, length int) {
	r.page, r.at, r.length = b.page, b.at, uint32(length)
}

// recency is a list of rows in the order in which they were used.
type recency struct {
	newest, oldest uint32
	length         int
}

func (r *recency) add(s *rows, number uint32) {
	at := s.at(number)
	at.newer, at.older = 0, r.newest
	if r.newest != 0 {
		s.at(r.newest).newer = number
	} else {
		r.oldest = number
	}
	r.newest = number
	r.length++
}

func (r *recency) remove(s *rows, number uint32) {
	at := s.at(number)
	if at.newer != 0 {
		s.at(at.newer).older = at.older
	} else {
		r.newest = at.older
	}
	if at.older != 0 {
		s.at(at.older).newer = at.newer
	} else {
		r.oldest = at.newer
	}
	r.length--
}
