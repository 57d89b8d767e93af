package etagcache

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	defaultTimeout = 250 * time.Millisecond

	// maxBackoff is how long the client of a cluster waits before each of its three
	// retries. By default it would wait almost long enough for a call to time out.
	maxBackoff = 5 * time.Millisecond

	// sentinelPatience is how many timeouts a dial may take to find the master. A Sentinel
	// that doesn't answer costs two before the client asks the others. With only one,
	// the client would never get to them.
	sentinelPatience = 4
)

// RedisConfig states how to reach Redis.
type RedisConfig struct {
	// Addresses holds the address of each server: host:port, or a URL with the
	// scheme redis, rediss (TLS) or unix (the path of a socket). The default
	// port is 6379, or 26379 for a Sentinel. Several addresses are the nodes of
	// a cluster, or Sentinels if SentinelMaster is set.
	Addresses []string

	// Username and Password are sent with AUTH. A URL may contain them instead.
	Username, Password string

	// DB is the number of the database. A URL may contain it instead. A cluster
	// has only database 0.
	DB int

	// TLS turns TLS on, as the scheme rediss does. Default: with rediss, TLS 1.2
	// or later and the system's root certificates.
	TLS *tls.Config

	// SentinelMaster is the name of the master that the Sentinels watch.
	SentinelMaster string

	// SentinelUsername and SentinelPassword are sent to the Sentinels themselves.
	SentinelUsername, SentinelPassword string

	// Cluster states that a single address belongs to a cluster.
	Cluster bool

	// Timeout bounds each dial, read and write. Default: 250ms.
	Timeout time.Duration

	// PoolSize is the number of connections to each server. Default: 10 per
	// processor, or 5 to each node of a cluster.
	PoolSize int
}

// Client returns a client for c. It doesn't use the network.
//
// The client reads nothing from replicas. It retries only what a cluster redirects or
// refuses for the moment, and what wasn't sent, and at once. While a server is away, each
// call dials it again. No error of Client or of a dial contains any part of an address,
// because that could be a password.
func (c RedisConfig) Client() (redis.UniversalClient, error) {
	servers, err := c.merge()
	if err != nil {
		return nil, err
	}
	cluster := c.SentinelMaster == "" && (c.Cluster || len(servers) > 1)
	if err := c.check(servers, cluster); err != nil {
		return nil, err
	}

	timeout := cmp.Or(c.Timeout, defaultTimeout)
	o := &redis.UniversalOptions{
		Addrs:                 addresses(servers),
		Username:              c.Username,
		Password:              c.Password,
		DB:                    c.DB,
		TLSConfig:             c.TLS,
		MasterName:            c.SentinelMaster,
		SentinelUsername:      c.SentinelUsername,
		SentinelPassword:      c.SentinelPassword,
		MaxRetries:            -1,
		MaxRetryBackoff:       maxBackoff,
		DialTimeout:           timeout,
		DialerRetries:         1,
		ReadTimeout:           timeout,
		WriteTimeout:          timeout,
		ContextTimeoutEnabled: true,
		PoolSize:              c.PoolSize,
		PipelinePoolSize:      -1,
		DisableIdentity:       true,
	}
	noNotifications := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch {
	case c.SentinelMaster != "":
		client := redis.NewFailoverClient(o.Failover())
		client.AddHook(dialHook{patience: sentinelPatience * timeout})
		return client, nil
	case cluster:
		o := o.Cluster()
		o.MaintNotificationsConfig = noNotifications
		client := redis.NewClusterClient(o)
		client.OnNewNode(func(node *redis.Client) {
			node.AddHook(dialHook{})
			node.AddHook(reloadHook{client.ReloadState})
		})
		return client, nil
	default:
		o := o.Simple()
		o.MaintNotificationsConfig = noNotifications
		client := redis.NewClient(o)
		client.AddHook(dialHook{})
		return client, nil
	}
}

// merge returns the servers, and copies credentials, database and TLS from their
// URLs to c.
func (c *RedisConfig) merge() ([]server, error) {
	port := "6379"
	if c.SentinelMaster != "" {
		port = "26379"
	}
	var servers []server
	encrypt := false
	for i, address := range c.Addresses {
		s, err := parseServer(address, port)
		if err != nil {
			return nil, fmt.Errorf("redis address %d: %w", i+1, err)
		}
		if c.SentinelMaster != "" && s.username+s.password+s.db != "" {
			return nil, fmt.Errorf("redis address %d: the address of a Sentinel can't contain a user, password or database", i+1)
		}
		if !agree(&c.Username, s.username) || !agree(&c.Password, s.password) {
			return nil, fmt.Errorf("redis address %d: a different user or password is already set", i+1)
		}
		if s.db != "" {
			db, err := strconv.Atoi(s.db)
			if err != nil || db < 0 {
				return nil, fmt.Errorf("redis address %d: the database is not a number", i+1)
			}
			if c.DB != 0 && c.DB != db {
				return nil, fmt.Errorf("redis address %d: a different database is already set", i+1)
			}
			c.DB = db
		}
		encrypt = encrypt || s.scheme == "rediss"
		servers = append(servers, s)
	}
	if encrypt && c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return servers, nil
}

// agree sets dst to value. It reports false if dst already had a different value.
func agree(dst *string, value string) bool {
	if value == "" {
		return true
	}
	if *dst == "" {
		*dst = value
	}
	return *dst == value
}

// check returns an error if the options contradict each other.
func (c *RedisConfig) check(servers []server, cluster bool) error {
	if len(servers) == 0 {
		return errors.New("redis has no address")
	}
	for i, s := range servers {
		switch {
		case s.scheme == "unix" && (cluster || c.SentinelMaster != ""):
			return fmt.Errorf("redis address %d: a unix socket can't belong to a cluster or a Sentinel", i+1)
		case s.scheme == "unix" && c.TLS != nil:
			return fmt.Errorf("redis address %d: a unix socket can't use TLS", i+1)
		case s.scheme == "redis" && c.TLS != nil:
			return fmt.Errorf("redis address %d: the scheme redis doesn't use TLS: use rediss", i+1)
		}
	}
	switch {
	case c.SentinelMaster != "" && c.Cluster:
		return errors.New("redis can't be a cluster and have Sentinels")
	case c.SentinelMaster == "" && c.SentinelUsername+c.SentinelPassword != "":
		return errors.New("redis has a user or password for Sentinels but no Sentinel master")
	case cluster && c.DB != 0:
		return errors.New("a redis cluster has only database 0")
	case c.DB < 0 || c.PoolSize < 0 || c.Timeout < 0:
		return errors.New("the redis database, pool size and timeout can't be negative")
	}
	return nil
}
