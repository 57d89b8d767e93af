package faults

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// The tests in this file run the contests and the faults with a store that is
// more than one Redis: a cluster, or a master and a replica behind a Sentinel.

// cluster is a store of three masters.
type cluster struct {
	servers []*redistest.Server
}

func (c *cluster) start(s *stage, timeout time.Duration) string {
	s.Helper()
	timeout = min(timeout, faultLease/2) // or the first grace is longer than a write waits
	c.servers = redistest.StartCluster(s)
	var addresses []string
	for _, server := range c.servers {
		addresses = append(addresses, server.Addr)
	}
	return fmt.Sprintf("store redis {\naddress %s\ntimeout %s\n}\n", strings.Join(addresses, " "), timeout)
}

// any returns one of the masters.
func (c *cluster) any() *redistest.Server { return c.servers[rand.IntN(len(c.servers))] }

// flush deletes the data of all masters.
func (c *cluster) flush(s *stage) {
	for _, server := range c.servers {
		if err := server.Client().FlushAll(s.Context()).Err(); err != nil {
			s.Fatal(err)
		}
	}
}

func (c *cluster) freezeOne(s *stage) {
	server := c.any()
	server.Freeze()
	defer server.Thaw()
	s.pass(time.Second + rand.N(time.Second))
}

// loseOne kills one master, which comes back without its data.
func (c *cluster) loseOne(s *stage) {
	server := c.any()
	server.Kill()
	server.Restart()
	db := server.Client()
	caddytest.Eventually(s, "the cluster is complete", func() bool {
		info, err := db.ClusterInfo(s.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
}

const masterName = "documents"

// sentinel is a Redis with a replica, and a Sentinel that promotes the replica.
type sentinel struct {
	replicas int // value of the option
	watcher  *redis.SentinelClient
	servers  []*redistest.Server
}

func (c *sentinel) start(s *stage, timeout time.Duration) string {
	s.Helper()
	master := redistest.Start(s)
	c.servers = []*redistest.Server{master, redistest.StartReplica(s, master)}
	watcher := redistest.StartSentinel(s, masterName, master)
	c.watcher = redis.NewSentinelClient(&redis.Options{Addr: watcher.Addr, DisableIdentity: true})
	s.Cleanup(func() { _ = c.watcher.Close() })
	c.awaitReplica(s)
	if s.calm { // as with a single Redis
		caddytest.EndGrace(s, master.Addr)
	}
	return fmt.Sprintf("store redis {\naddress %s\nsentinel_master %s\ntimeout %s\nreplicas %d\n}\n",
		watcher.Addr, masterName, timeout, c.replicas)
}

// awaitReplica returns once the Sentinel knows of a replica that it can promote.
func (c *sentinel) awaitReplica(s *stage) {
	s.Helper()
	caddytest.Eventually(s, "the Sentinel knows the replica", func() bool {
		replicas, err := c.watcher.Replicas(s.Context(), masterName).Result()
		return err == nil && len(replicas) == 1 && replicas[0]["flags"] == "slave" && replicas[0]["master-link-status"] == "ok"
	})
}

// roles returns the current master and the current replica.
func (c *sentinel) roles(s *stage) (master, other *redistest.Server) {
	s.Helper()
	address, err := c.watcher.GetMasterAddrByName(s.Context(), masterName).Result()
	if err != nil {
		s.Fatal(err)
	}
	master, other = c.servers[0], c.servers[1]
	if other.Addr == net.JoinHostPort(address[0], address[1]) {
		master, other = other, master
	}
	return master, other
}

// handOver tells the Sentinel to promote the replica although the master is
// healthy.
func (c *sentinel) handOver(s *stage) {
	old, promoted := c.roles(s)
	if err := c.watcher.Failover(s.Context(), masterName).Err(); err != nil {
		s.Fatal(err)
	}
	c.follow(s, old, promoted)
}

// killMaster kills the master, which makes the Sentinel promote the replica. A
// replica that lagged behind may have missed the last writes.
func (c *sentinel) killMaster(s *stage) {
	old, promoted := c.roles(s)
	old.Kill()
	c.awaitPromotion(s, promoted)
	old.Restart()
	c.follow(s, old, promoted)
}

func (c *sentinel) awaitPromotion(s *stage, promoted *redistest.Server) {
	s.Helper()
	db := promoted.Client()
	caddytest.Eventually(s, "the replica is promoted", func() bool {
		address, err := c.watcher.GetMasterAddrByName(s.Context(), masterName).Result()
		return err == nil && net.JoinHostPort(address[0], address[1]) == promoted.Addr &&
			strings.Contains(db.Info(s.Context(), "replication").Val(), "role:master")
	})
}

// follow makes the old master a replica of the new one. The Sentinel would do the
// same, but later.
func (c *sentinel) follow(s *stage, old, promoted *redistest.Server) {
	s.Helper()
	c.awaitPromotion(s, promoted)
	host, port, _ := net.SplitHostPort(promoted.Addr)
	db := old.Client()
	// The Sentinel may take a while to notice, and may revert it in the meantime.
	caddytest.Eventually(s, "the old master follows the new one", func() bool {
		info := db.Info(s.Context(), "replication").Val()
		if !strings.Contains(info, "master_port:"+port) {
			db.ReplicaOf(s.Context(), host, port)
			return false
		}
		return strings.Contains(info, "master_link_status:up")
	})
	c.awaitReplica(s)
}

// With a cluster as the store, exactly one of 32 concurrent writers wins. No
// update is lost even if the store loses part of its data.
func TestFaultsOfCluster(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, faultScenario{name: "cluster, none", store: new(cluster).start, calm: true})
		s.holdContests()
		s.run(s.expectSound)
	})
	for _, options := range []string{"verify passing", "verify never"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			c := new(cluster)
			s := newStage(t, faultScenario{
				name: "cluster, " + options, options: options, store: c.start, delay: slowly,
				faults: []fault{{"flushed", c.flush}, {"a master frozen", c.freezeOne}, {"a master restarted empty", c.loseOne}, killNode},
			})
			s.run(s.expectSound)
		})
	}
}

// The rules of TestFaultsOfCluster also hold when a replica takes over.
func TestFaultsOfSentinel(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, faultScenario{name: "sentinel, none", store: (&sentinel{replicas: 1}).start, calm: true})
		s.holdContests()
		s.run(s.expectSound)
	})
	handOver := func(c *sentinel) fault { return fault{"handed over", c.handOver} }
	killMaster := func(c *sentinel) fault { return fault{"master killed", c.killMaster} }
	for _, tt := range []struct {
		name     string
		options  string
		replicas int
		failover func(*sentinel) fault
	}{
		{"handed over, not replicated", "verify never", 0, handOver},
		{"handed over, replicated", "verify passing", 1, handOver},
		{"master killed, not replicated", "verify passing", 0, killMaster},
		{"master killed, replicated", "verify never", 1, killMaster},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &sentinel{replicas: tt.replicas}
			s := newStage(t, faultScenario{
				name: "sentinel, " + tt.name, options: tt.options, store: c.start, delay: slowly,
				faults: []fault{tt.failover(c)},
			})
			s.run(s.expectSound)
		})
	}
}
