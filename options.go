package preconditions

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/answer"
	"github.com/caddy-preconditions/preconditions/internal/gateway"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/internal/relation"
	"github.com/caddy-preconditions/preconditions/internal/resource"
	"github.com/caddy-preconditions/preconditions/internal/spelling"
	"github.com/caddy-preconditions/preconditions/internal/stores"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// The values of options that are words.
const (
	verifyPassing = "passing"
	verifyAll     = "all"
	verifyNever   = "never"

	unconditionalSerialize = "serialize"
	unconditionalForward   = "forward"
	unclearPathsRefuse     = "refuse"
	unclearPathsForward    = "forward"

	readsOrigin = "origin"
	readsStore  = "store"

	weakTagsRefuse = "refuse"
	weakTagsAccept = "accept"

	storeDownRefuse  = "refuse"
	storeDownForward = "forward"
)

// Defaults, as the fields of Handler and StoreDown document them.
const (
	defaultKey         = string(resource.HostAndPath)
	defaultBuffer      = 1 << 20
	defaultBufferTotal = 256 << 20 // unless there is a GOMEMLIMIT
	defaultLease       = caddy.Duration(30 * time.Second)
	defaultWait        = caddy.Duration(10 * time.Second)
	defaultRetention   = caddy.Duration(24 * time.Hour)
	defaultRetryAfter  = caddy.Duration(5 * time.Second)
)

// briefRetention is how long the store keeps what was only asked for and isn't there, or
// has neither a tag nor a date.
const briefRetention = time.Minute

// setDefaults sets the options that aren't configured.
func (h *Handler) setDefaults() {
	h.Profile.setDefaults(h)
	h.Key = cmp.Or(h.Key, defaultKey)
	h.Buffer = cmp.Or(h.Buffer, defaultBuffer)
	h.BufferTotal = cmp.Or(h.BufferTotal, max(h.Buffer, stores.MemoryShare(defaultBufferTotal)))
	h.WriteETag = cmp.Or(h.WriteETag, string(gateway.WriteETagVerbatim))
	h.Lease = cmp.Or(h.Lease, defaultLease)
	h.Wait = cmp.Or(h.Wait, defaultWait)
	h.Grace = cmp.Or(h.Grace, max(h.Lease/3, h.leastGrace()))
	if h.Lag == nil {
		h.Lag = new(h.Lease)
	}
	h.Retention = cmp.Or(h.Retention, defaultRetention)
	h.Mode = cmp.Or(h.Mode, string(answer.Enforce))
	h.Errors = cmp.Or(h.Errors, errorsProblem)
	h.Unconditional = cmp.Or(h.Unconditional, unconditionalSerialize)
	h.UnclearPaths = cmp.Or(h.UnclearPaths, unclearPathsRefuse)
	h.WeakTags = cmp.Or(h.WeakTags, weakTagsRefuse)
	if h.Disclose == nil {
		h.Disclose = new(true)
	}
	if h.ETag == nil {
		for _, s := range defaultSources {
			h.ETag = append(h.ETag, ETagSource{Source: string(s)})
		}
	}
	if h.versioned() {
		h.Verify = cmp.Or(h.Verify, verifyNever)
	}
	h.Verify = cmp.Or(h.Verify, verifyPassing)
	h.Reads = cmp.Or(h.Reads, readsOrigin)
	if h.StoreDown == nil {
		h.StoreDown = new(StoreDown)
	}
	h.StoreDown.Conditional = cmp.Or(h.StoreDown.Conditional, storeDownRefuse)
	h.StoreDown.Unconditional = cmp.Or(h.StoreDown.Unconditional, storeDownForward)
	h.StoreDown.RetryAfter = cmp.Or(h.StoreDown.RetryAfter, defaultRetryAfter)
}

