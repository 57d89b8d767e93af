package backends

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/caddy-preconditions/preconditions/examples/registryclient"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// registryRecipe returns the directives of docs/registry.md, in front of a registry, with
// the memory store.
func registryRecipe(t testing.TB, registry string) string {
	t.Helper()
	b := caddytest.Shown(t, "docs/registry.md", "registry.example.com {\n")
	block := strings.TrimSuffix(strings.TrimPrefix(b.Text, "registry.example.com {\n"), "}\n")
	templates, err := filepath.Abs("../../examples/refusals")
	if err != nil {
		t.Fatal(err)
	}
	const store = "\t\tstore      redis rediss://redis.internal\n"
	for _, part := range []string{store, "registry:5000", "/etc/caddy/refusals/"} {
		if strings.Count(block, part) != 1 {
			t.Fatalf("the recipe must have %q once:\n%s", part, block)
		}
	}
	return "header >X-Outcome {http.preconditions.outcome}\n" +
		strings.NewReplacer(store, "", "registry:5000", registry, "/etc/caddy/refusals/", templates+"/").Replace(block)
}

// startRegistry starts a registry, and a node with the recipe in front of it.
func startRegistry(t *testing.T) (direct, node string) {
	t.Helper()
	address := caddytest.Registry().Run(t)
	return "http://" + address, caddytest.OneNodeAt(t, registryRecipe(t, address)).First()
}

// registryTag names a tag of the registry at a URL.
func registryTag(t testing.TB, url, tag string) name.Tag {
	t.Helper()
	ref, err := name.NewTag(strings.TrimPrefix(url, "http://")+"/"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// smallImage returns an image that no other equals.
func smallImage(t testing.TB) v1.Image {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// pushList pushes a Docker list of some images to a tag, and returns its entity tag and that of
// the first image.
func pushList(t testing.TB, tag name.Tag, images ...v1.Image) (list, first string) {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.DockerManifestList)
	for i, image := range images {
		architecture := []string{"amd64", "arm64"}[i]
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: architecture},
		}})
	}
	if err := remote.WriteIndex(tag, index, remote.WithTransport(caddytest.Client.Transport)); err != nil {
		t.Fatal(err)
	}
	return quotedDigest(t, index), quotedDigest(t, images[0])
}

// quotedDigest returns the digest of a manifest as an entity tag.
func quotedDigest(t testing.TB, manifest interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	digest, err := manifest.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return `"` + digest.String() + `"`
}

// put writes a manifest to a tag, as curl does.
func put(t testing.TB, tag name.Tag, manifest remote.Taggable, fields ...string) caddytest.Answer {
	t.Helper()
	content, err := manifest.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	kind, err := manifest.(interface {
		MediaType() (types.MediaType, error)
	}).MediaType()
	if err != nil {
		t.Fatal(err)
	}
	return caddytest.Send(t, "PUT", manifestURL(tag), string(content), append(fields, "Content-Type", string(kind))...)
}

func manifestURL(ref name.Reference) string {
	return "http://" + ref.Context().RegistryStr() + "/v2/" + ref.Context().RepositoryStr() + "/manifests/" + ref.Identifier()
}

// TestRegistryWithCurl: the commands of the recipe write a tag that nobody has written meanwhile,
// and refuse to write another one, as it says.
func TestRegistryWithCurl(t *testing.T) {
	t.Parallel()
	caddytest.Needs(t, "bash", "curl")
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/crane.bin", "github.com/google/go-containerregistry/cmd/crane")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, node := startRegistry(t)
	tag := registryTag(t, node, "app:1.4")
	write := func() {
		t.Helper()
		index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: smallImage(t)})
		if err := remote.WriteIndex(tag, index, remote.WithTransport(caddytest.Client.Transport)); err != nil {
			t.Fatal(err)
		}
	}
	commands := caddytest.Shown(t, "docs/registry.md", "# ... add an entry to index.json ...\n").Text
	const comment = "# ... add an entry to index.json ...\n"
	_, save, _ := strings.Cut(commands, comment)
	for _, test := range []struct {
		meanwhile string
		exit      int
		says      string
	}{
		{"", 0, ""},
		{save, 22, "PRECONDITION_FAILED"},
	} {
		write()
		script := strings.Replace(commands, comment, "echo >> index.json\n"+test.meanwhile, 1)
		script = strings.NewReplacer("https://registry.example.com", node, "registry.example.com", strings.TrimPrefix(node, "http://")).Replace(script)
		cmd := exec.CommandContext(t.Context(), "bash", "-e")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*", "HOME="+dir)
		cmd.Stdin = strings.NewReader("crane() { ./crane.bin --insecure \"$@\"; }\n" + script)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != test.exit || !strings.Contains(string(out), test.says) {
			t.Errorf("%v, want exit code %d\n%s\n%s", err, test.exit, script, out)
		}
	}
}

