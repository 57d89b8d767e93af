package proxyhooks

import "net/http"

// Edit changes fields of h in place, because placeholders and outer handlers
// share the map, and returns a function that puts them back. A nil value
// removes the field.
func Edit(h http.Header, changes map[string][]string) (restore func()) {
	before := make(map[string][]string, len(changes))
	for name, value := range changes {
		before[name] = h[name]
		set(h, name, value)
	}
	return func() {
		for name, value := range before {
			set(h, name, value)
		}
	}
}

func set(h http.Header, name string, value []string) {
	if value == nil {
		delete(h, name)
	} else {
		h[name] = value
	}
}
