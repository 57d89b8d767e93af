// Package spelling finds the word that a misspelt one was meant to be.
package spelling

import (
	"fmt"
	"strings"
)

// Check returns an error unless word is one of words. It says what may have been meant.
func Check(word string, words ...string) error {
	for _, w := range words {
		if word == w {
			return nil
		}
	}
	return fmt.Errorf("must be %s, not %q%s", strings.Join(words, " or "), word, Meant(word, words...))
}

// Meant returns a question to end a message with that refuses word: whether the nearest of
// words was meant. It is empty if none is near.
func Meant(word string, words ...string) string {
	if w := Nearest(word, words...); w != "" {
		return " (did you mean " + w + "?)"
	}
	return ""
}

// Nearest returns the one of words that word was most likely meant to be, or nothing. A
// third of the letters may be wrong, and their case doesn't matter.
func Nearest(word string, words ...string) (nearest string) {
	if word == "" || len(word) > maxWord {
		return ""
	}
	least := 1 << 30
	for _, w := range words {
		d := distance(strings.ToLower(word), strings.ToLower(w))
		if most := max(1, max(len(word), len(w))/3); d <= most && d < least {
			nearest, least = w, d
		}
	}
	return nearest
}

// Slip reports whether one letter makes the difference, or two that were exchanged.
func Slip(word, meant string) bool {
	return len(word) <= maxWord && distance(strings.ToLower(word), strings.ToLower(meant)) == 1
}

// maxWord bounds the work. No word that is meant is longer.
const maxWord = 64

// distance returns how many letters must be inserted, left out, replaced or exchanged with
// their neighbour to make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
			default:
				differs := 1
				if a[i-1] == b[j-1] {
					differs = 0
				}
				rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+differs)
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
				}
			}
		}
	}
	return rows[len(a)][len(b)]
}
