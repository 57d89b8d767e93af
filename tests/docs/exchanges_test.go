package docs_test

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// message is a request or a response, as a block shows it.
type message struct {
	block
	method, path string // of a request
	status       int    // of a response
	fields       []string
	content      string
}

var (
	requestLine = regexp.MustCompile(`^([A-Z]+) (/\S*) HTTP/1\.1$`)
	statusLine  = regexp.MustCompile(`^HTTP/1\.1 (\d{3}) (.+)$`)
)

// messages returns the messages that a block shows.
func messages(t testing.TB, b block) (all []message) {
	t.Helper()
	inFields := false
	for line := range strings.SplitSeq(strings.TrimSuffix(b.Text, "\n"), "\n") {
		request, response := requestLine.FindStringSubmatch(line), statusLine.FindStringSubmatch(line)
		if request == nil && response == nil && all == nil {
			t.Fatalf("%s:%d: %q begins no message", b.Page, b.Line, line)
		}
		switch {
		case request != nil:
			all, inFields = append(all, message{block: b, method: request[1], path: request[2]}), true
			continue
		case response != nil:
			status, _ := strconv.Atoi(response[1])
			if http.StatusText(status) != response[2] {
				t.Errorf("%s:%d: %s", b.Page, b.Line, line)
			}
			all, inFields = append(all, message{block: b, status: status}), true
			continue
		}
		m := &all[len(all)-1]
		name, value, ok := strings.Cut(line, ": ")
		switch {
		case !inFields:
			m.content += line + "\n"
		case line == "":
			inFields = false
		case !ok:
			t.Errorf("%s:%d: %q is no field", b.Page, b.Line, line)
		default:
			m.fields = append(m.fields, name, value)
		}
	}
	for i := range all {
		all[i].content = strings.TrimSpace(all[i].content)
	}
	return all
}

// send sends a request that a block shows to a site.
func (m message) send(t testing.TB, address string) caddytest.Answer {
	t.Helper()
	return caddytest.Send(t, m.method, "http://"+address+m.path, m.content, append([]string{"Host", "docs.example.com"}, m.fields...)...)
}

// expect fails the test unless an answer is the one that a block shows: its status, the fields
// that are shown and, if any is, the content.
func (m message) expect(t testing.TB, a caddytest.Answer) {
	t.Helper()
	if a.StatusCode != m.status {
		t.Errorf("%s:%d shows %d, but it is %d\n%s", m.Page, m.Line, m.status, a.StatusCode, a.Content)
	}
	for i := 0; i < len(m.fields); i += 2 {
		if got := strings.Join(a.Header.Values(m.fields[i]), ", "); got != m.fields[i+1] {
			t.Errorf("%s:%d shows %s: %s, but it is %q", m.Page, m.Line, m.fields[i], m.fields[i+1], got)
		}
	}
	if m.content == "" || m.content == a.Content {
		return
	}
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") || !sameJSON(t, m.content, a.Content) {
		t.Errorf("%s:%d shows\n%s\nbut it is\n%s", m.Page, m.Line, m.content, a.Content)
	}
}

