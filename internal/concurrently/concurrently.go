// Package concurrently calls a function for many things at once, up to a limit.
package concurrently

import "sync"

// Do calls f for each element, with at most limit calls at once, and returns when
// all of them have returned. If f panics, Do panics with the same value. Handlers
// abort a response by panicking with http.ErrAbortHandler, and the usual libraries
// either lose a panic in their goroutine or wrap its value.
func Do[T any](limit int, each []T, f func(T)) {
	if len(each) == 0 {
		return
	}
	var all sync.WaitGroup
	free := make(chan struct{}, limit)
	panics := make(chan any, len(each))
	for _, one := range each {
		free <- struct{}{}
		all.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panics <- v
				}
				<-free
			}()
			f(one)
		})
	}
	all.Wait()
	select {
	case v := <-panics:
		panic(v)
	default:
	}
}
