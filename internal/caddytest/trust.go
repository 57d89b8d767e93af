package caddytest

import "testing"

// Trusting are options with which the handler asks the origin only if the store knows
// nothing valid about a resource, and believes what the origin shows.
const Trusting = "verify never\nwrite_etag off\nlag 0s\n"

// ReadTwice reads a resource, so that its groups are known from then on, and
// returns its tag.
func ReadTwice(t *testing.T, url string) (tag string) {
	t.Helper()
	Send(t, "GET", url, "").Expect(t, 200)
	return Send(t, "GET", url, "").Expect(t, 200).Tag(t)
}

// ExpectInvalidated fails the test unless the resource is invalidated, or isn't, as
// wanted. The site must be Trusting, and the tag the current one.
func ExpectInvalidated(t *testing.T, b *Witness, url, tag string, want bool) {
	t.Helper()
	asked := b.Asks(func() { Send(t, "PUT", url, "x", "If-Match", tag).Expect(t, 200) })
	if invalidated := asked == 1; invalidated != want || asked > 1 {
		t.Errorf("the origin was asked %d times about %s; invalidated: %v, want %v", asked, url, invalidated, want)
	}
}
