package proxyhooks

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-preconditions/preconditions/validator"
)

func valued(t testing.TB, form Form, pointer string, after ...SourceKind) Deriver {
	t.Helper()
	p, err := ParsePointer(pointer)
	if err != nil {
		t.Fatal(err)
	}
	d := deriver(after...)
	d.Sources = append([]Source{{Kind: SourceJSON, Pointers: []Pointer{p}, Form: form}}, d.Sources...)
	d.Limit = 1 << 20
	return d
}

// TestValueTags: which values are tags, and which leave that to the next source.
func TestValueTags(t *testing.T) {
	for value, want := range map[string]string{
		`7`: `"7"`, `"7"`: `"7"`, `0`: `"0"`, `-3`: `"-3"`, `9007199254740991`: `"9007199254740991"`,
		`"v1.2/3"`: `"v1.2/3"`, `"a,b"`: `"a,b"`, `"\u0041"`: `"A"`, `"x-gz"`: `"x-gz"`, `"gzip"`: `"gzip"`, `"7.0"`: `"7.0"`, `"00"`: `"00"`,
		`"W/7"`: `"W/7"`, `"W/\"7\""`: `W/"7"`, `"\"7\""`: `"7"`,

		// Clients write these numbers differently, or as a different number.
		`7.0`: "", `1e3`: "", `-0`: "", `9007199254740992`: "", `-9007199254740992`: "", `123456789012345678901234567890`: "",
		// These aren't one value, or none that a tag can hold (RFC 9110, section 8.8.3).
		`null`: "", `true`: "", `[7]`: "", `{"a":7}`: "", `""`: "", `"a b"`: "", `"a\"b"`: "", `"\t"`: "", `" 7"`: "", `"\u007f"`: "",
		`"W/\"a b\""`: "", `"W/\"\""`: "", `"\"\""`: "", `"\"7"`: "", `"w/\"7\""`: "",
		// Browsers can't send what isn't ASCII as they got it.
		`"é"`: "", `"\ud800"`: "",
		// These look like tags that were marked on the way, or like hashes.
		`"7-gzip"`: "", `"7-br"`: "", `"W/\"7-zstd\""`: "", `"7-items0123456789"`: "", `"7-items0123456789-gzip"`: "", `"~7"`: "", `"W/\"~7\""`: "",
		`"` + strings.Repeat("x", maxTagLength-2) + `"`: `"` + strings.Repeat("x", maxTagLength-2) + `"`,
		`"` + strings.Repeat("x", maxTagLength-1) + `"`: "",
	} {
		h := http.Header{"Content-Type": {"application/fhir+json"}}
		for form, prefix := range map[Form]string{FormVerbatim: "", FormWeak: "W/"} {
			want := want
			if want != "" && !strings.HasPrefix(want, "W/") {
				want = prefix + want
			}
			if len(want) > maxTagLength {
				want = ""
			}
			d := valued(t, form, "/v")
			for _, content := range []string{`{"v":` + value + `}`, `{"a":[1], "v" : ` + value + ` , "z":0}`} {
				got := d.FromContent(h, []byte(content), time.Now())
				if got.ETag.String() != want || got.Own || want != "" && !d.IsShared(got.ETag) {
					t.Errorf("%s, %s: got %q, want %q", form, content, got.ETag, want)
				}
			}
			// The next source gives a hash, which no value can be.
			next := valued(t, form, "/v", SourceBody).FromContent(h, []byte(`{"v":`+value+`}`), time.Now()).ETag
			if hashed := strings.HasPrefix(next.Opaque, hashMark); hashed != (want == "") || hashed && (next.Weak || d.IsShared(next)) {
				t.Errorf("%s, %s: the next source gives %q", form, value, next)
			}
		}
		if tags, certain := valued(t, FormVerbatim, "/v").ItemTags(h, []byte(`{"v":`+value+`}`)); len(tags) > 0 != (want != "") || want != "" && (!certain || tags[0].String() != want) {
			t.Errorf("an item with %s: %v, %t", value, tags, certain)
		}
	}
}

// TestValuesOfFields: one line of a field is a tag, whatever the content is.
func TestValuesOfFields(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{[]string{"7"}, `"7"`},
		{[]string{" 7\t"}, `"7"`},
		{[]string{"07.0"}, `"07.0"`},
		{[]string{`W/"7"`}, `W/"7"`},
		{[]string{`"7"`}, `"7"`},
		{[]string{"7", "7"}, ""},
		{[]string{"7, 8"}, ""},
		{[]string{""}, ""},
		{nil, ""},
		{[]string{"7-gzip"}, ""},
	} {
		d := Deriver{Sources: []Source{{Kind: SourceHeader, Field: "x-version", Form: FormVerbatim}}}
		for _, contentType := range []string{"application/xml", "application/json"} {
			h := http.Header{"X-Version": tt.lines, "Content-Type": {contentType}}
			got, _ := d.FromHeader(200, h, time.Now())
			if got.ETag.String() != tt.want || got.Need != NeedNothing {
				t.Errorf("%q of %s: got %q, want %q", tt.lines, contentType, got.ETag, tt.want)
			}
			if d.AllowsParts(h, time.Now()) != (tt.want == "") {
				t.Errorf("%q: parts are promised: %t", tt.lines, tt.want != "")
			}
		}
	}
}

// TestValuesAreASchemeOfTheirOwn: tags of one form are never compared with those of another,
// and nobody takes a value for a tag that only a backend can have made.
func TestValuesAreASchemeOfTheirOwn(t *testing.T) {
	seen := make(map[string]Form)
	for _, form := range []Form{"", FormVerbatim, FormWeak} {
		d := valued(t, form, "/v", SourceBody)
		if other, ok := seen[d.Scheme()]; ok {
			t.Errorf("%q and %q have the scheme %s", form, other, d.Scheme())
		}
		seen[d.Scheme()] = form
		if got := d.MayHaveMade(validator.ETag{Opaque: "7", Valid: true}); got != (form != "") || d.TakesValues() != got {
			t.Errorf("%q: may have made a value: %t", form, got)
		}
		if d.IsShared(validator.ETag{}) || d.IsShared(validator.ETag{Opaque: "7", Valid: true}) != (form != "") {
			t.Errorf("%q: which tags are shared", form)
		}
	}
	if hash := valued(t, FormHash, "/v"); hash.Scheme() != valued(t, "", "/v").Scheme() || hash.TakesValues() {
		t.Errorf("hash isn't the default: %s", hash.Scheme())
	}
}
