package proxyhooks

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

// TestItemTags: the tags are exactly the ones that a GET of the item shows. One is
// certain only if no GET can show a different tag for what is in the list.
func TestItemTags(t *testing.T) {
	pointers := func(texts ...string) (s Source) {
		s.Kind = SourceJSON
		for _, text := range texts {
			p, err := ParsePointer(text)
			if err != nil {
				t.Fatal(err)
			}
			s.Pointers = append(s.Pointers, p)
		}
		return s
	}
	upstream, body, version, field := Source{Kind: SourceUpstream}, Source{Kind: SourceBody}, Source{Kind: SourceVersion}, Source{Kind: SourceHeader, Field: "X-V"}
	header := http.Header{"Content-Type": {"application/json"}, "Content-Language": {"en"}, "X-V": {"1"}, "Etag": {`"list"`}}
	alone := http.Header{"Content-Type": {"application/json"}, "Content-Language": {"en"}}
	const item = `{"id":1, "version":"7"}`
	for _, test := range []struct {
		name    string
		sources []Source
		gets    []string // contents of the item, one for each tag
		certain bool
	}{
		{"json", []Source{pointers("/version")}, []string{item, `{"version":"7","more":true}`}, true},
		{"json, then body", []Source{pointers("/version", "/id"), body}, []string{item}, true},
		{"json after upstream", []Source{upstream, pointers("/version")}, []string{item}, false},
		{"json after header", []Source{field, pointers("/version")}, []string{item}, false},
		{"json, the whole item", []Source{pointers("")}, []string{item, `{"version":"7","id":1}`}, false},
		{"json, the whole item too", []Source{pointers("/version", "")}, []string{item}, false},
		{"json that is missing", []Source{pointers("/none"), body}, []string{item, item + "\n"}, false},
		{"the second json", []Source{pointers("/none"), pointers("/id")}, []string{item}, false},
		{"body", []Source{body}, []string{item, item + "\n"}, false},
		{"the default", []Source{upstream, body}, []string{item, item + "\n"}, false},
		{"json that is missing, then version", []Source{pointers("/none"), version}, nil, false},
		{"upstream", []Source{upstream}, nil, false},
	} {
		d := Deriver{Sources: test.sources, Secret: []byte("s"), Limit: 1 << 20}
		tags, certain := d.ItemTags(header, []byte(item))
		if certain != test.certain || (len(tags) == 0) != (test.gets == nil) {
			t.Errorf("%s: %v, certain: %t", test.name, tags, certain)
		}
		shown := make(map[validator.ETag]bool)
		for _, content := range test.gets {
			shown[d.FromContent(alone, []byte(content), time.Now()).ETag] = true
		}
		if len(shown) != len(tags) {
			t.Errorf("%s: %v, but a GET shows %v", test.name, tags, shown)
		}
		for _, tag := range tags {
			if !shown[tag] {
				t.Errorf("%s: no GET shows %s", test.name, tag)
			}
		}
		other, _ := d.ItemTags(http.Header{"Content-Type": {"application/hal+json"}}, []byte(item))
		for _, tag := range other {
			if shown[tag] {
				t.Errorf("%s: a different media type gives the same tag", test.name)
			}
		}
	}
}
