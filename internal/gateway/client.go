package gateway

import (
	"hash/maphash"
	"net/netip"
	"strings"

	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// Writes of one resource wait for each other, and clients have their turns in rotation. An
// address counts first, because it can't be invented: Caddy believes what a proxy says of
// it only if trusted_proxies names that proxy. Within an address, clients are told apart
// by whatever may say who they are, as in repetition.go.

// sharedBits is how much of an IPv6 address the hosts of one network share. A client may
// have all the others.
const sharedBits = 64

var identitySeed = maphash.MakeSeed()

// clientOf returns whom a request comes from.
func clientOf(x *exchange) storeshare.Client {
	var c storeshare.Client
	if a, err := netip.ParseAddr(address(x.r)); err == nil {
		c.Address = a.Unmap().WithZone("")
		if c.Address.Is6() {
			network, _ := c.Address.Prefix(sharedBits)
			c.Address = network.Addr()
		}
	}
	user, _ := x.request.Replacer.GetString("http.auth.user.id")
	c.Identity = identity("", user, certificate(x.r))
	for name, lines := range x.request.Fields {
		if identifies(name) {
			c.Identity += identity(name, lines...) // fields have no order
		}
	}
	return c
}

// identity returns a digest that nobody outside this process can foresee.
func identity(name string, lines ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(identitySeed)
	h.WriteString(name)
	for _, line := range lines {
		h.WriteByte(0)
		h.WriteString(line)
	}
	return h.Sum64()
}

// identifies reports whether a field may say who sends a request. What it says must not
// change from one write of a client to the next, or else the client's writes aren't in
// order; so nothing counts that is about the content, or about this write only.
func identifies(name string) bool {
	return !mayChange(name) && !addressFields[name] && !strings.HasPrefix(name, "Content-") &&
		name != "Idempotency-Key" && name != "Destination" && name != "Overwrite" && name != "Depth" &&
		name != ifField
}