// check returns an error for the first invalid option.
func (h *Handler) check() error {
	checks := []struct {
		option string
		err    error
	}{
		{"profile", h.Profile.check()},
		{"profile", checkS3Hosts(h)},
		{"key", resource.Template(h.Key).CheckPlaceholders()},
		{"etag", errorOf(sources(h.ETag))},
		{"weak_tags", checkWeakTags(h)},
		{"secret", checkSecret(h)},
		{"vary", errorOf(varyNames(h.Vary))},
		{"buffer", checkRange(h.Buffer, 1, 1<<30, "1 byte", "1 GiB")},
		{"buffer_total", checkBufferTotal(h)},
		{"require", resource.CheckRequired(h.Require)},
		{"verify", h.checkVerify()},
		{"reads", checkReads(h)},
		{"signed", errorOf(signatureSchemes(h.Signed))},
		{"affects", errorOf(affectsRules(h.Affects))},
		{"guards", errorOf(guardsRules(h.Guards))},
		{"condition", checkConditions(h)},
		{"affects", h.checkOthers(len(h.Affects))},
		{"guards", h.checkOthers(len(h.Guards))},
		{"items", h.checkItems()},
		{"items", h.checkOthers(len(h.Items))},
		{"write_etag", spelling.Check(h.WriteETag, string(gateway.WriteETagVerbatim), string(gateway.WriteETagAlways), string(gateway.WriteETagAnswer), string(gateway.WriteETagOff))},
		{"lease", checkRange(h.Lease, caddy.Duration(time.Second), caddy.Duration(time.Hour), "1s", "1h")},
		{"wait", checkRange(h.Wait, caddy.Duration(time.Millisecond), caddy.Duration(time.Hour), "1ms", "1h")},
		{"grace", h.checkGrace()},
		{"lag", checkLag(*h.Lag)},
		{"retention", checkRetention(h.Retention, h.Lease)},
		{"retention", checkLagKept(h.Retention, *h.Lag)},
		{"mode", spelling.Check(h.Mode, string(answer.Enforce), string(answer.ReportOnly))},
		{"errors", checkErrors(h)},
		{"status_field", answer.CheckStatusName(h.StatusField)},
		{"unanswered", proxyhooks.Statuses(h.Unanswered).CheckUnanswered()},
		{"unconditional", spelling.Check(h.Unconditional, unconditionalSerialize, unconditionalForward)},
		{"unclear_paths", spelling.Check(h.UnclearPaths, unclearPathsRefuse, unclearPathsForward)},
		{"store_down", h.StoreDown.check()},
	}
	for _, c := range checks {
		if c.err != nil {
			return &optionError{c.option, c.err}
		}
	}
	return nil
}

// optionError says which option is invalid, and why.
type optionError struct {
	option string
	err    error
}

func (e *optionError) Error() string { return e.option + ": " + e.err.Error() }
func (e *optionError) Unwrap() error { return e.err }

// errorOf drops the first of two results, of a function that is only called to find
// out whether it fails.
func errorOf[T any](_ T, err error) error { return err }

func checkRange[T ~int64](n, least, most T, leastText, mostText string) error {
	if n < least || n > most {
		return fmt.Errorf("must be between %s and %s", leastText, mostText)
	}
	return nil
}

