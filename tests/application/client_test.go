package application

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// attempt is a customer's request and its outcome.
type attempt struct {
	work        string // of the customer
	alone       bool   // whether no other customer touches its subject
	name        string // of the write; "" for a read
	what        string
	subject     string // what the request or its condition is about
	seen        string // the state that the condition asks for; "" if there is none
	call, back  time.Duration
	status      int
	outcome     string
	revalidates bool // whether it is a read with the current tag
	err         error
}

func (at attempt) succeeded() bool { return at.status/100 == 2 }

// customer is a client of the application. It continues after every failure.
type customer struct {
	*business
	id   int
	work work
	n    int // number of its writes so far
}

// work is the task that a customer repeats.
type work struct {
	name  string
	alone bool // whether no other customer touches its subject
	slow  bool // whether it waits long between reading and writing
	many  int  // customers
	turn  func(c *customer)
}

// works are the tasks that customers perform at the same time.
var works = []work{
	{name: "edit an order", many: 3, turn: func(c *customer) {
		order := pick(sharedOrders)
		c.edit(order, pick([]string{"PUT", "PATCH"}), order)
	}},
	{name: "ship an order", many: 3, turn: func(c *customer) {
		order := pick(sharedOrders)
		c.edit(order, "POST", order+pick([]string{"/ship", "/cancel", "/reopen"}))
	}},
	{name: "delete an order, and make it anew", many: 2, turn: func(c *customer) {
		c.edit(fleetingOrder, "DELETE", fleetingOrder)
		c.make(fleetingOrder)
	}},
	{name: "name a page of the list", many: 2, turn: func(c *customer) {
		page := pick(contestedPages)
		c.edit(page, "PUT", page)
	}},
	{name: "name a filtered list", many: 2, turn: func(c *customer) {
		list := pick(contestedFilters)
		c.edit(list, "PUT", list)
	}},
	{name: "name a search", many: 2, turn: func(c *customer) {
		search := pick(contestedSearches)
		c.edit(search, "PUT", search)
	}},
	{name: "edit a product by its number", many: 2, turn: func(c *customer) {
		c.edit("/products/17", "PUT", "/products/17")
		c.edit("/products/18", "PUT", "/products/18")
	}},
	{name: "edit a product by its name", many: 2, turn: func(c *customer) {
		c.edit("/products/blue-mug", "PUT", "/products/blue-mug")
		c.edit("/products/red-mug", "PUT", "/products/red-mug")
	}},
	{name: "edit a product that nobody else edits", slow: true, many: 1, turn: func(c *customer) {
		c.edit("/products/19", "PUT", "/products/19")
	}},
	{name: "change the prices", many: 2, turn: func(c *customer) {
		c.edit("/prices", "PUT", "/prices")
	}},
	{name: "count the stock", many: 3, turn: func(c *customer) {
		stock := pick(jobStock)
		c.edit(stock, "PUT", stock)
	}},
	{name: "edit a document", many: 3, turn: func(c *customer) {
		document := pick(sharedDocuments)
		c.edit(document, "PUT", document)
		c.make(document)
	}},
	{name: "delete a folder", many: 1, turn: func(c *customer) {
		folder := pick(sharedFolders)
		c.edit(folder, "DELETE", folder)
		c.make(folder)
	}},
	{name: "move a folder", many: 1, turn: func(c *customer) {
		from := rand.IntN(len(sharedFolders))
		c.edit(sharedFolders[from], "MOVE", sharedFolders[from], "Destination", sharedFolders[1-from])
	}},
	{name: "own an order", alone: true, many: 2, turn: func(c *customer) {
		order := fmt.Sprintf("/orders/own%d", c.id)
		c.make(order)
		c.edit(order, pick([]string{"PUT", "PATCH"}), order)
		c.edit(order, "POST", order+pick([]string{"/ship", "/cancel", "/reopen"}))
		c.edit(order, "DELETE", order)
	}},
	{name: "order and cancel", alone: true, many: 1, turn: func(c *customer) {
		if order := c.write("POST", "/orders", "/orders", "").Header.Get("Location"); order != "" {
			c.edit(order, "DELETE", order)
		}
	}},
	{name: "own a product", alone: true, many: 1, turn: func(c *customer) {
		product := fmt.Sprintf("/products/own%d", c.id)
		if c.n == 0 {
			c.make(product)
		}
		c.edit(product, "PUT", product)
	}},
	{name: "own a folder", alone: true, many: 1, turn: func(c *customer) {
		folder := fmt.Sprintf("/folders/own%d", c.id)
		c.make(folder)
		c.make(folder + "/1")
		c.edit(folder+"/1", "PUT", folder+"/1")
		c.edit(folder, "DELETE", folder)
	}},
	{name: "own some stock", alone: true, many: 1, turn: func(c *customer) {
		stock := fmt.Sprintf("/stock/own%d", c.id)
		if c.n == 0 {
			c.make(stock)
		}
		c.edit(stock, "PUT", stock)
	}},
}

// The resources that customers contend for.
var (
	sharedOrders      = []string{"/orders/1", "/orders/2", "/orders/3", "/orders/4"}
	fleetingOrder     = "/orders/5"
	contestedPages    = []string{"/orders", "/orders?page=2"}
	contestedFilters  = []string{"/orders?status=new", "/orders?page=1&status=ship"}
	contestedSearches = []string{"/search?q=edit", "/search?q=1"}
	jobStock          = []string{"/stock/1", "/stock/2"}
	products          = []string{"/products/17", "/products/18", "/products/19"}
	sharedFolders     = []string{"/folders/a", "/folders/b"}
	sharedDocuments   = []string{"/folders/a/1", "/folders/a/2", "/folders/b/1", "/folders/b/2"}
)

