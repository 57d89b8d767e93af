package etagcache

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// server is a parsed address of a RedisConfig.
type server struct {
	scheme   string // "redis", "rediss", "unix", or "" for plain host:port
	address  string // host:port, or a path
	username string
	password string
	db       string
}

func addresses(servers []server) []string {
	var list []string
	for _, s := range servers {
		list = append(list, s.address)
	}
	return list
}

// parseServer parses an address. It doesn't wrap the errors of net/url, which
// quote the address and with it a password. redis.ParseURL would quote it as well,
// and would accept options that break the store, such as reading from replicas.
func parseServer(s, port string) (server, error) {
	if !strings.Contains(s, "://") {
		return parseHost(s, port)
	}
	u, err := url.Parse(s)
	if err != nil {
		return server{}, errors.New("the URL is malformed; does the password contain an unescaped character?")
	}
	var parsed server
	path := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss":
		if parsed, err = parseHost(u.Host, port); err != nil {
			return server{}, err
		}
		parsed.db = path
	case "unix":
		if u.Host != "" || path == "" {
			return server{}, errors.New("the URL of a unix socket must be unix:///path")
		}
		parsed.address = u.Path
	default:
		return server{}, errors.New("the scheme must be redis, rediss or unix")
	}
	parsed.scheme = u.Scheme
	parsed.username = u.User.Username()
	parsed.password, _ = u.User.Password()

	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return server{}, errors.New("the URL is malformed")
	}
	db := query.Get("db")
	query.Del("db")
	if len(query) > 0 || u.Fragment != "" || !agree(&parsed.db, db) {
		return server{}, errors.New("the only option that the URL can have is db, and only once")
	}
	return parsed, nil
}

// parseHost parses host:port or a host alone, to which it adds the port.
func parseHost(s, port string) (server, error) {
	host, given, err := net.SplitHostPort(s)
	if err != nil {
		host, given = strings.Trim(s, "[]"), port
		if !strings.HasPrefix(s, "[") && strings.Contains(s, ":") {
			return server{}, errors.New("not host:port")
		}
	}
	if host == "" || given == "" || strings.ContainsAny(host, "@/ ") {
		return server{}, errors.New("not host:port")
	}
	return server{address: net.JoinHostPort(host, given)}, nil
}
