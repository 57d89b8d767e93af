package etagcache

import (
	"context"
	"time"
)

// peeking is the part of Redis that looks at entries and leaves them as they are.
type peeking struct{ redis *Redis }

// Peek implements Store.
func (p *peeking) Peek(ctx context.Context, key string) (Peeked, error) {
	values, err := p.redis.run(ctx, peekScript, p.redis.prefix.entry(key), Terms{})
	if err != nil || len(values) == 1 {
		return Peeked{}, err
	}
	kept, ok1 := values.number(1)
	claims, ok2 := values.number(2)
	passes, ok3 := values.number(3)
	if !ok1 || !ok2 || !ok3 || len(values) < 5 {
		return Peeked{}, values.malformed()
	}
	of, _ := values[4].([]any)
	entry, err := reply(of).entry()
	return Peeked{
		Entry: entry, Known: err == nil, Claimed: claims > 0, Passes: int(passes),
		Kept: time.Duration(max(0, kept)) * time.Millisecond,
	}, err
}
