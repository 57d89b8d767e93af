package preconditions

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
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
		{"etag", second(sources(h.ETag))},
		{"vary", second(varyNames(h.Vary))},
		{"buffer", checkRange(h.Buffer, 1, 1<<30, "1 byte", "1 GiB")},
		{"require", checkMethods(h.Require)},
		{"verify", h.checkVerify()},
		{"affects", second(affectsRules(h.Affects))},
		{"guards", second(guardsRules(h.Guards))},
		{"affects", h.checkOthers(len(h.Affects))},
		{"guards", h.checkOthers(len(h.Guards))},
		{"items", h.checkItems()},
		{"items", h.checkOthers(len(h.Items))},
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

// sources returns what the source list of the option etag stands for.
func sources(list []ETagSource) ([]proxyhooks.Source, error) {
	if len(list) == 0 {
		return nil, errors.New("at least one source is needed")
	}
	var parsed []proxyhooks.Source
	for i, s := range list {
		source, err := s.parse()
		if err != nil {
			return nil, err
		}
		for _, other := range parsed {
			if reflect.DeepEqual(other, source) {
				return nil, fmt.Errorf("source %s is given twice", s)
			}
		}
		if i > 0 && parsed[i-1].Kind.AlwaysYields() {
			return nil, fmt.Errorf("source %s is never tried after %s, which always yields", s, list[i-1])
		}
		parsed = append(parsed, source)
	}
	return parsed, nil
}

func (s ETagSource) parse() (proxyhooks.Source, error) {
	source := proxyhooks.Source{Kind: proxyhooks.Kind(s.Source)}
	switch source.Kind {
	case proxyhooks.Upstream, proxyhooks.Header, proxyhooks.JSON, proxyhooks.Modified, proxyhooks.Body, proxyhooks.Version:
	default:
		return source, fmt.Errorf("unknown source %q: must be upstream, header, json, modified, body or version", s.Source)
	}
	if (s.Field != "") != (source.Kind == proxyhooks.Header) {
		return source, errors.New("source header needs a field, and no other has one")
	}
	if (len(s.Pointers) > 0) != (source.Kind == proxyhooks.JSON) {
		return source, errors.New("source json needs pointers, and no other has any")
	}
	for _, text := range s.Pointers {
		p, err := proxyhooks.ParsePointer(text)
		if err != nil {
			return source, fmt.Errorf("JSON pointer %q %w", text, err)
		}
		source.Pointers = append(source.Pointers, p)
	}
	if source.Kind == proxyhooks.Header {
		source.Field = http.CanonicalHeaderKey(s.Field)
		switch {
		case !isFieldName(s.Field):
			return source, fmt.Errorf("%q is no field name", s.Field)
		case source.Field == "Etag":
			return source, errors.New("source header can't make a strong tag of ETag: use upstream")
		}
	}
	return source, nil
}

// String returns the source as it stands in a Caddyfile.
func (s ETagSource) String() string {
	words := []string{s.Source}
	if s.Field != "" {
		words = append(words, s.Field)
	}
	return strings.Join(append(words, s.Pointers...), " ")
}

// versioned reports whether tags may be the store's own version.
func (h *Handler) versioned() bool {
	return slices.ContainsFunc(h.ETag, func(s ETagSource) bool { return proxyhooks.Kind(s.Source) == proxyhooks.Version })
}

func (h *Handler) checkVerify() error {
	if h.versioned() && h.Verify != verifyNever {
		return errors.New("there is nothing to verify at the origin with etag version: must be never")
	}
	return second(parseVerification(h.Verify))
}

// checkOthers refuses rules about other resources where nobody knows their keys.
func (h *Handler) checkOthers(rules int) error {
	if rules == 0 {
		return nil
	}
	return ofOthers(h.Key)
}

// varyNames returns the field names of the option vary, in the form in which
// they are stored.
func varyNames(names []string) (string, error) {
	var lower []string
	for _, name := range names {
		name = strings.ToLower(name)
		switch {
		case name == "*":
			return "", errors.New("must name request fields: with *, no two requests would be alike")
		case name == "accept-encoding":
			return "", errors.New("Accept-Encoding makes no difference: the backend is always asked for the identity coding")
		case !isFieldName(name):
			return "", fmt.Errorf("%q is no field name", name)
		}
		lower = append(lower, name)
	}
	vary := proxyhooks.JoinVary(lower...)
	if len(vary) > proxyhooks.MaxVary {
		return "", fmt.Errorf("must have at most %d bytes", proxyhooks.MaxVary)
	}
	return vary, nil
}

// isFieldName reports whether name is a token (RFC 9110, section 5.6.2).
func isFieldName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
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
