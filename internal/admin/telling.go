package admin

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-preconditions/preconditions/internal/history"
)

func statsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [--since <time>] [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Shows how many lost updates were prevented, and what became of requests",
		Long: `
Shows what the handlers of a running Caddy have done: how many lost updates were
prevented, what became of writes, and which clients sent no conditions. In mode
report, it also shows how many updates were lost.

Lost updates are counted by the hour, for five weeks, and --since says from when.
Everything else is counted since the process began. All of it is about this node,
and gone when the process ends.`,
		Example: `  caddy preconditions stats --since 7d
  caddy preconditions stats --since 2025-11-03 --json`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			since, err := momentIn(flags, "since", time.Now())
			if err != nil {
				return caddy.ExitCodeFailedStartup, err
			}
			query := url.Values{}
			if !since.IsZero() {
				query.Set("since", since.Format(time.RFC3339))
			}
			return tell(flags, statsPath, query, func(s shownStats) string { return s.describe(since) })
		}),
	}
	cmd.Flags().String("since", "", "From when lost updates are counted, such as 7d or 2025-11-03 (default: all that are known)")
	addTellFlags(cmd)
	return cmd
}

// describe describes the statistics since a time, if it isn't zero, for people.
func (s shownStats) describe(since time.Time) string {
	var p page
	p.line(0, "since", clock(s.Since)+", on this node")
	if !since.IsZero() && s.Since.Sub(since) > time.Hour {
		p.line(0, "note", "nothing older is known here: "+s.whyNotOlder()+". Metrics that were collected know more.")
	}
	p.line(0, "prevented", count(s.Prevented, "lost update"))
	if s.Lost > 0 {
		p.line(0, "lost", count(s.Lost, "update")+", in mode report")
	}
	modes := make(map[string][]string)
	for _, r := range s.Requests {
		modes[r.Mode] = append(modes[r.Mode], fmt.Sprintf("%s %.0f", r.Outcome, r.Count))
	}
	for _, mode := range []string{"enforce", "report"} {
		if modes[mode] != nil {
			p.line(0, mode, strings.Join(modes[mode], ", "))
		}
	}
	for _, h := range s.Handlers {
		if len(h.Writes) > 0 {
			describeHandler(&p, h)
		}
	}
	return p.String()
}

func (s shownStats) whyNotOlder() string {
	if s.Since.Equal(s.Begun) || s.Since.Sub(s.Begun) < time.Hour {
		return "this process began then"
	}
	return "what is older than five weeks is forgotten"
}

func describeHandler(p *page, h history.Summary) {
	p.WriteByte('\n')
	p.line(0, "handler", h.Handler+" (mode "+h.Mode+")")
	p.line(2, "prevented", count(h.Prevented, "lost update"))
	if h.Mode == "report" {
		p.line(2, "lost", count(h.Lost, "update"))
	}
	method, outcomes := "", []string(nil)
	flush := func() {
		if method != "" {
			p.line(2, method, strings.Join(outcomes, ", "))
		}
	}
	for _, w := range h.Writes {
		if w.Method != method {
			flush()
			method, outcomes = w.Method, nil
		}
		outcomes = append(outcomes, fmt.Sprintf("%s %d", w.Outcome, w.Count))
	}
	flush()
	var clients []string
	for i, c := range h.Clients {
		if i == 10 {
			clients = append(clients, fmt.Sprintf("and %d more", len(h.Clients)-i))
			break
		}
		clients = append(clients, fmt.Sprintf("%s %d", c.Client, c.Writes))
	}
	if clients != nil {
		p.line(2, "no condition", "from "+strings.Join(clients, ", "))
	}
}

// count writes a number of things.
func count(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func claimsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "claims [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Shows which writes are in flight on this node, and how many wait",
		Long: `
Shows the claims and passes that writes on this node hold, the oldest first. For
each resource, it also shows how many writes are waiting.`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			return tell(flags, claimsPath, nil, shownClaims.describe)
		}),
	}
	addTellFlags(cmd)
	return cmd
}

func (s shownClaims) describe() string {
	var p page
	for _, c := range s.Claims {
		p.line(0, c.Kind, c.Resource)
		p.line(2, "store", c.Store)
		p.line(2, "held", "for "+seconds(c.Age)+", and "+seconds(c.Left)+" more unless it is renewed")
	}
	for _, w := range s.Waiting {
		p.line(0, "waiting", count(uint64(w.Writes), "write")+" of "+w.Resource+" ("+w.Store+")")
	}
	if s.More > 0 {
		p.line(0, "more", fmt.Sprint(s.More))
	}
	if p.Len() == 0 {
		p.line(0, "in flight", "nothing")
	}
	return p.String()
}

func storesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stores [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Shows the state of the stores, and what was written without them",
		Long: `
Shows what this node knows of its stores without asking them: whether they can be
reached, whether a grace is running, and which resources were written while a
store was out of reach.`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			return tell(flags, storesPath, nil, shownStores.describe)
		}),
	}
	addTellFlags(cmd)
	return cmd
}

func (s shownStores) describe() string {
	var p page
	for _, one := range s.Stores {
		p.line(0, "store", one.Store)
		p.line(2, "state", one.State)
		if one.Grace > 0 {
			p.line(2, "grace", "no write passes for "+seconds(one.Grace)+": "+one.GraceReason)
		}
		if one.Evicts != nil && *one.Evicts {
			p.line(2, "evicts", "it may evict claims")
		}
		p.line(2, "keys", strings.Join(one.KeyOptions, ", "))
		j := one.Journal
		p.line(2, "journal", count(uint64(j.Resources), "resource")+" written without the store")
		if j.Resources > 0 {
			p.line(2, "", fmt.Sprintf("%d not yet told to the store, %d with writes in flight", j.Untold, j.InFlight))
		}
		for _, key := range j.Listed {
			if key == "" {
				key = "everything"
			}
			p.line(4, "", key)
		}
	}
	return p.String()
}
