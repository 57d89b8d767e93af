package etagcache

import "slices"

// arena holds blocks of bytes in pages, so the garbage collector doesn't see a pointer for
// each block. Blocks in one page have one size. A page without blocks is given back.
type arena struct {
	pages []page
	gone  []uint32 // the numbers of pages that were given back
	spare [][]byte // the memory of some of them
	// room holds for each size the first page in the list of those that have room.
	room [len(blockSizes)]uint32
}

// block says where a block is. Page 0 is never used, so the zero value is no block.
type block struct {
	page uint32
	at   uint16
}

type page struct {
	data       []byte
	size       uint8    // the index in blockSizes, or ownPage
	begun      uint16   // how many blocks have ever been in use
	used       uint16   // how many are in use
	free       []uint16 // which of those begun are not
	prev, next uint32   // in the list of pages with room
}

const (
	pageBytes = 8 << 10
	mostSpare = 16  // pages, so an entry that grows and shrinks doesn't need a new one each time
	ownPage   = 255 // the only block of its page, of any size
)

// blockSizes are such that at most a quarter of a block is unused, or 15 bytes.
var blockSizes = [...]uint16{
	16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256,
	288, 320, 352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1168, 1360, 1632, 2048,
}

// sizeFor returns the index of the smallest size that n bytes fit into, or ownPage.
func sizeFor(n int) uint8 {
	if n <= 256 {
		return uint8((max(n, 1) - 1) / 16)
	}
	if n > int(blockSizes[len(blockSizes)-1]) {
		return ownPage
	}
	i, _ := slices.BinarySearch(blockSizes[:], uint16(n))
	return uint8(i)
}

// store returns a block that contains b. It takes the place of old, which may be no block.
func (a *arena) store(old block, b []byte) block {
	size := sizeFor(len(b))
	if old.page == 0 || a.pages[old.page].size != size || size == ownPage {
		a.release(old)
		old = a.allocate(size, len(b))
	}
	copy(a.bytes(old), b)
	return old
}

// size returns how many bytes a block takes.
func (a *arena) size(at block) int64 {
	if at.page == 0 {
		return 0
	}
	return int64(len(a.bytes(at)))
}

// bytes returns the content of a block and what is unused of it.
func (a *arena) bytes(at block) []byte {
	p := &a.pages[at.page]
	if p.size == ownPage {
		return p.data
	}
	size := int(blockSizes[p.size])
	return p.data[int(at.at)*size:][:size]
}

func (a *arena) allocate(size uint8, n int) block {
	if size == ownPage {
		return block{page: a.add(page{data: make([]byte, n), size: size, used: 1})}
	}
	number := a.room[size]
	if number == 0 {
		number = a.add(page{data: a.pageMemory(), size: size})
		a.link(number)
	}
	p := &a.pages[number]
	at := p.begun
	if n := len(p.free); n > 0 {
		at, p.free = p.free[n-1], p.free[:n-1]
	} else {
		p.begun++
	}
	p.used++
	if p.full() {
		a.unlink(number)
	}
	return block{number, at}
}

func (a *arena) release(at block) {
	if at.page == 0 {
		return
	}
	p := &a.pages[at.page]
	full := p.full()
	p.used--
	switch {
	case p.used == 0:
		if p.size != ownPage && !full {
			a.unlink(at.page)
		}
		if p.size != ownPage && len(a.spare) < mostSpare {
			a.spare = append(a.spare, p.data)
		}
		a.pages[at.page] = page{}
		a.gone = append(a.gone, at.page)
		return
	case full:
		a.link(at.page)
	}
	p.free = append(p.free, at.at)
}

func (a *arena) pageMemory() []byte {
	if n := len(a.spare); n > 0 {
		data := a.spare[n-1]
		a.spare = a.spare[:n-1]
		return data
	}
	return make([]byte, pageBytes)
}

func (p *page) full() bool {
	return p.size == ownPage || int(p.used) == pageBytes/int(blockSizes[p.size])
}

// add adds a page and returns its number.
func (a *arena) add(p page) uint32 {
	if n := len(a.gone); n > 0 {
		number := a.gone[n-1]
		a.gone = a.gone[:n-1]
		a.pages[number] = p
		return number
	}
	if len(a.pages) == 0 {
		a.pages = append(a.pages, page{})
	}
	a.pages = append(a.pages, p)
	return uint32(len(a.pages) - 1)
}

// link puts a page at the front of the list of those with room.
func (a *arena) link(number uint32) {
	p := &a.pages[number]
	p.prev, p.next = 0, a.room[p.size]
	if p.next != 0 {
		a.pages[p.next].prev = number
	}
	a.room[p.size] = number
}

func (a *arena) unlink(number uint32) {
	p := &a.pages[number]
	if p.prev != 0 {
		a.pages[p.prev].next = p.next
	} else {
		a.room[p.size] = p.next
	}
	if p.next != 0 {
		a.pages[p.next].prev = p.prev
	}
	p.prev, p.next = 0, 0
}
