package stores

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/spelling"
	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

func init() {
	caddy.RegisterModule(Redis{})
	redis.SetLogger(clientLogger{})
}

// clientLogger sends what go-redis logs, such as every failed dial, to Caddy's
// log rather than to stderr.
type clientLogger struct{}

func (clientLogger) Printf(_ context.Context, format string, args ...any) {
	caddy.Log().Named("redis").Sugar().Debugf(format, args...)
}

// Redis keeps validators and claims in Redis (6.0 or newer), where any number of
// Caddy nodes can share them: a single server, a master behind Sentinels, or a
// cluster. Global placeholders such as `{env.REDIS_PASSWORD}` and
// `{file./run/secrets/redis}` are replaced in all texts.
type Redis struct {
	// Where Redis is: `redis://[user:password@]host[:port][/db]`, `rediss://…` for
	// TLS, or `unix:///path`. Several URLs are the nodes of a cluster, or the
	// Sentinels if `sentinel_master` is set.
	URL []string `json:"url,omitempty"`

	// Where Redis is, as host:port. Default, if there is no URL either:
	// `localhost:6379`.
	Address []string `json:"address,omitempty"`

	// The user name and the password, unless a URL contains them.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// The number of the database, unless a URL contains it. Default: 0.
	DB int `json:"db,omitempty"`

	// Turns TLS on, as a URL with `rediss` does.
	TLS *RedisTLS `json:"tls,omitempty"`

	// The name by which the Sentinels know the master.
	SentinelMaster string `json:"sentinel_master,omitempty"`

	// The user name and the password of the Sentinels themselves.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// Whether a single address belongs to a cluster. Several addresses always do,
	// unless `sentinel_master` is set.
	Cluster bool `json:"cluster,omitempty"`

	// The beginning of the names of all keys and of the channel. Nodes share
	// resources only if they have the same prefix. Default:
	// `caddy:preconditions:`.
	Prefix string `json:"prefix,omitempty"`

	// How long one operation may take before Redis counts as out of reach.
	// Default: 250ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How many replicas must acknowledge a claim before it counts, which makes it
	// survive a failover. With fewer replicas, writes are refused. Default: 0.
	Replicas int `json:"replicas,omitempty"`

	// What happens to writes that would pass because of what is stored alone, as with
	// `verify` = `never`, while Redis may evict keys (any `maxmemory-policy` but
	// `noeviction`): `refuse` (default) with 503, or `allow`. An evicted claim lets two
	// writers in, whatever this says.
	Eviction string `json:"eviction,omitempty"`

	logger *zap.Logger
}

// RedisTLS configures TLS to Redis.
type RedisTLS struct {
	// A PEM file with the certificates of the authorities to trust. Default: the
	// authorities that the system trusts.
	CA string `json:"ca,omitempty"`

	// PEM files with the certificate and the key to present to Redis.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`

	// The name that the server's certificate must be for. Default: the host.
	ServerName string `json:"server_name,omitempty"`

	// Accept any certificate. Anybody between Caddy and Redis can then read and
	// change everything.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.preconditions.stores.redis",
		New: func() caddy.Module { return new(Redis) },
	}
}

const (
	defaultRedisAddress = "localhost:6379"
	defaultRedisPrefix  = "caddy:preconditions:"
	defaultRedisTimeout = caddy.Duration(250 * time.Millisecond)

	maxReplicas = 100 // more is a mistake

	evictionRefuse = "refuse"
	evictionAllow  = "allow"
)

// Provision replaces placeholders and sets the defaults.
func (s *Redis) Provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	s.setDefaults()
	return nil
}

func (s *Redis) setDefaults() {
	repl := caddy.NewReplacer()
	texts := []*string{&s.Username, &s.Password, &s.SentinelMaster, &s.SentinelUsername, &s.SentinelPassword, &s.Prefix}
	if s.TLS != nil {
		s.TLS = new(*s.TLS)
		texts = append(texts, &s.TLS.CA, &s.TLS.Certificate, &s.TLS.Key, &s.TLS.ServerName)
	}
	s.URL, s.Address = slices.Clone(s.URL), slices.Clone(s.Address)
	for i := range s.URL {
		texts = append(texts, &s.URL[i])
	}
	for i := range s.Address {
		texts = append(texts, &s.Address[i])
	}
	for _, text := range texts {
		*text = repl.ReplaceAll(*text, "")
	}
	if len(s.URL)+len(s.Address) == 0 {
		s.Address = []string{defaultRedisAddress}
	}
	s.Prefix = cmp.Or(s.Prefix, defaultRedisPrefix)
	s.Timeout = cmp.Or(s.Timeout, defaultRedisTimeout)
	s.Eviction = cmp.Or(s.Eviction, evictionRefuse)
}

