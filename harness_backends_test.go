package preconditions_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// backend is a program that stores documents and cares too little about
// preconditions.
type backend struct {
	name  string
	needs []string // programs, and files where there is a slash
	start func(t testing.TB, address, dir string) *exec.Cmd
	path  string // of a document, whose name %s stands for

	alone habits
	// options are the configurations of preconditions that are right for it.
	// All tests are run with each.
	options []string
	proxy   string // what it needs of reverse_proxy
}

// habits are what a backend does without any help.
type habits struct {
	tag     tagKind // of a GET or HEAD
	dated   bool    // whether these have a Last-Modified
	tags    int     // that five contents of one size get within one second, or some
	parts   bool    // whether it answers 206
	checks  bool    // whether it refuses a stale If-Match on writes by itself
	onWrite tagKind // of the answer to a PUT
	onNone  tagKind // of a 404

	creates int // status of a PUT that creates
	replace int // status of a PUT that replaces
	deletes int // status of a DELETE
	patches int // status of a PATCH

	folds       bool // takes /DOCS/doc1 for /docs/doc1
	collections bool // MKCOL, COPY, MOVE
	properties  bool // PROPFIND, LOCK
}

type tagKind string

const (
	noTag     tagKind = "no tag"
	weakTag   tagKind = "a weak tag"
	strongTag tagKind = "a strong tag"
)

const some = -1 // of the tags that there should be

const documents = "documents" // where they are, below a backend's directory

// davProxy names where to copy or move to as the backend does, which knows
// nothing of TLS.
const davProxy = "header_up Destination ^https: http:\n"

var backends = []backend{
	{
		name:  "nginx",
		needs: []string{"nginx"},
		start: func(t testing.TB, address, dir string) *exec.Cmd {
			config := configFile(t, dir, "nginx.conf", "{address}", address)
			return exec.Command(programPath("nginx"), "-e", "stderr", "-p", dir, "-c", config)
		},
		path: "/%s.json",
		alone: habits{
			// The tag is the second of the modification, and the size.
			tag: strongTag, dated: true, tags: 1, parts: true, onWrite: noTag, onNone: noTag,
			creates: 201, replace: 204, deletes: 204, patches: 405, collections: true,
		},
		options: []string{"etag body"},
		proxy:   davProxy + "header_up -Date\n",
	},
	{
		name:  "Apache httpd",
		needs: []string{"apache2", "/usr/lib/apache2/modules/mod_dav.so"},
		start: startApache(""),
		path:  "/%s.json",
		alone: habits{
			// The tag is the microsecond of the modification, as far as files
			// tell it, and the size. It is weak until its second is over.
			tag: weakTag, dated: true, tags: some, parts: true, checks: true, onWrite: noTag, onNone: noTag,
			creates: 201, replace: 204, deletes: 204, patches: 405, collections: true, properties: true,
		},
		options: []string{"etag body"},
		proxy:   davProxy + "header_up -If-Unmodified-Since\n",
	},
	{
		name:  "Apache httpd without tags",
		needs: []string{"apache2", "/usr/lib/apache2/modules/mod_dav.so"},
		start: startApache("FileETag None"),
		path:  "/%s.json",
		alone: habits{
			tag: noTag, dated: true, parts: true, checks: true, onWrite: noTag, onNone: noTag,
			creates: 201, replace: 204, deletes: 204, patches: 405, collections: true, properties: true,
		},
		options: []string{"", "etag body"},
		proxy:   davProxy + "header_up -If-Unmodified-Since\n",
	},
	{
		name:  "rclone",
		needs: []string{"rclone"},
		start: func(_ testing.TB, address, dir string) *exec.Cmd {
			return exec.Command("rclone", "serve", "webdav", filepath.Join(dir, documents),
				"--addr", address, "--config", filepath.Join(dir, "rclone.conf"), "--cache-dir", dir)
		},
		path: "/%s.json",
		alone: habits{
			// The tag is the nanosecond of the modification, and the size.
			tag: strongTag, dated: true, tags: 5, parts: true, onWrite: strongTag, onNone: noTag,
			creates: 201, replace: 201, deletes: 204, patches: 400, collections: true, properties: true,
		},
		options: []string{"etag upstream", "etag body"},
		proxy:   davProxy,
	},
	{
		name:  "PHP",
		needs: []string{"php"},
		start: func(t testing.TB, address, dir string) *exec.Cmd {
			return exec.Command("php", "-S", address, "-t", filepath.Join(dir, documents), ours(t, "documents.php"))
		},
		path: "/%s",
		alone: habits{
			tag: noTag, onWrite: noTag, onNone: noTag,
			creates: 201, replace: 204, deletes: 204, patches: 405,
		},
		options: []string{"", "etag body", "etag version"},
	},
	{
		name:  "json-server",
		needs: []string{"node", "testdata/backends/node_modules/json-server"},
		start: func(t testing.TB, address, dir string) *exec.Cmd {
			database := filepath.Join(dir, "db.json")
			if err := os.WriteFile(database, []byte(`{"docs": []}`), 0o600); err != nil {
				t.Fatal(err)
			}
			host, port, _ := strings.Cut(address, ":")
			return exec.Command("node", ours(t, "node_modules/json-server/lib/cli/bin.js"),
				"--quiet", "--host", host, "--port", port, database)
		},
		path: "/docs/%s",
		alone: habits{
			// The tag is a hash of the answer's content, whatever the answer
			// is. Documents are created by POST only.
			tag: weakTag, tags: 5, onWrite: weakTag, onNone: weakTag,
			creates: 404, replace: 200, deletes: 200, patches: 200, folds: true,
		},
		options: []string{"", "etag body", "etag json /version\netag body"},
	},
	{
		name:  "Express",
		needs: []string{"node", "testdata/backends/node_modules/express"},
		start: func(t testing.TB, address, _ string) *exec.Cmd {
			_, port, _ := strings.Cut(address, ":")
			return exec.Command("node", ours(t, "express.js"), port)
		},
		path: "/docs/%s",
		alone: habits{
			tag: weakTag, tags: 5, onWrite: weakTag, onNone: weakTag, // as above
			creates: 200, replace: 200, deletes: 200, patches: 200, folds: true,
		},
		options: []string{"", "etag body", "etag json /version", "etag version"},
	},
}

