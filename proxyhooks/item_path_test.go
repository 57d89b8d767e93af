package proxyhooks

import (
	"strings"
	"testing"
)

// TestItemPath: templates (RFC 6570, section 3.2.2) and JSON pointers (RFC 6901).
func TestItemPath(t *testing.T) {
	const item = `{"id":"7","n":42,"negative":-1,"big":123456789012345678901234567890,"fraction":1.0,"exponent":1e3,` +
		`"empty":"","null":null,"true":true,"list":["a"],"odd":"a b/c?d#e%f;ü~.-_!*'()+","dots":"..",` +
		`"escaped":"\u0061\"","two":"1","two":"2","a-b_C9":"x","_links":{"self":{"href":"/x/7?y=1"}},"href":"../a"}`
	for _, test := range []struct{ path, want string }{
		{"/orders/{id}", "/orders/7"},
		{"/orders/{id}/x/{n}.json", "/orders/7/x/42.json"},
		{"/{id}{n}", "/742"},
		{"/{negative}", "/-1"},
		{"/{big}", "/123456789012345678901234567890"},
		{"/{fraction}", ""},
		{"/{exponent}", ""},
		{"/{empty}", ""},
		{"/{null}", ""},
		{"/{true}", ""},
		{"/{list}", ""},
		{"/{none}", ""},
		{"/{id}/{none}", ""},
		{"/{odd}", "/a%20b%2Fc%3Fd%23e%25f%3B%C3%BC~.-_%21%2A%27%28%29%2B"},
		{"/{dots}", "/.."},
		{"/{escaped}", "/a%22"},
		{"/{two}", "/2"},
		{"/{a-b_C9}", "/x"},
		{"/d%C3%BC/{id}", "/d%C3%BC/7"},
		{"/_links/self/href", "/x/7?y=1"},
		{"/href", "../a"},
		{"/list/0", "a"},
		{"/n", ""},
		{"/empty", ""},
		{"/none", ""},
		{"/_links", ""},
	} {
		p, err := ParseItemPath(test.path)
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		if got, ok := p.Of([]byte(item)); ok != (test.want != "") || ok && got != test.want {
			t.Errorf("%s: got %s, %t, want %s", test.path, got, ok, test.want)
		}
		if p.Template() != strings.Contains(test.path, "{") {
			t.Errorf("%s: a template: %t", test.path, p.Template())
		}
	}
	for _, path := range []string{
		"", "orders", "orders/{id}", "{id}", "/{}", "/{id", "/id}/{id}", "/{id}}", "/{{id}}", "/{+id}", "/{id*}", "/{a,b}", "/{id:3}",
		"/{http.request.uri.path}", "/{a.b}", "/{ä}", "/x?y={id}", "/x#{id}", "http://x/{id}", "/~2", "/%zz/{id}",
	} {
		if p, err := ParseItemPath(path); err == nil {
			t.Errorf("%q is parsed as %+v", path, p)
		}
	}
}
