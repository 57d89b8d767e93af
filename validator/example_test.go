package validator_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// A handler that evaluates preconditions before it reads or changes anything.
func Example() {
	tag, _ := validator.ParseETag(`"v2"`)
	current := validator.Representation{State: validator.Present, ETag: tag}

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := validator.ConditionsFrom(r.Header)
		if c.CheckSize() != nil {
			w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
			return
		}
		w.Header().Set("ETag", current.ETag.String())
		switch validator.Evaluate(r.Method, c, current, time.Now()).Verdict {
		case validator.NotModified:
			w.WriteHeader(http.StatusNotModified)
		case validator.False:
			w.WriteHeader(http.StatusPreconditionFailed)
		case validator.Unverifiable:
			w.WriteHeader(http.StatusServiceUnavailable)
		case validator.True, validator.Unconditional:
			w.WriteHeader(http.StatusOK) // read or write here
		}
	})

	for _, request := range [][3]string{
		{"GET", "If-None-Match", `"v2"`},
		{"PUT", "If-Match", `"v1"`},
		{"PUT", "If-Match", `"v2"`},
	} {
		r := httptest.NewRequest(request[0], "/", nil)
		r.Header.Set(request[1], request[2])
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(request, w.Code)
	}
	// Output:
	// [GET If-None-Match "v2"] 304
	// [PUT If-Match "v1"] 412
	// [PUT If-Match "v2"] 200
}

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

// The client read version 1 or 2, but somebody else has saved version 3 since.
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

// The client has the current version, and received it compressed.
func ExampleEvaluate_notModified() {
	h := http.Header{"If-None-Match": {`"v3-gzip"`}}
	tag, _ := validator.ParseETag(`"v3"`)
	current := validator.Representation{State: validator.Present, ETag: tag}

	res := validator.Evaluate(http.MethodGet, validator.ConditionsFrom(h), current, time.Now())
	fmt.Printf("%v: %v, %v\n", res.Field, res.Verdict, res.Matched)
	// Output: If-None-Match: not modified, "v3-gzip"
}

// Only the origin knows whether the target exists.
func ExampleEvaluate_unverifiable() {
	h := http.Header{"If-None-Match": {"*"}}

	res := validator.Evaluate(http.MethodPut, validator.ConditionsFrom(h), validator.Representation{}, time.Now())
	fmt.Printf("%v: %v\n", res.Field, res.Verdict)
	// Output: If-None-Match: unverifiable
}

func ExampleStrongMatch() {
	strong, _ := validator.ParseETag(`"v2"`)
	weak, _ := validator.ParseETag(`W/"v2"`)
	fmt.Println(validator.StrongMatch(strong, weak), validator.WeakMatch(strong, weak))
	// Output: false true
}

// A client that has a part of version 2 gets the rest of it, but all of version 3.
func ExampleIfRange() {
	lines := http.Header{"If-Range": {`"v2"`}}.Values("If-Range")
	for _, s := range []string{`"v2"`, `"v3"`} {
		tag, _ := validator.ParseETag(s)
		current := validator.Representation{State: validator.Present, ETag: tag}
		if validator.IfRange(lines, current, time.Now()) {
			fmt.Println(s, "206 Partial Content")
		} else {
			fmt.Println(s, "200 OK")
		}
	}
	// Output:
	// "v2" 206 Partial Content
	// "v3" 200 OK
}

func ExampleConditions_CheckSize() {
	h := http.Header{"If-Match": make([]string, 1_000_000)}
	fmt.Println(validator.ConditionsFrom(h).CheckSize())
	// Output: preconditions too large
}
