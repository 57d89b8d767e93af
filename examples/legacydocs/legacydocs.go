// Package legacydocs is a small document service, of the kind that this module
// protects. It stores whatever it receives: it accepts any PUT, sends neither
// ETag nor Last-Modified, and ignores preconditions. If two people edit the same
// document, the last save wins, and the other one is lost without a warning.
//
//	GET    /docs/        lists the documents as JSON
//	POST   /docs/        creates a document and chooses its name
//	GET    /docs/{name}  returns the document as it was sent
//	PUT    /docs/{name}  stores the document, whatever was there before
//	DELETE /docs/{name}  deletes the document
//
// It keeps everything in memory, within limits.
//
// It also records the writes that it applied. From the record, a test can tell
// whether a write was lost. See [Service.Writes].
package legacydocs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Options configure a [Service]. The zero value is ready to use.
type Options struct {
	// MaxDocuments is how many documents the service keeps. It answers 507
	// (Insufficient Storage) to a write that would create one more. Default: 1,000.
	MaxDocuments int

	// MaxBytes is the size limit of one document, in bytes. The service answers 413
	// (Content Too Large) to a larger one. Default: 1 MiB.
	MaxBytes int64

	// MaxWrites is how many writes the record keeps. It drops the oldest first.
	// Default: 100,000.
	MaxWrites int

	// Delay is the maximum delay of a request, before it reads or changes a
	// document. The delay of each request is random. A write is delayed after its
	// content has arrived, and is applied even if its client has disconnected by
	// then. Default: none.
	Delay time.Duration

	// Before, if set, is called for every request before it reads or changes a
	// document. The content of a write has arrived by then. Before may block. If it
	// returns a status other than 0, that is the answer, and the request has no
	// effect.
	Before func(r *http.Request) (status int)

	// After, if set, is called for every request after it has read or changed a
	// document, and before the answer. After may block. If it returns a status other
	// than 0, that is the answer, although a write was applied.
	After func(r *http.Request) (status int)
}

// Write is one write that was applied.
type Write struct {
	// Seq is the number of the write, counted from 1.
	Seq int
	// Method is POST, PUT or DELETE.
	Method string
	// Path is the path of the document, even for a POST.
	Path string
	// Body is the [Digest] of the content that was stored, or "" for a DELETE.
	Body string
	// Previous is the [Digest] of the content that was replaced, or "" if there
	// was none.
	Previous string
	// BasedOn is the X-Based-On field of the request: the [Digest] of the content
	// that the client had read before it decided to write. Only tests send it.
	BasedOn string
}

// Lost reports whether the write erased content that its author had not seen: a
// lost update. It is always false for a write without X-Based-On.
func (w Write) Lost() bool {
	return w.BasedOn != "" && w.BasedOn != w.Previous
}

// Digest returns the SHA-256 of content, in hexadecimal.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Service is the document service, an [http.Handler]. It is safe for concurrent use.
type Service struct {
	opts Options
	mux  *http.ServeMux

	mu     sync.Mutex
	docs   map[string]document
	writes []Write
	seq    int // of the last write
	named  int // how many names POST has chosen
}

// A document is never changed, only replaced.
type document struct {
	contentType string
	content     []byte
}

// New returns a service without documents.
func New(opts Options) *Service {
	opts.MaxDocuments = cmp.Or(opts.MaxDocuments, 1_000)
	opts.MaxBytes = cmp.Or(opts.MaxBytes, 1<<20)
	opts.MaxWrites = cmp.Or(opts.MaxWrites, 100_000)

	s := &Service{opts: opts, mux: http.NewServeMux(), docs: make(map[string]document)}
	s.mux.HandleFunc("GET /docs/{$}", s.list)
	s.mux.HandleFunc("POST /docs/{$}", s.write)
	s.mux.HandleFunc("GET /docs/{name}", s.read)
	s.mux.HandleFunc("PUT /docs/{name}", s.write)
	s.mux.HandleFunc("DELETE /docs/{name}", s.write)
	return s
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mux.ServeHTTP(w, r)
}

// Writes returns the writes that were applied, in order. Because the record is
// limited, the oldest may be missing: then the first Seq is above 1.
func (s *Service) Writes() []Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

