package speed

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// clients is the number of connections that send requests at the same time.
const clients = 16

// documents is the number of resources that the works which need many spread over.
const documents = 1000

// BenchmarkCompare runs each work on each side, in turn and in random order,
// PRECONDITIONS_ROUNDS times (default 3) for PRECONDITIONS_SECONDS (default 1, and 3 for large
// content). It prints, for each work, the median of the ratios to a Caddy that forwards, the
// processor time of Caddy and of Redis per request, and the calls of the store per request.
//
// Run it with -benchtime 1x. PRECONDITIONS_WORK selects the works whose names contain a text.
// PRECONDITIONS_SIDES selects sides by name, separated by slashes.
// PRECONDITIONS_PROFILES names a directory for profiles of the processor time of each Caddy.
// PRECONDITIONS_EARLIER names the program of an earlier version, to compare with, and
// PRECONDITIONS_EARLIER_FORMAT its store format, if that is different.
func BenchmarkCompare(b *testing.B) {
	origin := caddytest.Serve(b, newShelf())
	sides := selectedSides(b, startSides(b, origin))
	rounds := int(caddytest.DurationFromEnv(b, "PRECONDITIONS_ROUNDS", 1, 3))
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nwork\tside\t× bare\treq/s\tµs Caddy\tµs Redis\tcalls\t")
	for _, w := range works {
		if !strings.Contains(w.name, os.Getenv("PRECONDITIONS_WORK")) {
			continue
		}
		for range rounds {
			order := rand.Perm(len(sides))
			for _, i := range order {
				if s := sides[i]; w.on(s) {
					s.measure(b, w)
				}
			}
		}
		bare := sides[0].results[w.name]
		for _, s := range sides {
			if list := s.results[w.name]; list != nil {
				median := func(value func(i int) float64) float64 { return medianOf(len(list), value) }
				fmt.Fprintf(table, "%s\t%s\t%.2f\t%.0f\t%.0f\t%.0f\t%.2f\t\n", w.name, s.name,
					median(func(i int) float64 { return list[i].rate / bare[i].rate }),
					median(func(i int) float64 { return list[i].rate }),
					median(func(i int) float64 { return list[i].caddy }),
					median(func(i int) float64 { return list[i].redis }),
					median(func(i int) float64 { return list[i].calls }))
			}
		}
	}
	_ = table.Flush()
}

// side is one way to serve the requests.
type side struct {
	name    string
	served  map[string][]served
	start   func(options string) []served
	fixed   bool // it has no options
	refuses bool // it refuses everything
	steps   bool // it takes the steps of a work
	small   bool // it takes no large content
	redis   *store
	results map[string][]result // by work
}

// result is what one round found, per request but for the rate.
type result struct{ rate, caddy, redis, calls float64 } // per second, in µs

// startSides returns the sides. The first is the one that the others are compared with.
func startSides(b *testing.B, origin string) []*side {
	redis := startStore(b)
	directives := func(options string) string { return options + "\nreverse_proxy " + origin }
	guardedBy := func(program string, n int, store string) func(string) []served {
		return func(options string) []served {
			return nodes(caddytest.StartNodesOf(b, program, slices.Repeat([]string{directives("preconditions {\n" + store + "\n" + options + "\n}")}, n)...))
		}
	}
	guarded := func(n int, store string) func(string) []served { return guardedBy("", n, store) }
	plain := func(text string) func(string) []served {
		return func(string) []served { return nodes(caddytest.StartNodes(b, 1, text)) }
	}
	sides := []*side{
		{name: "bare", fixed: true, start: plain(directives(""))},
		{name: "respond", fixed: true, refuses: true, start: plain("respond 412")},
		{name: "respond as much", fixed: true, refuses: true, start: plain(sameAnswer)},
		{name: "memory", start: guarded(1, "store memory")},
		{name: "redis", start: guarded(1, redis.option()), redis: redis},
		{name: "two nodes", start: guarded(2, redis.option()), redis: redis},
	}
	takes := func(addr string) func(string) []served {
		return func(steps string) []served {
			return nodes(caddytest.StartNodes(b, 1, directives(steps+addr)))
		}
	}
	sides = append(sides,
		&side{name: "steps", steps: true, start: takes("")},
		&side{name: "steps, redis", steps: true, start: takes(redis.server.Addr), redis: redis})
	sides = append(sides, insteadSides(b, origin, redis)...)
	if earlier := os.Getenv("PRECONDITIONS_EARLIER"); earlier != "" {
		own := startStoreFor(b, os.Getenv("PRECONDITIONS_EARLIER_FORMAT"))
		sides = append(sides,
			&side{name: "memory, earlier", start: guardedBy(earlier, 1, "store memory")},
			&side{name: "redis, earlier", start: guardedBy(earlier, 1, own.option()), redis: own})
	}
	return sides
}

