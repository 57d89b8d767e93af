package lists

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// orders is a backend that serves JSON documents one at a time, at /orders/{id},
// and in a list.
type orders struct {
	*caddytest.Witness
	header http.Header // of every representation
	list   func(items []string) string

	mu   sync.Mutex
	byID map[string]string
}

func newOrders(all map[string]string) *orders {
	o := &orders{
		byID:   all,
		header: http.Header{"Content-Type": {"application/json"}},
		list:   func(items []string) string { return "[" + strings.Join(items, ",") + "]" },
	}
	o.Witness = &caddytest.Witness{Answer: o.serve}
	return o
}

// twoOrders returns a backend with two orders in compact JSON, as most encoders
// write it.
func twoOrders() *orders {
	return newOrders(map[string]string{
		"1": `{"id":1,"version":7,"state":"new"}`,
		"2": `{"id":2,"version":3,"state":"paid"}`,
	})
}

func (o *orders) serve(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, id, single := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	content, exists := o.byID[id]
	switch {
	case r.Method == "PUT" && single:
		o.byID[id] = r.Header.Get("X-Stores")
		w.WriteHeader(204)
	case r.Method == "PUT":
		w.WriteHeader(204)
	case single && !exists:
		w.WriteHeader(404)
	default:
		if !single {
			var items []string
			for _, id := range slices.Sorted(maps.Keys(o.byID)) {
				items = append(items, o.byID[id])
			}
			content = o.list(items)
		}
		maps.Copy(w.Header(), o.header)
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if r.Method == "GET" {
			_, _ = io.WriteString(w, content)
		}
	}
}

// store sends a PUT that stores the content. The content is repeated in a field,
// because the witness has already read the request's body.
func store(t testing.TB, url, content string, fields ...string) caddytest.Answer {
	t.Helper()
	return caddytest.Send(t, "PUT", url, content, append(fields, "X-Stores", content, "Content-Type", "application/json")...)
}

// itemTags returns the members etag of a list, by the id of the item.
func itemTags(t testing.TB, a caddytest.Answer) map[string]string {
	t.Helper()
	return caddytest.MembersOf(t, a, "etag")
}

const ordersItems = "items \"\" /orders/{id}\n"

// expectTags fails the test unless exactly the items with these ids have tags, the
// same that a GET of each item returns. The list must be read first, because a GET
// of an item stores its tag.
func expectTags(t testing.TB, list caddytest.Answer, base string, ids ...string) {
	t.Helper()
	tags := itemTags(t, list)
	if got := slices.Sorted(maps.Keys(tags)); !slices.Equal(got, ids) {
		t.Errorf("%v have a tag, want %v\n%s", got, ids, list.Content)
	}
	for id, tag := range tags {
		if want := caddytest.Send(t, "GET", base+"/orders/"+id, "").Expect(t, 200).Tag(t); tag != want {
			t.Errorf("%s: got %s, want %s", id, tag, want)
		}
	}
}

// onStores runs a test on every store if the store may make a difference, and
// otherwise on a single node with its own memory.
func onStores(t *testing.T, every bool, test func(t *testing.T, deploy caddytest.Deployment)) {
	t.Helper()
	if every {
		caddytest.OnEveryStore(t, test)
	} else {
		test(t, caddytest.OneNode)
	}
}

// The tag that a list shows for an item is valid in If-Match until the item
// changes.
func TestItemsWrite(t *testing.T) {
	t.Parallel()
	for i, options := range []string{"", "etag json /version\n", "etag json \"\"\n", "verify never\n", "etag body\nsecret s\n"} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			onStores(t, i < 2, func(t *testing.T, deploy caddytest.Deployment) {
				n := deploy(t, options+ordersItems, twoOrders())
				list := caddytest.Send(t, "GET", n.First()+"/orders", "").Expect(t, 200)
				tags := itemTags(t, list)
				if len(tags) != 2 {
					t.Fatal(list.Content)
				}
				store(t, n.Other()+"/orders/1", `{"id":1,"version":8,"state":"sent"}`, "If-Match", tags["1"]).Expect(t, 204)
				store(t, n.First()+"/orders/1", `{"id":1,"version":9,"state":"lost"}`, "If-Match", tags["1"]).Expect(t, 412)
				store(t, n.First()+"/orders/2", `{"id":2,"version":4,"state":"sent"}`, "If-Match", tags["2"]).Expect(t, 204)

				expectTags(t, caddytest.Send(t, "GET", n.Other()+"/orders", "").Expect(t, 200), n.First(), "1", "2")
			})
		})
	}
}

