package proxyhooks

import "sync/atomic"

// spooledBytes is how much content all exchanges of this process keep in temporary files.
var spooledBytes atomic.Int64

// SpooledBytes returns how many bytes of content all exchanges of this process keep in
// temporary files.
func SpooledBytes() int64 { return spooledBytes.Load() }

// CountSpooled counts n more bytes in a temporary file, or fewer if n is below zero.
func CountSpooled(n int64) { spooledBytes.Add(n) }
