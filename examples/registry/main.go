// Registry shows how two CI jobs lose each other's entries of an image index, and how
// a condition prevents it. You need Go and Debian's docker-registry:
//
//	apt-get install --no-install-recommends docker-registry
//	go run ./examples/registry
//
// It starts an empty registry, and a Caddy with this module in front of it. Sixteen
// clients then each append an image to one index: first at the registry itself, where
// one entry is left of sixteen, and then through Caddy, where all sixteen are. At the end
// it prints what to try with curl, and serves until Ctrl-C. It stores everything in a
// temporary directory, which it removes.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	_ "github.com/caddy-preconditions/preconditions"
	"github.com/caddy-preconditions/preconditions/examples/registryclient"
)

var (
	//go:embed Caddyfile
	config []byte
	//go:embed steps.txt
	steps string
)

// clients is how many clients append an entry at once.
const clients = 16

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program immediately

	var port, registry string
	fs := flag.NewFlagSet("registry", flag.ExitOnError)
	fs.StringVar(&port, "port", "8080", "port of Caddy on localhost")
	fs.StringVar(&registry, "registry", "5000", "port of the registry on localhost")
	_ = fs.Parse(os.Args[1:]) // it exits on an error
	if err := run(ctx, port, registry, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

// run starts everything, shows it, and serves until ctx ends.
func run(ctx context.Context, port, registry string, out io.Writer) error {
	stop, err := startRegistry("localhost:" + registry)
	if err != nil {
		return err
	}
	defer stop()
	if err := startCaddy(port, registry); err != nil {
		return err
	}
	defer func() { _ = caddy.Stop() }()

	for _, place := range []struct{ name, index string }{
		{"at the registry itself", "localhost:" + registry + "/direct:1.4"},
		{"through Caddy", "localhost:" + port + "/app:1.4"},
	} {
		left, writes, err := appendAtOnce(ctx, place.index)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d clients append to one index %s: %d of %d entries are there, after %d writes.\n",
			clients, place.name, left, clients, writes)
	}
	_, err = strings.NewReplacer("localhost:8080", "localhost:"+port, "localhost:5000", "localhost:"+registry).WriteString(out, steps)
	if err != nil {
		return err
	}
	<-ctx.Done()
	fmt.Fprintln(out, "\nStopping.")
	return nil
}

// appendAtOnce lets the clients append an image each to an index. All of
// them read it before the first one writes, as may happen anyway. It returns how many
// entries the index has in the end, and how many writes that took.
func appendAtOnce(ctx context.Context, index string) (left, writes int, err error) {
	tag, err := name.NewTag(index, name.Insecure)
	if err != nil {
		return 0, 0, err
	}
	client := new(registryclient.Client)
	var read, done sync.WaitGroup
	read.Add(clients)
	written, failed := make([]int, clients), make([]error, clients)
	for i := range clients {
		done.Go(func() {
			wait := sync.OnceFunc(func() { read.Done(); read.Wait() })
			defer wait() // others wait for this client
			image, err := random.Image(1024, 1)
			if err == nil {
				err = client.Upload(ctx, tag, image)
			}
			if err != nil {
				failed[i] = err
				return
			}
			written[i], failed[i] = client.Update(ctx, tag, func(index v1.ImageIndex) (v1.ImageIndex, error) {
				wait()
				return mutate.AppendManifests(index, mutate.IndexAddendum{Add: image}), nil
			})
		})
	}
	done.Wait()
	for _, n := range written {
		writes += n
	}
	if err := errors.Join(failed...); err != nil {
		return 0, writes, err
	}
	final, err := remote.Index(tag, remote.WithContext(ctx))
	if err != nil {
		return 0, writes, err
	}
	manifest, err := final.IndexManifest()
	if err != nil {
		return 0, writes, err
	}
	return len(manifest.Manifests), writes, nil
}

// registryConfig is the config of docker-registry.
const registryConfig = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}
http: {addr: %q}
`

// startRegistry starts docker-registry with an empty directory, and waits until it
// listens.
func startRegistry(address string) (stop func(), err error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return nil, fmt.Errorf("%w (on Debian: apt-get install --no-install-recommends docker-registry)", err)
	}
	if ln, err := net.Listen("tcp", address); err != nil {
		return nil, fmt.Errorf("%w (choose a different port with --registry)", err)
	} else {
		ln.Close()
	}
	dir, err := os.MkdirTemp("", "registry")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(registryConfig, filepath.Join(dir, "data"), address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	log := new(bytes.Buffer)
	cmd := exec.Command(program, "serve", file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	stop = func() {
		_ = cmd.Process.Kill() // fails if it has exited
		_ = os.RemoveAll(dir)
	}
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return stop, conn.Close()
		}
		select {
		case err := <-exited:
			stop()
			return nil, fmt.Errorf("docker-registry has exited: %w\n%s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// startCaddy loads the Caddyfile, with the ports from the flags.
func startCaddy(port, registry string) error {
	if ln, err := net.Listen("tcp", "localhost:"+port); err != nil {
		return fmt.Errorf("%w (choose a different port with --port)", err)
	} else {
		ln.Close()
	}
	for name, value := range map[string]string{"REGISTRY_PORT": port, "REGISTRY_BACKEND": "localhost:" + registry} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	adapted, _, err := adapter.Adapt(config, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return caddy.Load(adapted, true)
}
