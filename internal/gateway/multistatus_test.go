package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// collectionOf returns a site with a collection of so many members, whose dates the backend
// gives, and counts the requests for members.
func collectionOf(members int) (s *site, asked *atomic.Int64) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	s, asked = newSite(), new(atomic.Int64)
	s.Namer.WebDAV, s.Verify = true, Verification{Passing: true}
	s.origin = func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet {
			asked.Add(1)
			w.Header().Set("Last-Modified", date)
			_, err := io.WriteString(w, r.URL.Path)
			return err
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusMultiStatus)
		var content strings.Builder
		for i := range members {
			fmt.Fprintf(&content, "<response><href>/%d</href><propstat><prop><getlastmodified>%s</getlastmodified></prop><status>HTTP/1.1 200 OK</status></propstat></response>", i, date)
		}
		_, err := io.WriteString(w, `<multistatus xmlns="DAV:">`+content.String()+"</multistatus>")
		return err
	}
	return s, asked
}

// propfind asks for the tags of the members. It returns how many there are, or zero if the
// answer broke off.
func (s *site) propfind(t *testing.T, fields ...string) (status, tags int) {
	t.Helper()
	r := requestOf(t.Context(), "PROPFIND /", fields...)
	const content = `<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>`
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(content)), int64(len(content))
	s.origin = readingFirst(s.origin)
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	w, err := s.serve(r)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, strings.Count(w.Body.String(), `<getetag xmlns="DAV:">"`)
}

// readingFirst is an origin that reads the content of requests before it answers.
func readingFirst(origin func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		_, _ = io.Copy(io.Discard, r.Body)
		return origin(w, r)
	}
}

// For one answer, the origin is asked for no more than 10,000 members. What it has shown needn't
// be asked for again, if the backend gives dates.
func TestTooManyMembers(t *testing.T) {
	s, asked := collectionOf(maxMemberProbes + 1)
	if status, tags := s.propfind(t); status != 0 || tags != 0 {
		t.Errorf("the answer is %d with %d tags", status, tags)
	}
	if n := asked.Load(); n == 0 || n > maxMemberProbes {
		t.Errorf("%d requests", n)
	}
	status, tags := s.propfind(t)
	if n := asked.Load(); status != http.StatusMultiStatus || tags != maxMemberProbes+1 || n != maxMemberProbes+1 {
		t.Errorf("%d with %d tags, after %d requests", status, tags, n)
	}
}

// Credentials that are good for one request aren't spent on members. If the origin would have
// to be asked, the client gets no answer in which tags are missing.
func TestMembersAndOneTimeCredentials(t *testing.T) {
	s, asked := collectionOf(3)
	const digest = "Authorization: Digest nonce=1"
	if status, _ := s.propfind(t, digest); status != http.StatusServiceUnavailable || asked.Load() != 0 {
		t.Errorf("%d after %d requests", status, asked.Load())
	}
	if status, tags := s.propfind(t); status != http.StatusMultiStatus || tags != 3 {
		t.Errorf("%d with %d tags", status, tags)
	}
	if status, tags := s.propfind(t, digest); status != http.StatusMultiStatus || tags != 3 || asked.Load() != 3 {
		t.Errorf("%d with %d tags, after %d requests", status, tags, asked.Load())
	}
}