// Validate refuses options that are out of range or contradict each other. It
// doesn't use the network.
func (s *Redis) Validate() error {
	err := s.check()
	if err != nil && s.Timeout > 0 && s.Timeout < caddy.Duration(time.Millisecond) {
		return fmt.Errorf("%w (a JSON number counts nanoseconds: write a text with a unit, such as \"250ms\")", err)
	}
	return err
}

func (s *Redis) check() error {
	if err := s.checkTimeout(); err != nil {
		return fmt.Errorf("redis: timeout %w", err)
	}
	if err := s.checkReplicas(); err != nil {
		return fmt.Errorf("redis: replicas %w", err)
	}
	if err := s.checkEviction(); err != nil {
		return fmt.Errorf("redis: eviction %w", err)
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	client, err := config.Client()
	if err != nil {
		return err
	}
	return client.Close()
}

func (s *Redis) checkTimeout() error {
	if s.Timeout < caddy.Duration(time.Millisecond) || s.Timeout > caddy.Duration(time.Minute) {
		return errors.New("must be between 1ms and 1m")
	}
	return nil
}

func (s *Redis) checkReplicas() error {
	if s.Replicas < 0 || s.Replicas > maxReplicas {
		return fmt.Errorf("must be between 0 and %d", maxReplicas)
	}
	return nil
}

func (s *Redis) checkEviction() error {
	return spelling.Check(s.Eviction, evictionRefuse, evictionAllow)
}

func (s *Redis) checkDB() error {
	if s.DB < 0 {
		return errors.New("must not be negative")
	}
	return nil
}

// StoreKey implements storeshare.Opener. The key contains a digest of every field
// and of the files that they name. If any of these has changed, a reload opens a new
// store.
func (s *Redis) StoreKey() string {
	fields, err := json.Marshal(s)
	if err != nil {
		panic(err) // can't happen: all fields are texts, numbers and flags
	}
	h := sha256.New()
	h.Write(fields)
	if s.TLS != nil {
		for _, file := range [...]string{s.TLS.CA, s.TLS.Certificate, s.TLS.Key} {
			content, _ := os.ReadFile(file) // OpenStore reports the error
			sum := sha256.Sum256(content)
			h.Write(sum[:])
		}
	}
	return "redis:" + hex.EncodeToString(h.Sum(nil))
}

// OperationTimeout returns how long one operation may take (see storeshare.Opener).
func (s *Redis) OperationTimeout() time.Duration {
	return time.Duration(cmp.Or(s.Timeout, defaultRedisTimeout))
}

// OpenStore implements storeshare.Opener.
func (s *Redis) OpenStore() (etagcache.Store, error) {
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	client, err := config.Client()
	if err != nil {
		return nil, err
	}
	return etagcache.NewRedis(client, etagcache.RedisOptions{
		Prefix:        s.Prefix,
		Timeout:       time.Duration(s.Timeout),
		Replicas:      s.Replicas,
		AllowEviction: s.Eviction == evictionAllow,
		Warn:          s.warn,
	}), nil
}

// warn logs what is wrong with the server, although it can be used.
func (s *Redis) warn(err error) {
	if errors.Is(err, etagcache.ErrEvicts) {
		s.logger.Warn("the store evicts keys", zap.Error(err), zap.String("eviction", s.Eviction))
		return
	}
	s.logger.Error("the store may lose claims without anybody noticing", zap.Error(err))
}

// config returns the fields as package etagcache takes them.
func (s *Redis) config() (etagcache.RedisConfig, error) {
	c := etagcache.RedisConfig{
		Addresses:        append(slices.Clone(s.URL), s.Address...),
		Username:         s.Username,
		Password:         s.Password,
		DB:               s.DB,
		SentinelMaster:   s.SentinelMaster,
		SentinelUsername: s.SentinelUsername,
		SentinelPassword: s.SentinelPassword,
		Cluster:          s.Cluster,
		Timeout:          time.Duration(s.Timeout),
	}
	if s.TLS == nil {
		return c, nil
	}
	var err error
	c.TLS, err = s.TLS.config()
	return c, err
}

// config reads the files and returns the configuration for a client.
func (t *RedisTLS) config() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.InsecureSkipVerify, //nolint:gosec // the operator asked for it
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("redis: reading the authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("redis: %s contains no certificate", t.CA)
		}
	}
	if (t.Certificate == "") != (t.Key == "") {
		return nil, errors.New("redis: a certificate needs a key, and a key needs a certificate")
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("redis: reading the certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Redis)(nil)
	_ caddy.Validator       = (*Redis)(nil)
	_ caddyfile.Unmarshaler = (*Redis)(nil)
	_ storeshare.Opener     = (*Redis)(nil)
)
