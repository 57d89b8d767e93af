package preconditions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("preconditions", parseCaddyfile)
	// Inside of authentication, rewriting and encoding; around whatever
	// answers, also in handle and route blocks.
	httpcaddyfile.RegisterDirectiveOrder("preconditions", httpcaddyfile.After, "templates")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	preconditions [<matcher>] {
//		store         memory|redis …
//		key           <template>
//		etag          upstream|body|modified|version
//		etag          header <field>
//		etag          json <pointers…>
//		vary          <fields…>
//		secret        <text>
//		buffer        <size>
//		require       [<methods…>]
//		verify        passing|all|never|<duration>
//		affects       <path> <paths…>
//		guards        <path> <path>
//		items         <pointer> <pointer or template> [<member>]
//		write_etag    verbatim|always|off
//		replay
//		lease         <duration>
//		wait          <duration>
//		grace         <duration>
//		retention     <duration>
//		mode          enforce|report
//		errors        problem|caddy
//		disclose      on|off
//		unconditional serialize|forward
//		store_down {
//			conditional   refuse|forward
//			unconditional forward|refuse
//			retry_after   <duration>
//		}
//	}
//
// All options but etag, affects, guards and items may be given once; etag is given once per source, in the
// order in which they are tried.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	at, err := eachOption(d, h.unmarshalOption, "etag", "affects", "guards", "items")
	if err != nil {
		return err
	}
	return h.checkParsed(at)
}

func (h *Handler) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "store":
		return h.unmarshalStore(d)
	case "key":
		return oneArg(d, &h.Key)
	case "etag":
		var source ETagSource
		if err := source.unmarshal(d); err != nil {
			return err
		}
		h.ETag = append(h.ETag, source)
		return soFar(d, option, second(sources(h.ETag)))
	case "vary":
		return someArgs(d, &h.Vary)
	case "secret":
		return oneArg(d, &h.Secret)
	case "buffer":
		return sizeArg(d, &h.Buffer)
	case "require":
		if h.Require = d.RemainingArgs(); len(h.Require) == 0 {
			h.Require = []string{"PUT", "PATCH", "DELETE"}
		}
		return nil
	case "verify":
		return oneArg(d, &h.Verify)
	case "affects":
		args := d.RemainingArgs()
		if len(args) < 2 {
			return d.ArgErr()
		}
		h.Affects = append(h.Affects, Affects{Path: args[0], Resources: args[1:]})
		return soFar(d, option, second(affectsRules(h.Affects)))
	case "guards":
		var g Guards
		if !d.AllArgs(&g.Path, &g.Resource) {
			return d.ArgErr()
		}
		h.Guards = append(h.Guards, g)
		return soFar(d, option, second(guardsRules(h.Guards)))
	case "items":
		var items Items
		if err := items.unmarshal(d); err != nil {
			return err
		}
		h.Items = append(h.Items, items)
		return soFar(d, option, second(itemRules(h.Items)))
	case "write_etag":
		return oneArg(d, &h.WriteETag)
	case "replay":
		return flagArg(d, &h.Replay)
	case "lease":
		return durationArg(d, &h.Lease)
	case "wait":
		return durationArg(d, &h.Wait)
	case "grace":
		return durationArg(d, &h.Grace)
	case "retention":
		return durationArg(d, &h.Retention)
	case "mode":
		return oneArg(d, &h.Mode)
	case "errors":
		return oneArg(d, &h.Errors)
	case "disclose":
		h.Disclose = new(bool)
		return switchArg(d, h.Disclose)
	case "unconditional":
		return oneArg(d, &h.Unconditional)
	case "store_down":
		h.StoreDown = new(StoreDown)
		return h.StoreDown.unmarshal(d)
	default:
		return d.Errf("unknown option %s", option)
	}
}

// soFar returns what is wrong with an option that may be given again, so that the
// line of this one is named, and not that of the last.
func soFar(d *caddyfile.Dispenser, option string, err error) error {
	if err == nil {
		return nil
	}
	return d.Errf("%s: %v", option, err)
}

// checkParsed reports an option that can't be meant, with its place.
func (h *Handler) checkParsed(at map[string]caddyfile.Token) error {
	complete := *h
	if h.StoreDown != nil {
		complete.StoreDown = new(*h.StoreDown) // the defaults are no part of what was written
	}
	complete.setDefaults()
	err := complete.check()
	if option, ok := errors.AsType[*optionError](err); ok {
		if token, given := at[option.option]; given {
			return errAt(token, err)
		}
	}
	return err
}

func (h *Handler) unmarshalStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "http.preconditions.stores."+name)
	if err != nil {
		return err
	}
	if _, ok := module.(StoreOpener); !ok {
		return d.Errf("module %s is no store", name)
	}
	h.StoreRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

func (s *ETagSource) unmarshal(d *caddyfile.Dispenser) error {
	var args []string
	if err := someArgs(d, &args); err != nil || args[0] == "" {
		return d.ArgErr()
	}
	s.Source, args = args[0], args[1:]
	switch proxyhooks.Kind(s.Source) {
	case proxyhooks.JSON:
		if s.Pointers = args; len(args) == 0 {
			return d.ArgErr()
		}
	case proxyhooks.Header:
		if len(args) != 1 || args[0] == "" {
			return d.ArgErr()
		}
		s.Field = args[0]
	case proxyhooks.Upstream, proxyhooks.Modified, proxyhooks.Body, proxyhooks.Version:
		if len(args) > 0 {
			return d.ArgErr()
		}
	}
	return nil // an unknown source is for sources to refuse
}

func (o *Items) unmarshal(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 || args[len(args)-1] == "" {
		return d.ArgErr()
	}
	o.Array, o.Path = args[0], args[1]
	if len(args) == 3 {
		o.Member = args[2]
	}
	return nil
}