// The handler asks the origin for an item only if the list may not show all that
// the tag is made of, and only if the store doesn't know the tag.
func TestItemsAsked(t *testing.T) {
	t.Parallel()
	for i, test := range []struct {
		name, options string
		asked         int // for the two items
	}{
		{"body", "", 2},
		{"json", "etag json /version\n", 0},
		{"json after upstream", "etag upstream\netag json /version\n", 2},
		{"json, of the whole", "etag json \"\"\n", 2},
		{"json without a value, then body", "etag json /none\netag body\n", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			onStores(t, i < 2, func(t *testing.T, deploy caddytest.Deployment) {
				b := twoOrders()
				n := deploy(t, test.options+ordersItems, b)
				for i, asked := range []int{test.asked, 0} {
					var list caddytest.Answer
					if got := b.Asks(func() { list = caddytest.Send(t, "GET", n.Random()+"/orders", "").Expect(t, 200) }) - 1; got != asked {
						t.Errorf("list %d: the origin was asked %d times, want %d", i+1, got, asked)
					}
					if len(itemTags(t, list)) != 2 {
						t.Error(list.Content)
					}
				}
				expectTags(t, caddytest.Send(t, "GET", n.First()+"/orders", "").Expect(t, 200), n.First(), "1", "2")
			})
		})
	}
}

// A response without a tag says nothing about the item, so nothing is stored.
func TestItemsAskedAgain(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"over the buffer": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", 100)+`{"id":1}`)
		},
		"an error":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"not permitted": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
		"not found":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newOrders(map[string]string{"1": `{"id":1}`})
			list := b.Answer
			b.Answer = func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/orders" {
					list(w, r)
				} else {
					serve(w, r)
				}
			}
			base := caddytest.Site(t, "buffer 100\n"+ordersItems, b)
			for range 2 {
				asked := b.Asks(func() { expectTags(t, caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200), base) }) - 1
				if asked != 1 {
					t.Errorf("the origin was asked %d times, want 1", asked)
				}
			}
		})
	}
}

// An item that a list shows isn't taken to be absent just because the handlers
// behind the list don't find it.
func TestItemsElsewhere(t *testing.T) {
	const content = `{"id":1}`
	lists := newOrders(nil)
	lists.list = func([]string) string { return "[" + content + "]" }
	orders := newOrders(map[string]string{"1": content})
	address := caddytest.Address(t)
	caddytest.Start(t, fmt.Sprintf("http://%s {\nhandle /orders {\npreconditions {\n%s}\nreverse_proxy %s\n}\n"+
		"handle {\npreconditions {\nverify never\n}\nreverse_proxy %s\n}\n}\n", address, ordersItems, caddytest.Serve(t, lists), caddytest.Serve(t, orders)))
	base := "http://" + address
	expectTags(t, caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200), base)
	store(t, base+"/orders/1", `{"id":2}`, "If-None-Match", "*").Expect(t, 412)
	orders.Unwritten(t)
}

// An item for which the origin doesn't answer delays the list by the option wait
// at most.
func TestItemsUnanswered(t *testing.T) {
	t.Parallel()
	b := twoOrders()
	serve := b.Answer
	b.Answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/orders/1" {
			<-r.Context().Done()
			return
		}
		serve(w, r)
	}
	base := caddytest.Site(t, "wait 1s\n"+ordersItems, b)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	list, err := caddytest.Try(ctx, "GET", base+"/orders", "")
	if err != nil {
		t.Fatal(err)
	}
	expectTags(t, list.Expect(t, 200), base, "2")
}

// An item of which the list shows only a part gets a tag only if the tag is made
// of that part.
func TestItemsInPart(t *testing.T) {
	part := func(items []string) string {
		for i := range items {
			items[i], _, _ = strings.Cut(items[i], `,"state"`)
			items[i] += "}"
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	for options, ids := range map[string][]string{
		"":                                     nil,
		"etag upstream\netag body\n":           nil,
		"etag json \"\"\n":                     nil,
		"etag json /version\n":                 {"1", "2"},
		"etag upstream\netag json /version\n":  {"1", "2"},
		"etag json /version /state\netag body": nil,
	} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			b := twoOrders()
			b.list = part
			base := caddytest.Site(t, options+"\n"+ordersItems, b)
			for range 2 {
				expectTags(t, caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200), base, ids...)
			}
		})
	}
}