// selectedSides returns the first side and those that PRECONDITIONS_SIDES names, or all of them.
func selectedSides(b *testing.B, all []*side) []*side {
	names := os.Getenv("PRECONDITIONS_SIDES")
	if names == "" {
		return all
	}
	selected := all[:1]
	for name := range strings.SplitSeq(names, "/") {
		i := slices.IndexFunc(all, func(s *side) bool { return s.name == name })
		if i < 0 {
			b.Fatalf("PRECONDITIONS_SIDES names %q, which is no side", name)
		}
		if !slices.Contains(selected, all[i]) {
			selected = append(selected[:len(selected):len(selected)], all[i])
		}
	}
	return selected
}

// sameAnswer are directives that answer with as many fields and as much content as a refusal has.
var sameAnswer = "header {\nCache-Control no-store\nContent-Type application/problem+json\n" +
	"Etag `\"" + strings.Repeat("e", 22) + "\"`\nLast-Modified `Sun, 06 Nov 1994 08:49:37 GMT`\n}\n" +
	"respond `" + strings.Repeat("x", 420) + "` 412"

// at returns the servers for a work.
func (s *side) at(w work) []served {
	if s.served == nil {
		s.served, s.results = make(map[string][]served), make(map[string][]result)
	}
	options := w.options
	switch {
	case s.fixed:
		options = ""
	case s.steps:
		options = w.steps.directive()
	}
	if s.served[options] == nil {
		s.served[options] = s.start(options)
	}
	return s.served[options]
}

// work is a sequence of requests that each client sends again and again.
type work struct {
	name    string
	options string
	length  int // of the content of a write
	turn    func(c *client)

	everywhere bool // also on the side that only refuses
	large      bool // one client is enough, and needs longer

	steps *steps // that it can't do without, if that is a side of its own
}

func (w work) on(s *side) bool {
	return (!s.refuses || w.everywhere) && (!s.steps || w.steps != nil) && (!s.small || !w.large)
}

// clients returns the number of clients.
func (w work) clients() int {
	if w.large {
		return 1
	}
	return clients
}

// lasts returns how long a round is, and how long to run before it: for connections, scripts,
// and what is known.
func (w work) lasts() (round, before time.Duration) {
	if w.large {
		return 3 * time.Second, time.Nanosecond
	}
	return time.Second, 300 * time.Millisecond
}

var works = []work{
	{name: "refused PUT, 1 KiB", everywhere: true, length: 1 << 10, turn: func(c *client) {
		c.send("PUT", c.own, "If-Match", `"outdated"`)
	}},
	{name: "GET, 10 KiB", length: 10 << 10, steps: &steps{}, turn: func(c *client) { c.send("GET", c.own) }},
	{name: "GET answered 304", length: 10 << 10, turn: func(c *client) {
		c.send("GET", c.own, "If-None-Match", cmp.Or(c.tags[c.own], `"none"`))
	}},
	{name: "GET answered 304, reads store", everywhere: true, options: "verify never\nreads store", length: 10 << 10, turn: func(c *client) {
		c.send("GET", c.own, "If-None-Match", cmp.Or(c.tags[c.own], `"none"`))
	}},
	{name: "GET and PUT in turn, verify never, write_etag off", options: "verify never\nwrite_etag off", length: 1 << 10, steps: &steps{get: 1, put: 2}, turn: getAndPut},
	{name: "GET and PUT in turn, defaults", length: 1 << 10, steps: &steps{before: 1, after: 1, put: 2}, turn: getAndPut},
	{name: "GET and PUT in turn, 256 KiB, etag upstream, write_etag off", options: "etag upstream\nwrite_etag off", length: 256 << 10, turn: getAndPutTagged},
	{name: "GET and PUT in turn, 256 KiB, etag upstream, write_etag always", options: "etag upstream\nwrite_etag always", length: 256 << 10, turn: getAndPutTagged},
	{name: "PUT that passes, defaults", length: 1 << 10, steps: &steps{before: 1, after: 1, put: 2}, turn: func(c *client) {
		c.send("PUT", c.any(), "If-None-Match", `"outdated"`)
	}},
	{name: "PUT that passes, write_etag off", options: "write_etag off", length: 1 << 10, steps: &steps{before: 1, put: 3}, turn: func(c *client) {
		c.send("PUT", c.any(), "If-None-Match", `"outdated"`)
	}},
	{name: "GET, 512 MiB", large: true, length: 512 << 20, turn: func(c *client) { c.send("GET", c.own) }},
	{name: "PUT that passes, 256 MiB", large: true, length: 256 << 20, turn: func(c *client) {
		c.send("PUT", c.own, "If-Match", cmp.Or(c.tags[c.own], "*"))
	}},
}

func getAndPut(c *client) { getAndPutAt(c, c.any()) }

// getAndPutTagged does the same with documents of which the backend shows a tag of its own.
func getAndPutTagged(c *client) { getAndPutAt(c, tagged+c.any()) }

func getAndPutAt(c *client, path string) {
	c.send("GET", path)
	c.send("PUT", path, "If-Match", cmp.Or(c.tags[path], "*"))
}