// TestRegistryAppends: of clients that each append to one index through several nodes, none
// loses an entry. Without the handler, all but one are lost if all have read before the first
// writes.
func TestRegistryAppends(t *testing.T) {
	t.Parallel()
	for title, test := range map[string]struct {
		directives func(t *testing.T, registry string) string
		want       int
	}{
		"bare": {nil, 1},
		"recipe": {func(t *testing.T, registry string) string {
			return registryRecipe(t, registry)
		}, registryWriters},
		"a registry without tags": {func(t *testing.T, registry string) string {
			recipe := strings.Replace(registryRecipe(t, registry), "upstream", "header Docker-Content-Digest verbatim", 1)
			return strings.Replace(recipe, "reverse_proxy "+registry, "reverse_proxy "+registry+" {\nheader_down -Etag\n}\n", 1)
		}, registryWriters},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			registry := caddytest.Registry().Run(t)
			nodes := caddytest.Nodes{"http://" + registry}
			if test.directives != nil {
				// With the default timeout, a busy machine could look like a store that is away.
				store := fmt.Sprintf("store redis redis://%s {\ntimeout 5s\n}\nwait 1m\n", caddytest.UsedRedis(t).Addr)
				directives := strings.Replace(test.directives(t, registry), "etag ", store+"etag ", 1)
				nodes = nil
				for _, m := range caddytest.StartNodes(t, 2, directives) {
					nodes = append(nodes, m.URL)
				}
			}
			entries := appendAtOnce(t, nodes)
			if len(entries) != test.want {
				t.Errorf("%d of %d entries are left, want %d", len(entries), registryWriters, test.want)
			}
		})
	}
}

const registryWriters = 16

