package etagcache

import (
	"context"
	"errors"
	"strconv"
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
// that was true at some moment during the call. INFO comes last, so that the server was
// still the same one when it answered the others.
type plainRead struct {
	time   *redis.TimeCmd
	marker *redis.SliceCmd // the fields of markerFields
	ttl    *redis.DurationCmd
	fields *redis.MapStringStringCmd
	info   *redis.StringCmd

	now int64 // in ms
}

// markerFields are what a plain read needs of a marker (generation.lua).
var markerFields = []string{"id", "replid", "from", "until", "format", "grace", "lag", "why"}

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
		server = &together{client: node}
	}
	begun := time.Now()
	p := newPlainRead(ctx, r.markers.of(name), name)
	if err := p.send(ctx, server); err != nil {
		if _, answered := errors.AsType[redis.Error](err); answered {
			return e, false, nil // the script may know what to do
		}
		r.again()
		return e, true, failed(err, "reading an entry")
	}
	p.now = p.time.Val().UnixMilli()
	lag, why, done := p.generation(t, r.replies.grace.Load())
	if done {
		e, done = p.entry(lag)
		e.Grace.Loss = why
	}
	if done = done && p.keeps(e, t); done {
		r.checked.Store(&begun)
	}
	return e, done, nil
}

// newPlainRead returns the commands of a read, which nobody has sent yet.
func newPlainRead(ctx context.Context, marker, name string) plainRead {
	wanted := []any{"hmget", marker}
	for _, field := range markerFields {
		wanted = append(wanted, field)
	}
	return plainRead{
		time:   redis.NewTimeCmd(ctx, "time"),
		marker: redis.NewSliceCmd(ctx, wanted...),
		ttl:    redis.NewDurationCmd(ctx, time.Millisecond, "pttl", name),
		fields: redis.NewMapStringStringCmd(ctx, "hgetall", name),
		info:   redis.NewStringCmd(ctx, "info", "replication"),
	}
}

// send sends the commands in one round trip, and returns the first error.
func (p *plainRead) send(ctx context.Context, server *together) error {
	cmds := []redis.Cmder{p.time, p.marker, p.ttl, p.fields, p.info}
	if err := server.do(ctx, cmds...); err != nil {
		return err
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
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

// generation returns the longest lag of all callers, in ms, and how the generation began. It reports false if this isn't
// the server on which the generation began, a grace isn't over, or the marker doesn't know
// the caller's terms. Heard is the longest grace that the caller has heard of.
func (p *plainRead) generation(t Terms, heard int64) (lag int64, why Loss, ok bool) {
	info := p.info.Val()
	marked := make([]string, len(markerFields))
	for i, value := range p.marker.Val() {
		marked[i], _ = value.(string)
	}
	id, replid, format := marked[0], marked[1], marked[4]
	from, known1 := stamp(marked[2])
	until, known2 := stamp(marked[3])
	grace, known3 := stamp(marked[5])
	lag, known4 := stamp(marked[6])
	ok = id != "" && format == strconv.Itoa(Format) && known1 && known2 && known3 && known4 &&
		replid != "" && infoSays(info, "master_replid", replid) && infoSays(info, "role", "master") &&
		from <= p.now && until <= p.now && p.fields.Val()["g"] == id &&
		grace == heard && milliseconds(t.Grace) <= grace && milliseconds(t.Lag) <= lag
	return lag, Loss(marked[7]), ok
}

// infoSays reports whether INFO shows a field with a value.
func infoSays(info, field, value string) bool {
	_, after, found := strings.Cut(info, "\n"+field+":")
	return found && strings.HasPrefix(after, value) && strings.HasPrefix(after[len(value):], "\r\n")
}

// entry returns the entry. It reports false if the scripts would store anything about it, or
// can't read something in it. Lag is the longest of all callers, in ms.
func (p *plainRead) entry(lag int64) (Entry, bool) {
	fields := p.fields.Val()
	e := Entry{
		Epoch: fields["e"], Vary: fields["y"], Receipt: fields["r"],
		Now: time.UnixMilli(p.now), Variants: make(map[string]Stored, len(fields)/2),
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
				e.Variants[id], e.Latest = s, laterOf(e.Latest, s.Since)
			}
		}
	}
	leaseLag, _ := stamp(fields["l"])
	if !e.setSpent(fields["s"], p.now, p.now+lag+1) {
		return Entry{}, false
	}
	e.setHeld(fields["h"], inFlight+leaseLag)
	if passing {
		clear(e.Variants)
		e.Receipt = ""
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
	for _, s := range e.Variants {
		if hasValidator(s.Observed) {
			return true
		}
	}
	return false
}

// stamp parses a stored number. It reports false if it is anything else.
func stamp(text string) (int64, bool) {
	if text == "" || len(text) > 13 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
