package multistatus

import (
	"encoding/xml"
	"errors"
	"io"
)

// The responses that are held at once have as many bytes, or are as many.
const (
	batchBytes     = 256 << 10
	batchResponses = 64
)

// Rewrite copies a multistatus. It calls change with some responses at a time, in their order,
// which may change them, and writes them then. If change returns an error, nothing more is
// written.
func Rewrite(w io.Writer, r io.Reader, change func([]*Response) error) error {
	return (&copier{scanner: newScanner(r), w: w, change: change}).copy()
}

// copier copies a multistatus.
type copier struct {
	*scanner
	w      io.Writer
	change func([]*Response) error
	begun  bool

	responses []*Response
	between   [][]byte // what comes before each of them
	held      int
}

// copy copies the multistatus.
func (c *copier) copy() error {
	for depth := 0; ; {
		t, err := c.next()
		switch {
		case errors.Is(err, io.EOF) && depth == 0 && c.begun:
			return c.flush(c.InputOffset())
		case err != nil:
			return broken(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth == 1 && t.Name == (xml.Name{Space: dav, Local: "response"}) {
				if err := c.response(); err != nil {
					return err
				}
				continue
			}
			if depth == 0 && (c.begun || t.Name != xml.Name{Space: dav, Local: "multistatus"}) {
				return errNotMultistatus
			}
			c.begun = true
			depth++
		case xml.EndElement:
			depth--
		}
	}
}

// response copies a response, whose start was the last token.
func (c *copier) response() error {
	c.between = append(c.between, c.take(c.before))
	r, err := c.scanResponse()
	if err != nil {
		return err
	}
	c.responses = append(c.responses, r)
	c.held += len(r.raw)
	if c.held < batchBytes && len(c.responses) < batchResponses {
		return nil
	}
	return c.flush(c.InputOffset())
}

// flush writes everything up to an offset.
func (c *copier) flush(offset int64) error {
	if len(c.responses) > 0 {
		if err := c.change(c.responses); err != nil {
			return err
		}
	}
	for i, r := range c.responses {
		if _, err := c.w.Write(c.between[i]); err != nil {
			return err
		}
		if _, err := c.w.Write(r.bytes()); err != nil {
			return err
		}
	}
	c.responses, c.between, c.held = nil, nil, 0
	_, err := c.w.Write(c.take(offset))
	return err
}