// An item that a list shows in an old state gets no tag once the store knows of
// the change, or if the origin is asked.
func TestItemsThatLag(t *testing.T) {
	t.Parallel()
	const before, after = `{"id":1,"version":7}`, `{"id":1,"version":8}`
	for _, options := range []string{"", "etag json /version\n"} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
				b := newOrders(map[string]string{"1": before})
				b.list = func([]string) string { return "[" + before + "]" }
				n := deploy(t, options+ordersItems, b)
				list := caddytest.Send(t, "GET", n.First()+"/orders", "").Expect(t, 200)
				expectTags(t, list, n.First(), "1")
				tag := itemTags(t, list)["1"]
				store(t, n.Other()+"/orders/1", after, "If-Match", tag).Expect(t, 204)
				if options == "" {
					expectTags(t, caddytest.Send(t, "GET", n.First()+"/orders", "").Expect(t, 200), n.First())
				}
				caddytest.Send(t, "GET", n.First()+"/orders/1", "").Expect(t, 200)
				expectTags(t, caddytest.Send(t, "GET", n.First()+"/orders", "").Expect(t, 200), n.First())
				store(t, n.First()+"/orders/1", before, "If-Match", tag).Expect(t, 412)
			})
		})
	}
}

// A tag from a list that lags lets nobody overwrite a later change.
func TestItemsThatLagAreNoHarm(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		const before, after = `{"id":1,"version":7}`, `{"id":1,"version":8}`
		b := newOrders(map[string]string{"1": after})
		b.list = func([]string) string { return "[" + before + "]" }
		n := deploy(t, "etag json /version\n"+ordersItems, b)
		tag := itemTags(t, caddytest.Send(t, "GET", n.First()+"/orders", "").Expect(t, 200))["1"]
		if tag == "" {
			t.Fatal("the item has no tag, though nothing shows that the list lags")
		}
		store(t, n.Other()+"/orders/1", before, "If-Match", tag).Expect(t, 412)
	})
}

// While an item is being written, the origin isn't asked for its tag. A tag that
// follows from the list alone is still shown.
func TestItemsInFlight(t *testing.T) {
	t.Parallel()
	for options, ids := range map[string][]string{"": {"2"}, "etag json /version\n": {"1", "2"}} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			g := caddytest.NewGate()
			b := twoOrders()
			serve := b.Answer
			b.Answer = func(w http.ResponseWriter, r *http.Request) {
				g.Pass(r)
				serve(w, r)
			}
			base := caddytest.Site(t, options+ordersItems, b)
			tag := caddytest.Send(t, "GET", base+"/orders/1", "").Tag(t)
			const content = `{"id":1,"version":8,"state":"new"}`
			written := g.Send(context.Background(), t, "PUT", base+"/orders/1", content, "If-Match", tag, "X-Stores", content)
			list := caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200)
			g.Open()
			caddytest.ExpectResult(t, written, 204)
			if got := slices.Sorted(maps.Keys(itemTags(t, list))); !slices.Equal(got, ids) {
				t.Errorf("%v have a tag, want %v", got, ids)
			}
		})
	}
}

// Apart from the added members, the bytes of a list are the backend's. An item
// that may not get a tag is left unchanged.
func TestItemsThatStay(t *testing.T) {
	b := newOrders(map[string]string{"1": `{"id":1}`})
	base := caddytest.Site(t, "etag json /id\nitems /data /orders/{id}\nitems /more /self _etag", b)
	tag := caddytest.Send(t, "GET", base+"/orders/1", "").Tag(t)
	quoted, _ := json.Marshal(tag)
	with := func(member string) string { return `"` + member + `":` + string(quoted) }
	self := func(reference string) string {
		return `{"more":[{"id":1,"self":"` + strings.ReplaceAll(reference, "BASE", base) + `"@}]}`
	}
	for _, test := range []struct{ name, content, insertion string }{
		{"a page", `{"data":[{"id":1@}],"next":"/orders?page=2"}`, "," + with("etag")},
		{"white space", "{\n\t\"data\" : [ { \"id\" : 1\n@} ]\n}\n", "," + with("etag")},
		{"its own etag member", `{"data":[{"id":1,"etag":null@}]}`, ""},
		{"its own etag member, escaped", `{"data":[{"\u0065tag":"x","id":1@}]}`, ""},
		{"no id", `{"data":[{"ID":1@}]}`, ""},
		{"an invalid id", `{"data":[{"id":"..@"}]}`, ""},
		{"the list itself", `{"data":[{"id":"."@}]}`, ""},
		{"invalid JSON", `{"data":[{"id":1@}]`, ""},
		{"a byte order mark", "\ufeff" + `{"data":[{"id":1@}]}`, ""},
		{"invalid UTF-8", `{"data":[{"id":1@},"` + "\xff" + `"]}`, ""},
		{"a reference", self("/orders/1"), "," + with("_etag")},
		{"a relative reference", self("orders/./x/../1#part"), "," + with("_etag")},
		{"an absolute reference", self("BASE/orders/1"), "," + with("_etag")},
		{"a reference to a different host", self("http://elsewhere.example/orders/1"), ""},
		{"a reference with a different scheme", self(strings.Replace("BASE/orders/1", "BASE", "https"+strings.TrimPrefix(base, "http"), 1)), ""},
		{"a reference without a scheme", self("//elsewhere.example/orders/1"), ""},
		{"a reference to the list", self(""), ""},
		{"a reference to the path of the list", self("/orders/"), ""},
		{"an opaque reference", self("mailto:x"), ""},
		{"an invalid reference", self("http://[/"), ""},
		{"two arrays", `{"more":[],"data":[{"id":1@}]}`, "," + with("etag")},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.list = func([]string) string { return strings.ReplaceAll(test.content, "@", "") }
			a := caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200)
			if want := strings.ReplaceAll(test.content, "@", test.insertion); a.Content != want {
				t.Errorf("\n got %s\nwant %s", a.Content, want)
			}
			if got := a.Header.Get("Content-Length"); got != strconv.Itoa(len(a.Content)) {
				t.Errorf("Content-Length is %s, want %d", got, len(a.Content))
			}
		})
	}
}

