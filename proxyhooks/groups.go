package proxyhooks

import (
	"slices"

	"github.com/dunglas/httpsfv"
)

// ParseGroups returns the groups that the lines of a Cache-Groups or
// Cache-Group-Invalidation field name (RFC 9875), sorted and without duplicates. The
// value is a List of Strings; parameters have no meaning. If it is anything else, the
// field is ignored, and the result is nil (RFC 9651, section 1.1).
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
