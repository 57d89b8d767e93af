package proxyhooks

import "net/http"

// EditHeader changes fields of h, and returns a function that restores them. A nil value
// removes the field. Names must be in canonical form. It changes the map in place,
// because placeholders and outer handlers share it.
func EditHeader(h http.Header, changes map[string][]string) (restore func()) {
	if len(changes) == 0 {
		return func() {}
	}
	original := make(map[string][]string, len(changes))
	for name, lines := range changes {
		original[name] = h[name]
		set(h, name, lines)
	}
	return func() {
		for name, lines := range original {
			set(h, name, lines)
		}
	}
}

// Edit is a change of one field of a header, whose name is in canonical form. Nil lines remove
// the field.
type Edit struct {
	Name  string
	Lines []string
}

// Swap makes edits, each of a different field, in place as [EditHeader] does. What the header
// had is in the edits afterwards, so that a second call restores it.
func Swap(h http.Header, edits []Edit) {
	for i, e := range edits {
		edits[i].Lines = h[e.Name]
		set(h, e.Name, e.Lines)
	}
}

// With returns changes with one more field.
func With(changes map[string][]string, name string, lines []string) map[string][]string {
	if changes == nil {
		changes = make(map[string][]string)
	}
	changes[name] = lines
	return changes
}

func set(h http.Header, name string, lines []string) {
	if lines == nil {
		delete(h, name)
	} else {
		h[name] = lines
	}
}
