// Package proxycommand has the command precondition-proxy, which is reverse-proxy with the
// preconditions handler in front.
package proxycommand

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "precondition-proxy",
		Usage: `--to <addr> [--from <addr>] [--store <URL>] [--etag <source>]... [--require] [--option <option>]... ` +
			`[--change-host-header] [--insecure] [--internal-certs] [--disable-redirects] [--admin <addr>] [--access-log] [--debug] [--print]`,
		Short: "A reverse proxy that prevents lost updates",
		Long: `
Puts the preconditions handler in front of a backend, without a config file. The
handler gives every representation an ETag, and refuses writes whose condition
(If-Match, If-None-Match, If-Unmodified-Since) is false with 412.

The addresses are those of "caddy reverse-proxy": without a scheme, --from is
HTTPS if it has a host name and another port than 80, and --to is HTTP. --to may
be given several times. All of them must show the same state.

Several of these proxies can serve one backend: give them the same --store, such
as redis://localhost:6379/0. Without it, this one must be the only one.

--etag is a source of tags, as in the option etag: upstream, body, "json /rev".
--option is any other option, as in a Caddyfile: "verify never", "lag 0s". Both
may be given several times. Without a host in --from, the key of a resource is
its path, whatever Host the client names.

With --print, it prints the Caddyfile that does the same, and exits.

The admin API is off. --admin localhost:2019 turns it on, for metrics and for
"caddy preconditions".
`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			cmd.Example = `  caddy precondition-proxy --from :8080 --to 127.0.0.1:9000
  caddy precondition-proxy --from docs.example.com --to 10.0.0.7:9000 --store redis://10.0.0.2:6379/0 --require
  caddy precondition-proxy --from :8080 --to https://legacy.example.com --change-host-header --etag 'json /rev' --etag body`
			f := cmd.Flags()
			f.StringP("from", "f", "localhost", "Address on which to receive traffic")
			f.StringArrayP("to", "t", nil, "Address of the backend")
			f.String("store", "", "URL of the Redis server that keeps tags and claims (default: the memory of this process)")
			f.StringArray("etag", nil, "A source of entity tags (default: upstream, then body)")
			f.Bool("require", false, "Refuse PUT, PATCH and DELETE without a condition")
			f.StringArray("option", nil, "Another option of the preconditions directive")
			f.BoolP("change-host-header", "c", false, "Set the Host for the backend to its address")
			f.Bool("insecure", false, "Don't verify the certificate of the backend (WARNING: DISABLES SECURITY)")
			f.BoolP("internal-certs", "i", false, "Use the internal CA for certificates")
			f.BoolP("disable-redirects", "r", false, "Don't redirect HTTP to HTTPS")
			f.String("admin", "off", "Address of the admin API")
			f.Bool("access-log", false, "Enable the access log")
			f.BoolP("debug", "v", false, "Enable verbose debug logs")
			f.Bool("print", false, "Print the Caddyfile, and exit")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(run)
		},
	})
}

func run(flags caddycmd.Flags) (int, error) {
	text, err := config(flags)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if flags.Bool("print") {
		_, err := os.Stdout.WriteString(text)
		return caddy.ExitCodeSuccess, err
	}
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	adapted, _, err := adapter.Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return caddy.ExitCodeFailedStartup, inLine(err, text)
	}
	caddy.TrapSignals()
	if err := caddy.Load(adapted, true); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	caddy.Log().Info("caddy proxying with preconditions", zap.String("from", flags.String("from")))
	select {}
}

// config returns the Caddyfile that the flags stand for.
func config(flags caddycmd.Flags) (string, error) {
	to, err := flags.GetStringArray("to")
	if err != nil {
		return "", err
	}
	if len(to) == 0 {
		return "", errors.New("--to is required: give the address of the backend, such as --to 127.0.0.1:9000")
	}
	for _, word := range append(to, flags.String("from"), flags.String("store"), flags.String("admin")) {
		if strings.ContainsAny(word, "`\r") {
			return "", fmt.Errorf("%q: must not contain a backtick or a carriage return", word)
		}
		if word == "{" || word == "}" {
			return "", fmt.Errorf("%q: must not be a brace", word)
		}
	}
	from, err := httpcaddyfile.ParseAddress(flags.String("from"))
	if err != nil {
		return "", fmt.Errorf("--from %s: %w", flags.String("from"), err)
	}
	if from.Path != "" {
		return "", fmt.Errorf("--from %s: must not have a path", flags.String("from"))
	}
	var c writer
	c.global(flags)
	c.open(site(from))
	if flags.Bool("internal-certs") && from.Host != "" {
		c.line("tls", "internal")
	}
	if flags.Bool("access-log") {
		c.line("log")
	}
	if err := c.preconditions(flags, from.Host == ""); err != nil {
		return "", err
	}
	c.reverseProxy(flags, to)
	c.close()
	return c.String(), nil
}

