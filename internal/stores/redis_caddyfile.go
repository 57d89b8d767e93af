package stores

import (
	"bytes"
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/internal/directive"
)

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store redis [<urls…>] {
//		url               <urls…>
//		address           <host:port…>
//		username          <name>
//		password          <password>
//		db                <number>
//		tls {
//			ca                   <file>
//			certificate          <file> <key file>
//			server_name          <name>
//			insecure_skip_verify
//		}
//		sentinel_master   <name>
//		sentinel_username <name>
//		sentinel_password <password>
//		cluster
//		prefix            <text>
//		timeout           <duration>
//		replicas          <number>
//		eviction          refuse|allow
//	}
func (s *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // store name
	name := d.Token()
	s.URL = d.RemainingArgs()
	if _, err := directive.EachOption(d, s.unmarshalOption, "url", "address"); err != nil {
		return err
	}
	if err := s.contradiction(); err != nil {
		return directive.ErrAt(name, err)
	}
	return nil
}

// contradiction returns an error if the options contradict each other. If any of
// them has a placeholder, this can't be told before Provision, so it returns nil.
func (s *Redis) contradiction() error {
	text, err := json.Marshal(s)
	if err != nil || bytes.Contains(bytes.Trim(text, "{}"), []byte("{")) {
		return err
	}
	parsed := *s
	if parsed.TLS != nil {
		parsed.TLS = new(RedisTLS) // the files may be on a different machine
	}
	parsed.setDefaults()
	return parsed.check()
}

func (s *Redis) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "url":
		return directive.SomeArgs(d, &s.URL)
	case "address":
		return directive.SomeArgs(d, &s.Address)
	case "username":
		return directive.OneArg(d, &s.Username)
	case "password":
		return directive.OneArg(d, &s.Password)
	case "db":
		return checked(d, directive.NumberArg(d, &s.DB), s.checkDB)
	case "tls":
		s.TLS = new(RedisTLS)
		return s.TLS.unmarshal(d)
	case "sentinel_master":
		return directive.OneArg(d, &s.SentinelMaster)
	case "sentinel_username":
		return directive.OneArg(d, &s.SentinelUsername)
	case "sentinel_password":
		return directive.OneArg(d, &s.SentinelPassword)
	case "cluster":
		return directive.FlagArg(d, &s.Cluster)
	case "prefix":
		return directive.OneArg(d, &s.Prefix)
	case "timeout":
		return checked(d, directive.DurationArg(d, &s.Timeout), s.checkTimeout)
	case "replicas":
		return checked(d, directive.NumberArg(d, &s.Replicas), s.checkReplicas)
	case "eviction":
		return checked(d, directive.OneArg(d, &s.Eviction), s.checkEviction)
	default:
		return directive.Unknown(option, redisOptions...)
	}
}

// redisOptions are the options of the store.
var redisOptions = []string{
	"url", "address", "username", "password", "db", "tls", "sentinel_master", "sentinel_username", "sentinel_password",
	"cluster", "prefix", "timeout", "replicas", "eviction",
}

// checked checks an option that was just read, unless err says that it couldn't be.
func checked(d *caddyfile.Dispenser, err error, check func() error) error {
	if err != nil {
		return err
	}
	return directive.Check(d, check())
}

func (t *RedisTLS) unmarshal(d *caddyfile.Dispenser) error {
	if err := directive.NoArgs(d); err != nil {
		return err
	}
	_, err := directive.EachOption(d, func(d *caddyfile.Dispenser, option string) error {
		switch option {
		case "ca":
			return directive.OneArg(d, &t.CA)
		case "certificate":
			if !d.AllArgs(&t.Certificate, &t.Key) {
				return d.Err("takes two files: the certificate and its key")
			}
			return nil
		case "server_name":
			return directive.OneArg(d, &t.ServerName)
		case "insecure_skip_verify":
			return directive.FlagArg(d, &t.InsecureSkipVerify)
		default:
			return directive.Unknown(option, "ca", "certificate", "server_name", "insecure_skip_verify")
		}
	})
	return err
}
