package docs_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

const (
	noVariable = `$^`
	moment     = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`
	chrome     = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
	importer   = "importer/2.1"
)

// In mode report, the command that counts prints what is shown, after requests of the kinds that
// are shown there.
func TestTheReportIsAsShown(t *testing.T) {
	s := startSite(t, caddytest.Shown(t, "docs/operations.md", "{\n\tmode report\n\trequire\n}").Text)
	for i := range 30 {
		s.send(t, "GET", fmt.Sprint("/docs/", i), "")
	}
	for i := range 5 {
		path := fmt.Sprint("/docs/", i)
		s.send(t, "PUT", path, "new", "User-Agent", importer).Expect(t, 201)
		tag := s.send(t, "GET", path, "").Expect(t, 200).Tag(t)
		s.send(t, "PUT", path, "newer", "If-Match", tag).Expect(t, 204)
	}
	for i := range 3 {
		path := fmt.Sprint("/docs/", i)
		tag := s.send(t, "GET", path, "").Expect(t, 200).Tag(t)
		s.send(t, "PUT", path, "between", "User-Agent", importer).Expect(t, 204)
		s.send(t, "PUT", path, "lost", "If-Match", tag).Expect(t, 204)
	}
	for i := range 2 {
		s.send(t, "DELETE", fmt.Sprint("/docs/", i), "", "User-Agent", "curl/8.5.0").Expect(t, 204)
		s.send(t, "PUT", fmt.Sprint("/docs/", i), "curl", "User-Agent", "curl/8.5.0").Expect(t, 201)
		s.send(t, "PUT", "/docs/4", "Chrome", "User-Agent", chrome).Expect(t, 204)
	}
	out := s.run(t, block{Text: "caddy preconditions stats\n"})
	expectShown(t, caddytest.Shown(t, "docs/operations.md", "in mode report\nreport "), out, `\d+`)

	// The access log has who wrote without a condition: 8, 4 and 2 times. It gets each line a
	// little after the answer.
	caddytest.Eventually(t, "all requests are in the access log", func() bool {
		log, _ := os.ReadFile(filepath.Join(s.home, "access.log"))
		return strings.Count(string(log), `"required"`) == 14
	})
	caddytest.Needs(t, "jq")
	out = s.run(t, caddytest.Shown(t, "docs/operations.md", "/var/log/caddy/access.log | sort"))
	want := []string{"2 " + chrome, "4 curl/8.5.0", "8 " + importer}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if i >= len(want) || strings.TrimSpace(line) != want[i] {
			t.Fatalf("got\n%s", out)
		}
	}
}

// The last refusal is told as shown: by the commands, by jq, and while it happens.
func TestTheRefusalIsToldAsShown(t *testing.T) {
	s := startSite(t, "preconditions\n")
	tag := s.plan(t, friday)
	s.send(t, "PUT", plan, monday, "If-Match", tag, "Content-Type", "text/plain").Expect(t, 204)
	refuse := func() { s.send(t, "PUT", plan, "mine", "If-Match", tag).Expect(t, 412) }
	refuse()
	shown := caddytest.Shown(t, "docs/operations.md", "prevented a lost update\n")
	none, told, ok := strings.Cut(s.run(t, caddytest.Shown(t, "docs/operations.md", "caddy preconditions refusals --since")), "\n")
	if !ok || !strings.Contains(none, "none found") {
		t.Errorf("of yesterday, it says %s", none)
	}
	told = told[strings.Index(told, "\n20")+1:] // the first answer may have several lines
	expectShown(t, shown, told, moment)

	inLog := caddytest.Shown(t, "docs/operations.md", "refusals --log")
	if out := s.run(t, inLog); !strings.Contains(out, "none found") {
		t.Errorf("of yesterday, the log says %s", out)
	}
	today := strings.Replace(inLog.Text, "--at 'yesterday 10:03'", "--since 2h", 1)
	caddytest.Eventually(t, "the refusal is in the log", func() bool {
		log, _ := os.ReadFile(filepath.Join(s.home, "caddy.log"))
		return strings.Contains(string(log), `"refused"`)
	})
	expectShown(t, shown, s.run(t, block{Page: inLog.Page, Line: inLog.Line, Text: today}), moment)
	if out := s.run(t, caddytest.Shown(t, "docs/operations.md", "caddy preconditions stats --since 7d")); !strings.Contains(out, "\nprevented 1 lost update\n") {
		t.Errorf("got\n%s", out)
	}

	watched := bufio.NewReader(s.start(t, caddytest.Shown(t, "docs/operations.md", "caddy preconditions watch")))
	lines := make(chan string)
	go func() {
		var text string
		for strings.Count(text, "\n") < strings.Count(shown.Text, "\n") {
			line, err := watched.ReadString('\n')
			if text += line; err != nil {
				text += err.Error()
				break
			}
		}
		lines <- text
	}()
	var text string
	caddytest.Eventually(t, "a refusal is watched", func() bool {
		refuse()
		select {
		case text = <-lines:
			return true
		default:
			return false
		}
	})
	expectShown(t, shown, text, moment)

	caddytest.Needs(t, "jq")
	var logged struct {
		Resource, Outcome string
		Status            int
	}
	decoder := json.NewDecoder(strings.NewReader(s.run(t, caddytest.Shown(t, "docs/operations.md", `select(.msg == "refused"`))))
	if err := decoder.Decode(&logged); err != nil || logged.Resource != "docs.example.com/docs/plan" || logged.Outcome != "failed" || logged.Status != 412 {
		t.Errorf("%v: %+v", err, logged)
	}
}

// The page is at the URL that the command prints.
func TestThePageIsServed(t *testing.T) {
	s := startSite(t, "preconditions\n")
	out := bufio.NewReader(s.start(t, caddytest.Shown(t, "docs/operations.md", "caddy preconditions page\n")))
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := line[strings.Index(line, "http://"):]
	if a := caddytest.Send(t, "GET", strings.TrimSpace(url), "").Expect(t, 200); !strings.Contains(a.Content, "<title>") {
		t.Errorf("%s\n%s", url, a.Content)
	}
}

// start runs a block that doesn't end by itself, until the test ends.
func (s *site) start(t testing.TB, b block) io.Reader {
	t.Helper()
	cmd := s.command(t, strings.Replace(b.Text, "\ncaddy ", "\nexec caddy ", 1))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	caddytest.Background(t, cmd)
	return out
}

// The doctor advises what is shown, about a backend that does what its advice says.
func TestTheAdviceIsAsShown(t *testing.T) {
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"now":%q,"meta":{"versionId":7}}`, rand.Text())
	})
	s := startSite(t, "preconditions\n")
	s.backend = caddytest.Serve(t, backend)
	out := s.run(t, caddytest.Shown(t, "docs/operations.md", "doctor http"))
	_, advice, _ := strings.Cut(out, "\n\nAdvice\n")
	advice, _, _ = strings.Cut(advice, "\n\n")
	expectShown(t, caddytest.Shown(t, "docs/operations.md", "Advice\n"), "Advice\n"+advice+"\n", noVariable)
}

