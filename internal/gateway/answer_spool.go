package gateway

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// answerSpool keeps the content of an answer until it is complete: in memory, and in a
// temporary file from a limit on. A backend that handles one request at a time can then be
// asked what to change in the answer.
type answerSpool struct {
	memory *proxyhooks.Memory
	limit  int64
	kept   bytes.Buffer
	file   *os.File
	size   int64 // of what is in the file
}

// maxAnswer is how much content goes to a temporary file.
const maxAnswer = 1 << 30

var errAnswerTooLarge = errors.New("the answer is too large")

func (s *answerSpool) Write(p []byte) (int, error) {
	if s.file == nil && int64(s.kept.Len()+len(p)) <= s.limit && s.memory.Take(int64(len(p))) {
		return s.kept.Write(p)
	}
	if s.file == nil {
		file, err := os.CreateTemp("", "caddy-preconditions-*")
		if err != nil {
			return 0, err
		}
		_ = os.Remove(file.Name()) // where the system allows it, the open file is enough
		s.file = file
	}
	if s.size+int64(len(p)) > maxAnswer {
		return 0, errAnswerTooLarge
	}
	n, err := s.file.WriteAt(p, s.size)
	s.size += int64(n)
	proxyhooks.CountSpooled(int64(n))
	return n, err
}

// content returns everything from its beginning.
func (s *answerSpool) content() io.Reader {
	if s.file == nil {
		return &s.kept
	}
	return io.MultiReader(&s.kept, io.NewSectionReader(s.file, 0, s.size))
}

func (s *answerSpool) close() {
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name())
		proxyhooks.CountSpooled(-s.size)
		s.size = 0
	}
}
