package webdav

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// mountDavfs mounts a share with davfs2, without locks. It reports false where no file system can
// be mounted.
func mountDavfs(t *testing.T, url string) (dir string, unmount func(), ok bool) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		return "", nil, false
	}
	caddytest.Needs(t, "mount.davfs")
	dir, err := os.MkdirTemp("", "davfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	share, cache, config := filepath.Join(dir, "share"), filepath.Join(dir, "cache"), filepath.Join(dir, "davfs2.conf")
	options := "use_locks 0\nask_auth 0\ndelay_upload 0\ncache_dir " + cache + "\n"
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.Mkdir(share, 0o755), os.Mkdir(cache, 0o700), os.Chmod(cache, 0o777), // it drops its privileges
		os.WriteFile(config, []byte(options), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	output, err := exec.CommandContext(t.Context(), "mount", "-t", "davfs", "-o", "conf="+config, url, share).CombinedOutput()
	switch {
	case err != nil && strings.Contains(string(output), "not permitted"):
		return "", nil, false
	case err != nil:
		t.Fatalf("%v: %s", err, output)
	}
	unmount = func() {
		t.Helper()
		if output, err := exec.CommandContext(t.Context(), "umount", share).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, output) // it waits until everything is uploaded
		}
	}
	return share, unmount, true
}

// TestDavfs: a file that is open on a mounted share isn't overwritten if somebody else has
// written it meanwhile, whose change would be lost without the handler.
func TestDavfs(t *testing.T) {
	t.Parallel()
	b := caddytest.BackendNamed(t, "rclone")
	b.OrSkip(t)
	address := caddytest.StartBackends(t, *b)[b.Name]
	site := caddytest.AnyHost(t, "preconditions {\nprofile webdav\nlag 0s\n}\nreverse_proxy "+address+" {\n"+b.Proxy+"}\n")
	for _, alone := range []bool{false, true} {
		url, kept := site, "theirs"
		if alone {
			url, kept = "http://"+address, "mine\n"
		}
		caddytest.Send(t, "PUT", url+"/plan.txt", "first").ExpectSuccess(t)
		share, unmount, ok := mountDavfs(t, url+"/")
		if !ok {
			t.Log("no file system can be mounted here")
			return
		}
		file, err := os.OpenFile(filepath.Join(share, "plan.txt"), os.O_RDWR|os.O_TRUNC, 0)
		if err == nil {
			caddytest.Send(t, "PUT", url+"/plan.txt", "theirs").ExpectSuccess(t)
			_, err = file.WriteString("mine\n")
			_ = file.Close()
		}
		unmount()
		if err != nil {
			t.Fatal(err)
		}
		if got := caddytest.Send(t, "GET", url+"/plan.txt", "").Content; got != kept {
			t.Errorf("without the handler: %v. The file is %q, want %q", alone, got, kept)
		}
	}
}