// One of those who race wins, and the content is put back.
func TestTheRaceIsWon(t *testing.T) {
	s := startSite(t, "preconditions\n")
	caddytest.Send(t, "PUT", "http://"+s.address+"/docs/scratch", "scratch", "Content-Type", "text/plain").Expect(t, 201)
	out := s.run(t, caddytest.Shown(t, "docs/operations.md", "doctor --race"))
	if !strings.Contains(out, "31 writers") {
		t.Errorf("it says\n%s", out)
	}
}

// What is known is told as shown, by the command and by the admin API, also during a write. The
// commands that report changes, and look at writes and stores, succeed.
func TestWhatIsKnownIsAsShown(t *testing.T) {
	caddytest.Needs(t, "curl", "redis-cli")
	server := caddytest.UsedRedis(t)
	s := startSite(t, "preconditions {\nstore redis redis://"+server.Addr+" {\ntimeout 5s\n}\n}\n")
	tag := s.plan(t, friday)
	for _, draft := range []string{"a", "b"} {
		s.send(t, "GET", "/drafts/"+draft, "").Expect(t, 404)
	}
	api := func(ask, answer block, variable ...string) {
		t.Helper()
		if out := s.run(t, ask); !sameJSON(t, answer.Text, out, variable...) {
			t.Errorf("%s:%d shows\n%s\nbut it is\n%s", answer.Page, answer.Line, answer.Text, out)
		}
	}
	api(caddytest.Shown(t, "docs/operations.md", "curl 'localhost:2019/preconditions/resource?"),
		caddytest.Shown(t, "docs/operations.md", `{"resources":[{`), "epoch", "kept_seconds", "age_seconds")

	write := s.gate.Send(t.Context(), t, "PUT", "http://"+s.address+plan, monday, "Host", "docs.example.com", "If-Match", tag)
	show := caddytest.Shown(t, "docs/operations.md", "caddy preconditions show --json")
	s.run(t, show)
	first, _, _ := strings.Cut(show.Text, "\n")
	expectShown(t, caddytest.Shown(t, "docs/operations.md", "in flight a claim"), s.run(t, block{Page: show.Page, Line: show.Line, Text: first}),
		`(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?m?s\b|epoch     [\w-]{16}\.?`)
	if out := s.run(t, caddytest.Shown(t, "docs/operations.md", "caddy preconditions claims")); !strings.Contains(out, "docs.example.com/docs/plan") || !strings.Contains(out, "redis") {
		t.Errorf("got\n%s", out)
	}
	s.gate.Open()
	caddytest.ExpectResult(t, write, 204)

	api(caddytest.Shown(t, "docs/operations.md", "curl localhost:2019/preconditions/purge"), caddytest.Shown(t, "docs/operations.md", `{"stores":[{`))
	out := s.run(t, caddytest.Shown(t, "docs/operations.md", "caddy preconditions purge --all"))
	if strings.Count(out, "redis: marked ") != 6 {
		t.Errorf("got\n%s", out)
	}
}

