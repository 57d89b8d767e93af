package etagcache

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// inspection is what a server shows of itself around other commands. The marker comes before
// them, and INFO after them, so that it was still the same server when it answered them.
type inspection struct {
	marker *redis.SliceCmd // the fields of markerFields
	info   *redis.StringCmd

	// From the replies, if a generation began on this server:
	stands      bool
	id          string
	from, until int64 // in ms, as the following
	grace, lag  int64 // the longest of all callers
	why         Loss
}

// markerFields are what an inspection needs of a marker (generation.lua).
var markerFields = []any{"id", "replid", "from", "until", "format", "grace", "lag", "why"}

// newInspection returns the commands of an inspection, which nobody has sent yet.
func newInspection(ctx context.Context, marker string) *inspection {
	return &inspection{
		marker: redis.NewSliceCmd(ctx, slices.Concat([]any{"hmget", marker}, markerFields)...),
		info:   redis.NewStringCmd(ctx, "info", "replication"),
	}
}

// conclude reads the replies.
func (i *inspection) conclude() {
	info := i.info.Val()
	var marked [8]string
	for n, value := range i.marker.Val() {
		marked[n], _ = value.(string)
	}
	replid, format := marked[1], marked[4]
	var known1, known2, known3, known4 bool
	i.from, known1 = stamp(marked[2])
	i.until, known2 = stamp(marked[3])
	i.grace, known3 = stamp(marked[5])
	i.lag, known4 = stamp(marked[6])
	i.id, i.why = marked[0], Loss(marked[7])
	i.stands = i.id != "" && format == strconv.Itoa(Format) && known1 && known2 && known3 && known4 &&
		replid != "" && infoSays(info, "master_replid", replid) && infoSays(info, "role", "master")
}

// knows reports whether a generation is running on this server, its grace was over at the ms
// now, and the marker knows the caller's terms. Heard is the longest grace that the caller has
// heard of.
func (i *inspection) knows(t Terms, heard, now int64) bool {
	return i.stands && i.from <= now && i.until <= now &&
		i.grace == heard && milliseconds(t.Grace) <= i.grace && milliseconds(t.Lag) <= i.lag
}

// infoSays reports whether INFO shows a field with a value.
func infoSays(info, field, value string) bool {
	_, after, found := strings.Cut(info, "\n"+field+":")
	return found && strings.HasPrefix(after, value) && strings.HasPrefix(after[len(value):], "\r\n")
}
