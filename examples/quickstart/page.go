package main

import (
	"embed"
	"io/fs"
	"net"
	"net/http"
	"strings"
)

// page is what the browser shows: two editors of one document.
//
//go:embed page
var page embed.FS

// checklist is the document that the page edits.
const checklist = `Release checklist
- Freeze the code on Monday
- Test on Tuesday
- Ship on Friday
`

// servePage serves the page in front of the document service. The page leads to itself at the
// ports of Caddy and of the service.
func servePage(opts options, service http.Handler) (http.Handler, error) {
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	index, err := fs.ReadFile(files, "index.html")
	if err != nil {
		return nil, err
	}
	_, listen, _ := net.SplitHostPort(opts.listen) // parse has checked both
	_, backend, _ := net.SplitHostPort(opts.backend)
	html := strings.NewReplacer(`data-port="8080"`, `data-port="`+listen+`"`, `data-port="9000"`, `data-port="`+backend+`"`).Replace(string(index))

	mux := http.NewServeMux()
	mux.Handle("/docs/", service)
	mux.Handle("/", http.FileServerFS(files))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(html)) // the browser may have disconnected
	})
	return mux, nil
}
