package admin

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/internal/history"
)

// schema is what the description says about a value.
type schema struct {
	Type       string
	Ref        string `json:"$ref"`
	Required   []string
	Properties map[string]schema
	Items      *schema
}

func describedAPI(t testing.TB) (described struct {
	Paths      map[string]map[string]any
	Components struct{ Schemas map[string]schema }
},
) {
	t.Helper()
	if err := json.Unmarshal(openAPI, &described); err != nil {
		t.Fatal(err)
	}
	return described
}

// The description has each path of the API, and no other.
func TestOpenAPIHasEveryPath(t *testing.T) {
	var served []string
	for _, route := range (api{}).Routes() {
		served = append(served, route.Pattern)
	}
	slices.Sort(served)
	if described := slices.Sorted(maps.Keys(describedAPI(t).Paths)); !slices.Equal(described, served) {
		t.Errorf("described: %q\nserved:    %q", described, served)
	}
}

// The description has each member of each object, with its type, and says which may be left
// out.
func TestOpenAPIHasEveryMember(t *testing.T) {
	described := describedAPI(t).Components.Schemas
	unseen := maps.Clone(described)
	delete(unseen, "Error") // Caddy makes that
	for name, value := range map[string]any{
		"Purge": purge{}, "Groups": originGroups{}, "Purged": purged{}, "PurgedStore": purgedStore{},
		"Resources": shownResources{}, "Resource": shownResource{}, "Variant": shownVariant{},
		"Claims": shownClaims{}, "Claim": shownClaim{}, "Waiting": shownWaiting{},
		"Stores": shownStores{}, "Store": shownStore{}, "Journal": shownJournal{},
		"Stats": shownStats{}, "Requests": shownRequests{}, "Handler": history.Summary{}, "Writes": history.Writes{}, "Product": history.Product{},
		"Refusals": shownRefusals{}, "Refusal": shownRefusal{},
	} {
		delete(unseen, name)
		s := described[name]
		var members, required []string
		object := reflect.TypeOf(value)
		for i := range object.NumField() {
			member, options, _ := strings.Cut(object.Field(i).Tag.Get("json"), ",")
			members = append(members, member)
			if options == "" {
				required = append(required, member)
			}
			if got, want := typeOf(s.Properties[member]), jsonType(object.Field(i).Type); got != want {
				t.Errorf("%s.%s: described as %s, but it is %s", name, member, got, want)
			}
		}
		slices.Sort(members)
		slices.Sort(required)
		slices.Sort(s.Required)
		if got := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(got, members) {
			t.Errorf("%s: described: %q\nsent:      %q", name, got, members)
		}
		if !slices.Equal(s.Required, required) {
			t.Errorf("%s: described as always there: %q\nsent:      %q", name, s.Required, required)
		}
	}
	if len(unseen) > 0 {
		t.Errorf("described, but unknown: %q", slices.Collect(maps.Keys(unseen)))
	}
}

func typeOf(s schema) string {
	switch {
	case s.Ref != "":
		return "object"
	case s.Type == "array":
		return "array of " + typeOf(*s.Items)
	default:
		return s.Type
	}
}

func jsonType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "string"
	case t.Kind() == reflect.Pointer:
		return jsonType(t.Elem())
	case t.Kind() == reflect.Slice:
		return "array of " + jsonType(t.Elem())
	case t.Kind() == reflect.Struct:
		return "object"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.String:
		return "string"
	case t.Kind() == reflect.Float64:
		return "number"
	default:
		return "integer"
	}
}