// site returns the address of a site as a Caddyfile means it: that would serve HTTPS on port
// 80 of a host, which reverse-proxy doesn't.
func site(from httpcaddyfile.Address) string {
	if from.Scheme == "" && (from.Host == "" || from.Port == strconv.Itoa(caddyhttp.DefaultHTTPPort)) {
		return "http://" + from.Original
	}
	return from.Original
}

// writer writes a Caddyfile.
type writer struct {
	strings.Builder
	depth int
}

// line writes a line of words.
func (w *writer) line(words ...string) {
	w.WriteString(strings.Repeat("\t", w.depth))
	for i, word := range words {
		if i > 0 {
			w.WriteByte(' ')
		}
		w.WriteString(quoted(word))
	}
	w.WriteByte('\n')
}

// open begins a block.
func (w *writer) open(words ...string) {
	w.line(append(words, "{")...)
	w.depth++
}

// close ends a block.
func (w *writer) close() {
	w.depth--
	w.line("}")
}

// global writes the global options.
func (w *writer) global(flags caddycmd.Flags) {
	w.open()
	w.line("admin", flags.String("admin"))
	w.line("persist_config", "off")
	if flags.Bool("disable-redirects") {
		w.line("auto_https", "disable_redirects")
	}
	if flags.Bool("debug") {
		w.line("debug")
	}
	w.close()
	w.WriteByte('\n')
}

// preconditions writes the directive.
func (w *writer) preconditions(flags caddycmd.Flags, anyHost bool) error {
	sources, err := flags.GetStringArray("etag")
	if err != nil {
		return err
	}
	options, err := flags.GetStringArray("option")
	if err != nil {
		return err
	}
	w.open("preconditions")
	if store := flags.String("store"); store != "" {
		w.line("store", "redis", store)
	}
	if anyHost && !names(options, "key") {
		w.line("key", "documents{http.request.uri.path}")
	}
	for _, source := range sources {
		w.raw("etag " + source)
	}
	if flags.Bool("require") {
		w.line("require")
	}
	for _, option := range options {
		w.raw(option)
	}
	w.close()
	return nil
}

// names reports whether one of the options has a name.
func names(options []string, name string) bool {
	for _, option := range options {
		if words := strings.Fields(option); len(words) > 0 && words[0] == name {
			return true
		}
	}
	return false
}

// raw writes text that may have words and blocks of its own.
func (w *writer) raw(text string) {
	for line := range strings.Lines(text) {
		w.WriteString(strings.Repeat("\t", w.depth) + strings.TrimSpace(line) + "\n")
	}
}

// reverseProxy writes the proxy.
func (w *writer) reverseProxy(flags caddycmd.Flags, to []string) {
	words := append([]string{"reverse_proxy"}, to...)
	if !flags.Bool("change-host-header") && !flags.Bool("insecure") {
		w.line(words...)
		return
	}
	w.open(words...)
	if flags.Bool("change-host-header") {
		w.line("header_up", "Host", "{http.reverse_proxy.upstream.hostport}")
	}
	if flags.Bool("insecure") {
		w.open("transport", "http")
		w.line("tls_insecure_skip_verify")
		w.close()
	}
	w.close()
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_.:/@{}?=&%+~-]+$`)

// quoted returns a word without backticks as a token of a Caddyfile.
func quoted(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "`" + word + "`"
}

var lineNumber = regexp.MustCompile(`Caddyfile:(\d+)`)

// inLine returns an error about a Caddyfile that nobody has seen, with the line that it means.
func inLine(err error, text string) error {
	lines := strings.Split(text, "\n")
	if found := lineNumber.FindStringSubmatch(err.Error()); found != nil {
		if n, _ := strconv.Atoi(found[1]); n > 0 && n <= len(lines) {
			return fmt.Errorf("%w: %s (--print shows the whole of it)", err, strings.TrimSpace(lines[n-1]))
		}
	}
	return err
}
