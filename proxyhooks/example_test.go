package proxyhooks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// legacy is a backend that knows no validators. In a handler it would be next.
var legacy = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPut {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	_, err := io.WriteString(w, `{"title":"Plan","version":7}`)
	return err
})

// request returns a request as Caddy passes it to handlers.
func request(method string) *http.Request {
	r := httptest.NewRequest(method, "http://legacy.example/docs/plan", nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, nil)
}

// labeller puts the tag of a representation on the response, and drops the response if
// the client has that representation already.
type labeller struct {
	conditions  validator.Conditions
	notModified bool
}

func (l *labeller) Label(status int, header http.Header, s proxyhooks.Shown) (send bool) {
	if s.ETag.Valid {
		header.Set("ETag", s.ETag.String())
	}
	result := validator.Evaluate(http.MethodGet, l.conditions, s.Representation, time.Now())
	l.notModified = result.Verdict == validator.NotModified
	return !l.notModified
}

func (l *labeller) Late(o validator.Observed) {
	fmt.Println("too late for the header section:", o.ETag)
}

// A handler labels the response to a GET, and answers 304 (Not Modified) to the next one.
func ExampleCapture() {
	deriver := proxyhooks.Deriver{Sources: []proxyhooks.Source{{Kind: proxyhooks.SourceBody}}, Limit: 1 << 20}

	get := func(r *http.Request) *http.Response {
		w := httptest.NewRecorder()
		reading := &labeller{conditions: validator.ConditionsFrom(r.Header)}
		if err := proxyhooks.NewCapture(w, deriver, reading).Serve(legacy, r); err != nil {
			fmt.Println(err)
		}
		if reading.notModified {
			w.WriteHeader(http.StatusNotModified)
		}
		return w.Result()
	}

	first := request(http.MethodGet)
	response := get(first)
	fmt.Println(response.StatusCode, response.Header.Get("ETag"))

	second := request(http.MethodGet)
	second.Header.Set("If-None-Match", response.Header.Get("ETag"))
	fmt.Println(get(second).StatusCode)
	// Output:
	// 200 "oo59jf10id8q6up3d1rfvvohek"
	// 304
}

// The first source that yields a tag wins: a strong tag of the backend, a member of JSON
// content, or else a hash of the content.
func ExampleDeriver_FromContent() {
	version, err := proxyhooks.ParsePointer("/version")
	if err != nil {
		fmt.Println(err)
		return
	}
	deriver := proxyhooks.Deriver{
		Sources: []proxyhooks.Source{
			{Kind: proxyhooks.SourceUpstream},
			{Kind: proxyhooks.SourceJSON, Pointers: []proxyhooks.Pointer{version}},
			{Kind: proxyhooks.SourceBody},
		},
		Limit: 1 << 20,
	}
	show := func(h http.Header, content string) {
		derivation := deriver.FromContent(h, []byte(content), time.Now())
		fmt.Println(derivation.ETag, "from the backend:", derivation.Own)
	}

	show(http.Header{"Etag": {`"its-own"`}}, "any content")
	show(http.Header{"Content-Type": {"application/json"}}, `{"version": 7, "now": "10:00"}`)
	show(http.Header{"Content-Type": {"application/json"}}, `{"version": 7, "now": "10:01"}`)
	show(http.Header{"Content-Type": {"text/plain"}}, "any content")
	// Output:
	// "its-own" from the backend: true
	// "oirfvparr373kle21747te69bo" from the backend: false
	// "oirfvparr373kle21747te69bo" from the backend: false
	// "47ibatf5c2aad24prgcvs51dg4" from the backend: false
}

