package proxyhooks

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// BenchmarkWholeJSON shows what a tag of a whole document costs, for documents of 1 MiB.
func BenchmarkWholeJSON(b *testing.B) {
	for name, unit := range map[string]string{
		"records":       `{"id":12345,"name":"Jane Doe","tags":["a","b"],"active":true,"amount":12.50}`,
		"numbers":       `0`,
		"small objects": `{"":0}`,
		"members":       ``,
		"nested":        ``,
	} {
		content := []byte("[" + strings.Repeat(unit+",", (1<<20)/(len(unit)+1)) + "0]")
		switch name {
		case "members":
			content = []byte("{" + strings.Repeat(`"a":0,`, (1<<20)/6) + `"b":0}`)
		case "nested":
			const depth = 4000
			content = []byte(strings.Repeat(`{"b":`, depth) + `"` + strings.Repeat("x", 1<<20-depth*12) + `"` + strings.Repeat(`,"a":0}`, depth))
		}
		d := Deriver{Sources: []Source{jsonSource(b, "")}, Limit: 2 << 20}
		h := http.Header{"Content-Type": {"application/json"}}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				if !d.FromContent(h, content, time.Time{}).ETag.Valid {
					b.Fatal("no tag")
				}
			}
		})
	}
}
