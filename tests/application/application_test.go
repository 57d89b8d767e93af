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

// These tests run a reference application in which most resources also change
// through URLs other than their own. It has actions, lists with pages and filters,
// a search, products with two names, a price list that products show, folders that
// are moved as a whole, and a job that changes the stock without going through
// the handler. See backend_test.go.
//
// Customers change all of it at the same time, through two nodes that share a
// Redis. Afterwards, these rules must hold by the application's own record:
//
//   - every conditional write that was applied replaced exactly the state that its
//     client had seen, whether its condition is about a thing, an order that it
//     acts on or a page of a list;
//   - every confirmed write was applied, and no refused write was;
//   - no request was refused without a reason. A customer who is alone on a resource
//     never gets a 412 or a 5xx, and a revalidating read gets 304, no matter what
//     other customers do elsewhere.
//
// The only exceptions are two documented limits, see judgeLoss and justified.
// Longer runs can find more:
//
//	PRECONDITIONS_FAULT_SECONDS=30 go test -race -run TestApplication -v ./tests/application
//
// The customers are in client_test.go, the checks in judge_test.go.

// applicationConfig is the config that an operator of the application would write.
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

// playApplication runs customers against an application behind the config for the
// given duration. If complete is set, it continues until every work has proved
// something (see unfinished).
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
		t.Errorf("these works proved nothing: %q", works)
	}
	v := judge(a, b.attempts)
	t.Log(v.figures(b.attempts))
	return v
}

// sharedRedis returns the store options for all nodes. The timeouts are long, so
// that a busy machine doesn't fail the test.
func sharedRedis(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nwait 1m\n", caddytest.UsedRedis(t).Addr)
}

// No update is lost and no request is refused without a reason, although writes
// change more than their own URL.
func TestApplication(t *testing.T) {
	t.Parallel()
	duration := caddytest.DurationFromEnv(t, "PRECONDITIONS_FAULT_SECONDS", time.Second, 5*time.Second)
	playApplication(t, applicationConfig, sharedRedis(t), duration, true).expectSound(t)
}

// Each declaration in the config of TestApplication is needed. Without it, updates
// are lost or requests are refused without a reason, and the checks find that.
// Only the works that depend on the declaration suffer.
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
		works   string // those that suffer
		refused bool   // they are refused, rather than losing updates
	}{
		{"a store for each node", applicationConfig, func(*testing.T) string { return "store memory\n" }, ".", false},
		{"without affects", without("affects /orders"), sharedRedis, "^(name|edit an order|ship an order)", false},
		{"without guards", without("guards"), sharedRedis, "^(own an order|ship an order)$", true},
		{"without trees", strings.Replace(applicationConfig, "/folders/**", "/folders/none", 1), sharedRedis, "^(edit a document|own a folder)$", false},
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
			for range 10 { // the failure depends on timing
				v := playApplication(t, tt.config, tt.store(t), 2*time.Second, false)
				for _, found := range []map[string][]string{v.lost, v.needless} {
					for work, what := range found {
						if !suffers.MatchString(work) {
							t.Errorf("this work should not suffer: %s", what[0])
						}
					}
				}
				if len(v.lost) > 0 && !tt.refused || len(v.needless) > 0 && tt.refused {
					return
				}
			}
			t.Errorf("no failure was found in the works %q", tt.works)
		})
	}
}
