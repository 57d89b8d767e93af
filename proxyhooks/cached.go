package proxyhooks

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/caddy-preconditions/preconditions/validator"
)

// ClockTolerance is how much the clock of the origin may lag behind ours before
// [MadeBefore] takes its answers for old ones. Hosts that synchronize their clocks agree
// within a second. The rest of the time is for hosts that do so rarely, and for servers
// that take Date from the beginning of their work.
const ClockTolerance = 10 * time.Second

// MadeBefore reports whether the Date field proves that a response was made before t (RFC
// 9110, section 6.6.1). A cache keeps the Date of the origin, so an old one shows that a
// cache answered, even if no other field says so.
//
// Date names a second, and the response may have been made at the end of it. The clock of
// the origin may also lag behind ours. Therefore the date must lie more than a second and
// [ClockTolerance] before t. A response without a valid Date proves nothing. If the clock
// of the origin lags further behind, every response looks too old: a caller that refuses
// such responses should say in its log what it compared.
func MadeBefore(h http.Header, t time.Time) bool {
	lines := h["Date"]
	if len(lines) != 1 {
		return false
	}
	date, ok := validator.ParseDate(lines[0], t)
	return ok && date.Add(time.Second+ClockTolerance).Before(t)
}

// fromCache reports whether the header section of a response says that a cache gave it
// without asking the origin. Where the fields leave doubt, the answer is yes: to learn
// too little costs a request, and to trust an old response costs an update.
func fromCache(h http.Header) bool {
	if slices.ContainsFunc(listed(h["Age"]), isAge) ||
		cacheStatusHit(h["Cache-Status"]) ||
		slices.ContainsFunc(listed(h["X-Varnish"]), isVarnishHit) {
		return true
	}
	for _, name := range [...]string{"X-Cache", "X-Cache-Status", "X-Proxy-Cache", "Cf-Cache-Status"} {
		if slices.ContainsFunc(listed(h[name]), isHit) {
			return true
		}
	}
	return false
}

// isAge reports whether a value of Age is above zero (RFC 9111, section 5.1).
func isAge(value string) bool {
	return strings.Trim(value, "0123456789") == "" && strings.Trim(value, "0") != ""
}

// cacheStatusHit reports whether any of the caches that a Cache-Status field lists had the
// response, or waited for the response to an earlier request (RFC 9211, sections 2.1 and
// 2.6).
func cacheStatusHit(lines []string) bool {
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return looseCacheStatusHit(lines)
	}
	return slices.ContainsFunc(list, func(member httpsfv.Member) bool {
		var params *httpsfv.Params
		switch m := member.(type) {
		case httpsfv.Item:
			params = m.Params
		case httpsfv.InnerList:
			params = m.Params
		}
		return isSet(params, "hit") || isSet(params, "collapsed")
	})
}

// isSet reports whether there is a parameter that isn't false.
func isSet(params *httpsfv.Params, name string) bool {
	value, ok := params.Get(name)
	return ok && value != false
}

// looseCacheStatusHit does the same for a malformed field. RFC 9651 says to ignore it, but
// some caches write keys and details that aren't structured fields, beside a true hit.
func looseCacheStatusHit(lines []string) bool {
	for _, member := range listed(lines) {
		for param := range strings.SplitSeq(member, ";") {
			switch strings.Trim(param, " \t") {
			case "hit", "hit=?1", "collapsed", "collapsed=?1":
				return true
			}
		}
	}
	return false
}

// isVarnishHit reports whether a value of X-Varnish names two transactions: this one and
// the one that fetched the response from the origin.
func isVarnishHit(value string) bool {
	ids := strings.Fields(value)
	return len(ids) == 2 && strings.Trim(ids[0]+ids[1], "0123456789") == ""
}

// isHit reports whether a value of X-Cache, or of one of the fields like it, says that a
// cache had the response. There is no standard. The first word counts; a host may follow,
// as in "HIT from proxy.example". The caches of nginx, Apache, Varnish, Squid and many
// networks use "HIT", some with something before it: "TCP_MEM_HIT", "OriginShieldHit".
//
// "REVALIDATED" and "RefreshHit" say that the cache asked the origin whether its response is
// still current.
func isHit(value string) bool {
	word := firstWord(value)
	switch {
	case strings.HasSuffix(word, "REFRESHHIT"), strings.HasSuffix(word, "REFRESH_HIT"), strings.HasSuffix(word, "EXPIRED_HIT"):
		return false
	case strings.HasSuffix(word, "HIT"), strings.HasSuffix(word, "STALE"), word == "UPDATING", word == "CACHED":
		return true
	default:
		return false
	}
}

// firstWord returns the letters at the beginning of value, in upper case and with words
// joined by "_".
func firstWord(value string) string {
	end := strings.IndexFunc(value, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && r != '-'
	})
	if end >= 0 {
		value = value[:end]
	}
	return strings.ToUpper(strings.ReplaceAll(value, "-", "_"))
}

// listed returns the members of a list in field lines, without spaces around them.
func listed(lines []string) []string {
	var members []string
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			members = append(members, strings.Trim(member, " \t"))
		}
	}
	return members
}
