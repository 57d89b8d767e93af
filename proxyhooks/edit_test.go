package proxyhooks

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestEdit: the map itself is changed, and restored.
func TestEdit(t *testing.T) {
	h := http.Header{"If-Match": {`"a"`, `"b"`}, "Accept-Encoding": {"br"}, "Host": {"x"}}
	before := h.Clone()
	shared := h
	restore := EditHeader(h, map[string][]string{"If-Match": nil, "Accept-Encoding": {"identity"}, "If-Range": nil, "X-New": {"x"}})
	if want := (http.Header{"Accept-Encoding": {"identity"}, "Host": {"x"}, "X-New": {"x"}}); !maps.EqualFunc(shared, want, slices.Equal) {
		t.Errorf("got %v", shared)
	}
	restore()
	if !maps.EqualFunc(shared, before, slices.Equal) {
		t.Errorf("got %v", shared)
	}
	EditHeader(h, nil)()
	if !maps.EqualFunc(shared, before, slices.Equal) {
		t.Errorf("got %v", shared)
	}
}