// sameJSON reports whether two texts have the same value, but for the values of some members.
func sameJSON(t testing.TB, a, b string, variable ...string) bool {
	t.Helper()
	var values [2]any
	for i, text := range []string{a, b} {
		if err := json.Unmarshal([]byte(text), &values[i]); err != nil {
			t.Errorf("%v: %s", err, text)
			return false
		}
		for _, name := range variable {
			blur(values[i], name)
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}

// blur replaces the values of all members with a name by their types.
func blur(value any, name string) {
	switch v := value.(type) {
	case map[string]any:
		for member, inner := range v {
			if member == name {
				v[member] = reflect.TypeOf(inner)
			} else {
				blur(inner, name)
			}
		}
	case []any:
		for _, element := range v {
			blur(element, name)
		}
	}
}

// The plan is read, changed and refused as the guide for clients shows.
func TestTheGuideIsAsShown(t *testing.T) {
	s := startSite(t, "preconditions\n")
	read := messages(t, caddytest.Shown(t, "docs/clients.md", "200 OK"))
	change := messages(t, caddytest.Shown(t, "docs/clients.md", "PUT /docs/plan"))
	refused := messages(t, caddytest.Shown(t, "docs/clients.md", "412 Precondition Failed"))
	if len(read) != 2 || len(change) != 1 || len(refused) != 1 {
		t.Fatalf("got %d, %d and %d messages", len(read), len(change), len(refused))
	}
	tag := s.plan(t, friday)
	read[1].expect(t, read[0].send(t, s.address))
	s.send(t, "GET", plan, "", "If-None-Match", tag).Expect(t, 304)
	change[0].send(t, s.address).ExpectSuccess(t)
	refused[0].expect(t, change[0].send(t, s.address))
	if got := s.send(t, "GET", plan, "").Content; got != monday {
		t.Errorf("the plan is %q", got)
	}
	text := readDocument(t, "docs/clients.md").text()
	if !strings.Contains(text, "`If-None-Match: "+tag+"`") {
		t.Errorf("docs/clients.md doesn't show a condition with %s", tag)
	}
}

// An answer with the field that says it is done keeps nobody out, and reaches the client without
// that field.
func TestSettledIsAsShown(t *testing.T) {
	shown := messages(t, caddytest.Shown(t, "docs/backends.md", "Preconditions-Settled: ?1"))[0]
	for _, settled := range []bool{true, false} {
		backend := &caddytest.Shelf{Content: friday, Answer: func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(shown.fields); i += 2 {
				if settled || shown.fields[i] != "Preconditions-Settled" {
					w.Header().Set(shown.fields[i], shown.fields[i+1])
				}
			}
			w.WriteHeader(shown.status)
		}, Store: func(string) string { return friday }}
		url := caddytest.Site(t, "wait 50ms", backend) + plan
		tag := caddytest.ReadTwice(t, url)
		first := caddytest.Send(t, "PUT", url, monday, "If-Match", tag).Expect(t, shown.status)
		if first.Header.Get("Retry-After") != "5" || first.Header["Preconditions-Settled"] != nil {
			t.Errorf("the client gets %v", first.Header)
		}
		second := caddytest.Send(t, "PUT", url, monday, "If-Match", tag).Expect(t, 503)
		if ours := second.Header.Get("Content-Type") == "application/problem+json"; ours == settled {
			t.Errorf("settled %v: the next write is answered by the handler: %v", settled, ours)
		}
	}
}

// A write that is forwarded has the field that is shown. The token is drawn for each write.
func TestTheHolderIsAsShown(t *testing.T) {
	shown := caddytest.Shown(t, "docs/how-it-works.md", "Preconditions-Holder: ")
	backend := caddytest.Page(friday)
	address := caddytest.Address(t)
	caddytest.Start(t, "http://"+address+" {\npreconditions {\nkey docs.example.com{path}\n}\nreverse_proxy "+caddytest.Serve(t, backend)+"\n}\n")
	url := "http://" + address + plan
	caddytest.Send(t, "PUT", url, monday, "If-Match", caddytest.Send(t, "GET", url, "").Tag(t)).ExpectSuccess(t)
	expectShown(t, shown, "Preconditions-Holder: "+backend.Last(t, "PUT").Header.Get("Preconditions-Holder")+"\n", `claim [\w-]{16} `)
}

// The field for developers is as shown, for a refusal and for a write that has waited.
func TestTheStatusFieldIsAsShown(t *testing.T) {
	s := startSite(t, "preconditions {\nstatus_field\n}\n")
	tag := s.plan(t, friday)
	refused := s.send(t, "PUT", plan, monday, "If-Match", `"old"`).Expect(t, 412)
	first := s.gate.Send(t.Context(), t, "PUT", "http://"+s.address+plan, monday, "Host", "docs.example.com", "If-Match", tag)
	second := caddytest.Go(t.Context(), "DELETE", "http://"+s.address+plan, "", "Host", "docs.example.com", "If-Match", "*")
	waiting := 0
	caddytest.Eventually(t, "the second write has waited for a millisecond", func() bool {
		if strings.Contains(caddytest.Send(t, "GET", "http://"+s.admin+"/preconditions/claims", "").Content, `"writes":1`) {
			waiting++
		}
		return waiting == 2
	})
	s.gate.Open()
	caddytest.ExpectResult(t, first, 204)
	passed := caddytest.ExpectResult(t, second, 204)
	text := ""
	for _, a := range []caddytest.Answer{refused, passed} {
		text += "Preconditions-Status: " + a.Header.Get("Preconditions-Status") + "\n"
	}
	expectShown(t, caddytest.Shown(t, "docs/options.md", "Preconditions-Status: "), text, `\d+`)
}

// A condition on a POST is about what the content names, with the rule that is shown.
func TestCreationIsAsShown(t *testing.T) {
	var created []string
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch content, _ := io.ReadAll(r.Body); {
		case r.Method == "POST":
			created = append(created, string(content))
			w.WriteHeader(http.StatusCreated)
		case created == nil:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, created[0])
		}
	})
	s := siteWith(t, caddytest.Shown(t, "docs/related-resources.md", "\tguards /orders /orders/{id}\n"), backend)
	create := messages(t, caddytest.Shown(t, "docs/related-resources.md", "POST /orders"))[0]
	create.send(t, s).Expect(t, 201)
	create.send(t, s).Expect(t, 412)
	if len(created) != 1 || created[0] != create.content {
		t.Errorf("the backend got %q", created)
	}
}

