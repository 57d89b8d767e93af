package etagcache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/validator"
)

var terms = etagcache.Terms{
	Lease:     30 * time.Second,
	Retention: 24 * time.Hour,
	Grace:     10 * time.Second,
}

// A gateway serves a read, and then forwards a write whose If-Match names the tag
// that the read returned.
func Example() {
	ctx := context.Background()
	store := etagcache.NewMemory(10_000)
	defer store.Close()
	const key = "example.com/docs/plan"

	// The read: the epoch is read before the request goes to the backend.
	before, err := store.Read(ctx, key, terms)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Observe(ctx, key, before, observed(`"v1"`), terms); err != nil {
		log.Fatal(err)
	}

	// The write: evaluate the condition, claim, forward, settle.
	entry, err := store.Read(ctx, key, terms)
	if err != nil {
		log.Fatal(err)
	}
	conditions := validator.Conditions{IfMatch: []string{`"v1"`}}
	known := entry.Variants.Of("").Representation
	fmt.Println("If-Match:", validator.Evaluate(http.MethodPut, conditions, known, entry.Now).Verdict)

	grant, _, err := store.Claim(ctx, key, entry.Epoch, terms)
	if err != nil {
		log.Fatal(err)
	}
	// Forward the write here. Call store.Renew several times per lease until the
	// backend answers.
	o := observed(`"v2"`)
	if err := store.Settle(ctx, grant, etagcache.Settlement{Observation: &o}, terms); err != nil {
		log.Fatal(err)
	}

	entry, err = store.Read(ctx, key, terms)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("now:", entry.Variants.Of("").ETag)
	// Output:
	// If-Match: true
	// now: "v2"
}

// Two writers evaluate their conditions against the same entry. The first one gets
// the claim. The second one has to wait, and then to evaluate its condition again.
func ExampleStore_losingWriter() {
	ctx := context.Background()
	store := etagcache.NewMemory(0)
	defer store.Close()
	const key = "example.com/docs/plan"

	entry, _ := store.Read(ctx, key, terms)
	_ = store.Observe(ctx, key, entry, observed(`"v1"`), terms)
	entry, _ = store.Read(ctx, key, terms)

	first, _, err := store.Claim(ctx, key, entry.Epoch, terms)
	fmt.Println("first:", err)

	_, now, err := store.Claim(ctx, key, entry.Epoch, terms)
	fmt.Println("second:", err)

	o := observed(`"v2"`)
	_ = store.Settle(ctx, first, etagcache.Settlement{Observation: &o}, terms)

	if errors.Is(err, etagcache.ErrBusy) {
		_ = store.Wait(ctx, key, now)
		_, now, err = store.Claim(ctx, key, entry.Epoch, terms)
	}
	fmt.Println("second:", err)

	conditions := validator.Conditions{IfMatch: []string{`"v1"`}}
	result := validator.Evaluate(http.MethodPut, conditions, now.Variants.Of("").Representation, now.Now)
	fmt.Printf("%v: %v\n", result.Field, result.Verdict)
	// Output:
	// first: <nil>
	// second: another write is in flight
	// second: the epoch has moved
	// If-Match: false
}

// Several gateways share the Redis cluster at these addresses.
func ExampleNewRedis() {
	client, err := etagcache.RedisConfig{
		Addresses: []string{"rediss://gateway:secret@redis1.example:6379", "rediss://redis2.example:6379"},
		Timeout:   500 * time.Millisecond,
	}.Client()
	if err != nil {
		log.Fatal(err)
	}
	store := etagcache.NewRedis(client, etagcache.RedisOptions{
		Prefix:   "documents:",
		Timeout:  500 * time.Millisecond,
		Replicas: 1,
	})
	defer store.Close() // closes the client, too

	entry, err := store.Read(context.Background(), "example.com/docs/plan", terms)
	if errors.Is(err, etagcache.ErrUnavailable) {
		log.Print("no conditional writes for now: ", err)
		return
	}
	fmt.Println(entry.Epoch)
}

// observed returns the observation of a resource with a single variant.
func observed(tag string) etagcache.Observation {
	etag, _ := validator.ParseETag(tag)
	return etagcache.Observation{Observed: validator.Observed{
		Own:            true,
		Representation: validator.Representation{State: validator.Present, ETag: etag},
	}}
}