// A response passes unchanged if it isn't a complete JSON representation, or if
// it must not be changed.
func TestItemsNotExtended(t *testing.T) {
	for name, test := range map[string]struct {
		options string
		field   []string
		request []string
	}{
		"another media type": {field: []string{"Content-Type", "text/plain"}},
		"a content coding":   {field: []string{"Content-Encoding", "x"}},
		"no transformations": {field: []string{"Cache-Control", "no-transform"}},
		"over the buffer":    {options: "buffer 20\n"},
		"a signature":        {options: "signed aws\n", request: []string{"Authorization", "AWS4-HMAC-SHA256 Credential=x"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newOrders(map[string]string{"1": `{"id":1,"version":7}`})
			if test.field != nil {
				b.header.Set(test.field[0], test.field[1])
			}
			b.header.Set("Content-MD5", "x")
			base := caddytest.Site(t, test.options+"etag json /version\netag body\n"+ordersItems, b)
			a := caddytest.Send(t, "GET", base+"/orders", "", test.request...).Expect(t, 200)
			if a.Content != `[{"id":1,"version":7}]` || a.Header.Get("Content-Md5") == "" || strings.Contains(a.Header.Get("ETag"), "-items") {
				t.Errorf("%v\n%s", a.Header, a.Content)
			}
			if h := caddytest.Send(t, "HEAD", base+"/orders", "", test.request...).Expect(t, 200); h.ContentLength != int64(len(a.Content)) {
				t.Errorf("HEAD: %v", h.Header)
			}
		})
	}
}

// At most 1000 items of a response get a tag, and the origin is asked for at
// most 64 of them.
func TestItemsOfMany(t *testing.T) {
	all := make(map[string]string)
	for i := range 1001 {
		id := fmt.Sprintf("%04d", i)
		all[id] = fmt.Sprintf(`{"id":"%s"}`, id)
	}
	for options, want := range map[string]struct{ tags, asked int }{
		"etag json /id\n": {1000, 0},
		"":                {64, 64},
	} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			b := newOrders(all)
			base := caddytest.Site(t, options+ordersItems, b)
			var list caddytest.Answer
			asked := b.Asks(func() { list = caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200) }) - 1
			if tags := itemTags(t, list); len(tags) != want.tags || tags["1000"] != "" || asked != want.asked {
				t.Errorf("%d tags, and the origin was asked %d times; want %+v", len(tags), asked, want)
			}
		})
	}
}