// siteWith starts docs.example.com with the directive of a block, and returns its address.
func siteWith(t *testing.T, directive block, backend http.Handler) (address string) {
	t.Helper()
	address = caddytest.Address(t)
	caddytest.Start(t, "http://docs.example.com:"+port(address)+" {\n"+directive.Text+"reverse_proxy "+caddytest.Serve(t, backend)+"\n}\n")
	return address
}

// A list has the tags that are shown, with the options that are shown. Each is good for a write of
// its item.
func TestTheListIsAsShown(t *testing.T) {
	shown := messages(t, caddytest.Shown(t, "docs/related-resources.md", `{"orders": [`))
	member := regexp.MustCompile(`,"etag":("(?:\\.|[^"\\])*")`)
	items := make(map[string]string)
	for _, line := range strings.Split(shown[1].content, "\n") {
		if id := regexp.MustCompile(`"id": (\d+)`).FindStringSubmatch(line); id != nil {
			items["/orders/"+id[1]] = member.ReplaceAllString(strings.Trim(line, " ,"), "")
		}
	}
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if item, ok := items[r.URL.Path]; ok {
			_, _ = io.WriteString(w, item)
			return
		}
		_, _ = io.WriteString(w, member.ReplaceAllString(shown[1].content, ""))
	})
	address := siteWith(t, caddytest.Shown(t, "docs/related-resources.md", "\titems /orders /orders/{id}\n"), backend)
	shown[1].expect(t, shown[0].send(t, address))
	tags := member.FindAllStringSubmatch(shown[1].content, -1)
	if len(tags) != 2 || len(items) != 2 {
		t.Fatalf("got %d tags of %d items", len(tags), len(items))
	}
	for i, tag := range tags {
		var value string
		if err := json.Unmarshal([]byte(tag[1]), &value); err != nil {
			t.Fatal(err)
		}
		url := "http://" + address + "/orders/" + strconv.Itoa(i+1)
		caddytest.Send(t, "PUT", url, "{}", "Host", "docs.example.com", "If-Match", `"other"`).Expect(t, 412)
		caddytest.Send(t, "PUT", url, "{}", "Host", "docs.example.com", "If-Match", value).Expect(t, 200)
	}
}
