package caddytest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Backend is a program that stores documents, and cares too little about
// preconditions.
type Backend struct {
	Name  string
	needs []string // programs; and files, if there is a slash in the name
	Start func(t testing.TB, address, dir string) *exec.Cmd
	Path  string // of a document; %s stands for its name

	Alone   Habits
	Options []string // the options of preconditions that suit it; the tests run with each
	Proxy   string   // the options of reverse_proxy that it needs
}

// Habits are what a backend does by itself.
type Habits struct {
	Tag     TagKind // in the answer to a GET or HEAD
	Dated   bool    // whether that answer has a Last-Modified
	Tags    int     // how many tags five contents of one size get within one second, or Some
	Parts   bool    // whether it answers 206
	Checks  bool    // whether it refuses a stale If-Match on writes by itself
	OnWrite TagKind // in the answer to a PUT
	OnNone  TagKind // in a 404

	Creates int // status of a PUT that creates
	Replace int // status of a PUT that replaces
	Deletes int // status of a DELETE
	Patches int // status of a PATCH

	Folds       bool // takes /DOCS/doc1 for /docs/doc1
	Collections bool // MKCOL, COPY, MOVE
	Properties  bool // PROPFIND, LOCK
}

// TagKind is a kind of entity tag (RFC 9110, section 8.8.3).
type TagKind string

// Kinds of entity tags.
const (
	NoTag     TagKind = "no tag"
	WeakTag   TagKind = "a weak tag"
	StrongTag TagKind = "a strong tag"
)

// Some is a number of tags that depends on the file system.
const Some = -1

const documents = "documents" // the directory of the documents, below that of the backend

// davProxy rewrites the target of a COPY or MOVE to the URL that the backend knows,
// which has no TLS.
const davProxy = "header_up Destination ^https: http:\n"

