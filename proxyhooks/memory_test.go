package proxyhooks

import (
	"bytes"
	"testing"
)

// Content that somebody else may still read isn't overwritten: its pieces are never used again.
func TestLentPieces(t *testing.T) {
	content := bytes.Repeat([]byte("a"), minPooled)
	for range 100 {
		var c, next pieces
		c.write(content)
		lent := c.bytes()
		c.recycle()
		next.write(bytes.Repeat([]byte("b"), minPooled))
		if !bytes.Equal(lent, content) {
			t.Fatal("overwritten")
		}
		next.recycle()
	}
}
