// Package directive reads the options of a Caddyfile directive. Its functions fail,
// with the file and line, if an option has the wrong number of arguments.
package directive

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// EachOption calls f for each option of the block that follows, and returns the
// last token of each by its name. Only the repeatable options may be given more
// than once.
func EachOption(d *caddyfile.Dispenser, f func(d *caddyfile.Dispenser, option string) error, repeatable ...string) (map[string]caddyfile.Token, error) {
	at := make(map[string]caddyfile.Token)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if _, given := at[option]; given && !slices.Contains(repeatable, option) {
			return nil, d.Errf("%s is given twice", option)
		}
		at[option] = d.Token()
		if err := f(d, option); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// ErrAt adds the file and line of a token to err.
func ErrAt(token caddyfile.Token, err error) error {
	return fmt.Errorf("%w, at %s:%d", err, token.File, token.Line)
}

// OneArg takes the one argument of an option, which must not be empty.
func OneArg(d *caddyfile.Dispenser, text *string) error {
	if !d.AllArgs(text) || *text == "" {
		return d.ArgErr()
	}
	return nil
}

// SomeArgs appends the arguments of an option, which needs at least one.
func SomeArgs(d *caddyfile.Dispenser, texts *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*texts = append(*texts, args...)
	return nil
}

// FlagArg sets a flag for an option that takes no arguments.
func FlagArg(d *caddyfile.Dispenser, flag *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*flag = true
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
	}
	return d.Errf("must be on or off, not %q", word)
}

// NumberArg takes a whole number.
func NumberArg(d *caddyfile.Dispenser, number *int) error {
	var text string
	if err := OneArg(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return d.Errf("%q is not a whole number", text)
	}
	*number = n
	return nil
}

// DurationArg takes a duration above zero, in the units of Caddy (such as 1d).
func DurationArg(d *caddyfile.Dispenser, duration *caddy.Duration) error {
	return durationArg(d, duration, 1, "is not above zero")
}

// DurationOrZeroArg takes a duration that may be zero.
func DurationOrZeroArg(d *caddyfile.Dispenser, duration *caddy.Duration) error {
	return durationArg(d, duration, 0, "is below zero")
}

func durationArg(d *caddyfile.Dispenser, duration *caddy.Duration, least time.Duration, otherwise string) error {
	var text string
	if err := OneArg(d, &text); err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(text)
	if err != nil {
		return d.Errf("%q is not a duration: %v", text, err)
	}
	if parsed < least {
		return d.Errf("%q %s", text, otherwise)
	}
	*duration = caddy.Duration(parsed)
	return nil
}

// SizeArg takes a number of bytes above zero, with or without a unit (such as 1MiB).
func SizeArg(d *caddyfile.Dispenser, size *int64) error {
	var text string
	if err := OneArg(d, &text); err != nil {
		return err
	}
	parsed, err := humanize.ParseBytes(text)
	if err != nil || parsed == 0 || parsed > 1<<62 {
		return d.Errf("%q is not a size above zero", text)
	}
	*size = int64(parsed)
	return nil
}
