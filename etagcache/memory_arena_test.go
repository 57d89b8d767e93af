package etagcache

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Blocks keep their content, however many come and go, and what is given back is used again.
func TestArena(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var a arena
	type stored struct {
		block
		content []byte
	}
	var all []stored
	content := func() []byte {
		n := r.IntN(300)
		if r.IntN(20) == 0 {
			n = r.IntN(5_000)
		}
		return bytes.Repeat([]byte{byte(r.Uint32())}, n)
	}
	for round := range 20_000 {
		grow := round%4_000 < 2_000
		switch i := r.IntN(len(all) + 1); {
		case i == len(all):
			c := content()
			all = append(all, stored{a.store(block{}, c), c})
		case grow:
			c := content()
			all[i] = stored{a.store(all[i].block, c), c}
		default:
			a.release(all[i].block)
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
		}
		if grow {
			c := content()
			all = append(all, stored{a.store(block{}, c), c})
		}
	}
	for i, s := range all {
		if !bytes.HasPrefix(a.bytes(s.block), s.content) {
			t.Fatalf("block %d of %d bytes has changed", i, len(s.content))
		}
	}
	most := len(a.pages)
	for _, s := range all {
		a.release(s.block)
	}
	for _, p := range a.pages {
		if p.data != nil {
			t.Fatalf("a page of blocks of %d bytes is kept", blockSizes[p.size])
		}
	}
	for range 1_000 {
		a.store(block{}, content())
	}
	if len(a.pages) > most {
		t.Errorf("%d pages, although %d were given back", len(a.pages), most)
	}
}

// At most a quarter of a block is unused, or 15 bytes.
func TestBlockSizes(t *testing.T) {
	for n := 1; n < 5_000; n++ {
		size := sizeFor(n)
		if size == ownPage {
			if n <= 2048 {
				t.Errorf("%d bytes have a page of their own", n)
			}
			continue
		}
		if got := int(blockSizes[size]); got < n || got-n > max(15, got/4) {
			t.Errorf("%d bytes are in a block of %d", n, got)
		}
	}
}