// A list with different members in it has a different strong tag (RFC 9110,
// section 8.8.1). In conditions, it works as well as the tag without them.
func TestItemsTagOfTheList(t *testing.T) {
	t.Parallel()
	for _, own := range []string{"", `"own"`, `"own-gzip"`} {
		t.Run("its own "+own, func(t *testing.T) {
			onStores(t, own == "", func(t *testing.T, deploy caddytest.Deployment) {
				b := twoOrders()
				serve := b.Answer
				b.Answer = func(w http.ResponseWriter, r *http.Request) {
					if own != "" && r.URL.Path == "/orders" && r.Method != "PUT" {
						w.Header().Set("ETag", own)
					}
					serve(w, r)
				}
				b.list = func([]string) string { return `[{"id":1,"version":7},{"id":2,"version":3}]` }
				b.header.Set("Last-Modified", "Mon, 03 Nov 2025 12:00:00 GMT")
				b.header.Set("Content-MD5", "x")
				b.header.Set("Accept-Ranges", "bytes")
				n := deploy(t, "etag upstream\netag json /version\netag body\n"+ordersItems, b)
				read := func(fields ...string) caddytest.Answer {
					return caddytest.Send(t, "GET", n.Random()+"/orders", "", fields...)
				}

				both := read().Expect(t, 200)
				plain, digest, marked := strings.Cut(both.Tag(t), "-items")
				if plain += `"`; !marked || len(digest) < 9 || own != "" && plain != own {
					t.Fatalf("ETag %s", both.Tag(t))
				}
				for _, name := range []string{"Last-Modified", "Content-Md5", "Accept-Ranges"} {
					if got := both.Header.Get(name); got != "" {
						t.Errorf("%s: %s", name, got)
					}
				}
				if again := read().Expect(t, 200); again.Tag(t) != both.Tag(t) || again.Content != both.Content {
					t.Errorf("got %s, then %s", both.Tag(t), again.Tag(t))
				}
				store(t, n.First()+"/orders/1", `{"id":1,"version":8}`).Expect(t, 204)
				caddytest.Send(t, "GET", n.Other()+"/orders/1", "").Expect(t, 200)
				one := read().Expect(t, 200)
				if len(itemTags(t, one)) != 1 || one.Tag(t) == both.Tag(t) || !strings.HasPrefix(one.Tag(t), strings.TrimSuffix(plain, `"`)+"-items") {
					t.Errorf("ETag %s\n%s", one.Tag(t), one.Content)
				}

				for _, tag := range []string{both.Tag(t), one.Tag(t), plain} {
					if got := read("If-None-Match", tag).Expect(t, 304).Tag(t); got != tag {
						t.Errorf("304 with %s, want %s", got, tag)
					}
					if got := read("If-None-Match", "W/"+tag).Expect(t, 304).Tag(t); strings.TrimPrefix(got, "W/") != tag {
						t.Errorf("304 with %s, want %s", got, tag)
					}
					read("If-Match", tag).Expect(t, 200)
					caddytest.Send(t, "PUT", n.Random()+"/orders", "[]", "If-Match", tag).Expect(t, 204)
					caddytest.Send(t, "PUT", n.Random()+"/orders", "[]", "If-None-Match", tag).Expect(t, 412)
				}
				stale := strings.Replace(both.Tag(t), `"`, `"x`, 1)
				read("If-None-Match", stale).Expect(t, 200)
				refused := caddytest.Send(t, "PUT", n.Random()+"/orders", "[]", "If-Match", stale, "Prefer", "return=representation").Expect(t, 412)
				if refused.Tag(t) != plain || strings.Contains(refused.Content, "etag") {
					t.Errorf("%s\n%s", refused.Tag(t), refused.Content)
				}
			})
		})
	}
}

// If a write sends the marked tag of a list, the backend gets its own tag,
// without the mark.
func TestItemsOwnTagOfTheList(t *testing.T) {
	b := twoOrders()
	serve := b.Answer
	b.Answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/orders" {
			w.Header().Set("ETag", `"own"`)
		}
		serve(w, r)
	}
	base := caddytest.Site(t, ordersItems, b)
	tag := caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200).Tag(t)
	if !strings.HasPrefix(tag, `"own-items`) {
		t.Fatal(tag)
	}
	caddytest.Send(t, "PUT", base+"/orders", "[]", "If-Match", tag).Expect(t, 204)
	if got := b.Last(t, "PUT").Header["If-Match"]; !slices.Equal(got, []string{`"own"`}) {
		t.Errorf("the backend got If-Match: %v", got)
	}
}

// A response to HEAD has no length and no digest that could differ from the
// GET's (RFC 9110, section 8.6).
func TestItemsHead(t *testing.T) {
	for _, options := range []string{"", "etag json /version\netag body\n"} {
		b := twoOrders()
		b.header.Set("Content-MD5", "x")
		base := caddytest.Site(t, options+ordersItems, b)
		for range 2 {
			get := caddytest.Send(t, "GET", base+"/orders", "", "If-None-Match", `"x"`).Expect(t, 200)
			h := caddytest.Send(t, "HEAD", base+"/orders", "").Expect(t, 200)
			if h.Header["Content-Length"] != nil || h.Header["Content-Md5"] != nil {
				t.Errorf("%v", h.Header)
			}
			if !strings.HasPrefix(get.Tag(t), strings.TrimSuffix(h.Tag(t), `"`)) {
				t.Errorf("HEAD has %s, GET has %s", h.Tag(t), get.Tag(t))
			}
			caddytest.Send(t, "HEAD", base+"/orders", "", "If-None-Match", get.Tag(t)).Expect(t, 304)
		}
	}
}

