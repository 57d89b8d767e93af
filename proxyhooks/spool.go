package proxyhooks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// ErrSpool means that request content could not be kept in a temporary file.
var ErrSpool = errors.New("keeping the request content in a temporary file")

// The sizes of the buffers for content that goes to a file. In small pieces it takes twice as
// long.
const (
	smallCopy = 32 << 10
	largeCopy = 256 << 10
)

// copyBuffers hold large buffers for content that goes to a file or comes from one.
var copyBuffers = sync.Pool{New: func() any { return new(make([]byte, largeCopy)) }}

// spoolContent copies content to a temporary file. It returns the file and the number of
// bytes copied.
func spoolContent(content io.Reader, memory *Memory) (file *os.File, n int64, err error) {
	file, err = os.CreateTemp("", "caddy-preconditions-*")
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	_ = os.Remove(file.Name()) // where the system allows it, the open file is enough
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
			CountSpooled(-n)
		}
	}()
	var buffer []byte
	if memory.Take(largeCopy) { // the client may be slow
		large := copyBuffers.Get().(*[]byte)
		defer func() {
			copyBuffers.Put(large)
			memory.Give(largeCopy)
		}()
		buffer = *large
	} else {
		buffer = make([]byte, smallCopy)
	}
	for {
		read, err := fill(buffer, content)
		if _, err := file.Write(buffer[:read]); err != nil {
			return file, n, fmt.Errorf("%w: %w", ErrSpool, err)
		}
		n += int64(read)
		CountSpooled(int64(read))
		if err == io.EOF {
			return file, n, nil
		}
		if err != nil {
			return file, n, err
		}
	}
}

// fill reads until the buffer is full or r returns an error. Unlike io.ReadFull it doesn't
// confuse the end of content with the error of content that broke off.
func fill(buffer []byte, r io.Reader) (n int, err error) {
	for n < len(buffer) && err == nil {
		var read int
		read, err = r.Read(buffer[n:])
		n += read
	}
	return n, err
}
