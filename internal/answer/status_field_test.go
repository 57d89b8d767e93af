package answer

import (
	"testing"

	"github.com/dunglas/httpsfv"
)

// Whatever a reason has in it, the field is a structured field, which says the same in ASCII.
func FuzzStatusField(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, w := newResponder(t, "PUT")
		a.StatusName = "caddy"
		a.Report(Passed, text)
		list, err := httpsfv.UnmarshalList(w.Header().Values("Preconditions-Status"))
		if err != nil || len(list) != 1 || list[0].(httpsfv.Item).Value != httpsfv.Token("caddy") {
			t.Fatalf("%v in %q", err, w.Header())
		}
		detail, ok := list[0].(httpsfv.Item).Params.Get("detail")
		if ok != (text != "") || ok && len([]rune(detail.(string))) != len([]rune(text)) {
			t.Errorf("%q became %q", text, detail)
		}
	})
}

// A name that isn't a token is refused.
func TestStatusNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"": true, "caddy": true, "node-1.example:443/a": true, "*": true, "1": false, "a b": false, `a"`: false, "ä": false, "a;b": false, "-a": false, "a\x00": false,
	} {
		if err := CheckStatusName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