// Backends are the backends that the tests know.
var Backends = []Backend{
	{
		Name:  "nginx",
		needs: []string{"nginx"},
		Start: func(t testing.TB, address, dir string) *exec.Cmd {
			config := configFile(t, dir, "nginx.conf", "{address}", address)
			return exec.Command(programPath("nginx"), "-e", "stderr", "-p", dir, "-c", config)
		},
		Path: "/%s.json",
		Alone: Habits{
			// The tag is the second of the modification, and the size.
			Tag: StrongTag, Dated: true, Tags: 1, Parts: true, OnWrite: NoTag, OnNone: NoTag,
			Creates: 201, Replace: 204, Deletes: 204, Patches: 405, Collections: true,
		},
		Options: []string{"etag body"},
		Proxy:   davProxy + "header_up -Date\n",
	},
	{
		Name:  "Apache httpd",
		needs: []string{"apache2", "/usr/lib/apache2/modules/mod_dav.so"},
		Start: StartApache(""),
		Path:  "/%s.json",
		Alone: Habits{
			// The tag is the microsecond of the modification, as far as the file system
			// has it, and the size. It is weak until that second is over.
			Tag: WeakTag, Dated: true, Tags: Some, Parts: true, Checks: true, OnWrite: NoTag, OnNone: NoTag,
			Creates: 201, Replace: 204, Deletes: 204, Patches: 405, Collections: true, Properties: true,
		},
		Options: []string{"etag body"},
		Proxy:   davProxy + "header_up -If-Unmodified-Since\n",
	},
	{
		Name:  "Apache httpd without tags",
		needs: []string{"apache2", "/usr/lib/apache2/modules/mod_dav.so"},
		Start: StartApache("FileETag None"),
		Path:  "/%s.json",
		Alone: Habits{
			Tag: NoTag, Dated: true, Parts: true, Checks: true, OnWrite: NoTag, OnNone: NoTag,
			Creates: 201, Replace: 204, Deletes: 204, Patches: 405, Collections: true, Properties: true,
		},
		Options: []string{"", "etag body"},
		Proxy:   davProxy + "header_up -If-Unmodified-Since\n",
	},
	{
		Name:  "rclone",
		needs: []string{"rclone"},
		Start: func(_ testing.TB, address, dir string) *exec.Cmd {
			return exec.Command("rclone", "serve", "webdav", filepath.Join(dir, documents),
				"--addr", address, "--config", filepath.Join(dir, "rclone.conf"), "--cache-dir", dir)
		},
		Path: "/%s.json",
		Alone: Habits{
			// The tag is the nanosecond of the modification, and the size.
			Tag: StrongTag, Dated: true, Tags: 5, Parts: true, OnWrite: StrongTag, OnNone: NoTag,
			Creates: 201, Replace: 201, Deletes: 204, Patches: 400, Collections: true, Properties: true,
		},
		Options: []string{"etag upstream", "etag body"},
		Proxy:   davProxy,
	},
	{
		Name:  "Tomcat",
		needs: []string{"java", tomcat("bin/bootstrap.jar")},
		Start: startTomcat,
		Path:  "/%s.json",
		Alone: Habits{
			// The tag is the millisecond of the modification, and the size.
			Tag: WeakTag, Dated: true, Tags: Some, Parts: true, Checks: true, OnWrite: NoTag, OnNone: NoTag,
			Creates: 201, Replace: 204, Deletes: 204, Patches: 501, Collections: true, Properties: true,
		},
		Options: []string{"", "etag body"},
		Proxy:   davProxy,
	},
	{
		Name:  "PHP",
		needs: []string{"php"},
		Start: func(t testing.TB, address, dir string) *exec.Cmd {
			return exec.Command("php", "-S", address, "-t", filepath.Join(dir, documents), ours("documents.php"))
		},
		Path: "/%s",
		Alone: Habits{
			Tag: NoTag, OnWrite: NoTag, OnNone: NoTag,
			Creates: 201, Replace: 204, Deletes: 204, Patches: 405,
		},
		Options: []string{"", "etag body", "etag version"},
	},
	{
		Name:  "json-server",
		needs: []string{"node", ours("node_modules/json-server")},
		Start: func(t testing.TB, address, dir string) *exec.Cmd {
			database := filepath.Join(dir, "db.json")
			if err := os.WriteFile(database, []byte(`{"docs": []}`), 0o600); err != nil {
				t.Fatal(err)
			}
			host, port, _ := strings.Cut(address, ":")
			return exec.Command("node", ours("node_modules/json-server/lib/cli/bin.js"),
				"--quiet", "--host", host, "--port", port, database)
		},
		Path: "/docs/%s",
		Alone: Habits{
			// The tag is a hash of the content of the answer, even of an error. Only
			// POST creates documents.
			Tag: WeakTag, Tags: 5, OnWrite: WeakTag, OnNone: WeakTag,
			Creates: 404, Replace: 200, Deletes: 200, Patches: 200, Folds: true,
		},
		Options: []string{"", "etag body", "etag json /version\netag body"},
	},
	{
		Name:  "Express",
		needs: []string{"node", ours("node_modules/express")},
		Start: func(t testing.TB, address, _ string) *exec.Cmd {
			_, port, _ := strings.Cut(address, ":")
			return exec.Command("node", ours("express.js"), port)
		},
		Path: "/docs/%s",
		Alone: Habits{
			Tag: WeakTag, Tags: 5, OnWrite: WeakTag, OnNone: WeakTag, // as above
			Creates: 200, Replace: 200, Deletes: 200, Patches: 200, Folds: true,
		},
		Options: []string{"", "etag body", "etag json /version", "etag version"},
	},
}

// RateLimited is an Express that lets each client read five times a minute, with
// express-rate-limit.
var RateLimited = Backend{
	Name:  "Express with a limit",
	needs: []string{"node", ours("node_modules/express"), ours("node_modules/express-rate-limit")},
	Start: func(_ testing.TB, address, _ string) *exec.Cmd {
		_, port, _ := strings.Cut(address, ":")
		return exec.Command("node", ours("express.js"), port, "5")
	},
	Path: "/docs/%s",
}

// Hono and NodeURL read the target of a request as a browser would: they resolve it with
// the URL parser of WHATWG.
var (
	Hono = Backend{
		Name:  "Hono",
		needs: []string{"node", ours("node_modules/hono"), ours("node_modules/@hono/node-server")},
		Start: startNode("hono.mjs"),
		Path:  "/docs/%s",
	}
	NodeURL = Backend{Name: "new URL", needs: []string{"node"}, Start: startNode("url.js"), Path: "/docs/%s"}
)

