package application

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A reference application, of which hardly anything is changed through its own
// URL only: there are actions, lists with pages and filters, a search, products
// with two names, a price list that products show, folders that are moved as a
// whole, and a job that changes the stock behind everybody's back. See backend_test.go.
//
// Customers change all of it at the same time, through two nodes that share a
// Redis. Afterwards, by the record of the application,
//
//   - every conditional write that was applied has replaced the very state that its
//     client had seen, whatever it is about: a thing, an order that is acted on, a
//     page of a list;
//   - what was confirmed was applied, and what was refused wasn't;
//   - nothing was refused for no reason, least of all to those who are alone on
//     what they change: they never see a 412 or a 5xx, and what they read again is
//     304, whatever goes on beside them.
//
// Two limits are documented, see judgeLoss and justified: only these are excepted.
// There is more to find in more time:
//
//	PRECONDITIONS_FAULT_SECONDS=30 go test -race -run TestApplication -v ./tests/application
//
// The customers are in client_test.go, and judge_test.go
// judges.

// applicationConfig is what whoever runs the application would write.
const applicationConfig = `
	rewrite /products/blue-mug /products/17
	rewrite /products/red-mug  /products/18

	# A job changes the stock, and doesn't tell.
	@stock path /stock/*
	preconditions @stock {
		lag 0s
		{store}
		verify passing
	}

	# All else is changed through here, and what a write changes is declared.
	@else not path /stock/*
	preconditions @else {
		lag 0s
		{store}
		verify never
		guards  /orders/*/*  /orders/*
		affects /orders/*/*  /orders/* /orders /search
		affects /orders/*    /orders /search
		affects /orders      /search
		affects /folders/*/* /folders/*
		affects /folders     /folders/**
	}
	header >X-Outcome {http.preconditions.outcome}
	reverse_proxy {backend}
`

// playApplication has customers work with an application behind a config, for a
// while and, if it is to be complete, until something was shown of all their works.
func playApplication(t *testing.T, config, store string, duration time.Duration, complete bool) *verdict {
	t.Helper()
	own := slices.Concat(sharedOrders, products, jobStock, sharedFolders, sharedDocuments, []string{fleetingOrder, "/prices"})
	a := newApplication(
		slices.Concat(own, []string{"/orders", "/search"}),
		slices.Concat(own, contestedPages, contestedFilters, contestedSearches),
	)
	address := caddytest.Serve(t, a)
	b := &business{stopwatch: a.stopwatch, direct: "http://" + address}
	config = strings.NewReplacer("{store}", store, "{backend}", address).Replace(config)
	for _, m := range caddytest.StartNodes(t, 2, config) {
		b.nodes = append(b.nodes, m.URL)
	}
	b.run(duration, complete)
	if works := b.unfinished(); complete && works != nil {
		t.Errorf("nothing was shown of: %q", works)
	}
	v := judge(a, b.attempts)
	t.Log(v.figures(b.attempts))
	return v
}

// sharedRedis is the store of all nodes. A busy machine must not decide the test.
func sharedRedis(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nwait 1m\n", caddytest.UsedRedis(t).Addr)
}

// TestApplication: no update is lost, and nobody is refused for no reason, though
// writes change more than their own URL.
func TestApplication(t *testing.T) {
	t.Parallel()
	duration := caddytest.DurationFromEnv(t, "PRECONDITIONS_FAULT_SECONDS", time.Second, 5*time.Second)
	playApplication(t, applicationConfig, sharedRedis(t), duration, true).expectSound(t)
}

// TestApplicationCanFail: without what the config of TestApplication says, updates
// are lost, or people refused for no reason, and found to be: those who needed it,
// and nobody else.
func TestApplicationCanFail(t *testing.T) {
	without := func(directive string) string {
		lines := slices.Collect(strings.Lines(applicationConfig))
		return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
			return strings.HasPrefix(strings.TrimSpace(line), directive)
		}), "")
	}
	for _, tt := range []struct {
		name    string
		config  string
		store   func(t *testing.T) string
		works   string // that suffer
		refused bool   // rather than that they lose updates
	}{
		{"a store for each node", applicationConfig, func(*testing.T) string { return "store memory\n" }, ".", false},
		{"without affects", without("affects /orders"), sharedRedis, "^(name|edit an order|ship an order)", false},
		{"without guards", without("guards"), sharedRedis, "^(own an order|ship an order)$", true},
		{"without trees", strings.Replace(applicationConfig, "/folders/**", "/folders/none", 1), sharedRedis, "^edit a document$", false},
		{"without rewrite", without("rewrite"), sharedRedis, "^edit a product by", false},
		{
			"without groups",
			strings.Replace(applicationConfig, "{backend}", "{backend} {\nheader_down -Cache-Group-Invalidation\n}", 1),
			sharedRedis, "^edit a product", false,
		},
		{"believing what the job touches", strings.Replace(applicationConfig, "passing", "never", 1), sharedRedis, "^count the stock$", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			suffers := regexp.MustCompile(tt.works)
			for range 10 { // as it takes some luck
				v := playApplication(t, tt.config, tt.store(t), 2*time.Second, false)
				for _, found := range []map[string][]string{v.lost, v.needless} {
					for work, what := range found {
						if !suffers.MatchString(work) {
							t.Errorf("not for that reason: %s", what[0])
						}
					}
				}
				if len(v.lost) > 0 && !tt.refused || len(v.needless) > 0 && tt.refused {
					return
				}
			}
			t.Errorf("nothing was found of %q", tt.works)
		})
	}
}
