package knowledge

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// What is stored of groups is read as it was.
func FuzzMemberships(f *testing.F) {
	f.Add("cars", "=;,", "epoch")
	f.Add("", " %+", "")
	f.Fuzz(func(t *testing.T, one, two, epoch string) {
		if strings.ContainsAny(epoch, ";") {
			return // NewToken makes no such epoch
		}
		m := memberships{one: epoch, two: "x"}
		fields, text := splitVary("accept,x-user" + m.String())
		if got := parseMemberships(text); fields != "accept,x-user" || !maps.Equal(got, m) {
			t.Errorf("%q is read as %q", m, got)
		}
	})
}

// The groups of a resource add up, as long as there is room.
func TestMemberships(t *testing.T) {
	many := func(n int) memberships {
		m := make(memberships)
		for i := range n {
			m[fmt.Sprint(i)] = "epoch"
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		known  memberships
		named  []string
		want   string
		stored bool
	}{
		{"none", nil, nil, "", true},
		{"known ones", memberships{"a": "1"}, nil, ";a=1", true},
		{"the same", memberships{"a": "1"}, []string{`"a"`}, ";a=1", true},
		{"another", memberships{"b": "1"}, []string{`"a"`}, ";a=;b=1", true},
		{"the first", nil, []string{`"a"`}, ";a=", true},
		{"malformed", memberships{"a": "1"}, []string{`b`}, ";a=1", true},
		{"one too many with the known ones", many(64), []string{`"a", "0"`}, ";0=epoch;a=", true},
		{"a name that is too long", nil, []string{`"` + strings.Repeat("a", resource.MaxGroupName+1) + `"`}, "", false},
	} {
		v := View{Reader: new(Reader), groups: tt.known}
		h := make(http.Header)
		if tt.named != nil {
			h["Cache-Groups"] = tt.named
		}
		before := maps.Clone(tt.known)
		m, ok := v.memberships(h)
		if got := m.String(); got != tt.want || ok != tt.stored {
			t.Errorf("%s: got %q, %v, want %q, %v", tt.name, got, ok, tt.want, tt.stored)
		}
		if want := strings.HasSuffix(tt.want, "=") || strings.Contains(tt.want, "=;"); m.unread() != want || v.namesNewGroups(h) != want {
			t.Errorf("%s: %q has unread groups: %v", tt.name, tt.want, m.unread())
		}
		if !maps.Equal(tt.known, before) {
			t.Errorf("%s: what is known became %v", tt.name, tt.known)
		}
	}
}
