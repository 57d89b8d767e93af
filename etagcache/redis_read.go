package etagcache

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// plainRead reads an entry with plain commands, which cost the server a quarter of what
// read.lua costs. It changes nothing, so it succeeds only if read.lua would change nothing
// either: the generation is current and its grace is over, no lease has expired, nothing is
// to be noted or corrected, and the entry needn't be kept for longer.
//
// The commands aren't one step, but each order of what others do meanwhile gives an entry
// that was true at some moment during the call.
type plainRead struct {
	time   *redis.TimeCmd
	ttl    *redis.DurationCmd
	fields *redis.MapStringStringCmd
	server *inspection

	now int64 // in ms
}

// readPlainly reads the entry with the given name. It reports false if read.lua must do it.
func readPlainly(ctx context.Context, r *Redis, name string, t Terms) (e Entry, done bool, err error) {
	if !r.replies.met.Load() || r.replies.blind.Load() || r.due() || ctx.Err() != nil {
		return e, false, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()
	server := r.together
	if c, ok := r.client.(clusterClient); ok {
		node, err := c.MasterForKey(ctx, name)
		if err != nil {
			return e, false, nil
		}
		server = &together{client: node, marker: r.markers.of(name)}
	}
	begun := time.Now()
	p := newPlainRead(ctx, name)
	if err := p.send(ctx, server); err != nil {
		if _, answered := errors.AsType[redis.Error](err); answered {
			return e, false, nil // the script may know what to do
		}
		r.again()
		return e, true, failed(err, "reading an entry")
	}
	p.now = p.time.Val().UnixMilli()
	if done = p.server.knows(t, r.replies.grace.Load(), p.now) && p.fields.Val()["g"] == p.server.id; done {
		e, done = p.entry()
		e.Grace.Loss = p.server.why
	}
	if done = done && p.keeps(e, t); done {
		r.checked.Store(&begun)
	}
	return e, done, nil
}

// newPlainRead returns the commands of a read, which nobody has sent yet.
func newPlainRead(ctx context.Context, name any) plainRead {
	return plainRead{
		time:   redis.NewTimeCmd(ctx, "time"),
		ttl:    redis.NewDurationCmd(ctx, time.Millisecond, "pttl", name),
		fields: redis.NewMapStringStringCmd(ctx, "hgetall", name),
	}
}

// send sends the commands in one round trip, and returns the first error.
func (p *plainRead) send(ctx context.Context, server *together) (err error) {
	if p.server, err = server.inspect(ctx, p.time, p.ttl, p.fields); err != nil {
		return err
	}
	return cmp.Or(p.time.Err(), p.ttl.Err(), p.fields.Err(), p.server.marker.Err(), p.server.info.Err())
}

// readWithScript reads the entry with the given name. It creates the entry if it must.
func readWithScript(ctx context.Context, r *Redis, name string, t Terms) (Entry, error) {
	reply, err := r.run(ctx, readScript, name, t)
	if err != nil {
		return Entry{}, err
	}
	r.replies.heed(reply)
	r.spread(reply.began(), t)
	return reply.entry()
}

// entry returns the entry. It reports false if the scripts would store anything about it, or
// can't read something in it.
func (p *plainRead) entry() (Entry, bool) {
	fields := p.fields.Val()
	e := Entry{
		Epoch: fields["e"], Vary: fields["y"], Receipt: fields["r"],
		Now: time.UnixMilli(p.now),
	}
	if last, ok := stamp(fields["d"]); ok && last > 0 {
		e.Latest = time.UnixMilli(last)
	}
	inFlight, passing, ok := p.leases()
	if e.Epoch == "" || !ok {
		return Entry{}, false
	}
	e.Busy = time.Duration(inFlight) * time.Millisecond
	for name, value := range fields {
		if id, found := strings.CutPrefix(name, "v:"); found {
			if s, err := p.variant(id, value); err == nil { // else it is unreadable, so unknown
				e.Variants, e.Latest = append(e.Variants, Variant{id, s}), laterOf(e.Latest, s.Since)
			}
		}
	}
	leaseLag, _ := stamp(fields["l"])
	if !e.setSpent(fields["s"], p.now, p.now+p.server.lag+1) {
		return Entry{}, false
	}
	e.setHeld(fields["h"], inFlight+leaseLag)
	if passing {
		e.Variants, e.Receipt = nil, ""
	}
	return e, true
}

// leases returns for how many more ms the write in flight can last, and whether it has a
// pass. It reports false if a lease has expired, or is written as other versions do.
func (p *plainRead) leases() (left int64, passing, ok bool) {
	for name, value := range p.fields.Val() {
		if !strings.HasPrefix(name, "c:") && !strings.HasPrefix(name, "p:") {
			continue
		}
		at, asked, _ := strings.Cut(value, ".")
		ends, ok1 := stamp(at)
		length, ok2 := stamp(asked)
		if !ok1 || !ok2 || ends <= p.now || ends > p.now+length {
			return 0, false, false
		}
		left, passing = max(left, ends-p.now), name[0] == 'p'
	}
	return left, passing, true
}

// variant returns what is stored for a variant.
func (p *plainRead) variant(id, value string) (Stored, error) {
	if tag, found := p.fields.Val()["b:"+id]; found {
		return variantWithTag(reply{value, tag}, p.now)
	}
	return stored(value, p.now)
}

// keeps reports whether the server keeps the entry for long enough (read.lua).
func (p *plainRead) keeps(e Entry, t Terms) bool {
	left, brief := p.ttl.Val(), t.Retention
	if t.Brief > 0 {
		brief = min(brief, t.Brief)
	}
	return left >= brief/2 && (left >= t.Retention/2 || !worthKeeping(e))
}

// worthKeeping reports whether the entry knows anything that is worth the whole retention.
func worthKeeping(e Entry) bool {
	if e.Receipt != "" {
		return true
	}
	return slices.ContainsFunc(e.Variants, func(v Variant) bool { return hasValidator(v.Observed) })
}

// stamp parses a stored number. It reports false if it is anything else.
func stamp(text string) (n int64, ok bool) {
	if text == "" || len(text) > 13 {
		return 0, false
	}
	for i := range len(text) {
		digit := text[i] - '0'
		if digit > 9 {
			return 0, false
		}
		n = 10*n + int64(digit)
	}
	return n, true
}
