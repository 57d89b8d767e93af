package etagcache

import "context"

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