// Each command that needs no Caddyfile prints one that is accepted.
func TestTheProxyCommandsPrintACaddyfile(t *testing.T) {
	s := startSite(t, "preconditions\n")
	commands := 0
	for _, b := range []block{
		caddytest.Shown(t, "docs/operations.md", "caddy precondition-proxy --from :8080"),
		caddytest.Shown(t, "README.md", "caddy precondition-proxy --from :8080"),
	} {
		for line := range strings.Lines(b.Text) {
			command, ok := strings.CutPrefix(strings.TrimPrefix(line, "./"), "caddy ")
			if !ok {
				continue
			}
			commands++
			command, _, _ = strings.Cut(command, "   # ")
			printed := s.run(t, block{Page: b.Page, Line: b.Line, Text: "caddy " + strings.TrimSpace(command) + " --print\n"})
			if err := validate(caddytest.Adapt(t, printed)); err != nil || !strings.Contains(printed, "preconditions") {
				t.Errorf("%s:%d: %v\n%s", b.Page, b.Line, err, printed)
			}
		}
	}
	if commands != 4 {
		t.Errorf("found %d commands", commands)
	}
}

// What the documents do with redis-cli has the effects that they name.
func TestTheRedisCommandsSucceed(t *testing.T) {
	caddytest.Needs(t, "redis-cli")
	server := caddytest.UsedRedis(t)
	s := startSite(t, "preconditions {\nverify never\nwrite_etag off\nstore redis redis://"+server.Addr+" {\ntimeout 5s\n}\n}\n")
	redis := server.Client()
	var told []string
	for _, b := range []block{
		caddytest.Shown(t, "docs/stores.md", "CONFIG SET"),
		caddytest.Shown(t, "docs/stores.md", "HGET"),
		caddytest.Shown(t, "docs/operations.md", "redis-cli HDEL"),
		caddytest.Shown(t, "docs/stores.md", "redis-cli DEL"),
	} {
		for line := range strings.Lines(b.Text) {
			s.plan(t, line) // is known then, and new: what a node has just read, it doesn't read again
			// As if this were a master of a cluster.
			if err := redis.HSet(t.Context(), "caddy:preconditions:generation:{0}", "format", etagcache.Format).Err(); err != nil {
				t.Fatal(err)
			}
			told = append(told, strings.TrimSpace(s.run(t, block{Page: b.Page, Line: b.Line, Text: line}, server.Addr)))
		}
	}
	format := fmt.Sprint(etagcache.Format)
	if want := []string{"OK", format, "1", "1", "1", "1"}; !slices.Equal(told, want) {
		t.Errorf("redis-cli says %q, want %q", told, want)
	}
	if !strings.Contains(readDocument(t, "docs/stores.md").text(), "The number is now "+format+".") {
		t.Errorf("docs/stores.md doesn't name the format %s", format)
	}
}
