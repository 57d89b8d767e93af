package preconditions

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-preconditions/preconditions/internal/directive"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// unmarshalLimit takes the argument of an option that is a size or a duration.
func unmarshalLimit(d *caddyfile.Dispenser, option string, h *Handler) error {
	switch option {
	case "buffer":
		return directive.SizeArg(d, &h.Buffer)
	case "buffer_total":
		return directive.SizeArg(d, &h.BufferTotal)
	case "lease":
		return directive.DurationArg(d, &h.Lease)
	case "wait":
		return directive.DurationArg(d, &h.Wait)
	case "grace":
		return directive.DurationArg(d, &h.Grace)
	case "lag":
		h.Lag = new(caddy.Duration)
		return directive.DurationOrZeroArg(d, h.Lag)
	case "retention":
		return directive.DurationArg(d, &h.Retention)
	default:
		return directive.Unknown(option, optionNames...)
	}
}

// checkBufferTotal refuses a bound under which not even one message could be buffered.
func checkBufferTotal(h *Handler) error {
	if h.BufferTotal < h.Buffer {
		return fmt.Errorf("must be at least buffer, %d bytes", h.Buffer)
	}
	return nil
}

// leastGrace returns how long nodes need to take their claims again after the store has
// lost them, in whole milliseconds.
func (h *Handler) leastGrace() caddy.Duration {
	lease := time.Duration(h.Lease)
	least := max(lease/4, proxyhooks.RenewedWithin(lease, h.storeTimeout))
	return caddy.Duration((least + time.Millisecond - 1).Truncate(time.Millisecond))
}

// checkGrace refuses a grace in which nodes can't renew what they hold, and one that is
// too long.
func (h *Handler) checkGrace() error {
	const most = caddy.Duration(time.Hour)
	least := h.leastGrace()
	switch {
	case h.Grace > most:
		return fmt.Errorf("must be at least %s and at most 1h", time.Duration(least))
	case h.Grace >= least:
		return nil
	}
	why := fmt.Sprintf("a lease of %s", time.Duration(h.Lease))
	if h.storeTimeout > 0 {
		why += fmt.Sprintf(" and a store timeout of %s", h.storeTimeout)
	}
	return fmt.Errorf("must be at least %s: with %s, nodes need that long to take their claims again", time.Duration(least), why)
}

// checkLag refuses a lag that nobody means. Zero is for an origin that shows the present only.
func checkLag(lag caddy.Duration) error {
	if lag == 0 {
		return nil
	}
	return checkRange(lag, caddy.Duration(time.Millisecond), caddy.Duration(time.Hour), "1ms", "1h, or 0s")
}

// checkLagKept refuses to forget what a write replaced while an origin may still show it.
func checkLagKept(retention, lag caddy.Duration) error {
	if retention < lag {
		return fmt.Errorf("must not be shorter than the lag, %s", time.Duration(lag))
	}
	return nil
}

// checkRetention refuses to forget a resource while it may be written.
func checkRetention(retention, lease caddy.Duration) error {
	if retention <= lease {
		return fmt.Errorf("must be longer than the lease, %s", time.Duration(lease))
	}
	return nil
}
