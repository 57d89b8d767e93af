// Package admin extends Caddy's admin API and command line, for people and programs
// that change resources without going through a handler.
package admin

import (
	_ "embed" // openapi.json
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

func init() {
	caddy.RegisterModule(api{})
}

// api is a part of Caddy's admin API. It acts on all stores that the handlers of the
// running config use. Only purge changes anything. [openAPI] describes all of it.
//
//	POST /preconditions/purge            marks resources, and groups of them, as changed
//	GET  /preconditions/resource?url=…   shows what is known of one resource
//	GET  /preconditions/resource?key=…
//	GET  /preconditions/claims           shows what writes on this node hold and wait for
//	GET  /preconditions/stores           shows the state of the stores, and the journals
//	GET  /preconditions/stats            shows what the handlers of this process have done
//	GET  /preconditions/refusals         shows the last refusals of this process
//	GET  /preconditions/openapi.json     describes this API
//	GET  /preconditions/                 is a page for browsers that shows all of that
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
	claimsPath   = "/preconditions/claims"
	storesPath   = "/preconditions/stores"
	statsPath    = "/preconditions/stats"
	refusalsPath = "/preconditions/refusals"
	openAPIPath  = "/preconditions/openapi.json"
)

// openAPI describes the API in OpenAPI 3.1.
//
//go:embed openapi.json
var openAPI []byte

// Routes implements caddy.AdminRouter.
func (api) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: purgePath, Handler: caddy.AdminHandlerFunc(servePurge)},
		{Pattern: resourcePath, Handler: caddy.AdminHandlerFunc(serveResource)},
		{Pattern: claimsPath, Handler: caddy.AdminHandlerFunc(serveClaims)},
		{Pattern: storesPath, Handler: caddy.AdminHandlerFunc(serveStores)},
		{Pattern: statsPath, Handler: caddy.AdminHandlerFunc(serveStats)},
		{Pattern: refusalsPath, Handler: caddy.AdminHandlerFunc(serveRefusals)},
		{Pattern: pagePath, Handler: caddy.AdminHandlerFunc(servePage)},
		{Pattern: openAPIPath, Handler: caddy.AdminHandlerFunc(serveOpenAPI)},
	}
}

// openStores returns the stores of the running config. There is at least one, or an error. The
// caller calls leave when it is done with them.
func openStores() (shared []storeshare.OpenShare, leave func(), err error) {
	shared, leave = storeshare.AllOpen()
	if len(shared) == 0 {
		leave()
		return nil, nil, apiError(http.StatusNotFound, errors.New("no handler of the running config has a store"))
	}
	return shared, leave, nil
}

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

func serveOpenAPI(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(openAPI)
	return err
}

func sendJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(value)
}

var _ caddy.AdminRouter = api{}
