package application

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

// application is a legacy backend in which most resources also change through
// URLs other than their own. It ignores preconditions and performs every request:
//
//	/orders/{id}           GET, PUT, PATCH, DELETE
//	/orders/{id}/{action}  POST changes the state of the order
//	/orders?page=&status=  GET lists them, POST adds one, PUT gives the list a title
//	/search?q=             GET finds orders, PUT gives the search a title
//	/products/{id}         GET, PUT; also by the name of the product
//	/prices                GET, PUT; products show the price list that is in force
//	/stock/{id}            GET, PUT
//	/folders/{id}          GET lists what is in it; PUT; DELETE and MOVE include its content
//	/folders/{id}/{id}     GET, PUT, DELETE
//
// Every representation contains the revisions of all its parts, so a changed
// resource never looks as it did before. For each write, the record holds the
// state that its client had seen (X-Seen) and the state that it replaced.
type application struct {
	stopwatch
	mu       sync.Mutex
	things   map[string]*thing // by path
	revision int               // of the latest change
	created  int
	record   map[string]change        // by the name of the write (X-Write)
	asked    map[string]time.Duration // when the handler last asked the origin before a write
	states   map[string][]state       // of the contested targets
}

// stopwatch measures the time since it was started.
type stopwatch struct{ begun time.Time }

func (s stopwatch) now() time.Duration { return time.Since(s.begun) }

// thing is a resource with a state of its own.
type thing struct {
	text, status string
	revision     int
}

// change is a write that was applied.
type change struct {
	subject  string        // the target that its condition is about
	seen     string        // the state that the client had seen; "" if it didn't say
	replaced string        // the state that was there
	asked    time.Duration // when the handler asked the origin before, if it did
	at       time.Duration
}

// state is what a target showed from a given time on.
type state struct {
	digest string
	from   time.Duration
	cause  string // the write
}

const (
	applicationLatency = 5 * time.Millisecond // the maximum, both before and after performing a request
	absent             = "absent"             // the state of a missing resource
	pageSize           = 2                    // small enough to put contested orders on the second page
)

// productNames are other names of products.
var productNames = map[string]string{"/products/blue-mug": "/products/17", "/products/red-mug": "/products/18"}

// newApplication returns an application that contains some things. It records the
// states of the contested targets.
func newApplication(things, contested []string) *application {
	a := &application{
		stopwatch: stopwatch{time.Now()},
		things:    make(map[string]*thing),
		record:    make(map[string]change), asked: make(map[string]time.Duration), states: make(map[string][]state),
	}
	for _, path := range things {
		a.revision++
		a.things[path] = &thing{"at first", "new", a.revision}
	}
	for _, target := range contested {
		a.states[target] = []state{{digest: a.state(target)}}
	}
	return a
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	<-time.After(rand.N(applicationLatency))
	status, answer := a.perform(w.Header(), r, string(content))
	<-time.After(rand.N(applicationLatency))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

// perform performs a request atomically.
func (a *application) perform(header http.Header, r *http.Request, content string) (status int, answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	target, name := r.URL.RequestURI(), r.Header.Get("X-Write")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if _, done := a.record[name]; name != "" && !done {
			a.asked[name] = a.now()
		}
		return a.show(header, target)
	}
	subject := canonical(target)
	if order, _, ok := action(r.URL.Path); ok {
		subject = order
	}
	c := change{subject: subject, seen: r.Header.Get("X-Seen"), replaced: a.state(subject), asked: a.asked[name], at: a.now()}
	status = a.change(header, r, content)
	if status < 300 {
		a.record[name] = c
		a.observe(name, c.at)
	}
	return status, ""
}

// observe records which contested targets have changed.
func (a *application) observe(cause string, at time.Duration) {
	for target, states := range a.states {
		if now := a.state(target); now != states[len(states)-1].digest {
			a.states[target] = append(states, state{now, at, cause})
		}
	}
}

// change performs a write.
func (a *application) change(header http.Header, r *http.Request, content string) (status int) {
	path := canonical(r.URL.Path)
	order, verb, acted := action(path)
	switch {
	case acted && r.Method == http.MethodPost:
		return a.update(order, func(t *thing) { t.status = verb })
	case path == "/orders" && r.Method == http.MethodPost:
		a.created++
		created := fmt.Sprintf("/orders/c%d", a.created)
		header.Set("Location", created)
		a.put(created, content)
		return http.StatusCreated
	case r.Method == http.MethodPut:
		if path == "/prices" {
			header.Set("Cache-Group-Invalidation", `"priced"`)
		}
		return a.put(path, content)
	case r.Method == http.MethodPatch:
		return a.update(path, func(t *thing) { t.text = content })
	case r.Method == http.MethodDelete:
		return a.move(path, "")
	case r.Method == "MOVE":
		return a.move(path, r.Header.Get("Destination"))
	default:
		return http.StatusMethodNotAllowed
	}
}

