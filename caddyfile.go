package preconditions

import (
	"errors"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/internal/directive"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("preconditions", parseCaddyfile)
	// It runs inside authentication, rewriting and encoding, and around whatever
	// answers, including handle and route blocks.
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
//		unanswered    none|<statuses…>
//		lease         <duration>
//		wait          <duration>
//		grace         <duration>
//		lag           <duration>
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
// Only etag, affects, guards and items may be given more than once. Each etag is
// one source, and they are tried in the order in which they are given. A status may
// also be a class, such as 5xx.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	at, err := directive.EachOption(d, h.unmarshalOption, "etag", "affects", "guards", "items")
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
		return directive.OneArg(d, &h.Key)
	case "etag":
		var source ETagSource
		if err := source.unmarshal(d); err != nil {
			return err
		}
		h.ETag = append(h.ETag, source)
		return errHere(d, option, errorOf(sources(h.ETag)))
	case "vary":
		return directive.SomeArgs(d, &h.Vary)
	case "secret":
		return directive.OneArg(d, &h.Secret)
	case "buffer":
		return directive.SizeArg(d, &h.Buffer)
	case "require":
		if h.Require = d.RemainingArgs(); len(h.Require) == 0 {
			h.Require = []string{"PUT", "PATCH", "DELETE"}
		}
		return nil
	case "verify":
		return directive.OneArg(d, &h.Verify)
	case "affects":
		args := d.RemainingArgs()
		if len(args) < 2 {
			return d.ArgErr()
		}
		h.Affects = append(h.Affects, Affects{Path: args[0], Resources: args[1:]})
		return errHere(d, option, errorOf(affectsRules(h.Affects)))
	case "guards":
		var g Guards
		if !d.AllArgs(&g.Path, &g.Resource) {
			return d.ArgErr()
		}
		h.Guards = append(h.Guards, g)
		return errHere(d, option, errorOf(guardsRules(h.Guards)))
	case "items":
		var items Items
		if err := items.unmarshal(d); err != nil {
			return err
		}
		h.Items = append(h.Items, items)
		return errHere(d, option, errorOf(itemRules(h.Items)))
	case "write_etag":
		return directive.OneArg(d, &h.WriteETag)
	case "replay":
		return directive.FlagArg(d, &h.Replay)
	case "lease":
		return directive.DurationArg(d, &h.Lease)
	case "wait":
		return directive.DurationArg(d, &h.Wait)
	case "grace":
		return directive.DurationArg(d, &h.Grace)
	case "lag":
		h.Lag = new(caddy.Duration)
		return directive.DurationOrZeroArg(d, h.Lag)
	case "retention":
		return directive.DurationArg(d, &h.Retention)
	case "mode":
		return directive.OneArg(d, &h.Mode)
	case "errors":
		return directive.OneArg(d, &h.Errors)
	case "disclose":
		h.Disclose = new(bool)
		return directive.SwitchArg(d, h.Disclose)
	case "unanswered":
		return h.unmarshalUnanswered(d)
	case "unconditional":
		return directive.OneArg(d, &h.Unconditional)
	case "store_down":
		h.StoreDown = new(StoreDown)
		return h.StoreDown.unmarshal(d)
	default:
		return d.Errf("unknown option %s", option)
	}
}

// errHere adds the line of the option that was just read to err. For a repeatable
// option, checkParsed would name the line of the last one instead.
func errHere(d *caddyfile.Dispenser, option string, err error) error {
	if err == nil {
		return nil
	}
	return d.Errf("%s: %v", option, err)
}

// checkParsed returns an error for the first invalid option, with its file and line.
// At has the last token of each option.
func (h *Handler) checkParsed(at map[string]caddyfile.Token) error {
	complete := *h
	if h.StoreDown != nil {
		complete.StoreDown = new(*h.StoreDown) // setDefaults must not change the configuration
	}
	complete.setDefaults()
	err := complete.check()
	if option, ok := errors.AsType[*optionError](err); ok {
		if token, given := at[option.option]; given {
			return directive.ErrAt(token, err)
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
	opener, ok := module.(StoreOpener)
	if !ok {
		return d.Errf("module %s is not a store", name)
	}
	h.storeTimeout = timeoutOf(opener)
	h.StoreRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

// unansweredNone stands for no status in the option unanswered.
const unansweredNone = "none"

func (h *Handler) unmarshalUnanswered(d *caddyfile.Dispenser) error {
	var args []string
	if err := directive.SomeArgs(d, &args); err != nil {
		return err
	}
	h.Unanswered = []int{}
	if len(args) == 1 && args[0] == unansweredNone {
		return nil
	}
	for _, arg := range args {
		class, isClass := strings.CutSuffix(arg, "xx")
		status, err := strconv.Atoi(class)
		if err != nil || isClass != (len(class) == 1) {
			return d.Errf("unanswered: %q is neither a status, such as 503, nor a class, such as 5xx (or, alone, %s)", arg, unansweredNone)
		}
		h.Unanswered = append(h.Unanswered, status)
	}
	return nil
}

func (s *ETagSource) unmarshal(d *caddyfile.Dispenser) error {
	var args []string
	if err := directive.SomeArgs(d, &args); err != nil || args[0] == "" {
		return d.ArgErr()
	}
	s.Source, args = args[0], args[1:]
	switch proxyhooks.SourceKind(s.Source) {
	case proxyhooks.SourceJSON:
		if s.Pointers = args; len(args) == 0 {
			return d.ArgErr()
		}
	case proxyhooks.SourceHeader:
		if len(args) != 1 || args[0] == "" {
			return d.ArgErr()
		}
		s.Field = args[0]
	case proxyhooks.SourceUpstream, proxyhooks.SourceModified, proxyhooks.SourceBody, proxyhooks.SourceVersion:
		if len(args) > 0 {
			return d.ArgErr()
		}
	}
	return nil // an unknown source is refused by the function sources
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
	_, err := directive.EachOption(d, func(d *caddyfile.Dispenser, option string) error {
		switch option {
		case "conditional":
			return directive.OneArg(d, &s.Conditional)
		case "unconditional":
			return directive.OneArg(d, &s.Unconditional)
		case "retry_after":
			return directive.DurationArg(d, &s.RetryAfter)
		default:
			return d.Errf("unknown option store_down %s", option)
		}
	})
	return err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
