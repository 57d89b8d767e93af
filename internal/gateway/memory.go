package gateway

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// counting returns d, which then counts what it buffers.
func counting(d proxyhooks.Deriver, memory *proxyhooks.Memory) proxyhooks.Deriver {
	d.Memory = memory
	return d
}

// warnedFull is when this process last warned that its memory for content is full, in ns.
var warnedFull atomic.Int64

// fullWarnings is how long no second warning follows.
const fullWarnings = 10 * time.Minute

// warnOfFullMemory warns that no more content can be held. Requests go on without it.
func (g *Gateway) warnOfFullMemory() {
	last, now := warnedFull.Load(), time.Now().UnixNano()
	if now-last < int64(fullWarnings) && last != 0 || !warnedFull.CompareAndSwap(last, now) {
		return
	}
	g.Logger.Warn("the content of requests and responses fills the memory that buffer_total allows, so responses pass without "+
		"a tag made from their content; if clients read slowly, set the timeout write of Caddy's servers, "+
		"or else raise buffer_total",
		zap.Int64("buffer_total", g.BufferTotal), zap.Int64("held", proxyhooks.HeldBytes()))
}
