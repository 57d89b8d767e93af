package etagcache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// run runs a script on the entry with the given name.
func (r *Redis) run(ctx context.Context, s *script, name string, t Terms, args ...any) (reply, error) {
	c := newCall(r, s, name, t, args...)
	makeCalls(ctx, r, c)
	return c.reply, c.err
}

// call is a call of a script and, once it was made, its result.
type call struct {
	*script
	keys  []string
	argv  []any
	check bool // whether it finds out if the server may have lost data

	reply reply
	err   error
}

// newCall returns a call that nobody has made yet.
func newCall(r *Redis, s *script, name string, t Terms, args ...any) *call {
	check := s.strict || time.Since(*r.checked.Load()) >= checkInterval
	argv := append(r.prefix.argv(&r.replies, t, check), args...)
	return &call{script: s, keys: []string{name, r.markers.of(name)}, argv: argv, check: check}
}

// makeCalls makes calls, one right after the other. It doesn't interrupt one when ctx is done,
// which could leave behind a claim that nobody knows about.
func makeCalls(ctx context.Context, r *Redis, calls ...*call) {
	if err := ctx.Err(); err != nil {
		for _, c := range calls {
			c.err = err
		}
		return
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()
	begun := time.Now()
	if first := calls[0]; r.replicas > 0 && (first.script == claimScript || first.script == passScript) {
		first.reply, first.err = r.evalReplicated(bounded, first.script, first.keys, first.argv)
	} else {
		eval(bounded, r, calls)
	}
	for _, c := range calls {
		conclude(ctx, r, c, begun)
	}
}

// conclude notes what a call tells about the server. The call began at begun.
func conclude(ctx context.Context, r *Redis, c *call, begun time.Time) {
	if c.err != nil {
		if c.err = failed(c.err, "running "+c.name+".lua"); ctx.Err() != nil {
			c.err = ctx.Err()
			return
		}
		r.again()
		return
	}
	if c.first {
		r.look(ctx)
	}
	r.replies.met.Store(true)
	if c.check {
		r.checked.Store(&begun)
	}
	c.err = c.reply.status()
}

// eval sends calls, and waits for their replies.
func eval(ctx context.Context, r *Redis, calls []*call) {
	if r.together == nil {
		for _, c := range calls {
			c.reply, c.err = c.Run(ctx, r.client, c.keys, c.argv...).Slice()
		}
		return
	}
	sent := make([]redis.Cmder, len(calls))
	for i, c := range calls {
		sent[i] = evalSha(ctx, c.script, c.keys, c.argv)
	}
	if err := r.together.do(ctx, sent...); err != nil {
		for _, c := range calls {
			c.err = err
		}
		return
	}
	for i, c := range calls {
		ran := sent[i].(*redis.Cmd)
		if ran.Err() != nil && redis.HasErrorPrefix(ran.Err(), "NOSCRIPT") {
			ran = c.Eval(ctx, r.client, c.keys, c.argv...)
		}
		c.reply, c.err = ran.Slice()
	}
}

// evalSha returns the call of a script, which nobody has sent yet.
func evalSha(ctx context.Context, s *script, keys []string, argv []any) *redis.Cmd {
	args := make([]any, 0, 3+len(keys)+len(argv))
	args = append(args, "evalsha", s.Hash(), len(keys))
	for _, key := range keys {
		args = append(args, key)
	}
	return redis.NewCmd(ctx, append(args, argv...)...)
}

// granted evaluates the reply of a script that takes g. If it is unknown whether the script
// ran, granted gives g back.
func granted(r *Redis, g Grant, t Terms, reply reply, err error) (Grant, Entry, error) {
	var e Entry
	if err == nil || errors.Is(err, ErrBusy) || errors.Is(err, ErrStale) {
		r.replies.heed(reply)
		r.spread(reply.began(), t)
		var malformed error
		if e, malformed = reply.entry(); malformed != nil {
			err = malformed
		}
		e.passing = g.Pass && errors.Is(err, ErrBusy)
	}
	switch {
	case err == nil:
		return g, e, nil
	case errors.Is(err, ErrBusy), errors.Is(err, ErrStale), errors.Is(err, ErrIncompatible), unsent(err):
	case errors.Is(err, errReplicas) && r.release(g, t) == nil:
	default:
		r.releases.add(g, t)
	}
	return Grant{}, e, err
}
