package proxyhooks

import (
	"mime"
	"testing"
)

// The media type is the one that package mime finds.
func TestMediaType(t *testing.T) {
	for _, value := range []string{
		"", "text/plain", "application/problem+json", "application/vnd.x-1.2+json", "text/event-stream", "a/b/c", "/a", "a/", "/", "a",
		"Text/Plain", " text/plain ", "text/plain; charset=utf-8", "text/plain;", "text /plain", "text/pl ain", "text/plain, text/html",
	} {
		if want, _, _ := mime.ParseMediaType(value); mediaType(value) != want {
			t.Errorf("%q: %q, want %q", value, mediaType(value), want)
		}
	}
}
