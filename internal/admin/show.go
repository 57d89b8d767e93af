package admin

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show (<url> | --key <key>) [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Shows what is known of a resource",
		Long: `
Shows what a running Caddy knows of a resource, in each store that it uses: its
key and epoch, the tag and date of each variant, and whether a write is in
flight. It changes nothing, and doesn't count as use of the resource.

If the key option is made of more than the URL, give the key with --key, as the
placeholder {http.preconditions.resource} shows it.

Exits with 0 even if nothing is known of the resource. It exits with 1 if a
store can't be asked, or if no site has the host.`,
		Example: `  caddy preconditions show https://example.com/docs/plan
  caddy preconditions show --json --key tenant1/docs/plan`,
		Args: cobra.ExactArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runShow),
	}
	cmd.Flags().Bool("key", false, "The argument is the key of a resource, not a URL")
	addTellFlags(cmd)
	return cmd
}

func runShow(flags caddycmd.Flags) (int, error) {
	query := url.Values{"url": flags.Args()}
	if flags.Bool("key") {
		query = url.Values{"key": flags.Args()}
	}
	return tell(flags, resourcePath, query, func(shown shownResources) string { return describe(shown.Resources) })
}

// page collects lines of at most columns characters.
type page struct{ strings.Builder }

// The width of a page, and of the names in it.
const (
	columns     = 80
	nameColumns = 10
)

// line adds a name and a value to the page. What doesn't fit goes to further lines, and is
// divided at a space if there is one.
func (p *page) line(indent int, name, value string) {
	begin := strings.Repeat(" ", indent) + fmt.Sprintf("%-*s ", nameColumns-1, name)
	rest := []rune(printable(value))
	for {
		n := min(len(rest), max(columns-len(begin), columns/4)) // a client's method may be long
		if n < len(rest) {
			if space := strings.LastIndexByte(string(rest[:n]), ' '); space >= 0 {
				n = len([]rune(string(rest[:n])[:space+1]))
			}
		}
		p.WriteString(strings.TrimRight(begin+string(rest[:n]), " ") + "\n")
		if rest = rest[n:]; len(rest) == 0 {
			return
		}
		begin = strings.Repeat(" ", indent+nameColumns)
	}
}

// printable replaces what a terminal might take for a command.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// describe describes resources for people.
func describe(all []shownResource) string {
	var p page
	for i, r := range all {
		if i > 0 {
			p.WriteByte('\n')
		}
		p.line(0, "resource", r.Key)
		p.line(0, "store", r.Store)
		if r.Journaled {
			p.line(0, "journal", "written while the store was out of reach: it is told first")
		}
		if !r.Known {
			p.line(0, "known", "nothing")
			continue
		}
		p.line(0, "epoch", r.Epoch)
		p.line(0, "kept", "for "+seconds(r.Kept)+", unless it is used")
		p.line(0, "in flight", r.inFlight())
		if r.Grace > 0 {
			p.line(0, "grace", "no write passes for "+seconds(r.Grace)+": the store may have lost data")
		}
		if fields, _, _ := strings.Cut(r.Vary, ";"); fields != "" {
			p.line(0, "vary", strings.ReplaceAll(fields, ",", ", "))
		}
		if len(r.Groups) > 0 {
			p.line(0, "groups", strings.Join(r.Groups, ", "))
		}
		if len(r.Variants) == 0 {
			p.line(0, "variants", "none")
		}
		for _, v := range r.Variants {
			v.describe(&p)
		}
	}
	return p.String()
}

// inFlight says which writes are in flight, and for how long they can keep others out.
func (r shownResource) inFlight() string {
	switch {
	case r.Claimed:
		return "a claim, for " + seconds(r.Busy) + " unless it is renewed"
	case r.Passes == 1:
		return "a pass, for " + seconds(r.Busy) + " unless it is renewed"
	case r.Passes > 1:
		return fmt.Sprintf("%d passes, for %s unless they are renewed", r.Passes, seconds(r.Busy))
	default:
		return "nothing"
	}
}

func (v shownVariant) describe(p *page) {
	p.line(0, "variant", v.Variant)
	p.line(2, "state", v.State+", stored "+seconds(v.Age)+" ago")
	if v.ETag != "" {
		whose := ""
		if v.Own {
			whose = " (the backend's own)"
		}
		p.line(2, "etag", v.ETag+whose)
	}
	if v.BackendETag != "" {
		p.line(2, "backend's", v.BackendETag)
	}
	if v.LastModified != "" {
		p.line(2, "modified", v.LastModified)
	}
	for field := range strings.SplitSeq(v.Negotiated, "\n") {
		if field != "" {
			p.line(2, "asked by", field)
		}
	}
}

// seconds writes a number of seconds as people do.
func seconds(n float64) string {
	if n > (100 * 365 * 24 * time.Hour).Seconds() {
		return "an unknown time" // the clock was set back
	}
	d := time.Duration(n * float64(time.Second))
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
