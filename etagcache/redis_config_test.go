package etagcache_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/etagcache/redistest"
	"github.com/caddy-preconditions/preconditions/etagcache/storetest"
)

func TestRedisConfigRefuses(t *testing.T) {
	type config = etagcache.RedisConfig
	one := []string{"127.0.0.1"}
	tests := []struct {
		name   string
		config config
		want   string
	}{
		{"no address", config{}, "no address"},
		{"an unknown scheme", config{Addresses: []string{"http://:s3cret@h"}}, "scheme"},
		{"a malformed URL", config{Addresses: []string{"redis://u:s3cret/@h:6379"}}, "malformed"},
		{"a malformed escape", config{Addresses: []string{"redis://u:s3cret%@h:6379"}}, "malformed"},
		{"no host", config{Addresses: []string{"redis://:s3cret@"}}, "not host:port"},
		{"credentials without a scheme", config{Addresses: []string{"u:s3cret@h:6379"}}, "not host:port"},
		{"a bare IPv6 address", config{Addresses: []string{"::1"}}, "not host:port"},
		{"a database that is not a number", config{Addresses: []string{"redis://h/s3cret"}}, "database"},
		{"a negative database", config{Addresses: one, DB: -1}, "negative"},
		{"two databases in one URL", config{Addresses: []string{"redis://h/1?db=2"}}, "option"},
		{"two databases", config{Addresses: []string{"redis://h/1"}, DB: 2}, "different database"},
		{"two passwords", config{Addresses: []string{"redis://:s3cret@h"}, Password: "s3cret2"}, "different user or password"},
		{"two users", config{Addresses: []string{"redis://a@h", "redis://b@h"}}, "different user or password"},
		{"reading from replicas", config{Addresses: []string{"redis://h?read_only=true"}}, "option"},
		{"routing by latency", config{Addresses: []string{"redis://h?route_by_latency=s3cret"}}, "option"},
		{"a malformed query", config{Addresses: []string{"redis://h?s3cret;"}}, "malformed"},
		{"a fragment", config{Addresses: []string{"redis://h#s3cret"}}, "option"},
		{"a database and a cluster", config{Addresses: one, Cluster: true, DB: 1}, "cluster"},
		{"a database and several addresses", config{Addresses: []string{"redis://h/1", "redis://i/1"}}, "cluster"},
		{"a Sentinel and a cluster", config{Addresses: one, Cluster: true, SentinelMaster: "m"}, "Sentinels"},
		{"a Sentinel with credentials in its address", config{Addresses: []string{"redis://:s3cret@h"}, SentinelMaster: "m"}, "Sentinel"},
		{"Sentinel credentials without a Sentinel", config{Addresses: one, SentinelPassword: "s3cret"}, "Sentinel"},
		{"a TLS config with a scheme without TLS", config{Addresses: []string{"redis://h"}, TLS: &tls.Config{}}, "rediss"},
		{"addresses with and without TLS", config{Addresses: []string{"redis://h", "rediss://i"}}, "rediss"},
		{"TLS over a unix socket", config{Addresses: []string{"unix:///s"}, TLS: &tls.Config{}}, "unix socket"},
		{"a cluster over a unix socket", config{Addresses: []string{"unix:///s"}, Cluster: true}, "unix socket"},
		{"a Sentinel over a unix socket", config{Addresses: []string{"unix:///s"}, SentinelMaster: "m"}, "unix socket"},
		{"a socket without a path", config{Addresses: []string{"unix://s3cret"}}, "unix socket"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.config.Client()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got error %v, want one that contains %q", err, test.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Fatalf("the error contains a password: %v", err)
			}
		})
	}
}

func TestRedisConfigAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"h":                             "h:6379",
		"h:1":                           "h:1",
		"::1":                           "",
		"[::1]":                         "[::1]:6379",
		"[::1]:2":                       "[::1]:2",
		"redis://h":                     "h:6379",
		"redis://u:p@h:1/3":             "h:1",
		"rediss://[::1]":                "[::1]:6379",
		"unix:///run/redis.sock?db=2":   "/run/redis.sock",
		"unix://u:p@/run/redis.sock":    "/run/redis.sock",
		"redis://u:a%2Fb%40c@h:1/?db=3": "h:1",
	} {
		client, err := etagcache.RedisConfig{Addresses: []string{address}}.Client()
		if err != nil {
			if want != "" {
				t.Errorf("%s: %v", address, err)
			}
			continue
		}
		if got := client.(*redis.Client).Options().Addr; got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
		_ = client.Close()
	}
}

