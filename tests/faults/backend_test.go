package faults

import (
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// mood is how a backend treats a request.
type mood struct {
	name  string
	treat func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) // apply has it performed
}

var (
	kind = mood{"treated well", func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		answer := apply()
		for name, lines := range answer.Header() {
			w.Header()[name] = lines
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}}
	failsBefore = mood{"fails before applying", func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
		w.WriteHeader(500)
	}}
	failsAfter = answers(500)
	// When the proxy has given up on it, but before the lease is over.
	appliesLate = mood{"hangs and applies late", func(_ http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		<-time.After(600*time.Millisecond + rand.N(faultLease*3/4))
		apply()
	}}
	dropsBefore = mood{"drops the connection before applying", func(http.ResponseWriter, func() *httptest.ResponseRecorder) {
		panic(http.ErrAbortHandler)
	}}
	dropsAfter = mood{"drops the connection after applying", func(_ http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		apply()
		panic(http.ErrAbortHandler)
	}}
	breaksOff = mood{"breaks off its answer", func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		apply()
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "half of it")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}}
)

// answers is the mood in which a request is performed and then answered with a
// status that doesn't say so.
func answers(status int) mood {
	return mood{"applies and answers " + http.StatusText(status), func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		apply()
		w.WriteHeader(status)
	}}
}

// saving is what the URL of an action ends in, that of a document before: what is
// sent there becomes the content of the document.
const saving = "/save"

// moody is a backend whose moods change.
type moody struct {
	mu      sync.Mutex
	idle    sync.Cond
	busy    int
	method  string // of which half of the requests have the mood to bear
	mood    mood
	docs    http.Handler
	delay   time.Duration // of each request, at most
	history *history
	applied map[string]time.Duration // by content
}

func newMoody(docs http.Handler) *moody {
	m := &moody{mood: kind}
	m.idle.L = &m.mu
	m.begin(docs, newHistory(), quickly)
	return m
}

// begin has docs hold the documents from now on, and forgets what was applied. A
// request is held up for the given time at most.
func (m *moody) begin(docs http.Handler, h *history, delay time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.docs, m.history, m.applied, m.delay = docs, h, make(map[string]time.Duration), delay
}

// hurry has requests be held up no longer than usual.
func (m *moody) hurry() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delay = quickly
}

func (m *moody) change(method string, to mood) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.method, m.mood = method, to
}

// end returns when no request is being treated, and tells when each content was
// applied at the latest.
func (m *moody) end() map[string]time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.busy > 0 {
		m.idle.Wait()
	}
	return maps.Clone(m.applied)
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.busy++
	mood := kind
	if r.Method == m.method && rand.IntN(2) == 0 {
		mood = m.mood
	}
	docs, delay := m.docs, rand.N(m.delay)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.busy--; m.busy == 0 {
			m.idle.Broadcast()
		}
	}()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(400)
		return
	}
	mood.treat(w, func() *httptest.ResponseRecorder {
		<-time.After(delay)
		r.Body = io.NopCloser(bytes.NewReader(content))
		r.URL.Path = strings.TrimSuffix(r.URL.Path, saving)
		answer := httptest.NewRecorder()
		docs.ServeHTTP(answer, r)
		if r.Method == "PUT" && answer.Code < 300 {
			m.mu.Lock()
			defer m.mu.Unlock()
			if _, again := m.applied[string(content)]; !again {
				m.applied[string(content)] = m.history.now()
			}
		}
		return answer
	})
}
