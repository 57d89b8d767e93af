package admin

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// pagePath is the path of the page. The page asks for the paths of the API beside it.
const pagePath = "/preconditions/"

//go:embed page
var pageFiles embed.FS

// pageContent is the page: one document, because the admin endpoint refuses what browsers load
// for a page in the mode no-cors. pagePolicy lets the browser run and load nothing else.
var pageContent, pagePolicy = assemblePage()

func assemblePage() (content, policy string) {
	read := func(name string) string {
		text, err := pageFiles.ReadFile("page/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		return string(text)
	}
	style, script := read("page.css"), read("page.js")
	content = strings.NewReplacer("{{style}}", style, "{{script}}", script).Replace(read("page.html"))
	digest := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	policy = "default-src 'none'; script-src " + digest(script) + "; style-src " + digest(style) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return content, policy
}

func servePage(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != pagePath || pageIsOff() {
		return apiError(http.StatusNotFound, errors.New("there is no page here"))
	}
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	return sendPage(w)
}

func sendPage(w http.ResponseWriter) error {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Referrer-Policy", "same-origin") // the admin endpoint wants to know who asks
	header.Set("Cache-Control", "no-store")
	_, err := w.Write([]byte(pageContent))
	return err
}

func pageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "page [--listen <address>] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Serves a page that shows what is happening",
		Long: `
Serves a page for a browser on this host, until it is interrupted, and prints its
URL. The page shows the latest refusals, requests by outcome, writes in flight, and
the state of the stores, as the admin API of a running Caddy tells them. It changes
nothing.

The admin endpoint has the same page at /preconditions/, but Caddy doesn't let
browsers on the same host open it: they say that nobody has linked to it.`,
		Example: `  caddy preconditions page
  caddy preconditions page --listen 127.0.0.1:8081 --address unix//run/caddy-admin.sock`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runPage),
	}
	cmd.Flags().String("listen", "127.0.0.1:0", "The address to serve the page at; port 0 is any that is free")
	addAddressFlags(cmd)
	return cmd
}

func runPage(flags caddycmd.Flags) (int, error) {
	if _, err := askAPI(flags, statsPath, nil); err != nil { // say so now rather than on the page
		return caddy.ExitCodeFailedStartup, err
	}
	listener, err := net.Listen("tcp", flags.String("listen"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	fmt.Fprintf(os.Stdout, "http://%s%s\n", listener.Addr(), pagePath)
	server := &http.Server{Handler: pageServer(flags), ReadHeaderTimeout: 10 * time.Second}
	return caddy.ExitCodeFailedStartup, server.Serve(listener)
}

// pageServer serves the page and what it asks the API for. It forwards nothing that changes
// anything.
func pageServer(flags caddycmd.Flags) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler(pagePath, http.StatusFound))
	mux.HandleFunc("GET "+pagePath+"{$}", func(w http.ResponseWriter, _ *http.Request) { _ = sendPage(w) })
	for _, path := range []string{statsPath, refusalsPath, claimsPath, storesPath} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			content, err := askAPI(flags, path, r.URL.Query())
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Cache-Control", "no-store")
			_, _ = w.Write(content)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The name of another site may lead here, and its scripts could then read this.
		if !isLocalName(r.Host) {
			http.Error(w, "the host must be localhost or an IP address", http.StatusForbidden)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
			http.Error(w, "other sites may not ask", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// isLocalName reports whether a host, perhaps with a port, is localhost or an IP address.
func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}
