package gateway

import (
	"testing"

	"github.com/caddy-preconditions/preconditions/internal/storeshare"
)

// Clients are told apart by address, and those at one address by who they say they are.
func TestClientOf(t *testing.T) {
	client := func(from string, fields ...string) storeshare.Client {
		r := requestOf(t.Context(), "PUT /m", fields...)
		r.RemoteAddr = from
		x, _ := newSite().exchangeOf(r)
		return clientOf(x)
	}
	one := client("192.0.2.1:1000", "Authorization: Bearer a", "Cookie: a=b")
	for name, tt := range map[string]struct {
		other         storeshare.Client
		address, same bool
	}{
		"a different port":            {client("192.0.2.1:2000", "Authorization: Bearer a", "Cookie: a=b"), true, true},
		"a different address":         {client("192.0.2.2:1000", "Authorization: Bearer a", "Cookie: a=b"), false, true},
		"as an IPv6 address":          {client("[::ffff:192.0.2.1]:1000", "Authorization: Bearer a", "Cookie: a=b"), true, true},
		"different credentials":       {client("192.0.2.1:1000", "Authorization: Bearer b", "Cookie: a=b"), true, false},
		"a different cookie":          {client("192.0.2.1:1000", "Authorization: Bearer a", "Cookie: a=c"), true, false},
		"a key":                       {client("192.0.2.1:1000", "Authorization: Bearer a", "Cookie: a=b", "X-Api-Key: a"), true, false},
		"a condition and content":     {client("192.0.2.1:1000", "Authorization: Bearer a", "Cookie: a=b", "If-Match: *", "Content-Type: a/b"), true, true},
		"what proxies say of it":      {client("192.0.2.1:1000", "Authorization: Bearer a", "Cookie: a=b", "X-Forwarded-For: 192.0.2.9"), true, true},
		"what goes into which field":  {client("192.0.2.1:1000", "Cookie: Bearer a", "Authorization: a=b"), true, false},
		"nobody, at no address known": {client("@"), false, false},
	} {
		if tt.other.Address == one.Address != tt.address || tt.other.Identity == one.Identity != tt.same {
			t.Errorf("%s: %v, %v", name, one, tt.other)
		}
	}
	if client("[2001:db8::1]:1") != client("[2001:db8::2:0:0:3]:1") || client("[2001:db8::1]:1") == client("[2001:db8:0:1::1]:1") {
		t.Error("the hosts of a network aren't one client")
	}
	if client("[fe80::1%eth0]:1") != client("[fe80::2]:1") {
		t.Error("a zone makes a difference")
	}
}
