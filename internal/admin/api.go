// Package admin extends Caddy's admin API and command line, for people and programs
// that change resources without going through a handler.
package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(api{})
}

// api is a part of Caddy's admin API. It acts on all stores that the handlers of the
// running config use.
//
//	POST /preconditions/purge            marks resources, and groups of them, as changed
//	GET  /preconditions/resource?url=…   shows what is known of one resource, and changes nothing
//	GET  /preconditions/resource?key=…
type api struct{}

// CaddyModule returns the Caddy module information.
func (api) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.preconditions",
		New: func() caddy.Module { return new(api) },
	}
}

const (
	purgePath    = "/preconditions/purge"
	resourcePath = "/preconditions/resource"
)

// Routes implements caddy.AdminRouter.
func (api) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: purgePath, Handler: caddy.AdminHandlerFunc(servePurge)},
		{Pattern: resourcePath, Handler: caddy.AdminHandlerFunc(serveResource)},
	}
}

var errNoStores = apiError(http.StatusNotFound, errors.New("no handler of the running config has a store"))

func apiError(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// allow returns an error unless the request has this method.
func allow(w http.ResponseWriter, r *http.Request, method string) error {
	if r.Method == method {
		return nil
	}
	w.Header().Set("Allow", method)
	return apiError(http.StatusMethodNotAllowed, errors.New("the method must be "+method))
}

func sendJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(value)
}

var _ caddy.AdminRouter = api{}
