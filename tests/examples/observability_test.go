package examples

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/examples/legacydocs"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// TestObservability: a Prometheus that reads the metrics of two nodes has an answer to the query of
// each panel, to what each alert compares, and to the queries in the documentation.
func TestObservability(t *testing.T) {
	t.Parallel()
	caddytest.Needs(t, "prometheus")
	docs := legacydocs.New(legacydocs.Options{})
	replace := []string{"localhost:6379", redistest.Start(t).Addr, "localhost:3000", caddytest.Serve(t, docs)}
	var sites []string
	inReportMode := caddytest.Address(t) // at the first node, as one of the queries is about such a site
	for i := range 2 {
		more := ""
		if i == 0 {
			more = "http://" + inReportMode + " {\npreconditions {\nmode report\n}\nreverse_proxy localhost:3000\n}\n"
		}
		address, admin := caddytest.Address(t), caddytest.LocalAddress(t)
		caddytest.RunCaddy(t, strings.NewReplacer(replace...).Replace(read(t, "observability", "Caddyfile")+more), "NODE=http://"+address, "ADMIN="+admin)
		sites = append(sites, "http://"+address)
		replace = append(replace, fmt.Sprintf("localhost:%d", 2021+i), admin)
	}
	prometheus := runPrometheus(t, strings.NewReplacer(append(replace, "5s", "1s")...))

	caddytest.Eventually(t, "the grace of the new Redis is over", func() bool {
		a, err := http.Get(sites[0] + "/docs/a") //nolint:noctx // ends with the nodes
		if err != nil {
			return false
		}
		_ = a.Body.Close()
		return caddytest.Send(t, "PUT", sites[0]+"/docs/a", "old", "If-None-Match", "*").StatusCode != http.StatusServiceUnavailable
	})
	tag := caddytest.ReadTwice(t, sites[0]+"/docs/a")
	caddytest.Send(t, "PUT", sites[0]+"/docs/a", "Ann").Expect(t, 204)
	unanswered := queries(t)
	n := 0
	caddytest.Eventually(t, "an answer to each query", func() bool {
		n++
		path := fmt.Sprintf("/docs/%d", n)
		for _, site := range sites {
			caddytest.Send(t, "PUT", site+path, "x")
			caddytest.Send(t, "GET", site+path, "")
			caddytest.Send(t, "PUT", site+"/docs/a", "Ben", "If-Match", tag).Expect(t, 412)
		}
		caddytest.Send(t, "PUT", "http://"+inReportMode+"/docs/report", "x", "If-Match", tag)
		for query := range unanswered {
			if prometheus.answers(t, query) {
				delete(unanswered, query)
			}
		}
		if len(unanswered) > 0 && n%20 == 0 {
			t.Logf("no answer yet: %v", unanswered)
		}
		return len(unanswered) == 0
	})
}

// prometheus is the address of one.
type prometheus string

// runPrometheus runs a Prometheus with the config of the example, in which something was replaced.
func runPrometheus(t *testing.T, replace *strings.Replacer) prometheus {
	t.Helper()
	dir, address := t.TempDir(), caddytest.LocalAddress(t)
	for _, file := range []string{"prometheus.yml", "alerts.yml"} {
		text := read(t, "observability", file)
		if file == "prometheus.yml" {
			text = replace.Replace(text)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "prometheus", "--config.file", filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address, "--log.level", "error")
	cmd.Stderr = os.Stderr
	caddytest.Background(t, cmd)
	return prometheus(address)
}

// answers reports whether there is data that a query asks for.
func (p prometheus) answers(t *testing.T, query string) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+string(p)+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false // it is still starting
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []any }
	}
	_ = json.NewDecoder(response.Body).Decode(&answer) // not before it is ready
	if response.StatusCode == http.StatusBadRequest {
		t.Fatalf("%s: %s", query, answer.Error)
	}
	return len(answer.Data.Result) > 0
}

// comparison is what an alert compares its value with.
var comparison = regexp.MustCompile(` (?:>|==) [0-9.]+$`)

// queries returns what the panels of the dashboard, the alerts and the documentation ask for.
func queries(t *testing.T) map[string]bool {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "observability", "dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]bool)
	variables := strings.NewReplacer("$__rate_interval", "10s", "$__range", "1m")
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("the panel %q asks for nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			all[variables.Replace(target.Expr)] = true
		}
	}
	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "observability", "alerts.yml")), &alerts); err != nil {
		t.Fatal(err)
	}
	for _, rule := range alerts.Groups[0].Rules {
		if !comparison.MatchString(rule.Expr) {
			t.Errorf("%s compares nothing", rule.Alert)
		}
		all[comparison.ReplaceAllString(rule.Expr, "")] = true
	}
	// Those in the documentation: of a week, which has hardly begun.
	for query := range strings.Lines(caddytest.Shown(t, "docs/operations.md", "sum by (outcome) (increase(").Text) {
		all[strings.TrimSpace(query)] = true
	}
	if len(all) < 20 {
		t.Fatalf("only %d queries", len(all))
	}
	return all
}

// TestAlerts: the alerts fire when they should, and only then.
func TestAlerts(t *testing.T) {
	caddytest.Needs(t, "promtool")
	dir := filepath.Join(root, "observability")
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
