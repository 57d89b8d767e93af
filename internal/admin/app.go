package admin

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	caddy.RegisterModule(App{})
	httpcaddyfile.RegisterGlobalOption("preconditions", parseGlobalOption)
}

// App is what the config says about all preconditions handlers together. It isn't needed.
type App struct {
	// Whether the admin endpoint has a page at /preconditions/ that shows what is happening:
	// `on` or `off`. Default: `on`.
	Page string `json:"page,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "preconditions", New: func() caddy.Module { return new(App) }}
}

// Validate checks the options.
func (a *App) Validate() error {
	if a.Page != "" && a.Page != "on" && a.Page != "off" {
		return fmt.Errorf("page: %q must be on or off", a.Page)
	}
	return nil
}

// Start implements caddy.App.
func (a *App) Start() error { return nil }

// Stop implements caddy.App.
func (a *App) Stop() error { return nil }

// parseGlobalOption sets up the app from a global option. Syntax:
//
//	preconditions {
//		page on|off
//	}
func parseGlobalOption(d *caddyfile.Dispenser, _ any) (any, error) {
	d.Next() // the name of the option
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	var a App
	for d.NextBlock(0) {
		switch d.Val() {
		case "page":
			if !d.AllArgs(&a.Page) {
				return nil, d.Err("page: write page on or page off")
			}
			if err := a.Validate(); err != nil {
				return nil, d.WrapErr(err)
			}
		default:
			return nil, d.Errf("unknown option %q: the global option preconditions has only page; write the others into the directive in a site", d.Val())
		}
	}
	return httpcaddyfile.App{Name: "preconditions", Value: caddyconfig.JSON(a, nil)}, nil
}

// pageIsOff reports whether the running config says that there is no page.
func pageIsOff() bool {
	app, err := caddy.ActiveContext().AppIfConfigured("preconditions")
	if err != nil {
		return false
	}
	a, ok := app.(*App)
	return ok && a.Page == "off"
}

var (
	_ caddy.App       = (*App)(nil)
	_ caddy.Validator = (*App)(nil)
)
