package preconditions

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-preconditions/preconditions/internal/directive"
	"github.com/caddy-preconditions/preconditions/internal/spelling"
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
//		profile       s3 [<host>...]|webdav
//		key           <template>
//		etag          upstream|body|modified|version
//		etag          header <field> [hash|verbatim|weak]
//		etag          json <pointers…> [hash|verbatim|weak]
//		weak_tags     refuse|accept
//		vary          <fields…>
//		secret        <text>
//		buffer        <size>
//		buffer_total  <size>
//		require       [<methods…>]
//		verify        passing|all|never|<duration>
//		reads         origin|store
//		signed        aws|rfc9421|cavage|gcs|azure …
//		affects       <path> <paths…>
//		guards        <path> <path>
//		condition     json|query|header <pointer or name> [keep]
//		items         <pointer> <pointer or template> [<member>]
//		write_etag    verbatim|always|answer|off
//		replay
//		unanswered    none|<statuses…>
//		lease         <duration>
//		wait          <duration>
//		grace         <duration>
//		lag           <duration>
//		retention     <duration>
//		mode          enforce|report
//		errors        problem|s3|webdav|caddy
//		errors        template <file> [<media type>]
//		disclose      on|off
//		status_field  [<name>]
//		unconditional serialize|forward
//		unclear_paths refuse|forward
//		store_down {
//			conditional   refuse|forward
//			unconditional forward|refuse
//			retry_after   <duration>
//		}
//	}
//
// Only etag, affects, guards, condition and items may be given more than once. Each etag
// is one source, and they are tried in the order in which they are given. A status may
// also be a class, such as 5xx.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return notAMatcher(d)
	}
	at, err := directive.EachOption(d, h.unmarshalOption, "etag", "affects", "guards", "condition", "items")
	if err != nil {
		return err
	}
	return h.checkParsed(at)
}

// notAMatcher refuses an argument of the directive. Caddy has already taken a matcher, if
// there was one.
func notAMatcher(d *caddyfile.Dispenser) error {
	arg := d.Val()
	if arg == "*" || strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "@") {
		return d.Errf("%q is one matcher too many: combine them in a named one", arg)
	}
	return d.Errf("%q is not a matcher: write /%s or @%s", arg, arg, arg)
}

func (h *Handler) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "store":
		return h.unmarshalStore(d)
	case "profile":
		return unmarshalProfile(d, h)
	case "key":
		return directive.OneArg(d, &h.Key)
	case "etag":
		var source ETagSource
		if err := source.unmarshal(d); err != nil {
			return err
		}
		h.ETag = append(h.ETag, source)
		return directive.Check(d, errorOf(sources(h.ETag)))
	case "vary":
		return directive.SomeArgs(d, &h.Vary)
	case "secret":
		return directive.OneArg(d, &h.Secret)
	case "require":
		h.Require = requiredMethods(d.RemainingArgs())
		return nil
	case "verify":
		return directive.OneArg(d, &h.Verify)
	case "signed":
		return directive.SomeArgs(d, &h.Signed)
	case "affects":
		args := d.RemainingArgs()
		if len(args) < 2 {
			return d.Err("takes the path of a write and one or more paths of what it also changes")
		}
		h.Affects = append(h.Affects, Affects{Path: args[0], Resources: args[1:]})
		return directive.Check(d, errorOf(affectsRules(h.Affects)))
	case "guards":
		var g Guards
		if !d.AllArgs(&g.Path, &g.Resource) {
			return d.Err("takes the path of a write and the path of the resource that its condition is about")
		}
		h.Guards = append(h.Guards, g)
		return directive.Check(d, errorOf(guardsRules(h.Guards)))
	case "condition":
		var c Condition
		if err := c.unmarshal(d); err != nil {
			return err
		}
		h.Condition = append(h.Condition, c)
		return directive.Check(d, errorOf(conditionPlaces(h.Condition)))
	case "items":
		var items Items
		if err := items.unmarshal(d); err != nil {
			return err
		}
		h.Items = append(h.Items, items)
		return directive.Check(d, errorOf(itemRules(h.Items)))
	case "write_etag":
		return directive.OneArg(d, &h.WriteETag)
	case "replay":
		return directive.FlagArg(d, &h.Replay)
	case "mode", "unconditional", "unclear_paths", "weak_tags", "reads":
		return directive.OneArg(d, map[string]*string{
			"mode": &h.Mode, "unconditional": &h.Unconditional, "unclear_paths": &h.UnclearPaths, "weak_tags": &h.WeakTags, "reads": &h.Reads,
		}[option])
	case "errors", "disclose", "status_field":
		return unmarshalAnswers(d, option, h)
	case "unanswered":
		return h.Unanswered.unmarshal(d)
	case "store_down":
		h.StoreDown = new(StoreDown)
		return h.StoreDown.unmarshal(d)
	default:
		return unmarshalLimit(d, option, h)
	}
}

