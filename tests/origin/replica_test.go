package origin

import (
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// replicated is a backend that answers reads from a replica, which lags behind
// what was written. It knows no conditions.
type replicated struct {
	lag time.Duration

	mu       sync.Mutex
	replicas []time.Time          // if there are several: how far each has got
	next     int                  // the replica that answers next
	versions map[string][]version // by path, the oldest first
	tags     func(content string) string
	adorn    bool // whether it stores something other than it was sent
	writes   []write
}

// version is what was stored at some time. Absent documents have no content.
type version struct {
	at      time.Time
	content string
}

// write is a write that was applied.
type write struct {
	method, path       string
	replaced, replaces string // what it replaced, and what the client said that it replaces
}

// based is the field in which a client says which content it has changed.
const based = "X-Based-On"

func newReplicated(lag time.Duration) *replicated {
	return &replicated{lag: lag, versions: make(map[string][]version)}
}

// newReplicas returns a backend whose reads go round several replicas, as with
// PostgreSQL's streaming replication: each replays all writes in order, with a delay of
// its own that varies, and that of the last is nearly the lag. Reads may go backwards
// from one to the next.
func newReplicas(lag time.Duration, replicas int) *replicated {
	b := newReplicated(lag)
	b.replicas = make([]time.Time, replicas)
	return b
}

// seen returns the time whose state the next read shows.
func (b *replicated) seen(now time.Time) time.Time {
	if b.replicas == nil {
		return now.Add(-b.lag)
	}
	i := b.next % len(b.replicas)
	b.next++
	share := b.lag / time.Duration(len(b.replicas))
	if at := now.Add(-time.Duration(i)*share - rand.N(share)); at.After(b.replicas[i]) {
		b.replicas[i] = at
	}
	return b.replicas[i]
}

// placePrefix is what the paths of a place begin with.
var placePrefix = regexp.MustCompile(`^/[0-9]+/`)

// put stores a document long ago, past all Caddys.
func (b *replicated) put(path, content string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.versions[path] = []version{{content: content}}
}

// at returns the content of a document at some time.
func (b *replicated) at(path string, t time.Time) (content string) {
	for _, v := range b.versions[path] {
		if !v.at.After(t) {
			content = v.content
		}
	}
	return content
}

func (b *replicated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.URL.Path = placePrefix.ReplaceAllString(r.URL.Path, "/")
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		content := b.at(r.URL.Path, b.seen(now))
		if content == "" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		if b.tags != nil {
			w.Header().Set("ETag", b.tags(content))
		}
		_, _ = io.WriteString(w, content)
		return
	}
	content := string(sent)
	if b.adorn && content != "" {
		content += " (stored)"
	}
	if r.Method == http.MethodDelete {
		content = ""
	}
	b.apply(r, r.URL.Path, content, now)
	w.WriteHeader(http.StatusNoContent)
}

// apply changes a document, or with DELETE all documents below it as well.
func (b *replicated) apply(r *http.Request, path, content string, now time.Time) {
	b.writes = append(b.writes, write{r.Method, path, b.at(path, now), r.Header.Get(based)})
	b.versions[path] = append(b.versions[path], version{now, content})
	if r.Method == http.MethodDelete {
		for below := range b.versions {
			if strings.HasPrefix(below, path+"/") {
				b.versions[below] = append(b.versions[below], version{now, ""})
			}
		}
	}
}

// written returns the writes of a path that were applied.
func (b *replicated) written(path string) []write {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.writes), func(w write) bool { return w.path != path })
}

// expectNoneLost fails the test if a write replaced something other than what its
// client had seen.
func (b *replicated) expectNoneLost(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.writes {
		if w.replaces != "" && w.replaces != w.replaced {
			t.Errorf("%s %s was meant to replace %q, and replaced %q", w.method, w.path, w.replaces, w.replaced)
		}
	}
}
