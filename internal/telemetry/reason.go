package telemetry

// Reason says why a request had its outcome, as one of a fixed set of words: the label of a
// metric. The log has it as reason_code, beside the reason in a few words.
type Reason string

// The reasons that aren't about the validators of a condition. For those, the reason is that
// of the package validator, with "_" for spaces, such as no_match.
const (
	NoReason           Reason = "none"                // nothing was refused
	Unspecified        Reason = "other"               // none of the others
	NoTagKept          Reason = "no_tag_kept"         // the client sent what its language makes of a missing tag
	Replaced           Reason = "replaced"            // the condition is about a state that a later write has replaced
	NothingToDelete    Reason = "nothing_to_delete"   // S3 says 204
	Contradiction      Reason = "contradiction"       // two versions in one request
	TooManyConditions  Reason = "too_many_conditions" // more than any honest client sends
	UnclearRequest     Reason = "unclear_request"     // nobody can tell what it would change, or what its condition is about
	NoCondition        Reason = "no_condition"        // and one is required
	ConditionIgnored   Reason = "condition_ignored"   // likewise: RFC 9110 says to ignore what was sent
	WriteInFlight      Reason = "write_in_flight"     // waited in vain for another write
	OlderWrites        Reason = "older_writes"        // waited in vain for writes from before a reload
	ConfigReplaced     Reason = "config_replaced"     // the connection belongs to a replaced config
	GraceRunning       Reason = "grace"               // the store may have lost data
	StoreUnreachable   Reason = "store_unreachable"   //
	StoreIncompatible  Reason = "store_incompatible"  // a different version keeps its data there
	StoreEvicts        Reason = "store_evicts"        // it may have forgotten claims
	OriginUnreachable  Reason = "origin_unreachable"  // the origin gave no answer
	OriginRefused      Reason = "origin_refused"      // the origin answered a GET with a status that leaves the condition open
	OriginLags         Reason = "origin_lags"         // the origin may still show an older state
	CachedAnswer       Reason = "cached_answer"       // a cache answered in place of the origin
	NoTag              Reason = "no_tag"              // no tag could be made from the content
	ClaimLost          Reason = "claim_lost"          //
	OuterHandler       Reason = "outer_handler"       // a handler further out protects the resource
	NoRoom             Reason = "no_room"             // for the content
	PropertiesNotKnown Reason = "properties"          // the properties in an answer of a WebDAV server can't be told
)