// A part is cut only from the bytes that have the tag in If-Range.
func TestItemsRange(t *testing.T) {
	for _, own := range []string{"", `"own"`} {
		t.Run(own, func(t *testing.T) {
			b := twoOrders()
			b.list = func([]string) string { return `[{"id":1,"version":7},{"id":2,"version":3}]` }
			serve := b.Answer
			b.Answer = func(w http.ResponseWriter, r *http.Request) {
				if own == "" || r.URL.Path != "/orders" {
					serve(w, r)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("ETag", own)
				if r.Header.Get("Range") != "" && strings.HasPrefix(r.Header.Get("If-Range"), `"own`) { // some backends do
					w.Header().Set("Content-Range", "bytes 1-3/42")
					w.WriteHeader(206)
					_, _ = io.WriteString(w, b.list(nil)[1:4])
					return
				}
				_, _ = io.WriteString(w, b.list(nil))
			}
			base := caddytest.Site(t, "etag upstream\netag json /version\netag body\n"+ordersItems, b)
			part := func(tag string) caddytest.Answer {
				return caddytest.Send(t, "GET", base+"/orders", "", "Range", "bytes=20-50", "If-Range", tag)
			}
			both := caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200)
			if a := part(both.Tag(t)).Expect(t, 206); a.Content != both.Content[20:51] || a.Tag(t) != both.Tag(t) ||
				a.Header.Get("Content-Range") != fmt.Sprintf("bytes 20-50/%d", len(both.Content)) {
				t.Errorf("%v %s", a.Header, a.Content)
			}
			a := caddytest.Send(t, "GET", base+"/orders", "", "Range", "bytes=20-50", "If-Match", both.Tag(t)).Expect(t, 206)
			if a.Content != both.Content[20:51] || a.Tag(t) != both.Tag(t) {
				t.Errorf("%v %s", a.Header, a.Content)
			}

			store(t, base+"/orders/1", `{"id":1,"version":8}`).Expect(t, 204)
			caddytest.Send(t, "GET", base+"/orders/1", "").Expect(t, 200)
			one := caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200)
			if a := part(both.Tag(t)).Expect(t, 200); a.Content != one.Content || a.Tag(t) != one.Tag(t) || one.Tag(t) == both.Tag(t) {
				t.Errorf("%v %s", a.Header, a.Content)
			}
			plain, _, _ := strings.Cut(both.Tag(t), "-items")
			plain += `"`
			for _, tag := range []string{both.Tag(t), plain} { // tags of different bytes (RFC 9110, section 13.1.1)
				a := caddytest.Send(t, "GET", base+"/orders", "", "Range", "bytes=20-50", "If-Match", tag).Expect(t, 200)
				if a.Content != one.Content || a.Tag(t) != one.Tag(t) {
					t.Errorf("%v %s", a.Header, a.Content)
				}
			}
			if own != "" {
				if a := part(plain).Expect(t, 206); a.Content != b.list(nil)[1:4] { // from the bytes that have this tag
					t.Errorf("%v %s", a.Header, a.Content)
				}
			} else if a := part(plain).Expect(t, 200); a.Content != one.Content {
				t.Errorf("%v %s", a.Header, a.Content)
			}
		})
	}
}

// If two contents may share a tag, the tag isn't enough to send a part of
// either, with or without members in it.
func TestItemsRangeOfOtherBytes(t *testing.T) {
	b := twoOrders()
	base := caddytest.Site(t, "etag json /0/id\netag json /id\n"+ordersItems, b)
	list := caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200)
	expectTags(t, list, base, "1", "2")
	a := caddytest.Send(t, "GET", base+"/orders", "", "Range", "bytes=2-4", "If-Range", list.Tag(t)).Expect(t, 200)
	if a.Content != list.Content || a.Tag(t) != list.Tag(t) {
		t.Errorf("%s with %s", a.Content, a.Tag(t))
	}
}

// An item whose version is its tag has that tag in a list, and with weak_tags accept the weak
// form of any item's tag counts.
func TestItemsWithWeakTags(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		"etag json /version verbatim\netag body\n": `"7"`,
		"etag json /version weak\netag body\n":     `W/"7"`,
		"weak_tags accept\n":                       "",
		"weak_tags accept\netag json /version\n":   "",
	} {
		t.Run(caddytest.Title(options), func(t *testing.T) {
			t.Parallel()
			caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
				n := deploy(t, options+ordersItems, twoOrders())
				list := caddytest.Send(t, "GET", n.First()+"/orders", "").Expect(t, 200)
				tag := itemTags(t, list)["1"]
				if want != "" && tag != want || tag == "" {
					t.Fatalf("the tag of item 1 is %s, want %s", tag, want)
				}
				if want == "" {
					tag = "W/" + tag
				}
				store(t, n.Other()+"/orders/1", `{"id":1,"version":8,"state":"sent"}`, "If-Match", tag).Expect(t, 204)
				store(t, n.First()+"/orders/1", `{"id":1,"version":9,"state":"lost"}`, "If-Match", tag).Expect(t, 412)
				expectTags(t, caddytest.Send(t, "GET", n.Other()+"/orders", "").Expect(t, 200), n.First(), "1", "2")
			})
		})
	}
}

