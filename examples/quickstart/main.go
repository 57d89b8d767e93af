// Quickstart shows a lost update, and how to prevent it, on your own machine:
//
//	go run ./examples/quickstart
//
// It starts a legacy document service, puts a Caddy with this module in front of it,
// serves a page on which two people edit one document, and prints what to try. To open
// the page on a phone in your network, at port 8080 of this machine:
//
//	go run ./examples/quickstart --listen :8080 --backend :9000
//
// To put Caddy in front of your own backend instead:
//
//	go run ./examples/quickstart --to http://127.0.0.1:3000
//
// With a subcommand, it is the ordinary caddy command:
//
//	go run ./examples/quickstart list-modules
package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-preconditions/preconditions"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
)

var (
	//go:embed Caddyfile
	config []byte
	//go:embed steps.txt
	steps string
	//go:embed steps_to.txt
	stepsTo string
)

const usage = `usage: quickstart [flags]
       quickstart <caddy subcommand> [...]

  --listen host:port    address of Caddy (default localhost:8080)
  --backend host:port   address of the legacy document service (default localhost:9000)
  --to URL              use the backend at this URL, and don't start the document service
`

func main() {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		caddycmd.Main()
		return
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program immediately

	err := run(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run starts everything, prints the steps and serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	opts, err := parse(args, out)
	if err != nil {
		return err
	}

	if opts.to == "" {
		stop, err := startLegacy(opts)
		if err != nil {
			return err
		}
		defer stop()
	}
	admin, err := startCaddy(opts)
	if err != nil {
		return err
	}
	defer func() { _ = caddy.Stop() }()
	program, err := os.Executable()
	if err != nil {
		return err
	}

	text, backend := steps, "http://"+reachable(opts.backend)
	if opts.to != "" {
		text, backend = stepsTo, opts.to
	}
	_, err = strings.NewReplacer(
		"http://localhost:8080", "http://"+reachable(opts.listen),
		"http://localhost:9000", backend,
		"localhost:2019", admin,
		"CADDY=caddy", "CADDY="+shellQuoted(program),
	).WriteString(out, text)
	if err != nil {
		return err
	}

	<-ctx.Done()
	fmt.Fprintln(out, "\nStopping.")
	return nil
}

// options are the flags.
type options struct {
	listen, backend, to string
}

// lag is how long the backend may show the past after a write. The document service never does.
// Of a backend of the user's, nothing is known, so it is Caddy's default.
func (opts options) lag() string {
	if opts.to == "" {
		return "0s"
	}
	return "30s"
}

// parse parses and checks the flags. It prints the usage if that is asked for.
func parse(args []string, out io.Writer) (options, error) {
	var opts options
	fs := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // main reports errors
	fs.StringVar(&opts.listen, "listen", "localhost:8080", "")
	fs.StringVar(&opts.backend, "backend", "localhost:9000", "")
	fs.StringVar(&opts.to, "to", "", "")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, usage)
		return opts, err
	} else if err != nil {
		return opts, fmt.Errorf("%w (try --help)", err)
	}
	if fs.NArg() > 0 {
		return opts, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	for name, addr := range map[string]string{"listen": opts.listen, "backend": opts.backend} {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" || port == "0" {
			return opts, fmt.Errorf("--%s %s: must be host:port, such as localhost:8081", name, addr)
		}
	}
	if opts.to != "" {
		u, err := url.Parse(opts.to)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return opts, fmt.Errorf("--to %s: must be a URL without a path, such as http://127.0.0.1:3000", opts.to)
		}
		opts.to = u.Scheme + "://" + u.Host
	}
	return opts, nil
}

// startLegacy starts the document service with the page in front, and stores two documents to
// edit.
func startLegacy(opts options) (stop func(), err error) {
	addr := opts.backend
	service := legacydocs.New(legacydocs.Options{})
	handler, err := servePage(opts, service)
	if err != nil {
		return nil, err
	}
	if err := checkFree("backend", addr); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--backend %s: %w", addr, err)
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }() // returns when srv is closed
	stop = func() { _ = srv.Close() }

	for name, content := range map[string]string{"plan": "Ship on Friday.\n", "checklist": checklist} {
		if err := store("http://"+reachable(addr)+"/docs/"+name, content); err != nil {
			stop()
			return nil, fmt.Errorf("storing the first documents: %w", err)
		}
	}
	return stop, nil
}

// store stores a text.
func store(url, content string) error {
	req, err := http.NewRequest(http.MethodPut, url, strings.NewReader(content))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// startCaddy loads the Caddyfile, with the addresses from the flags. It returns the address
// of the admin API.
func startCaddy(opts options) (admin string, err error) {
	if err := checkFree("listen", opts.listen); err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(opts.listen)
	if err != nil {
		return "", err
	}
	if admin, err = freeAdmin(port); err != nil {
		return "", err
	}
	backend := cmp.Or(opts.to, reachable(opts.backend))
	for name, value := range map[string]string{
		"QUICKSTART_HOST": cmp.Or(host, "0.0.0.0"), "QUICKSTART_PORT": port, "QUICKSTART_BACKEND": backend,
		"QUICKSTART_ADMIN": admin, "QUICKSTART_LAG": opts.lag(),
	} {
		if err := os.Setenv(name, value); err != nil {
			return "", err
		}
	}

	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	cfg, _, err := adapter.Adapt(config, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	return admin, caddy.Load(cfg, true)
}

// freeAdmin returns an address for the admin API that only this machine reaches. Its port is
// free, so no other Caddy uses it, and this Caddy will not serve its site there.
func freeAdmin(served string) (address string, err error) {
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("finding a port for the admin API: %w", err)
		}
		address := ln.Addr().String()
		ln.Close()
		if _, port, _ := net.SplitHostPort(address); port != served {
			return address, nil
		}
	}
}

// shellQuoted returns text as one word of a shell.
func shellQuoted(text string) string {
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// checkFree returns an error that names the flag to change if addr is in use. It
// tries all IP addresses of the host: otherwise a different server on [::1] could
// answer curl instead of ours on 127.0.0.1. Caddy wouldn't notice, because it shares
// its ports with other Caddy processes (SO_REUSEPORT).
func checkFree(name, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	ips := []string{""}
	if host != "" {
		if ips, err = net.LookupHost(host); err != nil {
			return fmt.Errorf("--%s %s: %w", name, addr, err)
		}
	}
	for _, ip := range ips {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		switch {
		case err == nil:
			ln.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			return fmt.Errorf("port %s is in use: choose a different one with --%s localhost:PORT", port, name)
		case len(ips) > 1 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)):
			// The name localhost includes [::1], but this machine has no IPv6.
		default:
			return fmt.Errorf("--%s %s: %w", name, addr, err)
		}
	}
	return nil
}

// reachable returns the address at which a client on this machine reaches a server
// that listens on addr.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