func (s *StoreDown) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	_, err := eachOption(d, func(d *caddyfile.Dispenser, option string) error {
		switch option {
		case "conditional":
			return oneArg(d, &s.Conditional)
		case "unconditional":
			return oneArg(d, &s.Unconditional)
		case "retry_after":
			return durationArg(d, &s.RetryAfter)
		default:
			return d.Errf("unknown option store_down %s", option)
		}
	})
	return err
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store memory {
//		max_entries <number>
//	}
func (m *MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // store name
	if d.NextArg() {
		return d.ArgErr()
	}
	_, err := eachOption(d, func(d *caddyfile.Dispenser, option string) error {
		if option != "max_entries" {
			return d.Errf("unknown option store memory %s", option)
		}
		if err := numberArg(d, &m.MaxEntries); err != nil {
			return err
		}
		if m.MaxEntries < 1 {
			return d.Err("max_entries must be at least 1")
		}
		return nil
	})
	return err
}

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
//	}
func (s *RedisStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // store name
	name := d.Token()
	s.URL = d.RemainingArgs()
	if _, err := eachOption(d, s.unmarshalOption, "url", "address"); err != nil {
		return err
	}
	if err := s.contradiction(); err != nil {
		return errAt(name, err)
	}
	return nil
}

// contradiction reports what can't be meant, as far as that can be told before
// placeholders are replaced.
func (s *RedisStore) contradiction() error {
	text, err := json.Marshal(s)
	if err != nil || bytes.Contains(bytes.Trim(text, "{}"), []byte("{")) {
		return err
	}
	parsed := *s
	if parsed.TLS != nil {
		parsed.TLS = new(RedisTLS) // its files may be elsewhere
	}
	if err := parsed.Provision(caddy.Context{}); err != nil {
		return err
	}
	return parsed.Validate()
}

func (s *RedisStore) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "url":
		return someArgs(d, &s.URL)
	case "address":
		return someArgs(d, &s.Address)
	case "username":
		return oneArg(d, &s.Username)
	case "password":
		return oneArg(d, &s.Password)
	case "db":
		return numberArg(d, &s.DB)
	case "tls":
		s.TLS = new(RedisTLS)
		return s.TLS.unmarshal(d)
	case "sentinel_master":
		return oneArg(d, &s.SentinelMaster)
	case "sentinel_username":
		return oneArg(d, &s.SentinelUsername)
	case "sentinel_password":
		return oneArg(d, &s.SentinelPassword)
	case "cluster":
		return flagArg(d, &s.Cluster)
	case "prefix":
		return oneArg(d, &s.Prefix)
	case "timeout":
		return durationArg(d, &s.Timeout)
	case "replicas":
		return numberArg(d, &s.Replicas)
	default:
		return d.Errf("unknown option store redis %s", option)
	}
}

func (t *RedisTLS) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	_, err := eachOption(d, func(d *caddyfile.Dispenser, option string) error {
		switch option {
		case "ca":
			return oneArg(d, &t.CA)
		case "certificate":
			if !d.AllArgs(&t.Certificate, &t.Key) {
				return d.ArgErr()
			}
			return nil
		case "server_name":
			return oneArg(d, &t.ServerName)
		case "insecure_skip_verify":
			return flagArg(d, &t.InsecureSkipVerify)
		default:
			return d.Errf("unknown option tls %s", option)
		}
	})
	return err
}

// eachOption calls f for each option of the block that follows, and returns
// where each stands. An option that isn't repeatable may stand there once.
func eachOption(d *caddyfile.Dispenser, f func(d *caddyfile.Dispenser, option string) error, repeatable ...string) (map[string]caddyfile.Token, error) {
	at := make(map[string]caddyfile.Token)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if _, given := at[option]; given && !slices.Contains(repeatable, option) {
			return nil, d.Errf("%s is given twice", option)
		}
		at[option] = d.Token()
		if err := f(d, option); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// errAt adds the place of a token to err.
func errAt(token caddyfile.Token, err error) error {
	return fmt.Errorf("%w, at %s:%d", err, token.File, token.Line)
}

// The following take the arguments of the option that d stands at.

func oneArg(d *caddyfile.Dispenser, text *string) error {
	if !d.AllArgs(text) || *text == "" {
		return d.ArgErr()
	}
	return nil
}

func someArgs(d *caddyfile.Dispenser, texts *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*texts = append(*texts, args...)
	return nil
}

func flagArg(d *caddyfile.Dispenser, flag *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*flag = true
	return nil
}

func switchArg(d *caddyfile.Dispenser, on *bool) error {
	var word string
	if err := oneArg(d, &word); err != nil {
		return err
	}
	switch word {
	case "on", "off":
		*on = word == "on"
		return nil
	}
	return d.Errf("must be on or off, not %q", word)
}

func numberArg(d *caddyfile.Dispenser, number *int) error {
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return d.Errf("%q is not a whole number", text)
	}
	*number = n
	return nil
}

func durationArg(d *caddyfile.Dispenser, duration *caddy.Duration) error {
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(text)
	if err != nil {
		return d.Errf("%q is not a duration: %v", text, err)
	}
	if parsed <= 0 {
		return d.Errf("%q is not above zero", text)
	}
	*duration = caddy.Duration(parsed)
	return nil
}

func sizeArg(d *caddyfile.Dispenser, size *int64) error {
	var text string
	if err := oneArg(d, &text); err != nil {
		return err
	}
	parsed, err := humanize.ParseBytes(text)
	if err != nil || parsed == 0 || parsed > 1<<62 {
		return d.Errf("%q is not a size above zero", text)
	}
	*size = int64(parsed)
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*MemoryStore)(nil)
	_ caddyfile.Unmarshaler = (*RedisStore)(nil)
)
