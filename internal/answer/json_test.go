package answer

import (
	"encoding/json"
	"testing"
)

// Problem details are what encoding/json makes of them, whatever clients and backends send.
func TestProblemInJSON(t *testing.T) {
	full := problem{Type: "https://example.com/#a", Title: "A", Status: 412, Detail: "B."}
	list := []problem{{}, full}
	for _, value := range hostile {
		for _, set := range []func(*problem){
			func(p *problem) { p.Type = value },
			func(p *problem) { p.Title = value },
			func(p *problem) { p.Detail = value },
			func(p *problem) { p.Condition = value },
			func(p *problem) { p.Provided = value },
			func(p *problem) { p.CurrentETag = value },
			func(p *problem) { p.LastModified = value },
		} {
			p := full
			set(&p)
			list = append(list, p)
		}
	}
	for _, p := range list {
		want, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendProblem([]byte("before "), p); string(got) != "before "+string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A text is what encoding/json makes of it.
func FuzzText(f *testing.F) {
	for _, value := range hostile {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendText(nil, text); string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
