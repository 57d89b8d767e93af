//go:build !race

package gateway

// racing is what the race detector adds to the allocations of a request.
const racing = 0