// startNode returns a Start that runs a script with Node.
func startNode(script string) func(t testing.TB, address, dir string) *exec.Cmd {
	return func(_ testing.TB, address, _ string) *exec.Cmd {
		_, port, _ := strings.Cut(address, ":")
		return exec.Command("node", ours(script), port)
	}
}

// BackendNamed returns one of the backends.
func BackendNamed(t testing.TB, name string) *Backend {
	t.Helper()
	for i := range Backends {
		if Backends[i].Name == name {
			return &Backends[i]
		}
	}
	t.Fatalf("no backend %s", name)
	panic("unreachable")
}

// StartApache returns a Start that adds a directive to the config of Apache.
func StartApache(directive string) func(t testing.TB, address, dir string) *exec.Cmd {
	return func(t testing.TB, address, dir string) *exec.Cmd {
		return apache(t, configFile(t, dir, "apache.conf", "{address}", address, "{directive}", directive), dir)
	}
}

// apache returns the command that runs Apache with a config.
func apache(t testing.TB, config, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(programPath("apache2"), "-X", "-f", config)
	if os.Geteuid() == 0 { // it would refuse to serve as root
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody(t, dir)}
	}
	return cmd
}

// tomcat returns the path of a file of Debian's Tomcat.
func tomcat(name string) string { return filepath.Join("/usr/share/tomcat10", name) }

// startTomcat returns the command that runs Tomcat with its WebDAV servlet.
func startTomcat(t testing.TB, address, dir string) *exec.Cmd {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "tomcat", "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(address, ":")
	configFile(t, dir, "tomcat/conf/server.xml", "{host}", host, "{port}", port)
	configFile(t, dir, "tomcat/conf/web.xml")
	return exec.Command("java", "-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Dcatalina.home="+tomcat(""), "-Dcatalina.base="+filepath.Join(dir, "tomcat"),
		"-cp", tomcat("bin/bootstrap.jar")+":"+tomcat("bin/tomcat-juli.jar"),
		"org.apache.catalina.startup.Bootstrap", "start")
}

// nobody returns the credentials of a user without rights, who gets to own the
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

// ours returns the path of a file in testdata/backends.
func ours(name string) string {
	return filepath.Join(root(), "internal", "caddytest", "testdata", "backends", name)
}

// root returns the directory of the module. A test runs in the directory of its own package,
// somewhere in it.
func root() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// configFile copies a config from testdata, with its placeholders replaced, and
// returns the path of the copy.
func configFile(t testing.TB, dir, name string, replace ...string) string {
	t.Helper()
	config, err := os.ReadFile(ours(name))
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

// programPath returns the path of a program, even one that is only in root's PATH,
// or the bare name if the program isn't there.
func programPath(name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(candidate); err == nil {
			return found
		}
	}
	return name
}

// missing returns what the backend needs and isn't there.
func (b *Backend) missing() (names []string) {
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

// OrSkip skips the test if something is missing that the backend needs. It fails the
// test instead if the environment variable CI is set.
func (b *Backend) OrSkip(t testing.TB) {
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

// StartBackends starts backends, except those for which something is missing, and
// returns their addresses by name. They end with the test.
func StartBackends(t testing.TB, all ...Backend) map[string]string {
	t.Helper()
	addresses := make(map[string]string)
	exits := make(map[string]<-chan struct{})
	for i := range all {
		if b := &all[i]; b.missing() == nil {
			address := LocalAddress(t)
			addresses[b.Name], exits[b.Name] = address, b.run(t, address)
		}
	}
	for name, address := range addresses {
		waitForListener(t, address, exits[name])
	}
	return addresses
}

// run starts the backend. It may not listen yet.
func (b *Backend) run(t testing.TB, address string) (exited <-chan struct{}) {
	t.Helper()
	// Not t.TempDir: no other user may enter that.
	dir, err := os.MkdirTemp("", "backend")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, documents), 0o755); err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	cmd := b.Start(t, address, dir)
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
			errors, _ := os.ReadFile(filepath.Join(dir, "error.log")) // of the backends that write one
			t.Logf("log of %s:\n%s%s", b.Name, log, errors)
		}
	})
	return ended
}
