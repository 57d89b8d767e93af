package admin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// checkSite returns an error if no site of the running config serves the host of a URL. The
// error lists the sites.
func checkSite(text string) error {
	target, err := parseURL(text)
	if err != nil {
		return err
	}
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		return nil //nolint:nilerr // without sites, none can be missed
	}
	config, ok := app.(*caddyhttp.App)
	if !ok {
		return nil
	}
	var routes caddyhttp.RouteList
	for _, server := range config.Servers {
		routes = append(routes, server.Routes...)
	}
	hosts, all := hostsOf(routes)
	if all || slices.ContainsFunc(hosts, func(host string) bool { return serves(host, target.Hostname()) }) {
		return nil
	}
	return fmt.Errorf("no site of this Caddy has the host %s: the sites are %s", target.Hostname(), strings.Join(hosts, ", "))
}

// hostsOf returns the hosts that routes serve, in order, or reports that a route serves any.
func hostsOf(routes caddyhttp.RouteList) (hosts []string, all bool) {
	for _, route := range routes {
		if len(route.MatcherSets) == 0 {
			return nil, true
		}
		for _, set := range route.MatcherSets {
			named := false
			for _, matcher := range set {
				switch m := matcher.(type) {
				case *caddyhttp.MatchHost:
					hosts, named = append(hosts, *m...), true
				case caddyhttp.MatchHost:
					hosts, named = append(hosts, m...), true
				}
			}
			if !named {
				return nil, true
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), false
}

// serves reports whether a host of a site, perhaps with wildcards for labels, includes a host. A
// placeholder may stand for any.
func serves(site, host string) bool {
	if strings.Contains(site, "{") {
		return true
	}
	want, got := strings.Split(site, "."), strings.Split(host, ".")
	return len(want) == len(got) && slices.EqualFunc(want, got, func(a, b string) bool { return a == "*" || strings.EqualFold(a, b) })
}