// Response compression in front of the handler adds its own mark to the tag of a
// list.
func TestItemsBehindEncode(t *testing.T) {
	content := fmt.Sprintf(`{"id":1,"version":1,"text":"%s"}`, strings.Repeat("x", 1000))
	b := newOrders(map[string]string{"1": content})
	address := caddytest.Address(t)
	caddytest.Start(t, fmt.Sprintf("http://%s {\nencode gzip\npreconditions {\n%slag 0s\n}\nreverse_proxy %s\n}\n", address, ordersItems, caddytest.Serve(t, b)))
	url := "http://" + address + "/orders"
	zipped := caddytest.Send(t, "GET", url, "", "Accept-Encoding", "gzip").Expect(t, 200)
	plain := caddytest.Send(t, "GET", url, "").Expect(t, 200)
	if zipped.Header.Get("Content-Encoding") != "gzip" || zipped.Tag(t) != strings.TrimSuffix(plain.Tag(t), `"`)+`-gzip"` || !strings.Contains(plain.Tag(t), "-items") {
		t.Fatalf("%v\n%v", zipped.Header, plain.Header)
	}
	for _, tag := range []string{zipped.Tag(t), plain.Tag(t)} {
		for _, coding := range []string{"gzip", "identity"} {
			caddytest.Send(t, "GET", url, "", "Accept-Encoding", coding, "If-None-Match", tag).Expect(t, 304)
			caddytest.Send(t, "PUT", url, "[]", "Accept-Encoding", coding, "If-Match", tag).Expect(t, 204)
		}
	}
	if a := caddytest.Send(t, "GET", url, "", "If-Range", zipped.Tag(t), "Range", "bytes=0-3").Expect(t, 200); a.Content != plain.Content {
		t.Errorf("%v", a.Header)
	}
}

// While the store is down, items still get the tags that follow from the list or
// from the origin.
func TestItemsWithoutStore(t *testing.T) {
	for _, options := range []string{"", "etag json /version\n"} {
		base := caddytest.Site(t, "store redis redis://127.0.0.1:1\n"+options+ordersItems, twoOrders())
		expectTags(t, caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200), base, "1", "2")
	}
}

// In mode report, responses and lists still get tags.
func TestItemsInReport(t *testing.T) {
	base := caddytest.Site(t, "mode report\n"+ordersItems, twoOrders())
	expectTags(t, caddytest.Send(t, "GET", base+"/orders", "", "If-Match", `"x"`).Expect(t, 200), base, "1", "2")
}

// The handler asks the origin as the client would, and uses only what the origin
// shows to this client.
func TestItemsOfSomebody(t *testing.T) {
	b := twoOrders()
	serve := b.Answer
	b.Answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/orders/2" && r.Header.Get("Authorization") != "ann" {
			w.WriteHeader(403)
			return
		}
		w.Header().Set("Vary", "Authorization")
		serve(w, r)
	}
	base := caddytest.Site(t, ordersItems, b)
	for range 2 {
		list := caddytest.Send(t, "GET", base+"/orders", "", "Authorization", "bob", "If-None-Match", `"x"`, "Range", "bytes=0-1").Expect(t, 206)
		if strings.Contains(list.Content, "etag") {
			t.Error(list.Content)
		}
		expectTags(t, caddytest.Send(t, "GET", base+"/orders", "", "Authorization", "bob").Expect(t, 200), base, "1")
		if tags := itemTags(t, caddytest.Send(t, "GET", base+"/orders", "", "Authorization", "ann").Expect(t, 200)); len(tags) != 2 {
			t.Error(tags)
		}
	}
	for _, h := range b.All("GET") {
		for _, name := range []string{"If-None-Match", "Range", "If-Match"} {
			if strings.Count(h.URL.Path, "/") > 1 && h.Header[name] != nil {
				t.Errorf("%s with %s: %v", h.URL, name, h.Header[name])
			}
		}
	}
}

// A template is a path as the handler sees it; a reference is one as the client
// sees it. The origin is asked as if the client had sent the request.
func TestItemsBehindRewrites(t *testing.T) {
	b := newOrders(map[string]string{"1": `{"id":1,"self":"/api/orders/1"}`, "2": `{"id":2,"self":"../api/orders/2"}`, "3": `{"id":3,"self":"/orders/3"}`})
	for path, ids := range map[string][]string{"/orders/{id}": {"1", "2", "3"}, "/self": {"1", "2"}} {
		address := caddytest.Address(t)
		caddytest.Start(t, fmt.Sprintf("http://%s {\nhandle_path /api/* {\npreconditions {\nitems \"\" %s\n}\nreverse_proxy %s {\nheader_up X-Original {http.request.orig_uri.path}\n}\n}\n}\n", address, path, caddytest.Serve(t, b)))
		base := "http://" + address + "/api"
		expectTags(t, caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200), base, ids...)
	}
	for _, h := range b.All("GET") {
		if got, want := h.Header.Get("X-Original"), "/api"+h.URL.Path; got != want {
			t.Errorf("%s: the original path was %s, want %s", h.URL, got, want)
		}
	}
}

