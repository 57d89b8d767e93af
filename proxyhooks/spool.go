package proxyhooks

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrSpool means that request content could not be kept in a temporary file.
var ErrSpool = errors.New("keeping the request content in a temporary file")

// spoolContent copies content to a temporary file. It returns the file, positioned at
// its beginning, and the number of bytes copied.
func spoolContent(content io.Reader) (file *os.File, n int64, err error) {
	file, err = os.CreateTemp("", "caddy-preconditions-*")
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	_ = os.Remove(file.Name()) // where the system allows it, the open file is enough
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	source := &errorRecorder{Reader: content}
	if n, err = io.Copy(file, source); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil && source.err == nil {
		err = fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return file, n, err
}

// errorRecorder records the error of a source, which io.Copy doesn't tell apart from
// an error of the destination.
type errorRecorder struct {
	io.Reader
	err error
}

func (r *errorRecorder) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