func TestRedisConfigURL(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "p@ss/word")
	c := etagcache.RedisConfig{Addresses: []string{"redis://:p%40ss%2Fword@" + s.Addr + "/3"}}
	use(t, open(t, c, ""), "k")
	c.Addresses = []string{"redis://:wrong@" + s.Addr}
	_, err := open(t, c, "").Read(t.Context(), "k", day)
	unavailable(t, err)
	if strings.Contains(err.Error(), "wrong@") {
		t.Fatalf("the error contains the password: %v", err)
	}
}

func TestRedisConfigUnixSocket(t *testing.T) {
	s := redistest.Start(t, "--unixsocket", "{dir}/s")
	// The server accepts TCP connections before it listens at the socket. Once it
	// answers, it listens at both.
	if err := s.Client().Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	c := etagcache.RedisConfig{Addresses: []string{"unix://" + s.Dir + "/s?db=1"}}
	use(t, open(t, c, ""), "k")
}

func TestRedisConfigUser(t *testing.T) {
	s := redistest.Start(t, strings.Fields(gateUser+" &one:handover --user default off")...)
	c := etagcache.RedisConfig{Addresses: []string{"redis://gate:secret@" + s.Addr}}
	use(t, open(t, c, "one:"), "k")
}

func TestRedisConfigTLS(t *testing.T) {
	dir := t.TempDir()
	roots := writeCertificate(t, dir)
	s := redistest.Start(t, "--port", "0", "--tls-port", "{port}",
		"--tls-cert-file", dir+"/cert", "--tls-key-file", dir+"/key",
		"--tls-ca-cert-file", dir+"/cert", "--tls-auth-clients", "no")

	c := etagcache.RedisConfig{
		Addresses: []string{"rediss://" + s.Addr},
		TLS:       &tls.Config{RootCAs: roots},
		Timeout:   time.Second,
	}
	use(t, open(t, c, ""), "k")

	c.TLS = nil // the system's roots don't know the certificate
	_, err := open(t, c, "").Read(t.Context(), "k", day)
	unavailable(t, err)
}

// writeCertificate writes a key and a certificate for 127.0.0.1 to dir, and returns
// the pool of roots that verifies the certificate.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	server := httptest.NewTLSServer(nil) // httptest brings a certificate for 127.0.0.1
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert": {Type: "CERTIFICATE", Bytes: server.Certificate().Raw},
		"key":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return roots
}

func TestRedisConfigSentinel(t *testing.T) {
	master := redistest.Start(t)
	sentinel := redistest.StartSentinel(t, "main", master)
	c := etagcache.RedisConfig{Addresses: []string{sentinel.Addr}, SentinelMaster: "main"}
	use(t, open(t, c, ""), "k")
	if n := master.Client().DBSize(t.Context()).Val(); n != 2 { // with the marker
		t.Fatalf("%d keys", n)
	}
}

func TestRedisConfigCluster(t *testing.T) {
	nodes := redistest.StartCluster(t)
	c := etagcache.RedisConfig{Cluster: true, Addresses: []string{nodes[0].Addr}}
	use(t, open(t, c, ""), "k")
	c = etagcache.RedisConfig{}
	for _, node := range nodes {
		c.Addresses = append(c.Addresses, node.Addr)
	}
	storetest.Suite{
		// With a tag, as a generation would begin in all slots for each test.
		Open: func(t *testing.T) (a, b etagcache.Store) {
			prefix := "{" + etagcache.NewToken() + "}"
			return open(t, c, prefix), open(t, c, prefix)
		},
		Lose:  func(t *testing.T) { flush(t, nodes...) },
		Apart: true, // a cluster gets each call by itself
	}.Run(t)
}
