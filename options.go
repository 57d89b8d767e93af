package preconditions

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// The words of the options.
const (
	verifyPassing = "passing"
	verifyAll     = "all"
	verifyNever   = "never"

	modeEnforce = "enforce"
	modeReport  = "report"

	errorsProblem = "problem"
	errorsCaddy   = "caddy"

	writeETagVerbatim = "verbatim"
	writeETagAlways   = "always"
	writeETagOff      = "off"

	unconditionalSerialize = "serialize"
	unconditionalForward   = "forward"

	storeDownRefuse  = "refuse"
	storeDownForward = "forward"
)

// verification says when a condition is confirmed at the origin.
type verification struct {
	// passing and refused writes, respectively
	passing, refused bool
	// younger is the age below which a validator needs no confirmation
	younger time.Duration
}

func parseVerification(s string) (verification, error) {
	switch s {
	case verifyPassing:
		return verification{passing: true}, nil
	case verifyAll:
		return verification{passing: true, refused: true}, nil
	case verifyNever:
		return verification{}, nil
	}
	d, err := caddy.ParseDuration(s)
	if err != nil || d <= 0 {
		return verification{}, fmt.Errorf("must be passing, all, never or a duration above zero, not %q", s)
	}
	return verification{passing: true, younger: d}, nil
}

// needed reports whether a write that what is stored lets through must be
// confirmed, if that was stored so long ago.
func (v verification) needed(age time.Duration) bool {
	return v.passing && age >= v.younger
}

// check reports the first option that can't be meant.
func (h *Handler) check() error {
	checks := []struct {
		option string
		err    error
	}{
		{"etag", checkSources(h.ETag)},
		{"buffer", checkRange(h.Buffer, 1, 1<<30, "1 byte", "1 GiB")},
		{"require", checkMethods(h.Require)},
		{"verify", second(parseVerification(h.Verify))},
		{"write_etag", checkWord(h.WriteETag, writeETagVerbatim, writeETagAlways, writeETagOff)},
		{"lease", checkRange(h.Lease, caddy.Duration(time.Second), caddy.Duration(time.Hour), "1s", "1h")},
		{"wait", checkRange(h.Wait, caddy.Duration(time.Millisecond), caddy.Duration(time.Hour), "1ms", "1h")},
		{"grace", checkRange(h.Grace, caddy.Duration(time.Millisecond), caddy.Duration(time.Hour), "1ms", "1h")},
		{"retention", checkRetention(h.Retention, h.Lease)},
		{"mode", checkWord(h.Mode, modeEnforce, modeReport)},
		{"errors", checkWord(h.Errors, errorsProblem, errorsCaddy)},
		{"unconditional", checkWord(h.Unconditional, unconditionalSerialize, unconditionalForward)},
		{"store_down", h.StoreDown.check()},
	}
	for _, c := range checks {
		if c.err != nil {
			return &optionError{c.option, c.err}
		}
	}
	return nil
}

// optionError is what is wrong with an option.
type optionError struct {
	option string
	err    error
}

func (e *optionError) Error() string { return e.option + ": " + e.err.Error() }
func (e *optionError) Unwrap() error { return e.err }

func second[T any](_ T, err error) error { return err }

func checkWord(word string, words ...string) error {
	if !slices.Contains(words, word) {
		return fmt.Errorf("must be %s, not %q", strings.Join(words, " or "), word)
	}
	return nil
}

func checkRange[T ~int64](n, least, most T, leastText, mostText string) error {
	if n < least || n > most {
		return fmt.Errorf("must be between %s and %s", leastText, mostText)
	}
	return nil
}

func checkRetention(retention, lease caddy.Duration) error {
	if retention <= lease {
		return fmt.Errorf("must be longer than the lease, %s", time.Duration(lease))
	}
	return nil
}

func checkSources(sources []ETagSource) error {
	if len(sources) == 0 {
		return errors.New("at least one source is needed")
	}
	for i, s := range sources {
		switch proxyhooks.Source(s.Source) {
		case proxyhooks.SourceUpstream, proxyhooks.SourceBody:
		default:
			return fmt.Errorf("unknown source %q: must be upstream or body", s.Source)
		}
		if slices.Contains(sources[:i], s) {
			return fmt.Errorf("source %s is given twice", s.Source)
		}
		if i > 0 && proxyhooks.Source(sources[i-1].Source) == proxyhooks.SourceBody {
			return fmt.Errorf("source %s is never tried after body, which always yields", s.Source)
		}
	}
	return nil
}

// checkMethods refuses what is no write: only writes can require a condition.
func checkMethods(methods []string) error {
	for i, m := range methods {
		switch {
		case m == "" || strings.ToUpper(m) != m || strings.ContainsAny(m, " \t,/"):
			return fmt.Errorf("%q is no method (methods are upper-case)", m)
		case methodClass(m) != classWrite:
			return fmt.Errorf("%s is no write, so that it can't need a condition", m)
		case slices.Contains(methods[:i], m):
			return fmt.Errorf("%s is given twice", m)
		}
	}
	return nil
}

func (s *StoreDown) check() error {
	if err := checkWord(s.Conditional, storeDownRefuse, storeDownForward); err != nil {
		return fmt.Errorf("conditional %w", err)
	}
	if err := checkWord(s.Unconditional, storeDownRefuse, storeDownForward); err != nil {
		return fmt.Errorf("unconditional %w", err)
	}
	if err := checkRange(s.RetryAfter, caddy.Duration(time.Second), caddy.Duration(24*time.Hour), "1s", "24h"); err != nil {
		return fmt.Errorf("retry_after %w", err)
	}
	return nil
}
