package relations

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// names returns a List of n Strings, each of the given number of bytes.
func names(n, size int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"%0*d"`, size, i))
	}
	return strings.Join(list, ", ")
}

// Once the response to an unsafe method has invalidated a group, nothing stored
// for the group's resources is trusted (RFC 9875, section 3).
func TestGroups(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b, join := caddytest.Grouped(nil)
		n := deploy(t, caddytest.Trusting, b)
		for _, tt := range []struct {
			name         string
			groups       string // of /cars/2
			invalidation string // on the answer to a write of /cars/1
			marked       bool   // whether /cars/2 is then invalidated
		}{
			{"none", `"cars"`, ``, false},
			{"the group", `"cars"`, `"cars"`, true},
			{"another group", `"cars"`, `"vans"`, false},
			{"the beginning of the name", `"cars"`, `"car", "cars "`, false},
			{"other case", `"cars"`, `"Cars", "CARS"`, false},
			{"one of several groups", `"red", "cars"`, `"cars", "vans"`, true},
			{"several lines", "\"red\"\n\"cars\"", "\"vans\"\n\"cars\"", true},
			{"parameters (2)", `"cars";x`, `"cars";y=1`, true},
			{"a token is no String", `"cars"`, `cars`, false},
			{"a malformed field", `"cars"`, `"cars", `, false},
			{"a malformed membership", `"cars", `, `"cars"`, false},
			{"odd names", `"a, b;c=\"d\" %3B&+\\"`, `"a, b;c=\"d\" %3B&+\\"`, true},
			{"odd names that are alike", `"a+b"`, `"a b", "a%2Bb"`, false},
			{"the empty name", `""`, `""`, true},
			{"32 groups of 32 characters (2)", names(32, 32), `"00000000000000000000000000000031"`, true},
			{"32 groups of 32 odd characters", strings.ReplaceAll(names(32, 32), "0", "!"), `"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!31"`, true},
			{"32 invalidations of 32 characters", names(1, 32), names(32, 32), true},
			{"64 groups", names(64, 4), `"0063"`, true},
			{"a name of 256 bytes", names(1, 256), names(1, 256), true},
		} {
			t.Run(tt.name, func(t *testing.T) {
				path := "/cars/" + strings.ReplaceAll(tt.name, " ", "-") // a path per case: groups of one resource add up
				join(path, tt.groups)
				tag := caddytest.ReadTwice(t, n.First()+path)
				caddytest.ExpectInvalidated(t, b, n.First()+path, tag, false)
				caddytest.ReadTwice(t, n.First()+path)
				var lines []string
				for line := range strings.SplitSeq(tt.invalidation, "\n") {
					lines = append(lines, "Cache-Group-Invalidation: "+line)
				}
				caddytest.Send(t, "POST", n.Other()+"/cars/1", "x", answering(200, lines...)...).Expect(t, 200)
				caddytest.ExpectInvalidated(t, b, n.First()+path, tag, tt.marked)
			})
		}
	})
}

// Every unsafe method invalidates groups unless its response is an error; safe
// methods don't (RFC 9875, section 3).
func TestGroupsOrNot(t *testing.T) {
	const invalidation = `Cache-Group-Invalidation: "cars"`
	b, _ := caddytest.Grouped(map[string]string{"/cars/2": `"cars"`})
	read := b.Answer
	b.Answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" && r.Header["X-Field"] != nil {
			w.Header().Set("Cache-Group-Invalidation", `"cars"`)
		}
		read(w, r)
	}
	for _, options := range []string{"", "signed aws\n", "unconditional forward\n", "mode report\n"} {
		for _, tt := range []struct {
			name, method string
			fields       []string
			status       int
			marked       bool
		}{
			{name: "PUT", method: "PUT", status: 200, marked: true},
			{name: "a condition", method: "PUT", fields: []string{"If-Match", "*"}, status: 200, marked: true},
			{name: "a signature", method: "PUT", fields: []string{"Authorization", "AWS4-HMAC-SHA256 Credential=x"}, status: 200, marked: true},
			{name: "a method that nobody knows", method: "FROBNICATE", status: 200, marked: true},
			{name: "303", method: "POST", status: 303, marked: true},
			{name: "404", method: "POST", status: 404},
			{name: "500", method: "POST", status: 500},
			{name: "GET", method: "GET", status: 200},
			{name: "QUERY", method: "QUERY", status: 200},
			{name: "another host", method: "PUT", fields: []string{"Host", "elsewhere.example"}, status: 200},
		} {
			t.Run(strings.TrimSpace(options+tt.name), func(t *testing.T) {
				base := caddytest.AnyHost(t, fmt.Sprintf("preconditions {\n%s}\nreverse_proxy %s", caddytest.Trusting+options, caddytest.Serve(t, b)))
				tag := caddytest.ReadTwice(t, base+"/cars/2")
				caddytest.Send(t, tt.method, base+"/cars/1", "x", append(answering(tt.status, invalidation), tt.fields...)...).Expect(t, tt.status)
				caddytest.ExpectInvalidated(t, b, base+"/cars/2", tag, tt.marked)
			})
		}
	}
}

// A write invalidates only the groups that its response names, and an
// invalidation doesn't cascade (RFC 9875, section 2.2).
func TestGroupsReachNoFurther(t *testing.T) {
	b, _ := caddytest.Grouped(map[string]string{"/cars/1": `"cars"`, "/cars/2": `"cars", "red"`, "/bikes/1": `"red"`})
	base := caddytest.Site(t, caddytest.Trusting, b)
	car, bike := caddytest.ReadTwice(t, base+"/cars/2"), caddytest.ReadTwice(t, base+"/bikes/1")
	own := caddytest.ReadTwice(t, base+"/cars/1")

	caddytest.Send(t, "PUT", base+"/cars/1", "x", "If-Match", own).Expect(t, 200)
	caddytest.ExpectInvalidated(t, b, base+"/cars/2", car, false)

	caddytest.ReadTwice(t, base+"/cars/2")
	caddytest.Send(t, "PUT", base+"/cars/1", "x", answering(200, `Cache-Group-Invalidation: "cars"`)...).Expect(t, 200)
	caddytest.ExpectInvalidated(t, b, base+"/cars/2", car, true)
	caddytest.ExpectInvalidated(t, b, base+"/bikes/1", bike, false)
}

// The groups that one representation names apply to the whole resource.
func TestGroupsOfVariants(t *testing.T) {
	b, join := caddytest.Grouped(map[string]string{"/cars/2": `"cars"`})
	base := caddytest.Site(t, caddytest.Trusting, b) + "/cars/2"
	tag := caddytest.ReadTwice(t, base)
	join("/cars/2", `"red"`)
	caddytest.ReadTwice(t, base+"?part")
	join("/cars/2", ``)
	caddytest.ReadTwice(t, base)
	for _, group := range []string{`"cars"`, `"red"`} {
		caddytest.ExpectInvalidated(t, b, base, tag, false)
		caddytest.ReadTwice(t, base)
		caddytest.Send(t, "POST", base+"/x", "", answering(200, "Cache-Group-Invalidation: "+group)...).Expect(t, 200)
		caddytest.ExpectInvalidated(t, b, base, tag, true)
		caddytest.ReadTwice(t, base)
	}
}

// A response to HEAD may omit fields that depend on the content (RFC 9110,
// section 9.3.2). If the handler sends a GET for that reason, it stores the
// groups of that response along with its tag.
func TestGroupsOfHead(t *testing.T) {
	b := caddytest.Obedient()
	obey := b.Answer
	b.Answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			w.Header().Set("Cache-Groups", `"cars"`)
		}
		obey(w, r)
	}
	base := caddytest.Site(t, caddytest.Trusting, b)
	for range 2 {
		caddytest.Send(t, "GET", base+"/cars/2", "").Expect(t, 200)
		caddytest.Send(t, "HEAD", base+"/cars/2", "", "If-None-Match", `"x"`).Expect(t, 200)
	}
	tag := caddytest.Send(t, "HEAD", base+"/cars/2", "").Expect(t, 200).Tag(t)
	caddytest.Send(t, "POST", base+"/cars/1", "x", answering(200, `Cache-Group-Invalidation: "cars"`)...).Expect(t, 200)
	caddytest.ExpectInvalidated(t, b, base+"/cars/2", tag, true)
}

// A validator is stored only if the epochs of the response's groups were known
// before the request went to the backend.
func TestGroupsThatAreNew(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b, join := caddytest.Grouped(map[string]string{"/cars/2": `"cars"`})
		n := deploy(t, caddytest.Trusting, b)
		url := n.First() + "/cars/2"
		tag := caddytest.Send(t, "GET", url, "").Expect(t, 200).Tag(t)
		caddytest.ExpectInvalidated(t, b, url, tag, true)

		caddytest.ReadTwice(t, url)
		caddytest.ExpectInvalidated(t, b, url, tag, false)
		tag = caddytest.ReadTwice(t, url)
		join("/cars/2", `"cars", "red"`)
		caddytest.Send(t, "GET", n.Other()+"/cars/2", "").Expect(t, 200)
		caddytest.ExpectInvalidated(t, b, url, tag, true)
		caddytest.ReadTwice(t, url)
		caddytest.ExpectInvalidated(t, b, url, tag, false)
	})
}

// A response that names more groups than the handler supports isn't stored, and
// what was stored before is dropped.
func TestGroupsWithoutEnd(t *testing.T) {
	for name, groups := range map[string]string{
		"65 groups": names(65, 4), "a name of 257 bytes": names(1, 257), "too long together": names(64, 256),
	} {
		t.Run(name, func(t *testing.T) {
			b, join := caddytest.Grouped(map[string]string{"/cars/2": `"cars"`})
			url := caddytest.Site(t, caddytest.Trusting, b) + "/cars/2"
			tag := caddytest.ReadTwice(t, url)
			join("/cars/2", groups)
			for range 3 {
				caddytest.Send(t, "GET", url, "").Expect(t, 200)
				// Before the claim, and under it: one of its groups may have changed in between.
				if asked := b.Asks(func() { caddytest.Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 200) }); asked != 2 {
					t.Errorf("the origin was asked %d times, want 2", asked)
				}
			}
			join("/cars/2", `"cars"`)
			caddytest.ReadTwice(t, url)
			caddytest.ExpectInvalidated(t, b, url, tag, false)
		})
	}
	t.Run("one by one", func(t *testing.T) {
		b, join := caddytest.Grouped(nil)
		url := caddytest.Site(t, caddytest.Trusting, b) + "/cars/2"
		for i := range 70 {
			join("/cars/2", fmt.Sprintf(`"group%d"`, i))
			caddytest.Send(t, "GET", url, "").Expect(t, 200)
		}
		tag := caddytest.ReadTwice(t, url)
		caddytest.ExpectInvalidated(t, b, url, tag, false)
		caddytest.ReadTwice(t, url)
		caddytest.Send(t, "POST", url+"/x", "", answering(200, `Cache-Group-Invalidation: "group69"`)...).Expect(t, 200)
		caddytest.ExpectInvalidated(t, b, url, tag, true)
	})
}

// A slow read stores nothing if one of its groups was invalidated in the
// meantime.
func TestGroupInvalidatedDuringRead(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		g := caddytest.NewGate()
		b, _ := caddytest.Grouped(map[string]string{"/cars/2": `"cars"`})
		read := b.Answer
		b.Answer = func(w http.ResponseWriter, r *http.Request) {
			g.Pass(r)
			read(w, r)
		}
		n := deploy(t, caddytest.Trusting, b)
		url := n.First() + "/cars/2"
		for _, known := range []bool{false, true} { // whether the groups were known before
			slow := g.Send(t.Context(), t, "GET", url, "")
			caddytest.Send(t, "POST", n.Other()+"/cars/1", "", answering(200, `Cache-Group-Invalidation: "cars"`)...).Expect(t, 200)
			g.Open()
			tag := (<-slow).Tag(t)
			caddytest.ExpectInvalidated(t, b, url, tag, true)
			caddytest.ReadTwice(t, url)
			if known {
				caddytest.ExpectInvalidated(t, b, url, tag, false)
			}
		}
	})
}

// interlude is a request body that runs f before its first byte.
type interlude struct {
	io.Reader
	f func()
}

func (i *interlude) Read(p []byte) (int, error) {
	if i.f != nil {
		i.f()
		i.f = nil
	}
	return i.Reader.Read(p)
}

// sendPatiently sends a PUT with Expect: 100-continue. The interlude therefore runs
// only when the handler asks for the content, after its first steps.
func sendPatiently(t *testing.T, url string, content *interlude, fields ...string) caddytest.Answer {
	t.Helper()
	patient := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableCompression: true}}
	t.Cleanup(patient.CloseIdleConnections)
	r, err := http.NewRequestWithContext(t.Context(), "PUT", url, content)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Expect", "100-continue")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	a, err := patient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if content.f != nil {
		t.Error("the handler did not read the content")
	}
	return caddytest.Answer{Response: a}
}

// A stored validator lets no write pass if a group was invalidated after the
// validator was found current, but before the claim was taken.
func TestGroupInvalidatedBeforeClaim(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		for _, tt := range []struct {
			options string
			fields  []string
			group   string
			status  int
			asked   int
		}{
			{"", nil, `"vans"`, 200, 0},
			{"", nil, `"cars"`, 200, 1},
			{"verify 1h\n", nil, `"cars"`, 200, 1},
			{"etag version\n", nil, `"cars"`, 412, 1},
			{"signed aws\n", []string{"Authorization", "AWS4-HMAC-SHA256 Credential=x"}, `"vans"`, 200, 0},
			{"signed aws\n", []string{"Authorization", "AWS4-HMAC-SHA256 Credential=x"}, `"cars"`, 503, 0},
			{"verify 1h\nsigned aws\n", []string{"Authorization", "AWS4-HMAC-SHA256 Credential=x"}, `"cars"`, 503, 0},
		} {
			b, _ := caddytest.Grouped(map[string]string{"/cars/2": `"cars"`})
			options := caddytest.Trusting
			if strings.HasPrefix(tt.options, "verify") {
				options = "write_etag off\n"
			}
			var backend http.Handler = b
			if tt.fields != nil {
				backend = caddytest.Hiding(b)
			}
			n := deploy(t, options+tt.options, backend)
			url := n.First() + "/cars/2"
			var tag string
			for range 2 {
				tag = caddytest.Send(t, "GET", url, "", tt.fields...).Expect(t, 200).Header.Get("ETag")
			}
			asked := b.Asks(func() {
				body := &interlude{strings.NewReader("x"), func() {
					caddytest.Send(t, "POST", n.Other()+"/cars/1", "", answering(200, "Cache-Group-Invalidation: "+tt.group)...).Expect(t, 200)
				}}
				sendPatiently(t, url, body, append(tt.fields, "If-Match", tag)...).Expect(t, tt.status)
			})
			if asked != tt.asked {
				t.Errorf("%s%v, %s invalidated: the origin was asked %d times, want %d", tt.options, tt.fields, tt.group, asked, tt.asked)
			}
		}
	})
}

// The same holds if the group wasn't even known to be one of the resource's
// groups when the validator was found current.
func TestGroupLearntBeforeClaim(t *testing.T) {
	b, join := caddytest.Grouped(nil)
	base := caddytest.Site(t, caddytest.Trusting, b)
	url := base + "/cars/2"
	tag := caddytest.ReadTwice(t, url)
	body := &interlude{strings.NewReader("x"), func() {
		join("/cars/2", `"cars"`)
		caddytest.ReadTwice(t, url)
		caddytest.Send(t, "POST", base+"/cars/1", "", answering(200, `Cache-Group-Invalidation: "cars"`)...).Expect(t, 200)
	}}
	asked := b.Asks(func() { sendPatiently(t, url, body, "If-Match", tag).Expect(t, 200) })
	if asked != 2+1 {
		t.Errorf("the origin was asked %d times, want %d", asked, 2+1)
	}
}

// The version of a resource changes when one of its groups is invalidated. The
// tag that a write returns survives the invalidation that the same write causes.
func TestGroupsWithVersion(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		b, _ := caddytest.Grouped(map[string]string{"/cars/1": `"cars"`, "/cars/2": `"cars"`, "/vans/1": `"vans"`})
		n := deploy(t, "etag version\nwrite_etag always", b)
		one, two := n.First()+"/cars/1", n.Other()+"/cars/2"
		if tag := caddytest.Send(t, "GET", one, "").Expect(t, 200).Header.Get("ETag"); tag != "" {
			t.Errorf("the response has a version that can't be stored: %s", tag)
		}
		tag, other := caddytest.ReadTwice(t, one), caddytest.ReadTwice(t, two)
		invalidating := answering(200, `Cache-Group-Invalidation: "cars"`)
		for range 3 {
			tag = caddytest.Send(t, "PUT", one, "x", append(invalidating, "If-Match", tag)...).Expect(t, 200).Tag(t)
		}
		if got := caddytest.Send(t, "GET", n.Other()+"/cars/1", "").Tag(t); got != tag {
			t.Errorf("the tag is %s, but the response to the write had %s", got, tag)
		}
		caddytest.Send(t, "PUT", two, "x", "If-Match", other).Expect(t, 412)
		caddytest.Send(t, "PUT", two, "x", "If-Match", caddytest.Send(t, "GET", two, "").Tag(t)).Expect(t, 200)
		// A tag that isn't stored isn't sent.
		vans := n.First() + "/vans/1"
		if tag := caddytest.Send(t, "PUT", vans, "x", "If-Match", "*").Expect(t, 200).Header.Get("ETag"); tag != "" {
			t.Errorf("the response to a write has a version that isn't stored: %s", tag)
		}
		// If nothing is stored for a representation, the version of a different one is
		// accepted, unless a group was invalidated in between.
		for _, status := range []int{200, 412} {
			caddytest.Send(t, "POST", two, "x").Expect(t, 200)
			tag = caddytest.Send(t, "GET", two+"?part", "").Tag(t)
			if status == 412 {
				caddytest.Send(t, "POST", n.First()+"/cars", "x", invalidating...).Expect(t, 200)
			}
			caddytest.Send(t, "PUT", two, "x", "If-Match", tag).Expect(t, status)
		}
		// The old version doesn't come back either if a second representation is stored.
		caddytest.Send(t, "GET", two, "")
		tag = caddytest.Send(t, "GET", two+"?part", "").Tag(t)
		caddytest.Send(t, "POST", n.First()+"/cars", "x", invalidating...).Expect(t, 200)
		if got := caddytest.Send(t, "GET", two+"?part", "").Tag(t); got == tag {
			t.Errorf("the version is still %s", tag)
		}
	})
}

// A write isn't taken for a repetition of an earlier one if one of the groups
// was invalidated in between.
func TestGroupsWithReplay(t *testing.T) {
	s := &caddytest.Shelf{Content: "old"}
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cars" {
			w.Header().Set("Cache-Group-Invalidation", `"cars"`)
			return
		}
		w.Header().Set("Cache-Groups", `"cars"`)
		s.ServeHTTP(w, r)
	})
	base := caddytest.Site(t, "verify never\nreplay", backend)
	tag := caddytest.ReadTwice(t, base+"/cars/1")
	for range 2 {
		caddytest.Send(t, "PUT", base+"/cars/1", "new", "If-Match", tag).Expect(t, 200)
	}
	caddytest.Send(t, "POST", base+"/cars", "").Expect(t, 200)
	caddytest.Send(t, "PUT", base+"/cars/1", "new", "If-Match", tag).Expect(t, 412)
}

// Each group costs one more call wherever the stored state of a resource in it
// is read, and nothing elsewhere.
func TestRoundTripsOfGroups(t *testing.T) {
	server := caddytest.UsedRedis(t)
	db := server.Client()
	b, _ := caddytest.Grouped(map[string]string{"/cars/2": `"cars", "red"`})
	base := caddytest.SiteOfRedis(t, server, "store redis redis://"+server.Addr+"\n"+caddytest.Trusting, b)
	caddytest.Send(t, "PUT", base+"/cars/1", "x", "If-Match", caddytest.ReadTwice(t, base+"/cars/1")).Expect(t, 200) // now the server has each script
	caddytest.Send(t, "POST", base+"/cars/1", "x", answering(200, `Cache-Group-Invalidation: "cars"`)...).Expect(t, 200)
	for _, tt := range []struct {
		what       string
		path       string
		conditions []string
		want       int
	}{
		{"a read in no group", "/cars/1", nil, 0},
		{"a write in no group", "/cars/1", []string{"If-Match", "TAG"}, 2},
		{"a read in two groups", "/cars/2", nil, 1 + 2},
		{"a refusal in two groups", "/cars/2", []string{"If-Match", `"stale"`}, 1 + 2 + 2}, // first what the node remembers, then what the store holds
		{"a write in two groups", "/cars/2", []string{"If-Match", "TAG"}, 2 + 2 + 2},       // the groups before and under the claim
	} {
		tag := caddytest.ReadTwice(t, base+tt.path)
		caddytest.ReadTwice(t, base+tt.path)
		before := caddytest.StoreCalls(t, db)
		if tt.conditions == nil {
			caddytest.Send(t, "GET", base+tt.path, "").Expect(t, 200)
		} else {
			caddytest.Send(t, "PUT", base+tt.path, "x", tt.conditions[0], strings.ReplaceAll(tt.conditions[1], "TAG", tag))
		}
		got := caddytest.StoreCalls(t, db) - before
		if tt.want == 0 && got == 1 {
			continue // more than a second has passed
		}
		if got != tt.want {
			t.Errorf("%s took %d calls, want %d", tt.what, got, tt.want)
		}
	}
}
