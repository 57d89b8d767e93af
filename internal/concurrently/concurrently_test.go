package concurrently

import (
	"net/http"
	"sync/atomic"
	"testing"
)

// A panic in one call becomes a panic of the caller, where the server recovers,
// and not before the other calls have ended.
func TestDoPanics(t *testing.T) {
	var ended atomic.Int32
	defer func() {
		if v := recover(); v != http.ErrAbortHandler || ended.Load() != 9 {
			t.Errorf("recovered %v when %d had ended", v, ended.Load())
		}
	}()
	Do(4, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, func(i int) {
		if i == 3 {
			panic(http.ErrAbortHandler)
		}
		ended.Add(1)
	})
}
