package clients

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/caddytest"
)

// A condition that RFC 9110 says to ignore is never ignored in silence: the operator learns
// which one it was, and why; and where a condition is required, the client learns it, too.
func TestIgnoredConditions(t *testing.T) {
	t.Parallel()
	const (
		date    = "Sat, 01 Nov 2025 10:00:00 GMT"
		invalid = "2025-10-01T10:00:00Z"
	)
	for _, tt := range []struct {
		name, method, path string
		fields             []string // TAG stands for the current tag
		outcome, reason    string
		detail             string // of the 428, where conditions are required; empty if none is sent
	}{
		{
			"13.1.4 not an HTTP-date", "PUT", "/page",
			[]string{"If-Unmodified-Since", invalid},
			"unconditional", "If-Unmodified-Since: ignored, not an HTTP-date",
			"If-Unmodified-Since isn't an HTTP-date (RFC 9110, section 5.6.7), so it had to be ignored; write it like Sun, 06 Nov 1994 08:49:37 GMT.",
		},
		{
			"13.1.4 several lines", "PUT", "/page",
			[]string{"If-Unmodified-Since", date, "If-Unmodified-Since", date},
			"unconditional", "If-Unmodified-Since: ignored, several field lines", "If-Unmodified-Since has several field lines",
		},
		{
			"13.1.3 If-Modified-Since on a write", "PUT", "/page",
			[]string{"If-Modified-Since", date},
			"unconditional", "If-Modified-Since: ignored, for GET and HEAD only", "If-Modified-Since is for GET and HEAD only",
		},
		{
			"13.1.4 no date", "PUT", "/absent",
			[]string{"If-Unmodified-Since", date},
			"unconditional", "If-Unmodified-Since: ignored, no modification date", "There is no modification date to compare If-Unmodified-Since with",
		},
		{
			"both dates", "PATCH", "/page",
			[]string{"If-Unmodified-Since", invalid, "If-Modified-Since", date},
			"unconditional",
			"If-Unmodified-Since: ignored, not an HTTP-date; If-Modified-Since: ignored, for GET and HEAD only", "If-Modified-Since is for GET and HEAD only",
		},
		{
			"an empty list", "PUT", "/page",
			[]string{"If-None-Match", ""},
			"unconditional", "If-None-Match: ignored, lists no entity tag", "If-None-Match lists no entity tag",
		},
		{
			"13.1.4 beside If-Match", "PUT", "/page",
			[]string{"If-Match", "TAG", "If-Unmodified-Since", date},
			"passed", "If-Unmodified-Since: ignored, If-Match decides", "",
		},
		{
			"13.1.3 beside If-Match", "PUT", "/page",
			[]string{"If-Match", "TAG", "If-Modified-Since", date},
			"passed", "If-Modified-Since: ignored, for GET and HEAD only", "",
		},
		{
			"beside If-None-Match", "PUT", "/absent",
			[]string{"If-None-Match", "*", "If-Unmodified-Since", date},
			"passed", "If-Unmodified-Since: ignored, no modification date", "",
		},
		{
			"13.1.3 on a read", "GET", "/page",
			[]string{"If-Modified-Since", invalid},
			"read", "If-Modified-Since: ignored, not an HTTP-date", "",
		},
		{"13.1.3 as browsers read", "GET", "/page", []string{"If-None-Match", `"x"`, "If-Modified-Since", date}, "read", "", ""},
		{"no condition", "PUT", "/page", nil, "unconditional", "", "This request must be conditional."},
		{"a condition", "PUT", "/page", []string{"If-Match", "TAG"}, "passed", "", ""},
	} {
		for _, options := range []string{"", "verify never\n", "unconditional forward\n", "mode report\n"} {
			for _, require := range []bool{false, true} {
				t.Run(fmt.Sprint(tt.name, " ", caddytest.Title(options), " ", require), func(t *testing.T) {
					t.Parallel()
					backend := caddytest.Page("content")
					page := backend.Answer
					backend.Answer = func(w http.ResponseWriter, r *http.Request) {
						if r.Method == "GET" && r.URL.Path == "/absent" {
							w.WriteHeader(http.StatusNotFound)
							return
						}
						page(w, r)
					}
					all := options
					if require {
						all += "require PUT PATCH\n"
					}
					site := caddytest.OneNodeAt(t, "header >X-Reason {http.preconditions.reason}\n"+caddytest.Guarded(all, caddytest.Serve(t, backend))).First()
					tag := caddytest.Send(t, "GET", site+"/page", "").Tag(t)
					var fields []string
					for _, field := range tt.fields {
						fields = append(fields, strings.Replace(field, "TAG", tag, 1))
					}
					a := caddytest.Send(t, tt.method, site+tt.path, "", fields...)
					want, reason := tt.outcome, tt.reason
					if require && tt.detail != "" {
						if want = "required"; reason == "" {
							reason = "no condition"
						}
						if reports := strings.HasPrefix(options, "mode report"); !reports {
							a.Expect(t, 428)
							if detail, _ := problemOf(t, a)["detail"].(string); !strings.HasPrefix(detail, tt.detail) && !strings.Contains(detail, " "+tt.detail) {
								t.Errorf("detail: %s", detail)
							}
						}
					} else if a.StatusCode/100 != 2 {
						t.Errorf("status %d: %s", a.StatusCode, a.Content)
					}
					if got := a.Header.Get("X-Reason"); a.Header.Get("X-Outcome") != want || got != reason {
						t.Errorf("%s, %q; want %s, %q", a.Header.Get("X-Outcome"), got, want, reason)
					}
				})
			}
		}
	}
}