// A probe finds out whether the condition of a write holds, before the write is forwarded.
func ExampleProbe() {
	deriver := proxyhooks.Deriver{Sources: []proxyhooks.Source{{Kind: proxyhooks.SourceBody}}, Limit: 1 << 20}

	write := request(http.MethodPut)
	write.Header.Set("If-Match", `"out-of-date"`)

	probed := proxyhooks.Probe(write.Context(), legacy, write, deriver, 0)
	switch {
	case probed.Err != nil:
		fmt.Println("the origin doesn't answer:", probed.Err)
		return
	case !probed.Known:
		fmt.Println("the origin answers", probed.Status)
		return
	}
	result := validator.Evaluate(write.Method, validator.ConditionsFrom(write.Header), probed.Observed.Representation, time.Now())
	fmt.Println("the current tag is", probed.Observed.ETag)
	fmt.Println("If-Match:", result.Verdict)
	// Output:
	// the current tag is "oo59jf10id8q6up3d1rfvvohek"
	// If-Match: false
}

// A lease is renewed while the backend works. Its context ends when the lock is lost.
func ExampleKeepLease() {
	errLost := errors.New("somebody else has the lock")
	renewals := 0
	renew := func(context.Context) error {
		if renewals++; renewals == 2 {
			return errLost
		}
		return nil
	}
	lost := func(err error) bool { return errors.Is(err, errLost) }

	// A real lease lasts some 30 seconds. This one is short, to be lost soon.
	lease := proxyhooks.KeepLease(time.Now(), 600*time.Millisecond, renew, lost)
	defer lease.Stop()

	<-lease.Context().Done() // in a handler: Forward(lease.Context(), ...)
	fmt.Println(context.Cause(lease.Context()))
	// Output: the lease was lost while the backend worked
}

// settler prints what became of a write. A handler would release its lock here.
type settler struct{ lease *proxyhooks.Lease }

func (s settler) Held() bool { return !s.lease.Lost() }

func (s settler) BufferLimit(int, http.Header) (limit int64, patience time.Duration) {
	return 1 << 20, 0
}

func (s settler) Pass(proxyhooks.Answer) {}

func (s settler) Settle(a proxyhooks.Answer, fate proxyhooks.Fate) (send bool) {
	if fate == proxyhooks.Unanswered {
		// The backend may still apply the write, so the lock must outlast it.
		s.lease.Expire(func(time.Duration) error { return nil })
		return true
	}
	s.lease.Stop()
	fmt.Println("settled before the client sees", a.Status)
	return true
}

// A write is forwarded under a lease.
func ExampleForward() {
	renew := func(context.Context) error { return nil }
	lost := func(error) bool { return false }
	lease := proxyhooks.KeepLease(time.Now(), 30*time.Second, renew, lost)

	w := httptest.NewRecorder()
	how := proxyhooks.Forwarding{Linger: 30 * time.Second, Unanswered: proxyhooks.DefaultUnanswered()}
	err := proxyhooks.Forward(lease.Context(), legacy, w, request(http.MethodPut), how, settler{lease})
	fmt.Println("sent", w.Code, err)
	// Output:
	// settled before the client sees 204
	// sent 204 <nil>
}

// Each item of a list gets the tag that a GET of the item shows.
func ExampleInsert() {
	version, err := proxyhooks.ParsePointer("/version")
	if err != nil {
		fmt.Println(err)
		return
	}
	deriver := proxyhooks.Deriver{
		Sources: []proxyhooks.Source{{Kind: proxyhooks.SourceJSON, Pointers: []proxyhooks.Pointer{version}}},
		Limit:   1 << 20,
	}
	header := http.Header{"Content-Type": {"application/json"}}
	list := []byte(`[{"id": 1, "version": 7}, {"id": 2, "version": 4}]`)

	var insertions []proxyhooks.Insertion
	for _, item := range proxyhooks.Items(list, proxyhooks.Pointer{}, 100) {
		if tags, certain := deriver.ItemTags(header, item.JSON); certain && !item.Has("etag") {
			insertions = append(insertions, item.Insertion("etag", tags[0]))
		}
	}
	extended, _ := proxyhooks.Insert(list, insertions)
	fmt.Println(string(extended))
	// Output: [{"id": 1, "version": 7,"etag":"\"oirfvparr373kle21747te69bo\""}, {"id": 2, "version": 4,"etag":"\"84vneg9mh77ibq880759j7dtio\""}]
}