// backendNamed returns one of the backends.
func backendNamed(t testing.TB, name string) *backend {
	t.Helper()
	for i := range backends {
		if backends[i].name == name {
			return &backends[i]
		}
	}
	t.Fatalf("no backend %s", name)
	panic("unreachable")
}

// startApache starts Apache with a directive about its tags.
func startApache(etag string) func(t testing.TB, address, dir string) *exec.Cmd {
	return func(t testing.TB, address, dir string) *exec.Cmd {
		config := configFile(t, dir, "apache.conf", "{address}", address, "{etag}", etag)
		cmd := exec.Command(programPath("apache2"), "-X", "-f", config)
		if os.Geteuid() == 0 { // as whom it would not serve anything
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody(t, dir)}
		}
		return cmd
	}
}

// nobody returns the credentials of a user without rights, and gives it a
// directory.
func nobody(t testing.TB, dir string) *syscall.Credential {
	t.Helper()
	u, err := osuser.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, filepath.Join(dir, documents)} {
		if err := os.Chown(name, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// ours returns the path of a file of testdata.
func ours(t testing.TB, name string) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("testdata", "backends", name))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// configFile fills a configuration of testdata in, and returns where it is.
func configFile(t testing.TB, dir, name string, replace ...string) string {
	t.Helper()
	config, err := os.ReadFile(ours(t, name))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	filled := strings.NewReplacer(append(replace, "{dir}", dir)...).Replace(string(config))
	if err := os.WriteFile(file, []byte(filled), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// programPath finds a program, also one that only root is expected to run. It
// returns the bare name of one that isn't there.
func programPath(name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(candidate); err == nil {
			return found
		}
	}
	return name
}

// missing returns what a backend needs and isn't there.
func (b *backend) missing() (names []string) {
	for _, name := range b.needs {
		var err error
		if strings.Contains(name, "/") {
			_, err = os.Stat(name)
		} else {
			_, err = exec.LookPath(programPath(name))
		}
		if err != nil {
			names = append(names, name)
		}
	}
	return names
}

// orSkip skips the test where something is missing that the backend needs, and
// fails it if the environment variable CI is set.
func (b *backend) orSkip(t testing.TB) {
	t.Helper()
	missing := b.missing()
	if missing == nil {
		return
	}
	why := fmt.Sprintf("missing: %s (.ci/run installs it)", strings.Join(missing, ", "))
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// startBackends starts those of the backends that nothing is missing for, at
// once, and returns their addresses. They end with the test.
func startBackends(t testing.TB, all ...backend) map[string]string {
	t.Helper()
	addresses := make(map[string]string)
	exits := make(map[string]<-chan struct{})
	for i := range all {
		if b := &all[i]; b.missing() == nil {
			address := freeAddress(t)
			addresses[b.name], exits[b.name] = address, b.run(t, address)
		}
	}
	for name, address := range addresses {
		waitForListener(t, address, exits[name])
	}
	return addresses
}

// run starts the backend, which need not listen yet.
func (b *backend) run(t testing.TB, address string) (exited <-chan struct{}) {
	t.Helper()
	// Not t.TempDir: nobody but this user may go there.
	dir, err := os.MkdirTemp("", "backend")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, documents), 0o755); err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	cmd := b.start(t, address, dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			errors, _ := os.ReadFile(filepath.Join(dir, "error.log")) // of those that have one
			t.Logf("log of %s:\n%s%s", b.name, log, errors)
		}
	})
	return ended
}

// stand is a site of this process's Caddy in front of one of the backends.
type stand struct {
	*backend
	options string
	url     string // of the site
	direct  string // of the backend itself
}

// versioned reports whether tags are the store's own version, so that a change
// around the handler isn't noticed.
func (s stand) versioned() bool { return strings.Contains(s.options, "etag version") }

