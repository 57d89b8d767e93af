package validator_test

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

func ExampleParseETag() {
	for _, s := range []string{`"v2"`, `W/"v2"`, `""`, `v2`} {
		tag, ok := validator.ParseETag(s)
		fmt.Printf("%-7s %v weak=%v opaque=%q\n", s, ok, tag.Weak, tag.Opaque)
	}
	// Output:
	// "v2"    true weak=false opaque="v2"
	// W/"v2"  true weak=true opaque="v2"
	// ""      true weak=false opaque=""
	// v2      false weak=false opaque=""
}

// Somebody else has saved version 3 in the meantime.
func ExampleEvaluate() {
	h := http.Header{}
	h.Add("If-Match", `"v1"`)
	h.Add("If-Match", `"v2"`)

	tag, _ := validator.ParseETag(`"v3"`)
	current := validator.Representation{State: validator.Present, ETag: tag}

	res := validator.Evaluate(http.MethodPut, validator.ConditionsFrom(h), current, time.Now())
	fmt.Printf("%v: %v, %v\n", res.Field, res.Verdict, res.Reason)
	// Output: If-Match: false, no match
}

// A client that has the current version, but got it compressed.
func ExampleEvaluate_notModified() {
	h := http.Header{"If-None-Match": {`"v3-gzip"`}}
	tag, _ := validator.ParseETag(`"v3"`)
	current := validator.Representation{State: validator.Present, ETag: tag}

	res := validator.Evaluate(http.MethodGet, validator.ConditionsFrom(h), current, time.Now())
	fmt.Printf("%v: %v, %v\n", res.Field, res.Verdict, res.Matched)
	// Output: If-None-Match: not modified, "v3-gzip"
}

// Nothing but the origin can tell whether the target exists.
func ExampleEvaluate_unverifiable() {
	h := http.Header{"If-None-Match": {"*"}}

	res := validator.Evaluate(http.MethodPut, validator.ConditionsFrom(h), validator.Representation{}, time.Now())
	fmt.Printf("%v: %v\n", res.Field, res.Verdict)
	// Output: If-None-Match: unverifiable
}

func ExampleConditions_CheckSize() {
	h := http.Header{"If-Match": make([]string, 1_000_000)}
	fmt.Println(validator.ConditionsFrom(h).CheckSize())
	// Output: preconditions too large
}
