package proxyhooks

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// proxyState reads the placeholders in which Caddy's proxy says what it does with a
// request. A handler may show the client something else.
type proxyState struct {
	*caddy.Replacer
	trusted bool // whether SettledField counts: the request doesn't have it
}

// published is the answer to an attempt, as the proxy publishes it.
type published struct {
	status  int  // zero if there is none
	settled bool // the backend says that it is done
}

const (
	upstreamAddress   = "http.reverse_proxy.upstream.address"
	proxyRetries      = "http.reverse_proxy.retries"
	proxyStatus       = "http.reverse_proxy.status_code"
	proxyLocation     = "http.reverse_proxy.header.Location"
	proxySettled      = "http.reverse_proxy.header." + SettledField
	interceptedStatus = "http.intercept.status_code"
	interceptedSettle = "http.intercept.header." + SettledField
)

// proxyStateOf returns the state of the proxies behind a handler. The values that a proxy
// in front of the handler has left are put back by restore, unless they are replaced.
func proxyStateOf(r *http.Request) (state proxyState, restore func()) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		repl = caddy.NewEmptyReplacer()
	}
	var left map[string]any
	for _, name := range [...]string{upstreamAddress, proxyRetries, proxyStatus, proxySettled, interceptedStatus, interceptedSettle} {
		if value, ok := repl.Get(name); ok {
			if left == nil {
				left = make(map[string]any)
			}
			left[name] = value
			repl.Delete(name)
		}
	}
	return proxyState{repl, r.Header[SettledField] == nil}, func() {
		for name, value := range left {
			if _, replaced := repl.Get(name); !replaced {
				repl.Set(name, value)
			}
		}
	}
}

// forget forgets the answer to the last attempt.
func (s proxyState) forget() {
	s.Delete(proxyStatus)
	s.Delete(proxySettled)
}

// upstream names the last upstream that a proxy has chosen, or is nil.
func (s proxyState) upstream() any { return s.value(upstreamAddress) }

// retries returns how often the proxy tried again. It is known once the proxy is done.
func (s proxyState) retries() int {
	n, _ := s.value(proxyRetries).(int)
	return n
}

// published returns the answer to the last attempt.
func (s proxyState) published() published { return s.answer(proxyStatus, proxySettled) }

// intercepted returns the answer that the handler intercept has replaced.
func (s proxyState) intercepted() published { return s.answer(interceptedStatus, interceptedSettle) }

func (s proxyState) answer(status, settled string) (p published) {
	p.status, _ = s.value(status).(int)
	if p.status != 0 && s.trusted {
		text, _ := s.value(settled).(string)
		p.settled = isTrue(text)
	}
	return p
}

func (s proxyState) value(name string) any {
	value, _ := s.Get(name)
	return value
}
