// Package directive reads the options of a Caddyfile directive. Its functions fail, with
// the file and line, if an option has the wrong number of arguments. EachOption adds the
// name of the option.
package directive

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-preconditions/preconditions/internal/spelling"
)

// unknownOption is the error for an option that doesn't exist.
type unknownOption struct{ text string }

func (e *unknownOption) Error() string { return e.text }

// Unknown is what EachOption's f returns for an option that doesn't exist. Options are those
// that do: the error names the nearest.
func Unknown(option string, options ...string) error {
	return &unknownOption{"unknown option " + option + spelling.Meant(option, options...)}
}

// EachOption calls f for each option of the block that follows, and returns the
// last token of each by its name. Only the repeatable options may be given more
// than once. An error of f gets the name of the option.
func EachOption(d *caddyfile.Dispenser, f func(d *caddyfile.Dispenser, option string) error, repeatable ...string) (map[string]caddyfile.Token, error) {
	at := make(map[string]caddyfile.Token)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if _, given := at[option]; given && !slices.Contains(repeatable, option) {
			return nil, d.Errf("%s is given twice", option)
		}
		at[option] = d.Token()
		err := f(d, option)
		if unknown, ok := errors.AsType[*unknownOption](err); ok {
			return nil, d.Err(unknown.text)
		}
		if last := d.Token(); err == nil && opensBlock(d) {
			err = ErrAt(last, errors.New("takes no block"))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
	}
	return at, nil
}

// opensBlock reports whether a block follows that belongs to no option, even an empty one.
func opensBlock(d *caddyfile.Dispenser) bool {
	line := d.Line()
	return d.NextBlock(d.Nesting()) || d.Line() != line
}

// ErrAt adds the file and line of a token to err.
func ErrAt(token caddyfile.Token, err error) error {
	return fmt.Errorf("%w, at %s:%d", err, token.File, token.Line)
}

// Check adds the file and line to err, unless it is nil.
func Check(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}

// OneArg takes the one argument of an option, which must not be empty.
func OneArg(d *caddyfile.Dispenser, text *string) error {
	if !d.AllArgs(text) {
		return d.Err("takes one argument")
	}
	if *text == "" {
		return d.Err("must not be empty")
	}
	return nil
}

// SomeArgs appends the arguments of an option, which needs at least one.
func SomeArgs(d *caddyfile.Dispenser, texts *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("takes one or more arguments")
	}
	*texts = append(*texts, args...)
	return nil
}

// FlagArg sets a flag for an option that takes no arguments.
func FlagArg(d *caddyfile.Dispenser, flag *bool) error {
	if d.NextArg() {
		return d.Err("takes no arguments")
	}
	*flag = true
	return nil
}

// NoArgs refuses arguments before the block of an option.
func NoArgs(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("takes no arguments, only a block")
	}
	return nil
}

// SwitchArg takes on or off.
func SwitchArg(d *caddyfile.Dispenser, on *bool) error {
	var word string
	if err := OneArg(d, &word); err != nil {
		return err
	}
	switch word {
	case "on", "off":
		*on = word == "on"
		return nil
	case "no", "false", "none", "disabled":
		return d.Errf("must be on or off, not %q: write off", word)
	case "yes", "true", "enabled":
		return d.Errf("must be on or off, not %q: write on", word)
	}
	return d.WrapErr(spelling.Check(word, "on", "off"))
}

// NumberArg takes a whole number.
func NumberArg(d *caddyfile.Dispenser, number *int) error {
	var text string
	if err := OneArg(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return d.Errf("must be a whole number, not %q", text)
	}
	*number = n
	return nil
}

// DurationArg takes a duration above zero, in the units of Caddy (such as 1d).
func DurationArg(d *caddyfile.Dispenser, duration *caddy.Duration) error {
	return durationArg(d, duration, 1, "above zero")
}

// DurationOrZeroArg takes a duration that may be zero.
func DurationOrZeroArg(d *caddyfile.Dispenser, duration *caddy.Duration) error {
	return durationArg(d, duration, 0, "zero or above")
}

func durationArg(d *caddyfile.Dispenser, duration *caddy.Duration, least time.Duration, allowed string) error {
	var text string
	if err := OneArg(d, &text); err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(text)
	switch {
	case err != nil && isNumber(text):
		return d.Errf("%q has no unit: write %ss", text, text)
	case err != nil:
		return d.Errf("%q is not a duration, such as 1500ms, 30s or 1d", text)
	case parsed < least:
		return d.Errf("must be %s, not %q", allowed, text)
	}
	*duration = caddy.Duration(parsed)
	return nil
}

// isNumber reports whether text is a number of digits, with or without a fraction.
func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil && strings.Trim(text, "0123456789.") == ""
}

// SizeArg takes a number of bytes above zero, with or without a unit (such as 1MiB).
func SizeArg(d *caddyfile.Dispenser, size *int64) error {
	var text string
	if err := OneArg(d, &text); err != nil {
		return err
	}
	parsed, err := humanize.ParseBytes(text)
	if err != nil || parsed == 0 || parsed > 1<<62 {
		return d.Errf("must be a size above zero, such as 512KiB, not %q", text)
	}
	*size = int64(parsed)
	return nil
}
