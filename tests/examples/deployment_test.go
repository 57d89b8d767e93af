package examples

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestComposeFile: what the file names exists, and it has nothing that Compose doesn't know.
func TestComposeFile(t *testing.T) {
	type build struct{ Context, Dockerfile string }
	var file struct {
		Services map[string]struct {
			Image           string
			Build           *build
			Command         []string
			Ports           []string
			Volumes         []string
			Environment     map[string]string
			DependsOn       any    `yaml:"depends_on"`
			StopGracePeriod string `yaml:"stop_grace_period"`
			Healthcheck     *struct {
				Test     []string
				Interval string
			}
		}
		Volumes map[string]struct{}
	}
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "compose", "compose.yml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) != 5 {
		t.Errorf("%d services", len(file.Services))
	}
	for name, s := range file.Services {
		if (s.Image == "") == (s.Build == nil) {
			t.Errorf("%s has both an image and a build, or neither", name)
		}
		if s.Build != nil {
			for _, path := range []string{s.Build.Context, filepath.Join(s.Build.Context, s.Build.Dockerfile)} {
				if _, err := filepath.EvalSymlinks(filepath.Join(root, "compose", path)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			_, named := file.Volumes[from]
			if strings.HasPrefix(from, "./") {
				read(t, "compose", strings.TrimPrefix(from, "./"))
			} else if !named {
				t.Errorf("%s: no volume %s", name, from)
			}
		}
	}
	// What its Caddyfiles name are services.
	balancer, node := read(t, "compose", "balancer.Caddyfile"), file.Services["node1"]
	for _, name := range []string{"node1", "node2"} {
		if _, ok := file.Services[name]; !ok || !strings.Contains(balancer, name+":8080") {
			t.Errorf("the balancer doesn't know %s", name)
		}
	}
	if node.Environment["REDIS"] != "redis://redis:6379" || node.Environment["BACKEND"] != "legacy:9000" {
		t.Errorf("a node gets %v", node.Environment)
	}
	// A Redis that evicts, or forgets what it has confirmed, loses claims.
	for _, flag := range []string{"noeviction", "always"} {
		if !slices.Contains(file.Services["redis"].Command, flag) {
			t.Errorf("Redis is run without %s", flag)
		}
	}
}

// TestSystemdUnit: systemd accepts the unit, where it is installed. The sections and the keys are
// those that it knows.
func TestSystemdUnit(t *testing.T) {
	const name = "caddy-preconditions.service"
	known := map[string][]string{
		"[Unit]": {"Description", "Documentation", "After", "Wants"},
		"[Service]": {
			"Type", "User", "Group", "ExecStart", "ExecReload", "TimeoutStopSec", "LimitNOFILE", "PrivateTmp", "ProtectSystem",
			"AmbientCapabilities", "EnvironmentFile",
		},
		"[Install]": {"WantedBy"},
	}
	section, keys := "", 0
	for line := range strings.SplitSeq(read(t, "systemd", name), "\n") {
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case known[line] != nil:
			section = line
		case !ok || value == "" || !slices.Contains(known[section], key):
			t.Errorf("in %s: %s", section, line)
		default:
			keys++
		}
	}
	if keys < 10 {
		t.Errorf("found %d keys", keys)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze isn't there")
		return
	}
	out, _ := exec.CommandContext(t.Context(), analyze, "verify", filepath.Join(root, "systemd", name)).CombinedOutput()
	// The program and the user are missing here, which is all that it may find.
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, name) && !strings.Contains(line, "is not executable") && !strings.Contains(line, "No such file") {
			t.Errorf("%s", line)
		}
	}
}