// appendAtOnce lets clients append an entry each to one index. All of them read before the first
// one writes. It returns the entries of the index at the end.
func appendAtOnce(t *testing.T, nodes caddytest.Nodes) []v1.Descriptor {
	t.Helper()
	client := &registryclient.Client{Transport: caddytest.Client.Transport}
	var read, done sync.WaitGroup
	read.Add(registryWriters)
	for i := range registryWriters {
		image := smallImage(t)
		done.Go(func() {
			wait := sync.OnceFunc(func() { read.Done(); read.Wait() })
			defer wait() // others wait for this client
			tag := registryTag(t, nodes[i%len(nodes)], "app:1.4")
			if err := client.Upload(t.Context(), tag, image); err != nil {
				t.Error(err)
				return
			}
			_, err := client.Update(t.Context(), tag, func(index v1.ImageIndex) (v1.ImageIndex, error) {
				wait()
				return mutate.AppendManifests(index, mutate.IndexAddendum{Add: image}), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	index, err := remote.Index(registryTag(t, nodes.Other(), "app:1.4"), remote.WithTransport(client.Transport))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Manifests
}

// TestRegistryRefusal: a refusal is an error of the OCI, as go-containerregistry reads it.
func TestRegistryRefusal(t *testing.T) {
	t.Parallel()
	_, node := startRegistry(t)
	tag, image := registryTag(t, node, "app:1.4"), smallImage(t)
	if err := remote.Write(tag, image, remote.WithTransport(caddytest.Client.Transport)); err != nil {
		t.Fatal(err)
	}
	stale := roundTripper(func(r *http.Request) (*http.Response, error) {
		r.Header.Set("If-Match", `"sha256:0"`)
		return caddytest.Client.Transport.RoundTrip(r)
	})
	var refused *transport.Error
	err := remote.Put(tag, smallImage(t), remote.WithTransport(stale))
	if !errors.As(err, &refused) || refused.StatusCode != 412 || len(refused.Errors) != 1 || refused.Errors[0].Code != "PRECONDITION_FAILED" {
		t.Fatalf("got %v", err)
	}
	if detail, _ := refused.Errors[0].Detail.(string); refused.Errors[0].Message != "Precondition Failed" || detail == "" {
		t.Errorf("got %v", err)
	}
	if got := put(t, tag, image, "If-Match", `"sha256:0"`).Expect(t, 412).Tag(t); got != quotedDigest(t, image) {
		t.Errorf("the refusal has the tag %s", got)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRegistryTagGoesBack: a tag that goes back to an earlier manifest is believed at once.
func TestRegistryTagGoesBack(t *testing.T) {
	t.Parallel()
	_, node := startRegistry(t)
	tag, a, b := registryTag(t, node, "app:1.4"), smallImage(t), smallImage(t)
	for _, image := range []v1.Image{a, b} {
		if err := remote.Write(tag, image, remote.WithTransport(caddytest.Client.Transport)); err != nil {
			t.Fatal(err)
		}
	}
	at := b
	for _, next := range []v1.Image{a, b, a, b} {
		answer := put(t, tag, next, "If-Match", quotedDigest(t, at)).Expect(t, 201)
		if got := answer.Tag(t); got != quotedDigest(t, next) || got != `"`+answer.Header.Get("Docker-Content-Digest")+`"` {
			t.Errorf("ETag %s, Docker-Content-Digest %s", got, answer.Header.Get("Docker-Content-Digest"))
		}
		put(t, tag, next, "If-Match", quotedDigest(t, at)).Expect(t, 412)
		at = next
	}
}

// TestRegistryConverts: a client that accepts no lists sees one image of a list, as the registry
// shows it. The tag of that isn't the list's, so nobody replaces the list by it.
func TestRegistryConverts(t *testing.T) {
	t.Parallel()
	direct, node := startRegistry(t)
	tag := registryTag(t, node, "app:1.4")
	images := []v1.Image{smallImage(t), smallImage(t)}
	_, first := pushList(t, tag, images[0])
	const narrow = "application/vnd.docker.distribution.manifest.v2+json"
	const wide = narrow + ", application/vnd.docker.distribution.manifest.list.v2+json"
	// The registry looks for docker images only.
	for _, base := range []string{direct, node} {
		read := caddytest.Send(t, "GET", manifestURL(registryTag(t, base, "app:1.4")), "", "Accept", wide).Expect(t, 200)
		if got := read.Header.Get("Content-Type"); got != string(types.DockerManifestList) {
			t.Fatalf("%s: the list is %s", base, got)
		}
	}
	caddytest.Send(t, "GET", manifestURL(tag), "", "Accept", narrow).Expect(t, 200)
	list, again := pushList(t, tag, images...) // somebody adds a platform
	if first != again {
		t.Fatal("the first image has changed")
	}
	read := caddytest.Send(t, "GET", manifestURL(tag), "", "Accept", narrow).Expect(t, 200)
	if got := read.Tag(t); got != first {
		t.Fatalf("the converted manifest has the tag %s, want %s", got, first)
	}
	put(t, tag, images[1], "Accept", narrow, "If-Match", first).Expect(t, 412)
	put(t, tag, images[1], "Accept", narrow, "If-Match", list).Expect(t, 201)
}

// TestRegistryNeedsItsLines: two lines of the recipe prevent what happens without them.
func TestRegistryNeedsItsLines(t *testing.T) {
	t.Parallel()
	registry := caddytest.Registry().Run(t)
	recipe := registryRecipe(t, registry)
	without := func(line string) (node string) {
		t.Helper()
		less := regexp.MustCompile(`(?m)^\s*`+line+`\b.*\n`).ReplaceAllString(recipe, "")
		if less == recipe {
			t.Fatalf("the recipe has no %s", line)
		}
		// Whoever waits in vain is told so soon.
		return caddytest.OneNodeAt(t, strings.Replace(less, "etag ", "lease 10m\nwait 1s\netag ", 1)).First()
	}
	whole := caddytest.OneNodeAt(t, recipe).First()
	direct := "http://" + registry

	t.Run("request_header", func(t *testing.T) {
		for i, test := range []struct {
			node    string
			created int
			matched int
		}{{whole, 412, 201}, {without("request_header"), 201, 412}} {
			index := fmt.Sprintf("app%d:1.4", i)
			if err := remote.WriteIndex(registryTag(t, direct, index), empty.Index, remote.WithTransport(caddytest.Client.Transport)); err != nil {
				t.Fatal(err)
			}
			tag := registryTag(t, test.node, index)
			put(t, tag, empty.Index, "If-Match", quotedDigest(t, empty.Index)).Expect(t, test.matched)
			put(t, tag, empty.Index, "If-None-Match", "*").Expect(t, test.created)
		}
	})
	t.Run("unanswered", func(t *testing.T) {
		for i, test := range []struct {
			node   string
			status int
		}{{whole, 201}, {without("unanswered"), 503}} {
			image := smallImage(t)
			tag := registryTag(t, test.node, fmt.Sprintf("deleted%d:1.4", i))
			if err := remote.Write(tag, image, remote.WithTransport(caddytest.Client.Transport)); err != nil {
				t.Fatal(err)
			}
			url := manifestURL(tag.Digest(strings.Trim(quotedDigest(t, image), `"`)))
			caddytest.Send(t, "DELETE", url, "", "If-Match", quotedDigest(t, image)).Expect(t, 202)
			content, err := image.RawManifest()
			if err != nil {
				t.Fatal(err)
			}
			caddytest.Send(t, "PUT", url, string(content), "Content-Type", string(types.DockerManifestSchema2), "If-None-Match", "*").Expect(t, test.status)
		}
	})
}

// TestRegistryAsBefore: what go-containerregistry does without conditions has the answers of the
// registry, and the handler doesn't see blobs.
func TestRegistryAsBefore(t *testing.T) {
	t.Parallel()
	_, node := startRegistry(t)
	direct := "http://" + caddytest.Registry().Run(t)
	image := smallImage(t)
	want, got := useRegistry(t, direct, image), useRegistry(t, node, image)
	if len(want) < 12 || !slices.Equal(want, got) {
		t.Errorf("directly:\n%s\nthrough the handler:\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
}

// useRegistry pushes an image and an index with it, pulls and deletes them, and returns what the
// registry answered.
func useRegistry(t *testing.T, base string, image v1.Image) (answers []string) {
	t.Helper()
	var mu sync.Mutex
	session := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
	recorder := roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := caddytest.Client.Transport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		path := session.ReplaceAllString(r.URL.Path, "*")
		mu.Lock()
		defer mu.Unlock()
		location, _, _ := strings.Cut(session.ReplaceAllString(resp.Header.Get("Location"), "*"), "?")
		answers = append(answers, fmt.Sprintln(r.Method, path, resp.StatusCode, strings.TrimPrefix(location, base),
			resp.Header.Get("Content-Type"), resp.Header.Get("Docker-Content-Digest"), resp.Header.Get("Range")))
		// Without the handler, Caddy doesn't know the placeholder.
		outcome := resp.Header.Get("X-Outcome")
		seen := outcome != "" && !strings.HasPrefix(outcome, "{")
		if manifest := strings.Contains(path, "/manifests/"); outcome != "" && seen != manifest {
			t.Errorf("%s %s: the outcome is %s", r.Method, r.URL, outcome)
		}
		return resp, nil
	})
	options := []remote.Option{remote.WithTransport(recorder), remote.WithJobs(1)}
	tag := registryTag(t, base, "app:1.4")
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("push", remote.Write(tag, image, options...))
	must("push again", remote.Write(tag, image, options...))
	_, err := remote.Head(tag, options...)
	must("HEAD", err)
	byTag, err := remote.Image(tag, options...)
	must("pull by tag", err)
	_, err = byTag.RawConfigFile()
	must("pull the config", err)
	digest, err := byTag.Digest()
	must("digest", err)
	_, err = remote.Image(tag.Digest(digest.String()), options...)
	must("pull by digest", err)
	_, err = remote.List(tag.Context(), options...)
	must("list", err)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image})
	must("push an index", remote.WriteIndex(tag, index, options...))
	must("delete", remote.Delete(tag.Digest(strings.Trim(quotedDigest(t, index), `"`)), options...))
	if _, err := remote.Get(tag, options...); err == nil {
		t.Error("the tag is still there")
	}
	slices.Sort(answers) // some requests go out at once
	return answers
}
