package s3

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// The command line of AWS works as without the handler, also for files that it sends in parts.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	caddytest.ObjectCommand(t) // or skip
	dir, store := t.TempDir(), caddytest.ObjectStore(t)
	node := caddytest.OneNodeAt(t, caddytest.Guarded("profile s3\nrequire PUT", store)).First()
	aws := func(endpoint string, fails bool, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), caddytest.ObjectCommand(t), append([]string{"--endpoint-url", endpoint, "--region", "us-east-1"}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+dir, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=secret", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
		out, err := cmd.CombinedOutput()
		if (err != nil) != fails {
			t.Fatalf("aws %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	sent, got := filepath.Join(dir, "sent"), filepath.Join(dir, "got")
	content := bytes.Repeat([]byte("0123456789abcdef"), 9<<16) // 9 MiB: more than goes into one part
	if err := os.WriteFile(sent, content, 0o600); err != nil {
		t.Fatal(err)
	}
	refused := aws(node, true, "s3", "cp", sent, "s3://b/large")
	if !strings.Contains(refused, "PreconditionRequired") {
		t.Errorf("without a condition: %s", refused)
	}
	aws("http://"+store, false, "s3", "cp", sent, "s3://b/large")
	aws(node, false, "s3", "cp", "s3://b/large", got)
	if back, err := os.ReadFile(got); err != nil || !bytes.Equal(back, content) {
		t.Errorf("%v: %d bytes came back", err, len(back))
	}
	head := []string{"s3api", "head-object", "--bucket", "b", "--key", "large"}
	if through, direct := aws(node, false, head...), aws("http://"+store, false, head...); through != direct {
		t.Errorf("through the handler: %s, without: %s", through, direct)
	}
	if out := aws(node, true, "s3api", "get-object", "--bucket", "b", "--key", "large", "--if-match", "stale", got); !strings.Contains(out, "PreconditionFailed") {
		t.Errorf("%s", out)
	}
}