// newGateway returns the gateway that the options describe. They have passed check,
// so most errors can be ignored here.
func (h *Handler) newGateway(logger *zap.Logger) (*gateway.Gateway, error) {
	deriver, err := h.deriver()
	if err != nil {
		return nil, err
	}
	template, err := errorsTemplateOf(h)
	if err != nil {
		return nil, err
	}
	affects, _ := affectsRules(h.Affects)
	guards, _ := guardsRules(h.Guards)
	items, _ := itemRules(h.Items)
	places, _ := conditionPlaces(h.Condition)
	vary, _ := varyNames(h.Vary)
	verify, _ := verification(h.Verify)
	signed, _ := signatureSchemes(h.Signed)
	namer := &resource.Namer{Template: resource.Template(h.Key), TrustPaths: h.UnclearPaths == unclearPathsForward, S3: h.Profile == ProfileS3, Hosts: h.S3Hosts}
	for _, rule := range affects {
		namer.Roots = append(namer.Roots, rule.Roots()...)
	}
	if h.Profile == ProfileWebDAV {
		namer.WebDAV = true
		namer.Roots = append(namer.Roots, resource.Pattern{}) // any path may be a collection
	}
	return &gateway.Gateway{
		Namer:  namer,
		Rules:  &relation.Rules{Namer: namer, Affects: affects, Guards: guards},
		Items:  items,
		Places: places,
		Config: &knowledge.Config{
			Deriver:  deriver,
			Scheme:   deriver.Scheme(),
			Template: namer.Template,
			Terms: etagcache.Terms{
				Lease:     time.Duration(h.Lease),
				Retention: time.Duration(h.Retention),
				Brief:     briefRetention,
				Grace:     time.Duration(h.Grace),
				Lag:       time.Duration(*h.Lag),
			},
			Vary: vary,
		},
		Answers: &answer.Config{
			Mode:        answer.Mode(h.Mode),
			ErrorRoutes: h.Errors == errorsCaddy,
			S3:          h.Errors == errorsS3,
			WebDAV:      h.Errors == errorsWebDAV,
			Template:    template,
			Disclose:    *h.Disclose,
			StatusName:  h.StatusField,
			Places:      places,
			RetryAfter:  time.Duration(h.StoreDown.RetryAfter),
			Logger:      logger,
		},
		Verify:               verify,
		WriteETag:            gateway.WriteETag(h.WriteETag),
		Learned:              gateway.NewLearned(time.Duration(*h.Lag)),
		Responses:            responsesOf(h),
		Weak:                 weakTags(h, deriver),
		Require:              h.Require,
		Signed:               signed,
		Replay:               h.Replay,
		ForwardUnconditional: h.Unconditional == unconditionalForward,
		Unanswered:           proxyhooks.Statuses(h.Unanswered),
		Buffer:               h.Buffer,
		BufferTotal:          h.BufferTotal,
		Wait:                 time.Duration(h.Wait),
		StoreDown: gateway.StoreDown{
			ForwardConditional:   h.StoreDown.Conditional == storeDownForward,
			ForwardUnconditional: h.StoreDown.Unconditional == storeDownForward,
		},
		Logger: logger,
	}, nil
}

// deriver returns the deriver of tags, with the secret's placeholders replaced.
func (h *Handler) deriver() (proxyhooks.Deriver, error) {
	d := proxyhooks.Deriver{Limit: h.Buffer}
	d.Sources, _ = sources(h.ETag)
	if h.Secret == "" {
		return d, nil
	}
	secret, err := caddy.NewReplacer().ReplaceOrErr(h.Secret, true, true)
	if err != nil || secret == "" {
		// If the secret contains braces, err would reveal a part of it.
		return d, &optionError{"secret", errors.New("a placeholder is unknown or empty")}
	}
	d.Secret = []byte(secret)
	return d, nil
}

// varyNames returns the field names of the option vary as the store keeps them: as a
// sorted list in lower case.
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
			return "", fmt.Errorf("%q is not a field name", name)
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

// verification returns what the option verify means.
func verification(s string) (gateway.Verification, error) {
	switch s {
	case verifyPassing:
		return gateway.Verification{Passing: true}, nil
	case verifyAll:
		return gateway.Verification{Passing: true, Refused: true}, nil
	case verifyNever:
		return gateway.Verification{}, nil
	}
	d, err := caddy.ParseDuration(s)
	if err != nil || d <= 0 {
		return gateway.Verification{}, fmt.Errorf("must be passing, all, never or a duration above zero, not %q%s", s,
			spelling.Meant(s, verifyPassing, verifyAll, verifyNever))
	}
	return gateway.Verification{Passing: true, FreshFor: d}, nil
}

// checkVerify refuses an invalid value, and any confirmation with the source version.
func (h *Handler) checkVerify() error {
	if h.versioned() && h.Verify != verifyNever {
		return errors.New("with etag version there is nothing to verify at the origin: must be never")
	}
	return errorOf(verification(h.Verify))
}

func (s *StoreDown) check() error {
	for _, option := range [...]string{"conditional", "unconditional", "retry_after"} {
		if err := s.checkOption(option); err != nil {
			return &optionError{option, err}
		}
	}
	return nil
}

func (s *StoreDown) checkOption(option string) error {
	switch option {
	case "conditional":
		return spelling.Check(s.Conditional, storeDownRefuse, storeDownForward)
	case "unconditional":
		return spelling.Check(s.Unconditional, storeDownRefuse, storeDownForward)
	default:
		return checkRange(s.RetryAfter, caddy.Duration(time.Second), caddy.Duration(24*time.Hour), "1s", "24h")
	}
}
