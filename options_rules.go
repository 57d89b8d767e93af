package preconditions

import (
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/internal/gateway"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Affects says which other resources a write changes.
type Affects struct {
	// The path of the write. In it, `*` stands for any one segment.
	Path string `json:"path"`

	// The paths of what the write also changes. The first `*` stands for what the
	// first `*` of the path matched, and so on. A path that ends in `/**` stands
	// for what is at the path before that, and for everything below.
	Resources []string `json:"resources"`
}

// Guards says which resource the conditions of a write are about.
type Guards struct {
	// The path of the write. In it, `*` stands for any one segment.
	Path string `json:"path"`

	// The path of the resource that the conditions are about. The first `*` stands
	// for what the first `*` of the path matched, and so on. A segment such as `{id}`
	// stands for a member of the JSON content of a POST, a string or a whole number. The
	// rule is then about what a POST creates, and about no other method.
	Resource string `json:"resource"`
}

// Items says where a list contains items that are resources of their own.
type Items struct {
	// Where the array of items is in the content of the list: a JSON pointer (RFC
	// 6901), which is empty if the content is that array.
	Array string `json:"array"`

	// Where an item is: a template (RFC 6570, level 1) such as `/orders/{id}`, which
	// makes the path as the handler sees it. Its variables stand for members of the
	// item that are strings or whole numbers. A text without a brace is a JSON
	// pointer, within the item, to a reference of the same origin.
	Path string `json:"path"`

	// The member that gets the tag. An item that already has this member keeps its
	// own. Default: `etag`.
	Member string `json:"member,omitempty"`
}

// affectsRules returns what the option affects means.
func affectsRules(options []Affects) ([]relation.Rule, error) {
	var rules []relation.Rule
	for _, o := range options {
		r, err := relation.ParseRule(o.Path, o.Resources...)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// guardsRules returns what the option guards means.
func guardsRules(options []Guards) ([]relation.Rule, error) {
	var rules []relation.Rule
	for i, o := range options {
		r, err := relation.ParseGuard(o.Path, o.Resource)
		if err != nil {
			return nil, err
		}
		if r.LeadsToTree() {
			return nil, fmt.Errorf("%q must be one resource", o.Resource)
		}
		if slices.ContainsFunc(options[:i], func(other Guards) bool { return other.Path == o.Path }) {
			return nil, fmt.Errorf("path %q is given twice: the conditions of a write are about one resource", o.Path)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// checkOthers refuses rules about other resources if their keys can't be told.
func (h *Handler) checkOthers(rules int) error {
	if rules == 0 {
		return nil
	}
	return resource.Template(h.Key).CheckOthers()
}

// itemRules returns what the option items means.
func itemRules(options []Items) ([]gateway.ItemRule, error) {
	var rules []gateway.ItemRule
	for i, o := range options {
		r, err := gateway.ParseItemRule(o.Array, o.Path, o.Member)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(options[:i], func(other Items) bool { return other.Array == o.Array }) {
			return nil, fmt.Errorf("array %q is given twice", o.Array)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// checkItems refuses invalid rules, and rules without an etag source that can tag
// the items of a list.
func (h *Handler) checkItems() error {
	if _, err := itemRules(h.Items); err != nil || len(h.Items) == 0 {
		return err
	}
	list, err := sources(h.ETag)
	if err == nil && !(proxyhooks.Deriver{Sources: list}).TagsItems() {
		return errors.New("etag has neither of the sources json and body: a list doesn't show what the others derive tags from")
	}
	return nil
}

func (o *Items) unmarshal(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 || args[len(args)-1] == "" {
		return d.Err("takes a JSON pointer to an array, the path of an item and, if it isn't etag, the member for the tag")
	}
	o.Array, o.Path = args[0], args[1]
	if len(args) == 3 {
		o.Member = args[2]
	}
	return nil
}
