package caddytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Block is a fenced block of a page of the documentation.
type Block struct {
	Page     string // from the root of the repository, with slashes
	Line     int    // of its opening fence
	Language string
	Text     string // without the indentation of the fence
}

// Blocks returns the blocks of a page.
func Blocks(t testing.TB, page string) (blocks []Block) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root(), page))
	if err != nil {
		t.Fatal(err)
	}
	indent, open := "", (*Block)(nil)
	for i, line := range strings.Split(string(content), "\n") {
		text := strings.TrimLeft(line, " ")
		language, fence := strings.CutPrefix(text, "```")
		switch {
		case fence && open == nil:
			indent = line[:len(line)-len(text)]
			open = &Block{Page: page, Line: i + 1, Language: language}
		case fence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the block has no end", page, open.Line)
	}
	return blocks
}

// Shown returns the one block of a page that has a text. Use literals for both: a test of the
// documentation looks for them, to know which blocks are checked.
func Shown(t testing.TB, page, has string) Block {
	t.Helper()
	var found []Block
	for _, b := range Blocks(t, page) {
		if strings.Contains(b.Text, has) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d blocks with %q, want one", page, len(found), has)
	}
	return found[0]
}
