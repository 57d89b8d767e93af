package docs_test

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// The README is an introduction: what is longer belongs into docs/.
func TestReadmeHasAtMost250Lines(t *testing.T) {
	if n := len(readDocument(t, "README.md").lines); n > 250 {
		t.Errorf("it has %d", n)
	}
}

// A link within the repository leads to a file that exists, and to a heading in it.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	byPath := make(map[string]document)
	for _, d := range documents(t) {
		byPath[d.path] = d
	}
	links := 0
	for _, d := range byPath {
		for _, l := range d.lines {
			if l.code {
				continue
			}
			for _, m := range linkTarget.FindAllStringSubmatch(l.text, -1) {
				if strings.HasPrefix(m[1], "https://") || strings.HasPrefix(m[1], "http://") {
					continue
				}
				links++
				file, anchor, hasAnchor := strings.Cut(m[1], "#")
				to := path.Join(path.Dir(d.path), file)
				if file == "" {
					to = d.path
				}
				if _, err := os.Stat(filepath.Join(root, to)); err != nil {
					t.Errorf("%s:%d: %s doesn't exist", d.path, l.number, m[1])
				} else if target, isDocument := byPath[to]; hasAnchor && (!isDocument || !target.anchors()[anchor]) {
					t.Errorf("%s:%d: %s has no heading for #%s", d.path, l.number, to, anchor)
				}
			}
		}
	}
	if links < 50 {
		t.Errorf("found only %d links", links)
	}
}

// Every page of the documentation can be reached from the README.
func TestEveryPageIsLinkedFromTheReadme(t *testing.T) {
	readme, pages := readDocument(t, "README.md").text(), 0
	for _, d := range documents(t) {
		if strings.HasPrefix(d.path, "docs/") {
			pages++
			if !strings.Contains(readme, "]("+d.path+")") {
				t.Errorf("the README doesn't link to %s", d.path)
			}
		}
	}
	if pages == 0 {
		t.Error("there are no pages")
	}
}
