package answer

import (
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// placeholderPrefix begins the names of all placeholders, and asJSON ends those that have
// the same values in JSON.
const (
	placeholderPrefix = "http.preconditions."
	asJSON            = ".json"
)

// The placeholders, in the order in which their values are kept.
const (
	outcomePlaceholder = iota
	reasonPlaceholder
	resourcePlaceholder
	conditionPlaceholder
	providedPlaceholder
	currentPlaceholder
	placeholderCount
)

// placeholderNames are their names, without the prefix.
var placeholderNames = [placeholderCount]string{
	outcomePlaceholder:   "outcome",
	reasonPlaceholder:    "reason",
	resourcePlaceholder:  "resource",
	conditionPlaceholder: "condition",
	providedPlaceholder:  "provided_etag",
	currentPlaceholder:   "current_etag",
}

// placeholders holds the values of the placeholders of one request. All handlers that the
// request comes through share them: what was reported last counts.
type placeholders struct {
	mu       sync.Mutex
	reported bool // before, no placeholder is known
	values   [placeholderCount]string
	problem  []byte // problem details in JSON
}

// MapPlaceholders gives the replacer of the request the placeholders. Each has a second name,
// with .json at its end, under which its value is a JSON string, or null if it is empty. It
// must be called before anybody uses the replacer beside the caller.
func MapPlaceholders(a *Responder) { mappedFor(a) }

// placeholdersOf returns the placeholders of a replacer, and gives it some if it has none.
func placeholdersOf(repl *caddy.Replacer) *placeholders {
	if all, mapped := repl.Get(placeholderPrefix); mapped {
		return all.(*placeholders) // of a handler further out
	}
	all := new(placeholders)
	repl.Map(all.replace)
	return all
}

// replace returns the value of a placeholder, for a replacer.
func (p *placeholders) replace(name string) (any, bool) {
	name, ours := strings.CutPrefix(name, placeholderPrefix)
	switch {
	case !ours:
		return nil, false
	case name == "":
		return p, true
	}
	plain, escaped := strings.CutSuffix(name, asJSON)
	text, known := p.get(plain)
	switch {
	case !escaped && !known:
		return nil, false
	case !escaped:
		return text, true
	case text == "":
		return "null", true
	default:
		return string(appendText(nil, text)), true
	}
}

// String returns nothing: the prefix alone is no placeholder.
func (*placeholders) String() string { return "" }

// get returns the value of the placeholder with a name, without the prefix.
func (p *placeholders) get(name string) (text string, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name == "problem" {
		return string(p.problem), p.reported
	}
	if i := slices.Index(placeholderNames[:], name); i >= 0 {
		return p.values[i], p.reported
	}
	return "", false
}

// report makes all placeholders known. Those that have no value for some requests keep the
// one that they have.
func (p *placeholders) report(o Outcome, reason, key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reported = true
	p.values[outcomePlaceholder] = string(o)
	p.values[reasonPlaceholder] = reason
	p.values[resourcePlaceholder] = key
}

// reportCondition sets the placeholders about a condition. Current may be nil: then nothing is
// said about the current tag.
func (p *placeholders) reportCondition(field, provided string, current *string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.values[conditionPlaceholder] = field
	p.values[providedPlaceholder] = provided
	if current != nil {
		p.values[currentPlaceholder] = *current
	}
}

// reportProblem sets the placeholder with the problem details, which nobody changes any more.
func (p *placeholders) reportProblem(inJSON []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problem = inJSON
}
