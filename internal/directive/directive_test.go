package directive

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// read reads the block of a directive with one option, and returns its value.
func read(block string, take func(d *caddyfile.Dispenser) (any, error)) (value any, err error) {
	d := caddyfile.NewTestDispenser("directive {\n" + block + "\n}")
	d.Next()
	_, err = EachOption(d, func(d *caddyfile.Dispenser, _ string) error {
		value, err = take(d)
		return err
	})
	return value, err
}

// taker makes one of the functions of this package return the value that it sets.
func taker[T any](take func(*caddyfile.Dispenser, *T) error) func(*caddyfile.Dispenser) (any, error) {
	return func(d *caddyfile.Dispenser) (any, error) {
		var value T
		err := take(d, &value)
		return value, err
	}
}

// Every kind of option takes its number of arguments and its values, and refuses
// all else with a message that names the option, and says what is wrong and where.
func TestArguments(t *testing.T) {
	kinds := map[string]func(*caddyfile.Dispenser) (any, error){
		"one":      taker(OneArg),
		"some":     taker(SomeArgs),
		"flag":     taker(FlagArg),
		"switch":   taker(SwitchArg),
		"number":   taker(NumberArg),
		"duration": taker(DurationArg),
		"size":     taker(SizeArg),

		"duration or zero": taker(DurationOrZeroArg),
	}
	const one, some, none = "takes one argument, at", "takes one or more arguments, at", "takes no arguments, at"
	used := make(map[string]bool)
	for _, tt := range []struct {
		kind, args string
		want       any    // the value
		err        string // or what the message says
	}{
		{"one", `a`, "a", ""},
		{"one", `"a b"`, "a b", ""},
		{"one", ``, nil, one},
		{"one", `""`, nil, "must not be empty, at"},
		{"one", `a b`, nil, one},

		{"some", `a`, []string{"a"}, ""},
		{"some", `a b ""`, []string{"a", "b", ""}, ""},
		{"some", ``, nil, some},

		{"flag", ``, true, ""},
		{"flag", `on`, nil, none},
		{"flag", "{\non\n}", nil, "takes no block, at"},
		{"flag", "{\n}", nil, "takes no block, at"},
		{"one", "a {\non\n}", nil, "takes no block, at"},
		{"one", "{\non\n}", nil, one},

		{"switch", `on`, true, ""},
		{"switch", `off`, false, ""},
		{"switch", `On`, nil, `must be on or off, not "On" (did you mean on?)`},
		{"switch", ``, nil, one},
		{"switch", `on off`, nil, one},

		{"number", `12`, 12, ""},
		{"number", `-1`, -1, ""},
		{"number", `0`, 0, ""},
		{"number", `1.5`, nil, `must be a whole number, not "1.5"`},
		{"number", `99999999999999999999`, nil, `must be a whole number, not "99999999999999999999"`},
		{"number", ``, nil, one},
		{"number", `1 2`, nil, one},

		{"duration", `1d`, caddy.Duration(24 * time.Hour), ""},
		{"duration", `1ns`, caddy.Duration(1), ""},
		{"duration", `0s`, nil, `must be above zero, not "0s"`},
		{"duration", `-1s`, nil, `must be above zero, not "-1s"`},
		{"duration", `5`, nil, `"5" has no unit: write 5s`},
		{"duration", `0.5`, nil, `"0.5" has no unit: write 0.5s`},
		{"duration", `-5`, nil, `"-5" is not a duration, such as`},
		{"duration", `inf`, nil, `"inf" is not a duration, such as`},
		{"duration", `0`, nil, `must be above zero, not "0"`},
		{"duration", ``, nil, one},
		{"duration", `1s 2s`, nil, one},

		{"duration or zero", `0s`, caddy.Duration(0), ""},
		{"duration or zero", `-1s`, nil, `must be zero or above, not "-1s"`},

		{"size", `1`, int64(1), ""},
		{"size", `1MiB`, int64(1 << 20), ""},
		{"size", `1MB`, int64(1000000), ""},
		{"size", `4EiB`, int64(1 << 62), ""},
		{"size", `0`, nil, `must be a size above zero, such as 512KiB, not "0"`},
		{"size", `-1`, nil, `must be a size above zero, such as 512KiB, not "-1"`},
		{"size", `5EiB`, nil, `must be a size above zero, such as 512KiB, not "5EiB"`},
		{"size", `much`, nil, `must be a size above zero, such as 512KiB, not "much"`},
		{"size", ``, nil, one},
		{"size", `1 MiB`, nil, one},
	} {
		used[tt.kind] = true
		value, err := read("option "+tt.args, kinds[tt.kind])
		name := fmt.Sprintf("%s: option %s", tt.kind, tt.args)
		if tt.err == "" {
			if err != nil || fmt.Sprintf("%#v", value) != fmt.Sprintf("%#v", tt.want) {
				t.Errorf("%s: got %#v, %v, want %#v", name, value, err, tt.want)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "option: "+tt.err) || !strings.HasSuffix(err.Error(), ", at Testfile:2") {
			t.Errorf("%s: got %v, want a message with the option and the line that says %s", name, err, tt.err)
		}
	}
	if len(used) != len(kinds) {
		t.Errorf("of %d kinds, %d have a case", len(kinds), len(used))
	}
}

// An option that is refused leaves the value as it was: a default, or what came
// before.
func TestRefusedLeavesTheValue(t *testing.T) {
	number, duration, size, on := 7, caddy.Duration(7), int64(7), true
	for name, take := range map[string]func(*caddyfile.Dispenser) (any, error){
		"number":   func(d *caddyfile.Dispenser) (any, error) { return nil, NumberArg(d, &number) },
		"duration": func(d *caddyfile.Dispenser) (any, error) { return nil, DurationArg(d, &duration) },
		"size":     func(d *caddyfile.Dispenser) (any, error) { return nil, SizeArg(d, &size) },
		"switch":   func(d *caddyfile.Dispenser) (any, error) { return nil, SwitchArg(d, &on) },
	} {
		if _, err := read("option x", take); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if number != 7 || duration != 7 || size != 7 || !on {
		t.Errorf("got %d, %d, %d, %v", number, duration, size, on)
	}
}

// Arguments of an option that is repeated add up.
func TestSomeArgsAddUp(t *testing.T) {
	got := []string{"a"}
	if _, err := read("option b c", func(d *caddyfile.Dispenser) (any, error) { return nil, SomeArgs(d, &got) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %q", got)
	}
}

// Each option is read once, in order, and only those that may be repeated are given
// twice. The tokens tell where the options stand: the last one, of several.
func TestEachOption(t *testing.T) {
	for _, tt := range []struct {
		name, block string
		read        []string
		lines       map[string]int
		err         string
	}{
		{"none", "", nil, nil, ""},
		{"some", "a\nb\nc", []string{"a", "b", "c"}, map[string]int{"a": 2, "b": 3, "c": 4}, ""},
		{"one that may be repeated", "many\na\nmany", []string{"many", "a", "many"}, map[string]int{"a": 3, "many": 4}, ""},
		{"one that may not", "a\nb\na", []string{"a", "b"}, nil, "a is given twice"},
		{"one that is refused", "a\nbad\nb", []string{"a"}, nil, "bad: it is bad"},
		{"one that doesn't exist", "a\nodd", []string{"a"}, nil, "unknown option odd (did you mean old?), at Testfile:3"},
	} {
		d := caddyfile.NewTestDispenser("directive {\n" + tt.block + "\n}")
		d.Next()
		var options []string
		at, err := EachOption(d, func(_ *caddyfile.Dispenser, option string) error {
			switch option {
			case "bad":
				return errors.New("it is bad")
			case "odd":
				return Unknown(option, "even", "old")
			}
			options = append(options, option)
			return nil
		}, "many", "more")
		if !slices.Equal(options, tt.read) {
			t.Errorf("%s: read %q", tt.name, options)
		}
		if tt.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tt.err) || at != nil {
				t.Errorf("%s: got %v, %v", tt.name, at, err)
			}
			continue
		}
		if err != nil || len(at) != len(tt.lines) {
			t.Errorf("%s: got %v, %v", tt.name, at, err)
		}
		for option, line := range tt.lines {
			if at[option].Line != line {
				t.Errorf("%s: %s is on line %d, want %d", tt.name, option, at[option].Line, line)
			}
		}
	}
}

// Nested options are named from the outside to the inside.
func TestNestedOptions(t *testing.T) {
	for block, want := range map[string]string{
		"inner {\nflag on\n}":     "outer: inner: flag: takes no arguments, at Testfile:4",
		"inner {\nodd\n}":         "outer: inner: unknown option odd, at Testfile:4",
		"inner {\nflag\nflag\n}":  "outer: inner: flag is given twice, at Testfile:5",
		"inner all {\nflag\n}":    "outer: inner: takes no arguments, only a block, at Testfile:3",
		"inner {\nflag {\n}\n}":   "outer: inner: flag: takes no block, at Testfile:4",
		"inner {\nflag\n}\ninner": "outer: inner is given twice, at Testfile:6",
	} {
		d := caddyfile.NewTestDispenser("directive {\nouter {\n" + block + "\n}\n}")
		d.Next()
		within := func(d *caddyfile.Dispenser, f func(d *caddyfile.Dispenser, option string) error) error {
			if err := NoArgs(d); err != nil {
				return err
			}
			_, err := EachOption(d, f)
			return err
		}
		_, err := EachOption(d, func(d *caddyfile.Dispenser, _ string) error {
			return within(d, func(d *caddyfile.Dispenser, _ string) error {
				return within(d, func(d *caddyfile.Dispenser, option string) error {
					if option != "flag" {
						return Unknown(option, "flag")
					}
					return FlagArg(d, new(bool))
				})
			})
		})
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", block, err, want)
		}
	}
}

// Check adds the line to an error only.
func TestCheck(t *testing.T) {
	d := caddyfile.NewTestDispenser("directive")
	d.Next()
	if err := Check(d, nil); err != nil {
		t.Error(err)
	}
	cause := errors.New("out of range")
	if err := Check(d, cause); !errors.Is(err, cause) || err.Error() != "out of range, at Testfile:1" {
		t.Errorf("got %v", err)
	}
}

// An error that shows only after the block was read still says where.
func TestErrAt(t *testing.T) {
	d := caddyfile.NewTestDispenser("directive {\na\nb\n}")
	d.Next()
	at, err := EachOption(d, func(*caddyfile.Dispenser, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("b contradicts a")
	if err := ErrAt(at["b"], cause); !errors.Is(err, cause) || err.Error() != "b contradicts a, at Testfile:3" {
		t.Errorf("got %v", err)
	}
}
