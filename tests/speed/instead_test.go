package speed

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// served is a server that requests are sent to.
type served struct {
	url   string
	cpu   func() time.Duration
	admin string // the socket of Caddy's admin API, if it is one
}

func nodes(all []*caddytest.Node) (list []served) {
	for _, n := range all {
		list = append(list, served{n.URL, n.CPU, n.Socket()})
	}
	return list
}

// insteadSides returns the sides that people build in place of the handler, except those for
// which something is missing.
func insteadSides(b *testing.B, origin string, redis *store) (sides []*side) {
	for _, instead := range caddytest.Instead(origin, redis.server.Addr) {
		if missing := instead.Missing(); missing != nil {
			fmt.Printf("\nleft out: %s, which needs %s", instead.Name, strings.Join(missing, ", "))
			continue
		}
		sides = append(sides, &side{name: instead.Name, fixed: true, small: true, redis: redis, start: func(string) []served {
			var cmd *exec.Cmd
			start := instead.Start
			instead.Start = func(t testing.TB, address, dir string) *exec.Cmd {
				cmd = start(t, address, dir)
				return cmd
			}
			address := caddytest.StartBackends(b, instead)[instead.Name]
			return []served{{url: "http://" + address, cpu: func() time.Duration { return cpuOfFamily(cmd.Process.Pid) }}}
		}})
	}
	return sides
}

// cpuOfFamily returns the processor time of a process and its children, on Linux.
func cpuOfFamily(pid int) time.Duration {
	sum := caddytest.CPU(pid)
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for child := range strings.FieldsSeq(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			sum += caddytest.CPU(n)
		}
	}
	return sum
}
