package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Command returns the command doctor.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor (<url> [--write] | --race <url>... [--content <text>]) [-H <field>]... [--insecure] [--timeout <duration>] [--json]",
		Short: "Says which options fit a backend, or whether a deployment keeps the promise",
		Long: `
Looks at a resource of a backend, and says which options of the preconditions
handler fit and why, with the Caddyfile to begin with. It only reads, unless
--write is given: then it also PUTs what is there, with and without a condition
that is false. Name a resource for that which may be saved as it is.

With --race, 32 writers that have read the same tag PUT the resource through your
own deployment at the same moment. Exactly one may win. Several URLs are those of
one resource at several nodes. Name a resource that may be overwritten for a
moment: its content is put back, and kept in a file if that fails. If the writers
can't add a line or a member to it, give what they send with --content, in which
{n} stands for the number of the writer.

-H gives a field of the requests, such as credentials. None is ever printed.

Exits with 0 if it could look at the backend; with --race, if exactly one writer
won and the content was put back. Otherwise it exits with 1.`,
		Example: `  caddy preconditions doctor http://10.0.0.7:9000/docs/plan -H 'Authorization: Bearer …'
  caddy preconditions doctor --write http://10.0.0.7:9000/docs/scratch
  caddy preconditions doctor --race https://docs.example.com/docs/scratch`,
		Args: cobra.MinimumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(run),
	}
	f := cmd.Flags()
	f.Bool("write", false, "Also PUT what is there")
	f.Bool("race", false, "Let 32 writers compete for the resource")
	f.String("content", "", "With --race, what the writers send; {n} is the number of the writer")
	f.StringArrayP("header", "H", nil, "A field of the requests, such as 'Cookie: session=…'")
	f.BoolP("insecure", "k", false, "Don't verify certificates")
	f.Duration("timeout", 30*time.Second, "How long one request may take")
	f.Bool("json", false, "Print the result as JSON")
	return cmd
}

func run(flags caddycmd.Flags) (int, error) {
	fields, err := flags.GetStringArray("header")
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	timeout, err := flags.GetDuration("timeout")
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	c, err := newClient(fields, flags.Bool("insecure"), timeout)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	var targets []*url.URL
	for _, text := range flags.Args() {
		target, err := url.Parse(text)
		if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
			return caddy.ExitCodeFailedStartup, errors.New("the URL must begin with http:// or https:// and have a host")
		}
		target.Fragment = ""
		targets = append(targets, target)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch {
	case flags.Bool("race") && flags.Bool("write"):
		return caddy.ExitCodeFailedStartup, errors.New("--race can't be combined with --write")
	case flags.Bool("race"):
		return runRace(ctx, flags, c, targets)
	case flags.String("content") != "":
		return caddy.ExitCodeFailedStartup, errors.New("--content needs --race")
	case len(targets) > 1:
		return caddy.ExitCodeFailedStartup, errors.New("give one URL; several are for --race")
	}
	report, err := examine(ctx, c, targets[0], flags.Bool("write"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return caddy.ExitCodeSuccess, show(flags, report, report.describe())
}

func runRace(ctx context.Context, flags caddycmd.Flags, c *client, targets []*url.URL) (int, error) {
	var urls []string
	for _, target := range targets {
		urls = append(urls, target.String())
	}
	r, err := race(ctx, c, urls, flags.String("content"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	for _, target := range targets {
		r.URLs = append(r.URLs, target.Redacted())
	}
	if err := show(flags, r, r.describe()); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	switch {
	case !r.OK:
		return caddy.ExitCodeFailedStartup, errors.New("the deployment has failed the race")
	case !r.Restored:
		return caddy.ExitCodeFailedStartup, errors.New("the content could not be put back")
	}
	return caddy.ExitCodeSuccess, nil
}

// show prints a result, as JSON if the user wants that.
func show(flags caddycmd.Flags, result any, described string) error {
	if flags.Bool("json") {
		return json.NewEncoder(os.Stdout).Encode(result)
	}
	_, err := os.Stdout.WriteString(described)
	return err
}

// columns is the width of what is printed.
const columns = 80

// wrapped writes text after a name, in lines of at most columns characters. Words that are
// longer get a line of their own.
func wrapped(b *strings.Builder, indent int, name, text string) {
	begin := strings.Repeat(" ", indent) + name
	line := begin
	for word := range strings.FieldsSeq(printable(text)) {
		if len([]rune(line))+1+len([]rune(word)) > columns && line != begin {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", indent+1)
		}
		line += " " + word
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

// printable replaces what a terminal might take for a command.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, text)
}

// describe describes a report for people.
func (r Report) describe() string {
	var b strings.Builder
	b.WriteString("Found\n")
	for _, f := range r.Findings {
		wrapped(&b, 2, f.Asked+":", f.Found)
	}
	b.WriteString("\nAdvice\n")
	for _, o := range r.Options {
		suffix := ":"
		if o.Default {
			suffix = " (default):"
		}
		wrapped(&b, 2, o.Option+suffix, o.Why)
	}
	b.WriteString("\nNotes\n")
	for _, note := range r.Notes {
		wrapped(&b, 2, "*", note)
	}
	b.WriteString("\nCaddyfile\n\n" + r.Caddyfile)
	return b.String()
}

// describe describes a race for people.
func (r Race) describe() string {
	var b strings.Builder
	for _, status := range slices.Sorted(maps.Keys(r.Statuses)) {
		writers := "writers"
		if r.Statuses[status] == 1 {
			writers = "writer"
		}
		fmt.Fprintf(&b, "%s: %d %s\n", status, r.Statuses[status], writers)
	}
	if r.Restored {
		b.WriteString("The content was put back.\n")
	} else {
		b.WriteString("The content could not be put back. It is in " + r.Kept + "\n")
	}
	verdict := "FAILED"
	if r.OK {
		verdict = "PASSED"
	}
	wrapped(&b, 0, verdict+":", r.Verdict)
	return b.String()
}
