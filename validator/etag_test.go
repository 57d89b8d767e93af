package validator

import (
	"strings"
	"testing"
)

// Entity tags and near misses (RFC 9110, section 8.8.3).
var etagTests = []struct {
	name string
	in   string
	want ETag // the zero ETag if in is not a tag
}{
	{"strong", `"xyzzy"`, strong("xyzzy")},
	{"weak", `W/"xyzzy"`, weak("xyzzy")},
	{"empty opaque", `""`, strong("")},
	{"empty opaque, weak", `W/""`, weak("")},
	{"comma is data", `"a,b"`, strong("a,b")},
	{"backslash escapes nothing", `"a\"`, strong(`a\`)},
	{"wildcard is data", `"*"`, strong("*")},
	{"mark inside quotes is data", `"W/"`, strong("W/")},
	{"first and last of etagc", "\"\x21\x23\x7e\"", strong("\x21\x23\x7e")},
	{"obs-text is opaque", "\"\x80\xff\"", strong("\x80\xff")},
	{"UTF-8", `"é"`, strong("é")},

	{"nothing", ``, ETag{}},
	{"wildcard", `*`, ETag{}},
	{"unquoted", `xyzzy`, ETag{}},
	{"single quotes", `'xyzzy'`, ETag{}},
	{"one quote", `"`, ETag{}},
	{"one quote, weak", `W/"`, ETag{}},
	{"mark alone", `W/`, ETag{}},
	{"mark is case-sensitive", `w/"a"`, ETag{}},
	{"mark without slash", `W"a"`, ETag{}},
	{"mark twice", `W/W/"a"`, ETag{}},
	{"space after mark", `W/ "a"`, ETag{}},
	{"space inside", `"a b"`, ETag{}},
	{"tab inside", "\"a\tb\"", ETag{}},
	{"space before", ` "a"`, ETag{}},
	{"space after", `"a" `, ETag{}},
	{"quote inside", `"a"b"`, ETag{}},
	{"escaped quote inside", `"a\"b"`, ETag{}},
	{"NUL inside", "\"a\x00\"", ETag{}},
	{"DEL inside", "\"a\x7f\"", ETag{}},
	{"not closed", `"a`, ETag{}},
	{"not opened", `a"`, ETag{}},
	{"text after the tag", `"a"x`, ETag{}},
	{"two tags", `"a","b"`, ETag{}},
}

func TestParseETag(t *testing.T) {
	for _, tc := range etagTests {
		t.Run(tc.name+" 8.8.3", func(t *testing.T) {
			got, ok := ParseETag(tc.in)
			if got != tc.want || ok != tc.want.Valid {
				t.Fatalf("ParseETag(%q) = %+v, %v, want %+v", tc.in, got, ok, tc.want)
			}
			if !ok {
				return
			}
			if s := got.String(); s != tc.in {
				t.Errorf("String() = %q, want %q", s, tc.in)
			}
			if s := string(got.AppendTo([]byte("ETag: "))); s != "ETag: "+tc.in {
				t.Errorf("AppendTo = %q", s)
			}
		})
	}
}

func TestETagZero(t *testing.T) {
	var none ETag
	if s := none.String(); s != "" {
		t.Errorf("String() = %q", s)
	}
	if b := none.AppendTo(nil); b != nil {
		t.Errorf("AppendTo = %q", b)
	}
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		name         string
		a, b         ETag
		strong, weak bool
	}{
		// The table of section 8.8.3.2.
		{"weak and weak, same", weak("1"), weak("1"), false, true},
		{"weak and weak, different", weak("1"), weak("2"), false, false},
		{"weak and strong, same", weak("1"), strong("1"), false, true},
		{"strong and strong, same", strong("1"), strong("1"), true, true},

		{"strong and strong, different", strong("1"), strong("2"), false, false},
		{"weak and strong, different", weak("1"), strong("2"), false, false},
		{"empty opaque", strong(""), strong(""), true, true},
		{"case counts", strong("a"), strong("A"), false, false},
		{"octets count, not characters", strong("\u00e9"), strong("e\u0301"), false, false},
		{"none and empty opaque", ETag{}, strong(""), false, false},
		{"none and weak empty opaque", ETag{}, weak(""), false, false},
		{"none and none", ETag{}, ETag{}, false, false},
	} {
		t.Run(tc.name+" 8.8.3.2", func(t *testing.T) {
			if StrongMatch(tc.a, tc.b) != tc.strong || StrongMatch(tc.b, tc.a) != tc.strong {
				t.Errorf("StrongMatch(%v, %v) is not %v both ways", tc.a, tc.b, tc.strong)
			}
			if WeakMatch(tc.a, tc.b) != tc.weak || WeakMatch(tc.b, tc.a) != tc.weak {
				t.Errorf("WeakMatch(%v, %v) is not %v both ways", tc.a, tc.b, tc.weak)
			}
		})
	}
}

func TestParseETagDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 64)
	for _, tc := range etagTests {
		if n := testing.AllocsPerRun(10, func() {
			tag, _ := ParseETag(tc.in)
			tag, _ = tag.WithoutCoding()
			buf = tag.AppendTo(buf[:0])
			buf = tag.Unmarked()[1].AppendTo(buf)
		}); n != 0 {
			t.Errorf("%s: %v allocations", tc.name, n)
		}
	}
}

func FuzzParseETag(f *testing.F) {
	for _, tc := range etagTests {
		f.Add(tc.in)
	}
	f.Add(`"a-items0123456v-gzip"`)
	f.Fuzz(func(t *testing.T, s string) {
		tag, ok := ParseETag(s)
		if ok != tag.Valid {
			t.Fatalf("ParseETag(%q) = %+v, %v", s, tag, ok)
		}
		if !ok {
			return
		}
		if tag.String() != s || string(tag.AppendTo(nil)) != s {
			t.Errorf("%q is formatted as %q and %q", s, tag, tag.AppendTo(nil))
		}
		if strings.ContainsAny(tag.Opaque, "\" \t\r\n\x00\x7f") {
			t.Errorf("%q is not a tag", s)
		}
		if !WeakMatch(tag, tag) || StrongMatch(tag, tag) == tag.Weak {
			t.Errorf("%q doesn't match itself", s)
		}
		if uncoded, ok := tag.WithoutCoding(); ok {
			if len(uncoded.Opaque) == 0 || WeakMatch(tag, uncoded) {
				t.Errorf("%q without coding is %q", s, uncoded)
			}
			if _, ok := ParseETag(uncoded.String()); !ok {
				t.Errorf("%q without coding is not a tag: %q", s, uncoded)
			}
		}
		for _, unmarked := range tag.Unmarked() {
			if !unmarked.Valid {
				continue
			}
			if _, ok := ParseETag(unmarked.String()); !ok || unmarked.Opaque == "" || unmarked.Weak != tag.Weak ||
				!strings.HasPrefix(tag.Opaque, unmarked.Opaque+"-") {
				t.Errorf("%q is a marked %q", s, unmarked)
			}
		}
		for marked, at := range map[ETag]int{tag.WithItems("0123456v"): 1, {tag.Opaque + "-gzip", tag.Weak, true}: 0} {
			if unmarked := marked.Unmarked()[at]; tag.Opaque != "" && unmarked != tag {
				t.Errorf("%q is a marked %q", marked, unmarked)
			}
		}
	})
}

func BenchmarkParseETag(b *testing.B) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ParseETag(etagTests[i%len(etagTests)].in)
	}
}
