package speed

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// startProfiles starts to profile each Caddy of a side, if PRECONDITIONS_PROFILES names a
// directory. The function that it returns waits until the profiles are there. Their names are
// those of the work, the side, and the number of the node; `go tool pprof` reads them.
func startProfiles(b *testing.B, w work, side string, servers []served, d time.Duration) (wait func()) {
	dir := os.Getenv("PRECONDITIONS_PROFILES")
	var group sync.WaitGroup
	for i, s := range servers {
		if dir == "" || s.admin == "" {
			continue
		}
		name := strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(fmt.Sprintf("%s_%s_%d", w.name, side, i))
		group.Go(func() {
			if err := writeProfile(s.admin, filepath.Join(dir, name+".pprof"), d); err != nil {
				b.Error(err)
			}
		})
	}
	return group.Wait
}

// writeProfile asks a Caddy to profile itself for some time, to the next full second.
func writeProfile(socket, path string, d time.Duration) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	answer, err := client.Get(fmt.Sprintf("http://localhost/debug/pprof/profile?seconds=%d", max(1, (d+time.Second-1)/time.Second)))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, content)
	}
	return os.WriteFile(path, content, 0o600)
}
