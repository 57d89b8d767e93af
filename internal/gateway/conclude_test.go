package gateway

import (
	"io"
	"testing"
)

// Content is kept up to the limit and no further, whichever way it is written.
func TestBoundedBuffer(t *testing.T) {
	for _, tt := range []struct {
		parts []string
		kept  string
		fits  bool
	}{
		{[]string{"123", "45"}, "12345", true},
		{[]string{"123", "456"}, "123", false},
		{[]string{"123456"}, "", false},
		{nil, "", true},
	} {
		b := &boundedBuffer{left: 5}
		var err error
		for _, part := range tt.parts {
			_, err = io.WriteString(b, part)
		}
		if b.kept.String() != tt.kept || (b.left >= 0) != tt.fits || (err == nil) != tt.fits {
			t.Errorf("%q: %q, left %d, %v", tt.parts, b.kept.String(), b.left, err)
		}
	}
}
