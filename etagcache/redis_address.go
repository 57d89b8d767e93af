package etagcache

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// server is an address of a RedisConfig, taken apart.
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

// parseServer takes an address apart. Its errors don't tell the cause, because
// those of net/url quote the address, and with it a password.
func parseServer(s, port string) (server, error) {
	if !strings.Contains(s, "://") {
		return parseHost(s, port)
	}
	u, err := url.Parse(s)
	if err != nil {
		return server{}, errors.New("the URL is malformed; is something in the password not escaped?")
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
			return server{}, errors.New("the URL of a unix socket is unix:///path")
		}
		parsed.address = u.Path
	default:
		return server{}, errors.New("the scheme is none of redis, rediss and unix")
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
		return server{}, errors.New("the URL may have no option but one db")
	}
	return parsed, nil
}

// parseHost adds the port if there is none.
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