func pick(from []string) string { return from[rand.IntN(len(from))] }

const (
	leisure = 100 * time.Millisecond // the longest rest of a customer between two turns
	thought = 30 * time.Millisecond  // the longest pause between reading and writing
)

// blind is the share of writes to contested resources that have no condition.
const blind = 0.1

// edit reads the subject and then changes the state that it saw, by a write to the
// subject itself or to a target that acts on it.
func (c *customer) edit(subject, method, target string, fields ...string) {
	shown := c.read(subject)
	if shown.StatusCode != http.StatusOK {
		return
	}
	tag, seen := shown.Header.Get("ETag"), legacydocs.Digest([]byte(shown.Content))[:12]
	if c.work.alone {
		c.revalidate(subject, tag)
	}
	switch {
	case c.work.slow:
		<-time.After(rand.N(leisure))
	case rand.IntN(2) == 0: // some think before they write
		<-time.After(rand.N(thought))
	}
	if !c.work.alone && rand.Float64() < blind {
		c.write(method, target, subject, "", fields...)
		return
	}
	c.write(method, target, subject, seen, append(fields, "If-Match", tag)...)
}

// make creates something that doesn't exist.
func (c *customer) make(path string) {
	c.write("PUT", path, path, absent, "If-None-Match", "*")
}

// read reads something through a random node.
func (c *customer) read(target string) caddytest.Answer {
	return c.send(attempt{what: "GET " + target, subject: target}, "GET", target, "")
}

// revalidate reads something that can't have changed, with its tag.
func (c *customer) revalidate(target, tag string) {
	c.send(attempt{what: "GET " + target, revalidates: true}, "GET", target, "", "If-None-Match", tag)
}

// write changes something; seen is the state that its condition asks for.
func (c *customer) write(method, target, subject, seen string, fields ...string) caddytest.Answer {
	c.n++
	at := attempt{name: fmt.Sprintf("edit %d.%d", c.id, c.n), what: method + " " + target, subject: subject, seen: seen}
	content := ""
	if method != "DELETE" && method != "MOVE" {
		content = at.name
	}
	return c.send(at, method, target, content, append(fields, "X-Write", at.name, "X-Seen", seen)...)
}

// send sends a request to a random node and records the outcome.
func (c *customer) send(at attempt, method, target, content string, fields ...string) caddytest.Answer {
	at.work, at.alone, at.call = c.work.name, c.work.alone, c.now()
	a, err := caddytest.Try(context.Background(), method, c.nodes.Random()+target, content, fields...)
	at.back, at.err = c.now(), err
	if err == nil {
		at.status, at.outcome = a.StatusCode, a.Header.Get("X-Outcome")
	} else {
		a = caddytest.Answer{Response: new(http.Response)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts = append(c.attempts, at)
	return a
}

// business is everything that the customers and the job share.
type business struct {
	stopwatch // of the application
	nodes     caddytest.Nodes
	direct    string // the URL of the application itself

	mu       sync.Mutex
	attempts []attempt
}

// run runs all customers and the job for the given duration. If complete is set,
// it continues until every work has proved something, for a minute at most.
func (b *business) run(duration time.Duration, complete bool) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	id := 0
	for _, w := range works {
		for range w.many {
			id++
			c := &customer{business: b, id: id, work: w}
			all.Go(func() {
				for ctx.Err() == nil {
					w.turn(c)
					<-time.After(rand.N(leisure)) // gives other customers a chance
				}
			})
		}
	}
	all.Go(func() { b.job(ctx) })
	for end := time.Now().Add(duration + time.Minute); ; duration = 100 * time.Millisecond {
		<-time.After(duration)
		if !complete || b.unfinished() == nil || time.Now().After(end) {
			return
		}
	}
}

// unfinished returns the works that have proved nothing yet: none of their
// conditional writes has passed or, if the resource is contested, none was refused.
func (b *business) unfinished() (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	passed, refused := make(map[string]bool), make(map[string]bool)
	for _, at := range b.attempts {
		if at.seen != "" {
			passed[at.work] = passed[at.work] || at.succeeded()
			refused[at.work] = refused[at.work] || at.status == http.StatusPreconditionFailed
		}
	}
	for _, w := range works {
		if !passed[w.name] || !w.alone && !refused[w.name] {
			names = append(names, w.name)
		}
	}
	return names
}

// jobName is the prefix of the names of the job's writes.
const jobName = "job "

// job corrects the stock directly at the application, without the handler.
func (b *business) job(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
			name := fmt.Sprint(jobName, i)
			_, _ = caddytest.Try(context.Background(), "PUT", b.direct+pick(jobStock), name, "X-Write", name)
		case <-ctx.Done():
			return
		}
	}
}

// undisturbed reports whether a customer who is alone on the subject of an attempt
// noticed nothing of the others. A write must pass, without asking the origin if
// the subject's state is known and needs no confirmation. A revalidating read must
// show that nothing changed.
func (at attempt) undisturbed(c change) bool {
	switch {
	case at.revalidates:
		return at.status == http.StatusNotModified
	case !at.succeeded():
		return false
	default:
		return c.asked == 0 || c.seen == absent || strings.HasPrefix(c.subject, "/stock/")
	}
}

func (at attempt) String() string {
	return fmt.Sprintf("%s: %s (%s) was answered %d %s %v after %v",
		at.work, at.what, at.name, at.status, at.outcome, at.err, (at.back - at.call).Round(time.Millisecond))
}
