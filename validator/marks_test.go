package validator

import "testing"

func TestWithoutCoding(t *testing.T) {
	for _, tc := range []struct{ in, want ETag }{
		{strong("a-gzip"), strong("a")},
		{strong("a-br"), strong("a")},
		{strong("a-zstd"), strong("a")},
		{strong("a-deflate"), strong("a")},
		{weak("a-gzip"), weak("a")},
		{strong("a-gzip-br"), strong("a-gzip")},
		{strong("--gzip"), strong("-")},
		{strong(""), ETag{}},
		{strong("a"), ETag{}},
		{strong("gzip"), ETag{}},
		{strong("agzip"), ETag{}},
		{strong("a-GZIP"), ETag{}},
		{strong("a-gzip-"), ETag{}},
		{strong("a-identity"), ETag{}},
		{strong("-gzip"), ETag{}}, // nothing in front of it
		{ETag{Opaque: "a-gzip"}, ETag{}},
	} {
		got, ok := tc.in.WithoutCoding()
		if got != tc.want || ok != tc.want.Valid {
			t.Errorf("8.8.3.3: %+v.WithoutCoding() = %+v, %v, want %+v", tc.in, got, ok, tc.want)
		}
	}
}

// Unmarked removes one mark of items, one of a coding, or both in this order, and
// nothing else.
func TestUnmarked(t *testing.T) {
	type unmarked = [2]ETag
	for in, want := range map[ETag]unmarked{
		strong("a-items0123456v"):                {{}, strong("a")},
		weak("a-items0123456v"):                  {{}, weak("a")},
		strong("a-itemsgggggggggggggggggg"):      {{}, strong("a")},
		strong("a-items0123456v-gzip"):           {strong("a-items0123456v"), strong("a")},
		strong("a-gzip-items0123456v"):           {{}, strong("a-gzip")},
		strong("a-items0123456v-items01234"):     {},
		strong("a-items0123456v-items012345678"): {{}, strong("a-items0123456v")},
		strong("a-gzip"):                         {strong("a"), {}},
		strong("a-gzip-br"):                      {strong("a-gzip"), {}},
		strong("a"):                              {},
		strong("a-items"):                        {},
		strong("a-items0123456"):                 {}, // too short
		strong("a-items0123456w"):                {},
		strong("a-items0123456V"):                {},
		strong("a-ITEMS0123456v"):                {},
		strong("a-items0123-456"):                {},
		strong("-items0123456v"):                 {}, // nothing in front of it
		strong("-items0123456v-gzip"):            {strong("-items0123456v"), {}},
		{Opaque: "a-items0123456v"}:              {},
	} {
		if got := in.Unmarked(); got != want {
			t.Errorf("%+v.Unmarked() = %+v, want %+v", in, got, want)
		}
	}
	if marked := strong("a").WithItems("0123456v"); marked != strong("a-items0123456v") {
		t.Errorf("got %s", marked)
	}
}