// measure runs a work on a side for one round.
func (s *side) measure(b *testing.B, w work) {
	servers := s.at(w)
	var urls []string
	for _, n := range servers {
		urls = append(urls, n.url)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}
	defer transport.CloseIdleConnections()
	list := make([]*client, w.clients())
	place := "/" + strings.NewReplacer(" ", "-", ",", "").Replace(s.name)
	for i := range list {
		list[i] = &client{
			b: b, http: &http.Client{Transport: transport}, urls: urls, number: i, tags: make(map[string]string),
			content: bytes.Repeat([]byte("y"), w.length), place: place, own: fmt.Sprint(place, "/own/", i),
		}
	}
	each := func(f func(c *client)) {
		var group sync.WaitGroup
		for _, c := range list {
			group.Go(func() { f(c) })
		}
		group.Wait()
	}
	run := func(d time.Duration) float64 {
		var sent atomic.Int64
		ctx, stop := context.WithTimeout(context.Background(), d)
		defer stop()
		each(func(c *client) {
			c.sent = &sent
			for ctx.Err() == nil {
				w.turn(c)
			}
		})
		return float64(sent.Load())
	}
	round, before := w.lasts()
	round = caddytest.DurationFromEnv(b, "PRECONDITIONS_SECONDS", time.Second, round)
	profiled := startProfiles(b, w, s.name, servers, before+round)
	defer profiled()
	each(func(c *client) {
		c.sent = new(atomic.Int64)
		c.send("PUT", c.own)
		c.send("GET", c.own)
	})
	run(before)
	each(func(c *client) { // until all documents are known, if they take part
		for c.turns > 0 && c.turns <= documents/clients {
			w.turn(c)
		}
	})
	caddy, redis, calls, begun := cpuOf(servers), s.redis.cpu(), s.redis.calls(b), time.Now()
	sent := run(round)
	took := time.Since(begun)
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / sent }
	s.results[w.name] = append(s.results[w.name], result{
		rate: sent / took.Seconds(), caddy: per(cpuOf(servers) - caddy), redis: per(s.redis.cpu() - redis), calls: float64(s.redis.calls(b)-calls) / sent,
	})
}

func cpuOf(servers []served) (sum time.Duration) {
	for _, s := range servers {
		sum += s.cpu()
	}
	return sum
}

func medianOf(n int, value func(i int) float64) float64 {
	var values []float64
	for i := range n {
		values = append(values, value(i))
	}
	slices.Sort(values)
	return values[n/2]
}

// client sends requests one after the other.
type client struct {
	b       *testing.B
	http    *http.Client
	urls    []string
	number  int
	turns   int
	place   string            // what all paths begin with: nobody else writes to what a side knows
	own     string            // the path of a resource that no other client uses
	tags    map[string]string // by path
	content []byte
	sent    *atomic.Int64
}

// written counts the writes of all clients.
var written atomic.Int64

// any returns the path of one of the documents. No two clients use the same.
func (c *client) any() string {
	c.turns++
	return c.place + "/all/" + strconv.Itoa((c.turns*clients+c.number)%documents)
}

func (c *client) send(method, path string, fields ...string) {
	var content io.Reader
	if method == http.MethodPut {
		// Nobody writes the same content twice: within the lag, it would be taken for the past.
		c.content = append(fmt.Appendf(c.content[:0], "%020d", written.Add(1)), c.content[20:]...)
		content = bytes.NewReader(c.content)
	}
	r, err := http.NewRequest(method, c.urls[rand.IntN(len(c.urls))]+path, content)
	if err != nil {
		c.b.Error(err)
		return
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	answer, err := c.http.Do(r)
	if err != nil {
		c.b.Error(err)
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode >= 500 && !c.b.Failed() {
		c.b.Errorf("%s %s: %s", method, path, answer.Status)
	}
	if tag := answer.Header.Get("Etag"); tag != "" || method == http.MethodPut {
		c.tags[path] = tag
	}
	c.sent.Add(1)
}

// tagged is what the paths of documents begin with that have tags of the backend's own.
const tagged = "/tagged"

// shelf is a backend that keeps what is put there, and knows no conditions.
type shelf struct {
	mu       sync.RWMutex
	contents map[string][]byte
}

func newShelf() *shelf { return &shelf{contents: make(map[string][]byte)} }

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		content, err := make([]byte, max(0, r.ContentLength)), error(nil)
		if r.ContentLength < 0 {
			content, err = io.ReadAll(r.Body)
		} else {
			_, err = io.ReadFull(r.Body, content) // nothing that large grows by and by
		}
		if err != nil {
			return
		}
		s.mu.Lock()
		s.contents[r.URL.Path] = content
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.mu.RLock()
	content := s.contents[r.URL.Path]
	s.mu.RUnlock()
	w.Header().Set("Content-Type", "text/plain")
	if strings.HasPrefix(r.URL.Path, tagged) && len(content) >= 20 {
		w.Header().Set("ETag", `"`+string(content[:20])+`"`) // no two contents begin like that
	}
	if len(content) > 1<<20 {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	}
	_, _ = w.Write(content)
}
