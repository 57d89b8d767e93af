package proxyhooks

import (
	"slices"

	"github.com/dunglas/httpsfv"
)

// ParseGroups returns the groups that the lines of a Cache-Groups or a
// Cache-Group-Invalidation field name, each once (RFC 9875): a List of Strings
// whose parameters say nothing. A field that is none is ignored (RFC 9651,
// section 1.1).
func ParseGroups(lines []string) []string {
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil
	}
	var groups []string
	for _, member := range list {
		item, ok := member.(httpsfv.Item)
		if !ok {
			return nil
		}
		name, ok := item.Value.(string)
		if !ok {
			return nil
		}
		groups = append(groups, name)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}