// requiredMethods returns what the arguments of the option require stand for.
func requiredMethods(args []string) []string {
	if len(args) == 0 {
		return []string{"PUT", "PATCH", "DELETE"}
	}
	return args
}

// optionNames are the options of the directive.
var optionNames = []string{
	"store", "profile", "key", "etag", "weak_tags", "vary", "secret", "buffer", "buffer_total", "require", "verify", "reads",
	"affects", "guards", "condition", "items",
	"write_etag", "unclear_paths",
	"replay", "signed", "unanswered", "lease", "wait", "grace", "lag", "retention", "mode", "errors", "disclose", "status_field", "unconditional",
	"store_down",
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

// storeNamespace is the namespace of the modules that are stores.
const storeNamespace = "http.preconditions.stores"

// storeNames returns the stores that are compiled in.
func storeNames() (names []string) {
	for _, m := range caddy.GetModules(storeNamespace) {
		names = append(names, m.ID.Name())
	}
	return names
}

func (h *Handler) unmarshalStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("takes the name of a store: %s", strings.Join(storeNames(), " or "))
	}
	name := d.Val()
	if _, err := caddy.GetModule(storeNamespace + "." + name); err != nil {
		return directive.Check(d, spelling.Check(name, storeNames()...))
	}
	module, err := caddyfile.UnmarshalModule(d, storeNamespace+"."+name)
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

// The words that the option unanswered has in a Caddyfile: no status, and what stands
// after the digit of a class.
const (
	unansweredNone  = "none"
	unansweredClass = "xx"
)

func (u *UnansweredStatuses) unmarshal(d *caddyfile.Dispenser) error {
	var args []string
	if err := directive.SomeArgs(d, &args); err != nil {
		return err
	}
	*u = UnansweredStatuses{}
	if len(args) == 1 && args[0] == unansweredNone {
		return nil
	}
	for _, arg := range args {
		number, err := unansweredNumber(arg)
		if err != nil {
			return d.WrapErr(err)
		}
		*u = append(*u, number)
	}
	return nil
}

// unansweredNumber returns what a word of the option unanswered stands for.
func unansweredNumber(word string) (int, error) {
	switch {
	case word == unansweredNone:
		return 0, errors.New(unansweredNone + " must stand alone")
	case word == "default":
		return 0, errors.New("no word stands for the default: list each status, separated by spaces")
	case strings.ContainsAny(word, "0123456789") && strings.ContainsAny(word, "-,"):
		return 0, fmt.Errorf("%q: ranges aren't possible: list each status, separated by spaces", word)
	}
	least, most := 100, 599 // 1xx is refused later, with the reason
	digits, isClass := strings.CutSuffix(word, unansweredClass)
	if isClass {
		least, most = 1, 5
	}
	number, err := strconv.Atoi(digits)
	if err != nil || number < least || number > most || isClass && len(digits) > 1 {
		return 0, fmt.Errorf("%q is neither a status from 200 to 599 nor a class, such as 5xx (or, alone, %s)", word, unansweredNone)
	}
	return number, nil
}

func (s *StoreDown) unmarshal(d *caddyfile.Dispenser) error {
	if err := directive.NoArgs(d); err != nil {
		return err
	}
	_, err := directive.EachOption(d, func(d *caddyfile.Dispenser, option string) error {
		var err error
		switch option {
		case "conditional":
			err = directive.OneArg(d, &s.Conditional)
		case "unconditional":
			err = directive.OneArg(d, &s.Unconditional)
		case "retry_after":
			err = directive.DurationArg(d, &s.RetryAfter)
		default:
			return directive.Unknown(option, "conditional", "unconditional", "retry_after")
		}
		if err != nil {
			return err
		}
		return directive.Check(d, s.checkOption(option))
	})
	return err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
