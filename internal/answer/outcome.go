package answer

// Outcome is what became of a request.
type Outcome string

// The outcomes. Each request has exactly one.
const (
	Bypassed      Outcome = "bypassed"      // not looked at
	Read          Outcome = "read"          // sent as it is
	Unmodified    Outcome = "unmodified"    // 304
	Passed        Outcome = "passed"        // conditional write, forwarded
	Failed        Outcome = "failed"        // 412: the condition is false
	Required      Outcome = "required"      // 428
	Conflict      Outcome = "conflict"      // 503: waited in vain for another write
	Unverifiable  Outcome = "unverifiable"  // the condition can't be decided
	Unavailable   Outcome = "unavailable"   // 503: the store or the origin can't be asked
	Unconditional Outcome = "unconditional" // write without a condition, forwarded
)

// outcomes lists all of them.
var outcomes = []Outcome{
	Bypassed, Read, Unmodified, Passed, Failed, Required,
	Conflict, Unverifiable, Unavailable, Unconditional,
}
