package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-preconditions/preconditions/internal/doctor"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "preconditions",
		Usage: "(purge | show | stats | refusals | watch | claims | stores | page | doctor) [<url>...] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Shows what the preconditions handler does, and tells it what was changed without it",
		Long: `
Asks a running Caddy, through its admin API, what the preconditions handler knows
and has done, and tells it which resources were changed without going through it.
The doctor looks at a backend, and says which options fit.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(purgeCommand(), showCommand(), statsCommand(), refusalsCommand(), watchCommand(), claimsCommand(), storesCommand(), pageCommand(), doctor.Command())
			cmd.Args = cobra.NoArgs // otherwise an unknown command would exit with 0
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		},
	})
}

func purgeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "purge (<url>... | --key <key>... | --group <name>... <origin>... | --all) [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Marks resources as changed",
		Long: `
Marks resources as changed on all nodes that share a store with this one. What
is known of them is forgotten, also by requests in flight. Writes in flight go on.
Run it after the change, and treat the change as done only when it has succeeded.

In URLs, * stands for any text without a slash, and ** at the end stands for any
text at all: https://example.com/docs/** means everything below /docs, and /docs
itself. With --key, the arguments are keys, as the handler's key option makes
them. With --group, they are origins such as https://example.com, and every
resource in the groups of that name (RFC 9875) was changed. --group may be given
several times.

It says of how many of the named resources the store had an entry. If there are
fewer than you expect, a URL may be misspelt.

Exits with 0 once everything is marked in every store. Otherwise it exits with 1
and must be repeated.`,
		Example: `  caddy preconditions purge https://example.com/docs/plan
  caddy preconditions purge 'https://example.com/docs/**' 'https://*/index.json'
  caddy preconditions purge --key 'tenant1/docs/*'
  caddy preconditions purge --group cars --group vans https://example.com
  caddy preconditions purge --all --address unix//run/caddy-admin.sock`,
		Args: cobra.ArbitraryArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runPurge),
	}
	cmd.Flags().Bool("key", false, "The arguments are keys of resources, not URLs")
	cmd.Flags().StringArray("group", nil, "The name of a changed group; the arguments are its origins")
	cmd.Flags().Bool("all", false, "Everything was changed")
	addAddressFlags(cmd)
	return cmd
}

// ofWhichKnown says how many of the resources and groups were known.
func ofWhichKnown(s purgedStore) string {
	if s.Known == nil {
		return ""
	}
	return fmt.Sprintf(" (%d of %d were known)", *s.Known, s.Resources+s.Groups)
}

func addAddressFlags(cmd *cobra.Command) {
	cmd.Flags().String("address", "", "The address of the admin API, if not that of --config or the default")
	cmd.Flags().StringP("config", "c", "", "A config file that contains the address")
	cmd.Flags().StringP("adapter", "a", "", "The config adapter for that file")
}

// addressOf returns the address of the admin API.
func addressOf(flags caddycmd.Flags) (string, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, flags.String("config"), flags.String("adapter"))
	if err != nil {
		return "", fmt.Errorf("finding the admin API: %w", err)
	}
	return address, nil
}

func runPurge(flags caddycmd.Flags) (int, error) {
	p := purge{All: flags.Bool("all")}
	groups, err := flags.GetStringArray("group")
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	ofGroups := flags.Changed("group")
	switch names := flags.Args(); {
	case p.All && (len(names) > 0 || ofGroups):
		return caddy.ExitCodeFailedStartup, errors.New("--all can't be combined with URLs, keys or groups")
	case flags.Bool("key") && ofGroups:
		return caddy.ExitCodeFailedStartup, errors.New("--key can't be combined with --group")
	case len(names) == 0 && ofGroups:
		return caddy.ExitCodeFailedStartup, errors.New("give the origins of the groups, such as https://example.com")
	case len(names) == 0 && !p.All:
		return caddy.ExitCodeFailedStartup, errors.New("give URLs, keys with --key, groups with --group, or --all")
	case flags.Bool("key"):
		p.Keys = names
	case ofGroups:
		for _, origin := range names {
			p.Groups = append(p.Groups, originGroups{Origin: origin, Names: groups})
		}
	default:
		p.URLs = names
	}
	address, err := addressOf(flags)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	content, err := json.Marshal(p)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	resp, err := caddycmd.AdminAPIRequest(address, http.MethodPost, purgePath, nil, bytes.NewReader(content))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer resp.Body.Close()
	var done purged
	if err := json.NewDecoder(resp.Body).Decode(&done); err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("reading the answer: %w", err)
	}
	for _, s := range done.Stores {
		if s.All {
			fmt.Printf("%s: marked everything as changed\n", s.Store)
		} else {
			fmt.Printf("%s: marked as changed: %d%s\n", s.Store, s.Resources+s.Groups, ofWhichKnown(s))
		}
	}
	return caddy.ExitCodeSuccess, nil
}
