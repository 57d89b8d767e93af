package proxyhooks

import "sync/atomic"

// tagsMade counts the tags that were made, by the kind of their source. Nobody adds kinds.
var tagsMade = func() map[SourceKind]*atomic.Int64 {
	made := make(map[SourceKind]*atomic.Int64)
	for _, kind := range []SourceKind{SourceUpstream, SourceHeader, SourceJSON, SourceModified, SourceBody, SourceVersion} {
		made[kind] = new(atomic.Int64)
	}
	return made
}()

// TagsMade returns how many tags each kind of source has yielded in this process.
func TagsMade() map[SourceKind]int64 {
	made := make(map[SourceKind]int64, len(tagsMade))
	for kind, n := range tagsMade {
		made[kind] = n.Load()
	}
	return made
}

// countTag counts a tag that a source has yielded.
func countTag(kind SourceKind) {
	if n := tagsMade[kind]; n != nil {
		n.Add(1)
	}
}
