package faults

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// An origin that shows the past: reads are answered by replicas that lag behind, or by
// a cache. Writes go to the documents themselves.

const (
	replicaLag = 500 * time.Millisecond
	cacheTime  = 50 * time.Millisecond

	// The options that suit such an origin.
	longerLag = "lag 1s\n"
	noLag     = "lag 0s\n"
)

// replicas are three copies of some documents, each further behind than the one before,
// by a time that varies. They answer reads in turn.
type replicas struct {
	docs http.Handler

	mu     sync.Mutex
	states map[string][]state // of each document, the oldest first
	got    [3]time.Time       // how far each replica has got
	next   int                // the replica that answers next
}

// state is what a document was from some time on.
type state struct {
	since time.Time
	shown *httptest.ResponseRecorder
}

func laggingReplicas(docs http.Handler) http.Handler {
	return &replicas{docs: docs, states: make(map[string][]state)}
}

func (o *replicas) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	path := r.URL.Path
	if o.states[path] == nil {
		o.states[path] = []state{{shown: show(o.docs, path)}}
	}
	if r.Method == "GET" {
		repeat(w, o.shownTo(path).shown)
		return
	}
	o.docs.ServeHTTP(w, r)
	o.states[path] = append(o.states[path], state{time.Now(), show(o.docs, path)})
}

// shownTo returns the state of a document at the next replica.
func (o *replicas) shownTo(path string) (found state) {
	i := o.next % len(o.got)
	o.next++
	const share = replicaLag / time.Duration(len(o.got))
	if at := time.Now().Add(-time.Duration(i)*share - rand.N(share)); at.After(o.got[i]) {
		o.got[i] = at
	}
	for _, s := range o.states[path] {
		if !s.since.After(o.got[i]) {
			found = s
		}
	}
	return found
}

// cache keeps what a read showed for a while, and says so when it shows it again.
type cache struct {
	docs http.Handler
	deaf bool // it answers although the request says no-cache

	mu     sync.Mutex
	stored map[string]state
}

func obedientCache(docs http.Handler) http.Handler {
	return &cache{docs: docs, stored: make(map[string]state)}
}

func deafCache(docs http.Handler) http.Handler {
	return &cache{docs: docs, deaf: true, stored: make(map[string]state)}
}

func (c *cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != "GET" {
		c.docs.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	path := r.URL.Path
	stored, hit := c.stored[path]
	hit = hit && time.Since(stored.since) < cacheTime
	if hit && (c.deaf || !strings.Contains(r.Header.Get("Cache-Control"), "no-cache")) {
		w.Header().Set("X-Cache", "HIT")
		repeat(w, stored.shown)
		return
	}
	c.stored[path] = state{time.Now(), show(c.docs, path)}
	repeat(w, c.stored[path].shown)
}

// show reads a document.
func show(docs http.Handler, path string) *httptest.ResponseRecorder {
	shown := httptest.NewRecorder()
	docs.ServeHTTP(shown, httptest.NewRequest("GET", path, nil))
	return shown
}

// repeat answers with a recorded response.
func repeat(w http.ResponseWriter, shown *httptest.ResponseRecorder) {
	for name, lines := range shown.Header() {
		w.Header()[name] = lines
	}
	w.WriteHeader(shown.Code)
	_, _ = w.Write(shown.Body.Bytes())
}
