//go:build race

package gateway

// racing is what the race detector adds to the allocations of a request: it lets pools forget.
const racing = 30