func (s *Service) list(w http.ResponseWriter, r *http.Request) {
	type item struct {
		Name string `json:"name"`
		Href string `json:"href"`
		Type string `json:"type"`
		Size int    `json:"size"`
	}
	if !s.before(w, r) {
		return
	}

	items := []item{} // not nil: an empty list is [], not null
	s.mu.Lock()
	for name, doc := range s.docs {
		items = append(items, item{name, path(name), doc.contentType, len(doc.content)})
	}
	s.mu.Unlock()
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.Name, b.Name) })

	if !s.after(w, r) {
		return
	}
	content, err := json.Marshal(items)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, "application/json", append(content, '\n'))
}

func (s *Service) read(w http.ResponseWriter, r *http.Request) {
	if !s.before(w, r) {
		return
	}

	s.mu.Lock()
	doc, ok := s.docs[r.PathValue("name")]
	s.mu.Unlock()

	if !s.after(w, r) {
		return
	}
	if !ok {
		http.Error(w, "no such document", http.StatusNotFound)
		return
	}
	answer(w, doc.contentType, doc.content)
}

func (s *Service) write(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.opts.MaxBytes))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		http.Error(w, "the document is too large", http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		http.Error(w, "the content broke off", http.StatusBadRequest)
		return
	}
	if !s.before(w, r) {
		return
	}

	name, status := s.apply(r, content)

	if !s.after(w, r) {
		return
	}
	switch status {
	case http.StatusNotFound:
		http.Error(w, "no such document", status)
	case http.StatusInsufficientStorage:
		http.Error(w, "there are too many documents", status)
	case http.StatusCreated:
		w.Header().Set("Location", path(name))
		w.WriteHeader(status)
	default:
		w.WriteHeader(status)
	}
}

// apply applies a write and records it. It returns the name of the document and
// the status of the answer.
func (s *Service) apply(r *http.Request, content []byte) (name string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()

	name = r.PathValue("name")
	if r.Method == http.MethodPost {
		name = s.newName()
	}
	previous, exists := s.docs[name]
	done := Write{Method: r.Method, Path: path(name), BasedOn: r.Header.Get("X-Based-On")}
	if exists {
		done.Previous = Digest(previous.content)
	}

	switch {
	case r.Method == http.MethodDelete && !exists:
		return name, http.StatusNotFound
	case r.Method == http.MethodDelete:
		delete(s.docs, name)
		status = http.StatusNoContent
	case !exists && len(s.docs) >= s.opts.MaxDocuments:
		return name, http.StatusInsufficientStorage
	default:
		s.docs[name] = document{cmp.Or(r.Header.Get("Content-Type"), "application/octet-stream"), content}
		done.Body = Digest(content)
		status = http.StatusNoContent
		if !exists {
			status = http.StatusCreated
		}
	}

	s.seq++
	done.Seq = s.seq
	if len(s.writes) == s.opts.MaxWrites {
		// Drop a tenth at once, because each removal moves the whole record.
		s.writes = slices.Delete(s.writes, 0, max(1, s.opts.MaxWrites/10))
	}
	s.writes = append(s.writes, done)
	return name, status
}

// newName returns a name that no document has. The caller must have locked s.mu.
func (s *Service) newName() string {
	for {
		s.named++
		name := fmt.Sprintf("doc-%d", s.named)
		if _, taken := s.docs[name]; !taken {
			return name
		}
	}
}

// before runs the options that apply before a request reads or changes a document.
// It returns false if it has answered the request.
func (s *Service) before(w http.ResponseWriter, r *http.Request) bool {
	if s.opts.Delay > 0 {
		time.Sleep(rand.N(s.opts.Delay))
	}
	return !intervene(w, r, s.opts.Before)
}

// after does the same once the request has read or changed a document.
func (s *Service) after(w http.ResponseWriter, r *http.Request) bool {
	return !intervene(w, r, s.opts.After)
}

// intervene calls a hook, and reports whether it has answered the request.
func intervene(w http.ResponseWriter, r *http.Request, hook func(*http.Request) int) bool {
	if hook == nil {
		return false
	}
	status := hook(r)
	if status == 0 {
		return false
	}
	http.Error(w, http.StatusText(status), status)
	return true
}

func answer(w http.ResponseWriter, contentType string, content []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content) // the client may have disconnected
}

func path(name string) string {
	return "/docs/" + url.PathEscape(name)
}
