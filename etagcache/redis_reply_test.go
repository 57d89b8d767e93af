package etagcache

import "testing"

func TestReplyMalformed(t *testing.T) {
	for _, r := range []reply{
		nil,
		{"OK"},
		{"OK", "e", int64(0), int64(0), ""},
		{"OK", int64(0), int64(0), int64(0), "", int64(0)},
		{"OK", "e", int64(0), int64(0), "", int64(0)},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v"},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v", "1"},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v", "1 p - "},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v", "x 0 p - "},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v", "1 x p - "},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v", "1 0 x - "},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", nil, nil},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v", []any{}},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v", []any{"1 0 x - ", `"1"`}},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "v", []any{"1 0 p - ", "1"}},
		{"OK", "e", int64(0), int64(0), "", int64(0), "", "t1", nil},
	} {
		if e, err := r.entry(); err == nil {
			t.Errorf("%q: got %+v", r, e)
		}
	}
}
