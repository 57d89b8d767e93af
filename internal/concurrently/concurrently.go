// Package concurrently calls a function for many things at once, within a bound.
package concurrently

import "sync"

// Do calls f for each element, for at most limit of them at once, and returns
// when all calls have returned. A panic of f becomes a panic of the caller, with
// the same value. Handlers of a chain abort a response by panicking with
// http.ErrAbortHandler, and the libraries for this either lose a panic in their
// goroutine or wrap its value.
func Do[T any](limit int, each []T, f func(T)) {
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
