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
	treat func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) // apply performs the request
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
	// After the proxy has given up on it, but before the lease expires.
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
	// A queue, a platform or a CDN answers, and the application goes on, or doesn't.
	goesOn = mood{"answers and goes on", func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		statuses := [...]int{202, 503, 520, 524, 599}
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(statuses[rand.IntN(len(statuses))])
		_ = http.NewResponseController(w).Flush()
		if rand.IntN(4) > 0 {
			<-time.After(200*time.Millisecond + rand.N(200*time.Millisecond))
			apply()
		}
	}}
	// The answer begins before the work is done, as with flush() in PHP.
	worksOn = mood{"works on after the header section", func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "working …")
		_ = http.NewResponseController(w).Flush()
		<-time.After(rand.N(time.Second))
		apply()
		_, _ = io.WriteString(w, "done")
	}}
	breaksOff = mood{"breaks off its answer", func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		apply()
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "half of it")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}}
)

// answers returns a mood that performs a request and then answers with a status
// that doesn't confirm it.
func answers(status int) mood {
	return mood{"applies and answers " + http.StatusText(status), func(w http.ResponseWriter, apply func() *httptest.ResponseRecorder) {
		apply()
		w.WriteHeader(status)
	}}
}

// saving is the suffix that turns the URL of a document into the URL of an action.
// The content sent to the action becomes the content of the document.
const saving = "/save"

// moody is a backend that treats requests according to its current mood.
type moody struct {
	mu      sync.Mutex
	idle    sync.Cond
	busy    int
	method  string // half of the requests with this method get the mood
	mood    mood
	docs    http.Handler
	delay   time.Duration // maximum for each request
	prompt  bool          // reads are delayed as little as usual
	history *history
	applied map[string]time.Duration // by content
}

func newMoody(docs http.Handler) *moody {
	m := &moody{mood: kind}
	m.idle.L = &m.mu
	m.begin(docs, newHistory(), quickly)
	return m
}

// begin starts a new round: docs holds the documents from now on, and the record
// of applied writes is cleared. A request is delayed by at most the given time.
func (m *moody) begin(docs http.Handler, h *history, delay time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.docs, m.history, m.applied, m.delay = docs, h, make(map[string]time.Duration), delay
}

// hurry limits the delay of requests to the usual one.
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

// end waits until no request is in progress, and returns for each content the
// latest time at which it was applied.
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
	if m.prompt && r.Method == "GET" {
		delay = rand.N(quickly)
	}
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