// action splits the path of an action on an order.
func action(path string) (order, verb string, ok bool) {
	if s := strings.Split(path, "/"); len(s) == 4 && s[1] == "orders" {
		return "/orders/" + s[2], s[3], true
	}
	return "", "", false
}

// canonical returns the main path of something that also has a path by name.
func canonical(path string) string {
	if id, ok := productNames[path]; ok {
		return id
	}
	return path
}

func (a *application) put(path, text string) (status int) {
	a.revision++
	_, replaces := a.things[path]
	a.things[path] = &thing{text, "new", a.revision}
	if replaces {
		return http.StatusNoContent
	}
	return http.StatusCreated
}

func (a *application) update(path string, change func(t *thing)) (status int) {
	t, ok := a.things[path]
	if !ok {
		return http.StatusNotFound
	}
	a.revision++
	t.revision = a.revision
	change(t)
	return http.StatusNoContent
}

// move moves something, with its content, and replaces what is at the destination.
// Without a destination, it is deleted.
func (a *application) move(from, to string) (status int) {
	if _, ok := a.things[from]; !ok {
		return http.StatusNotFound
	}
	moved := a.take(from)
	if to != "" {
		a.take(to)
		for path, t := range moved {
			a.revision++
			a.things[to+strings.TrimPrefix(path, from)] = &thing{t.text, t.status, a.revision}
		}
	}
	return http.StatusNoContent
}

// take removes something, with its content.
func (a *application) take(folder string) (taken map[string]*thing) {
	taken = make(map[string]*thing)
	for path, t := range a.things {
		if path == folder || strings.HasPrefix(path, folder+"/") {
			taken[path] = t
			delete(a.things, path)
		}
	}
	return taken
}

// show answers a GET.
func (a *application) show(header http.Header, target string) (status int, content string) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return http.StatusBadRequest, ""
	}
	path, query := canonical(u.Path), u.Query()
	t, ok := a.things[path]
	if !ok {
		return http.StatusNotFound, ""
	}
	content = t.line(path)
	switch {
	case path == "/orders":
		content += a.page(query.Get("status"), query.Get("page"))
	case path == "/search":
		content += strings.Join(a.find("/orders", func(t *thing) bool { return strings.Contains(t.text, query.Get("q")) }), "")
	case strings.HasPrefix(path, "/folders/"):
		content += strings.Join(a.find(path, func(*thing) bool { return true }), "")
	case priced(path):
		header.Set("Cache-Groups", `"priced"`)
		content += a.things["/prices"].line("/prices")
	case strings.HasPrefix(path, "/products/"):
		header.Set("Cache-Groups", `"unpriced"`)
	}
	return http.StatusOK, content
}

// priced reports whether a product is on the price list.
func priced(path string) bool {
	return slices.Contains(products, path)
}

func (t *thing) line(path string) string {
	return fmt.Sprintf("%s is %s: %q (revision %d)\n", path, t.status, t.text, t.revision)
}

// page returns a page of the list of orders.
func (a *application) page(status, page string) string {
	rows := a.find("/orders", func(t *thing) bool { return status == "" || t.status == status })
	number, _ := strconv.Atoi(page)
	from := min(max(number-1, 0)*pageSize, len(rows))
	return strings.Join(rows[from:min(from+pageSize, len(rows))], "") + fmt.Sprintf("%d in all\n", len(rows))
}

// find returns the matching things in a folder.
func (a *application) find(folder string, match func(t *thing) bool) (rows []string) {
	for _, path := range slices.Sorted(maps.Keys(a.things)) {
		if t := a.things[path]; strings.HasPrefix(path, folder+"/") && match(t) {
			rows = append(rows, t.line(path))
		}
	}
	return rows
}

// state names what a target shows.
func (a *application) state(target string) string {
	status, content := a.show(make(http.Header), target)
	if status != http.StatusOK {
		return absent
	}
	return legacydocs.Digest([]byte(content))[:12]
}

// byJob reports whether the job caused a state.
func (s state) byJob() bool { return strings.HasPrefix(s.cause, jobName) }
