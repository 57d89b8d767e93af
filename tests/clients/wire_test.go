package clients

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// all returns what the server sends until it closes the connection.
func (c *wire) all() string {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	var b bytes.Buffer
	_, _ = b.ReadFrom(c.in)
	return b.String()
}

// wire is a bare connection, for requests that http.Client can't send.
type wire struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

// patience is the time limit for an answer that waits for nothing. It is shorter than
// the time that the handler itself waits for unread content.
const patience = 4 * time.Second

func dialWire(t testing.TB, base string) *wire {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &wire{Conn: c, t: t, in: bufio.NewReader(c)}
}

// send writes lines, each ended by CRLF.
func (c *wire) send(lines ...string) {
	c.t.Helper()
	c.raw(strings.Join(lines, "\r\n") + "\r\n")
}

func (c *wire) raw(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// answer reads one response.
func (c *wire) answer(method string) caddytest.Answer {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method, URL: new(url.URL)})
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("incomplete answer: %v", err)
	}
	return caddytest.Answer{Response: resp, Content: string(content)}
}

// ended fails the test unless the server sends nothing more and closes the connection.
func (c *wire) ended() {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	rest, err := io.ReadAll(c.in)
	if len(rest) > 0 {
		c.t.Errorf("more than one answer: %q", rest)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		c.t.Error("the connection stays open")
	}
}

// ends waits for the server to close the connection.
func (c *wire) ends() {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c.in)
}
