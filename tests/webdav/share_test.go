package webdav

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/caddy-preconditions/preconditions/validator"
)

// share is a backend that has locks, as RFC 4918 says, and no entity tags.
type share struct {
	mu     sync.Mutex
	docs   map[string]string // by path
	locks  map[string]string // the token by path
	ifs    []string          // the If fields that have come in with writes, "-" for none
	reads  []string          // those that have come in with reads
	before func(r *http.Request)
}

// newShare returns a share with documents that contain their paths.
func newShare(paths ...string) *share {
	s := &share{docs: make(map[string]string), locks: make(map[string]string)}
	for _, path := range paths {
		s.docs[path] = "of " + path
	}
	return s
}

func (s *share) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	if s.before != nil {
		s.before(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	field := "-"
	if lines := r.Header["If"]; lines != nil {
		field = strings.Join(lines, ", ")
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		s.reads = append(s.reads, field)
		if status := s.check(r, field); status == http.StatusPreconditionFailed {
			w.WriteHeader(status)
			return
		}
		doc, ok := s.docs[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, doc)
		return
	}
	s.ifs = append(s.ifs, field)
	if status := s.check(r, field); status != 0 {
		w.WriteHeader(status)
		return
	}
	to, _ := url.Parse(r.Header.Get("Destination"))
	switch r.Method {
	case "LOCK":
		status := http.StatusOK
		if _, ok := s.docs[r.URL.Path]; !ok {
			s.docs[r.URL.Path], status = "", http.StatusCreated // section 7.3
		}
		s.locks[r.URL.Path] = lockToken
		w.Header().Set("Lock-Token", "<"+lockToken+">")
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<D:prop xmlns:D="DAV:"><D:lockdiscovery/></D:prop>`)
		return
	case "UNLOCK":
		if r.Header.Get("Lock-Token") != "<"+s.locks[r.URL.Path]+">" {
			w.WriteHeader(http.StatusConflict)
			return
		}
		delete(s.locks, r.URL.Path)
	case http.MethodPut:
		s.docs[r.URL.Path] = string(content)
	case http.MethodDelete:
		delete(s.docs, r.URL.Path)
	case "COPY":
		s.docs[to.Path] = s.docs[r.URL.Path]
	case "MOVE":
		s.docs[to.Path] = s.docs[r.URL.Path]
		delete(s.docs, r.URL.Path)
	}
	w.WriteHeader(http.StatusNoContent)
}

// check evaluates the If field, and returns 412 or 423 if the request mustn't be performed.
func (s *share) check(r *http.Request, field string) int {
	submitted := false
	if field != "-" {
		lists, err := validator.ParseStateLists(field)
		if err != nil {
			return http.StatusBadRequest
		}
		holds := false
		for _, l := range lists.Lists {
			path := r.URL.Path
			if u, err := url.Parse(l.Resource); err == nil && l.Resource != "" {
				path = u.Path
			}
			all := true
			for _, c := range l.Conditions {
				matches := c.Token != "" && s.locks[path] == c.Token // it has no tags
				all = all && matches != c.Not
				submitted = submitted || c.Token != "" && s.locks[r.URL.Path] == c.Token
			}
			holds = holds || all
		}
		if !holds {
			return http.StatusPreconditionFailed
		}
	}
	if s.locks[r.URL.Path] != "" && !submitted && r.Method != "UNLOCK" {
		return http.StatusLocked
	}
	return 0
}

// lastIf returns the If field that came in last.
func (s *share) lastIf() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ifs) == 0 {
		return "nothing was forwarded"
	}
	return s.ifs[len(s.ifs)-1]
}

// set changes a document behind everybody's back.
func (s *share) set(path, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.docs[path] = content
}

func (s *share) get(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.docs[path]
}
