package preconditions

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/internal/advice"
	"github.com/caddy-preconditions/preconditions/internal/gateway"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/spelling"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// Condition is a place where clients send the version that a write depends on.
type Condition struct {
	// `json`: a member of JSON content of at most `buffer` bytes. `query`: a parameter
	// of the query. `header`: a request field.
	Place string `json:"place"`

	// The JSON pointer (RFC 6901) to the member, such as `/etag`, or the name of the
	// parameter or the field.
	Name string `json:"name"`

	// Whether the backend gets the version, too. Choose that if the backend itself has
	// made it. Default: false, because a backend that has never heard of a tag may
	// refuse or store it.
	Keep bool `json:"keep,omitempty"`
}

const conditionKeep = "keep"

func placeKinds() (words []string) {
	for _, kind := range resource.PlaceKinds {
		words = append(words, string(kind))
	}
	return words
}

// conditionPlaces returns what the option condition means.
func conditionPlaces(options []Condition) (places []resource.Place, err error) {
	for _, o := range options {
		if !slices.Contains(placeKinds(), o.Place) {
			return nil, fmt.Errorf("must be json, query or header, not %q%s", o.Place, spelling.Meant(o.Place, placeKinds()...))
		}
		p, err := resource.ParsePlace(resource.PlaceKind(o.Place), o.Name, o.Keep)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(places, func(other resource.Place) bool { return other.String() == p.String() }) {
			return nil, fmt.Errorf("%s is given twice", p)
		}
		places = append(places, p)
	}
	return places, nil
}

// checkConditions refuses invalid places, and those that other options need.
func checkConditions(h *Handler) error {
	places, err := conditionPlaces(h.Condition)
	if err != nil {
		return err
	}
	for _, p := range places {
		switch {
		case p.Kind == resource.QueryPlace && strings.Contains(h.Key, "uri.query."+p.Name+"}"):
			return fmt.Errorf("%s says which resource a request is about, according to the key: it can't also say which version", p)
		case p.Kind == resource.HeaderPlace && (containsFold(h.Vary, p.Name) || strings.Contains(strings.ToLower(h.Key), "header."+strings.ToLower(p.Name)+"}")):
			return fmt.Errorf("%s says what a request is about, according to vary or the key: it can't also say which version", p)
		}
	}
	return nil
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

func (c *Condition) unmarshal(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return d.Err("takes json and a pointer, query and a parameter, or header and a field; then keep, if the backend gets it, too")
	}
	c.Place, c.Name = args[0], args[1]
	if len(args) == 3 {
		if err := spelling.Check(args[2], conditionKeep); err != nil {
			return d.WrapErr(err)
		}
		c.Keep = true
	}
	return nil
}

// versionsOf returns what there is to advise about versions. Given are the options as they
// were configured.
func versionsOf(h, given Handler) (v advice.Versions) {
	for _, c := range h.Condition {
		if c.Keep && v.Kept == "" {
			v.Kept = c.Place + " " + c.Name
		}
		if c.Place == string(resource.JSONPlace) {
			v.Members = append(v.Members, strings.TrimPrefix(c.Name, "/"))
		}
	}
	for _, i := range h.Items {
		v.InLists = append(v.InLists, cmp.Or(i.Member, gateway.DefaultMember))
	}
	parsed, _ := sources(h.ETag)
	v.Verbatim = (proxyhooks.Deriver{Sources: parsed}).TakesValues()
	v.Upstream = slices.ContainsFunc(given.ETag, func(s ETagSource) bool { return proxyhooks.SourceKind(s.Source) == proxyhooks.SourceUpstream })
	return v
}