// A variable in a template stands for one segment, whatever characters it
// contains.
func TestItemsOddPaths(t *testing.T) {
	ids := []string{"a b", "a/b", "ü", "a?b", "50%", "a;b", "-1"}
	all := make(map[string]string)
	for _, id := range ids {
		all[id] = fmt.Sprintf(`{"id":"%s"}`, id)
	}
	b := newOrders(all)
	base := caddytest.Site(t, ordersItems, b)
	tags := itemTags(t, caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200))
	for i, path := range []string{"a%20b", "a%2Fb", "%C3%BC", "a%3Fb", "50%25", "a%3Bb", "-1"} {
		if want := caddytest.Send(t, "GET", base+"/orders/"+path, "").Expect(t, 200).Tag(t); tags[ids[i]] != want {
			t.Errorf("%s: got %q, want %s", ids[i], tags[ids[i]], want)
		}
	}
}

// What is stored for an item is trusted until everything below a path above it
// is changed.
func TestItemsInTrees(t *testing.T) {
	b := twoOrders()
	base := caddytest.Site(t, caddytest.Trusting+"affects /reset /orders/**\n"+ordersItems, b)
	var tags map[string]string
	list := func(asked int) {
		t.Helper()
		if got := b.Asks(func() { tags = itemTags(t, caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200)) }) - 1; got != asked || len(tags) != 2 {
			t.Errorf("the origin was asked %d times for %v, want %d", got, tags, asked)
		}
	}
	list(2)
	list(0)
	if got := b.Asks(func() { store(t, base+"/orders/1", `{"id":1}`, "If-Match", tags["1"]).Expect(t, 204) }); got != 0 {
		t.Errorf("the origin was asked %d times for a stored tag, want 0", got)
	}
	caddytest.Send(t, "PUT", base+"/reset", "x").Expect(t, 204)
	list(2)
}

// A reference may have a query.
func TestItemsByQuery(t *testing.T) {
	b := newOrders(map[string]string{"1": `{"id":1,"self":"/order?id=1"}`, "2": `{"id":2,"self":"/order?id=3"}`})
	serve := b.Answer
	b.Answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/order" {
			r.URL.Path = "/orders/" + r.URL.Query().Get("id")
		}
		serve(w, r)
	}
	base := caddytest.Site(t, "items \"\" /self", b)
	tags := itemTags(t, caddytest.Send(t, "GET", base+"/orders", "").Expect(t, 200))
	if want := caddytest.Send(t, "GET", base+"/order?id=1", "").Tag(t); len(tags) != 1 || tags["1"] != want {
		t.Errorf("got %v, want %s", tags, want)
	}
}

// Lists that are read while items are being written show no tag that lets two
// writes based on the same state through.
func TestItemsConcurrent(t *testing.T) {
	t.Parallel()
	caddytest.OnEveryStore(t, func(t *testing.T, deploy caddytest.Deployment) {
		const writers, writes = 6, 15
		b := newOrders(map[string]string{"1": `{"id":1,"n":0}`})
		serve := b.Answer
		var mu sync.Mutex
		var stored []string
		b.Answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "PUT" {
				mu.Lock()
				stored = append(stored, r.Header.Get("X-Based-On"))
				mu.Unlock()
			}
			serve(w, r)
		}
		n := deploy(t, "wait 1m\n"+ordersItems, b)
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range writes {
					list, err := caddytest.Try(context.Background(), "GET", n.Random()+"/orders", "")
					if err != nil {
						t.Error(err)
						return
					}
					tag := itemTags(t, list)["1"]
					if tag == "" {
						continue
					}
					seen, _, _ := strings.Cut(list.Content, `,"etag"`)
					content := fmt.Sprintf(`{"id":1,"n":%d%03d}`, w+1, i)
					if _, err := caddytest.Try(context.Background(), "PUT", n.Random()+"/orders/1", content, "If-Match", tag, "X-Stores", content, "X-Based-On", seen); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		bases := slices.Compact(slices.Sorted(slices.Values(stored)))
		if len(bases) != len(stored) || len(stored) == 0 {
			t.Errorf("%d writes were based on only %d states", len(stored), len(bases))
		}
	})
}