// standsBefore has this process's Caddy stand in front of the backends at the
// given addresses, with each of the options that are returned for them. Writes
// must be conditional. A stand before a backend that has no address is good for
// nothing but to skip a test.
func standsBefore(t testing.TB, addresses map[string]string, options func(*backend) []string) []stand {
	t.Helper()
	var stands []stand
	for i := range backends {
		b := &backends[i]
		for _, o := range options(b) {
			stands = append(stands, stand{backend: b, options: o, direct: "http://" + addresses[b.name]})
		}
	}
	var sites strings.Builder
	for i := range stands {
		s := &stands[i]
		s.url = "http://" + freeAddress(t)
		if address := addresses[s.name]; address != "" {
			// All sites are of one host and share a store.
			all := "key {http.request.hostport}{http.request.uri.path}\nrequire\n" + s.options
			fmt.Fprintf(&sites, "%s {\nheader >X-Resource {http.preconditions.resource}\n%s\n}\n",
				s.url, guarded(all, address+" {\n"+s.proxy+"}"))
		}
	}
	load(t, sites.String())
	return stands
}

// standBefore stands in front of one backend, and skips the test where
// something is missing for that.
func standBefore(t testing.TB, name, options string) stand {
	t.Helper()
	b := backendNamed(t, name)
	b.orSkip(t)
	return standsBefore(t, startBackends(t, *b), func(other *backend) []string {
		if other != b {
			return nil
		}
		return []string{options}
	})[0]
}

// document is one document of a backend.
type document struct {
	stand
	name, path string
}

// drafts counts the contents that were written, and the documents.
var drafts atomic.Int64

// draft returns a content, all of which are of one size, and what tells it from
// others.
func draft() (content, mark string) {
	n := 100_000 + drafts.Add(1)
	mark = fmt.Sprintf("draft %d", n)
	return fmt.Sprintf(`{"version": %d, "text": "%s"}`, n, mark), mark
}

// absent returns a document that doesn't exist.
func (s stand) absent() document {
	name := fmt.Sprintf("doc%d", drafts.Add(1))
	return document{s, name, fmt.Sprintf(s.path, name)}
}

// document returns one that exists.
func (s stand) document(t testing.TB) document {
	t.Helper()
	d := s.absent()
	d.bypass(t)
	return d
}

// bypass has the backend store a new content, around the handler.
func (d document) bypass(t testing.TB) (mark string) {
	t.Helper()
	content, mark := draft()
	a := d.send(t, d.direct, "PUT", content)
	if a.StatusCode == 404 { // it creates by POST only
		a = d.post(t, d.direct, content)
	}
	if a.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s\n%s", a.Request.Method, a.Request.URL, a.Status, a.Content)
	}
	return mark
}

// post creates the document in its collection.
func (d document) post(t testing.TB, base, content string, fields ...string) answer {
	t.Helper()
	collection := strings.TrimSuffix(d.path, "/"+d.name)
	content = fmt.Sprintf(`{"id": %q, %s`, d.name, strings.TrimPrefix(content, "{"))
	return send(t, "POST", base+collection, content, append(fields, "Content-Type", "application/json")...)
}

// send sends a request for the document to the site, or to the backend itself.
func (d document) send(t testing.TB, base, method, content string, fields ...string) answer {
	t.Helper()
	if content != "" {
		fields = append(fields, "Content-Type", "application/json")
	}
	return send(t, method, base+d.path, content, fields...)
}

// read gets the document through the handler, and returns its tag.
func (d document) read(t testing.TB) (tag string) {
	t.Helper()
	return d.send(t, d.url, "GET", "").expect(t, 200).tag(t)
}

// put sends a new content through the handler.
func (d document) put(t testing.TB, fields ...string) (a answer, mark string) {
	t.Helper()
	content, mark := draft()
	return d.send(t, d.url, "PUT", content, fields...), mark
}

// respelled returns another spelling of the document's path, if the backend
// knows one.
func (d document) respelled() string {
	dir, name := path.Split(d.path)
	if d.alone.folds {
		dir = strings.ToUpper(dir)
	}
	return dir + name
}

// stored returns the content that the backend itself has, or "".
func (d document) stored(t testing.TB) string {
	t.Helper()
	a := d.send(t, d.direct, "GET", "")
	if a.StatusCode == 404 {
		return ""
	}
	return a.expect(t, 200).Content
}

// expectStored fails the test unless the backend has the content with the mark.
func (d document) expectStored(t testing.TB, mark string) {
	t.Helper()
	if got := d.stored(t); !strings.Contains(got, mark) {
		t.Fatalf("%s has %q, want %s", d.path, got, mark)
	}
}

// expectSuccess fails the test unless the answer is a 2xx.
func (a answer) expectSuccess(t testing.TB) answer {
	t.Helper()
	if a.StatusCode/100 != 2 {
		t.Fatalf("%s %s: got %s\n%s", a.Request.Method, a.Request.URL, a.Status, a.Content)
	}
	return a
}

// kind returns what kind of tag the answer has.
func (a answer) kind() tagKind {
	switch tag := a.Header.Get("ETag"); {
	case tag == "":
		return noTag
	case strings.HasPrefix(tag, "W/"):
		return weakTag
	default:
		return strongTag
	}
}
