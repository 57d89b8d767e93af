package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/caddy-preconditions/preconditions/etagcache"
	"github.com/caddy-preconditions/preconditions/internal/knowledge"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
	"github.com/caddy-preconditions/preconditions/validator"
)

// newReceipt returns the receipt of a write that has succeeded. It consists of a
// digest of the request without its content, a digest of the content, and the
// status of the answer. The receipt is empty if the content isn't known.
func newReceipt(digest string, content *[sha256.Size]byte, status int) string {
	if content == nil {
		return ""
	}
	return digest + "." + base64.RawURLEncoding.EncodeToString(content[:12]) + "." + strconv.Itoa(status)
}

// withVariant adds to a receipt that the condition of the write was about a variant that
// its own fields don't select.
func withVariant(receipt, variant string) string {
	if receipt == "" {
		return ""
	}
	hash, _, _ := strings.Cut(variant, "\n")
	return receipt + "." + hash
}

// evaluate evaluates the request's conditions against what is stored, as
// [knowledge.View.EvaluateStored] does. If they don't hold, and this request may be the
// last write, sent again, they are about the same representation as then.
func evaluate(x *exchange, view knowledge.View) (selected knowledge.View, stored etagcache.Stored, res validator.Result) {
	selected, stored, res = view.EvaluateStored()
	if !x.Replay || res.Verdict == validator.True {
		return selected, stored, res
	}
	receipt := strings.Split(view.Entry().Receipt, ".")
	if len(receipt) < 4 || receipt[0] != requestDigest(x) {
		return selected, stored, res
	}
	return knowledge.Again(view, receipt[3]).EvaluateStored()
}

// replayedStatus returns the status with which the backend answered this very
// request before, if that request led to the current state, and zero otherwise.
func (d decision) replayedStatus(x *exchange) (status int, err error) {
	known, receipt := d.view.Stored(), d.view.Entry().Receipt
	digest, rest, _ := strings.Cut(receipt, ".")
	if !x.Replay || d.result.Verdict != validator.False || digest == "" || digest != requestDigest(x) ||
		known.State == validator.Unknown || !known.SameValidators(d.current) {
		return 0, nil
	}
	_, answered, _ := strings.Cut(rest, ".")
	answered, variant, negotiated := strings.Cut(answered, ".")
	if status, err = strconv.Atoi(answered); err != nil {
		return 0, nil
	}
	content, ok := proxyhooks.ContentDigest(x.r)
	if !ok {
		done, err := proxyhooks.ReadAhead(x.r, x.Buffer, true, x.memory)
		if err != nil {
			return 0, contentError(err)
		}
		defer done()
		content, ok = proxyhooks.ContentDigest(x.r)
	}
	again := newReceipt(digest, &content, status)
	if negotiated {
		again += "." + variant
	}
	if !ok || again != receipt {
		return 0, nil
	}
	return status, nil
}
