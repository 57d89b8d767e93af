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

const defaultTimeout = 250 * time.Millisecond

// RedisConfig says how to reach Redis.
type RedisConfig struct {
	// Addresses of the servers: host:port, or a URL with the scheme redis,
	// rediss (TLS) or unix (a socket's path). Several are the nodes of a
	// cluster, or Sentinels if SentinelMaster is set.
	Addresses []string

	// Username and Password are for AUTH; a URL may hold them instead.
	Username, Password string

	// DB is the number of the database; a URL may hold it instead. A cluster
	// has none but 0.
	DB int

	// TLS turns TLS on, as the scheme rediss does.
	TLS *tls.Config

	// SentinelMaster is the name of the master to ask the Sentinels for.
	SentinelMaster string

	// SentinelUsername and SentinelPassword are for the Sentinels themselves.
	SentinelUsername, SentinelPassword string

	// Cluster tells that a single address is that of a cluster.
	Cluster bool

	// Timeout bounds each dial, read and write. Default: 250ms.
	Timeout time.Duration

	// PoolSize is the number of connections to each server. Default: 10 per
	// processor.
	PoolSize int
}

// Client returns a client for c. It doesn't use the network.
//
// Nothing is read from replicas and nothing is repeated by itself. No error
// holds any part of an address, as there may be a password in it.
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
		return redis.NewFailoverClient(o.Failover()), nil
	case cluster:
		o := o.Cluster()
		o.MaintNotificationsConfig = noNotifications
		return redis.NewClusterClient(o), nil
	default:
		o := o.Simple()
		o.MaintNotificationsConfig = noNotifications
		return redis.NewClient(o), nil
	}
}

// merge returns the servers, and moves to c what the URLs say beyond that.
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
			return nil, fmt.Errorf("redis address %d: the address of a Sentinel has no user, password or database", i+1)
		}
		if !agree(&c.Username, s.username) || !agree(&c.Password, s.password) {
			return nil, fmt.Errorf("redis address %d: another user or password is set already", i+1)
		}
		if s.db != "" {
			db, err := strconv.Atoi(s.db)
			if err != nil || db < 0 {
				return nil, fmt.Errorf("redis address %d: the database is not a number", i+1)
			}
			if c.DB != 0 && c.DB != db {
				return nil, fmt.Errorf("redis address %d: another database is set already", i+1)
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

// agree sets dst to value and reports whether nothing else was there before.
func agree(dst *string, value string) bool {
	if value == "" {
		return true
	}
	if *dst == "" {
		*dst = value
	}
	return *dst == value
}

// check reports what contradicts itself.
func (c *RedisConfig) check(servers []server, cluster bool) error {
	if len(servers) == 0 {
		return errors.New("redis has no address")
	}
	for i, s := range servers {
		switch {
		case s.scheme == "unix" && (cluster || c.SentinelMaster != ""):
			return fmt.Errorf("redis address %d: a unix socket can't be that of a cluster or a Sentinel", i+1)
		case s.scheme == "unix" && c.TLS != nil:
			return fmt.Errorf("redis address %d: there is no TLS over a unix socket", i+1)
		case s.scheme == "redis" && c.TLS != nil:
			return fmt.Errorf("redis address %d: the scheme redis is without TLS: use rediss", i+1)
		}
	}
	switch {
	case c.SentinelMaster != "" && c.Cluster:
		return errors.New("redis can't be a cluster and have Sentinels")
	case c.SentinelMaster == "" && c.SentinelUsername+c.SentinelPassword != "":
		return errors.New("redis has a user or password for Sentinels but no Sentinel master")
	case cluster && c.DB != 0:
		return errors.New("a redis cluster has no database but 0")
	case c.DB < 0 || c.PoolSize < 0 || c.Timeout < 0:
		return errors.New("the redis database, pool size and timeout can't be negative")
	}
	return nil
}
