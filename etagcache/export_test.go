package etagcache

import (
	"cmp"
	"context"
	"slices"
)

// ReadPlainly is Read without the script. It reports false if the script must do it.
func ReadPlainly(ctx context.Context, r *Redis, key string, t Terms) (Entry, bool, error) {
	return readPlainly(ctx, r, r.prefix.entry(key), t)
}

// ReadWithScript is Read without plain commands.
func ReadWithScript(ctx context.Context, r *Redis, key string, t Terms) (Entry, error) {
	return readWithScript(ctx, r, r.prefix.entry(key), t)
}

// Failed returns the error of a call that ran a script.
var Failed = failed

// InOrder sorts the variants of an entry, and what is spent, and lists each state once.
func InOrder(e Entry) Entry {
	slices.SortFunc(e.Variants, func(a, b Variant) int { return cmp.Compare(a.Key, b.Key) })
	spent := slices.SortedFunc(e.Spent.All(), func(a, b SpentState) int {
		return cmp.Or(cmp.Compare(a.Identity, b.Identity), cmp.Compare(b.Left, a.Left))
	})
	e.Spent = NewSpent(slices.CompactFunc(spent, func(a, b SpentState) bool { return a.Identity == b.Identity })...)
	return e
}
