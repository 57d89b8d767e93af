package proxyhooks

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// Statuses is a set of statuses. A number from 1 to 5 stands for a class: 5 for all from
// 500 to 599.
type Statuses []int

// DefaultUnanswered returns the statuses that usually leave a write unanswered. 202 says
// by definition that the work goes on. The others are said by a proxy, a platform or a
// CDN that has lost sight of the application, which may go on with the write.
func DefaultUnanswered() Statuses {
	return Statuses{
		202,           // Accepted
		502, 503, 504, // any proxy: its upstream failed, or took too long
		520, 521, 522, 523, 524, 525, 526, 527, 528, 529, 530, // CDNs: the origin failed, or took too long
		598, 599, // proxies: time-out while reading, or connecting
	}
}

var usuallyUnanswered = DefaultUnanswered()

// Contain reports whether a status belongs to the set.
func (s Statuses) Contain(status int) bool {
	return slices.Contains(s, status) || slices.Contains(s, status/100)
}

// CheckUnanswered returns an error for the first number that is no status of an answer, that
// is there twice, or that says what became of a write: every write that gets such an answer
// would keep others waiting for a lease.
func (s Statuses) CheckUnanswered() error {
	for i, number := range s {
		class, name := number/100, strconv.Itoa(number)
		if number < 10 {
			class, name = number, name+"xx"
		}
		switch {
		case class < 1, class > 5:
			return fmt.Errorf("%d is neither a status from 200 to 599 nor the first digit of one", number)
		case class == 1:
			return fmt.Errorf("%s isn't a final answer", name)
		case class <= 3 && number != http.StatusAccepted && number != http.StatusMultiStatus:
			return fmt.Errorf("%s says that a write succeeded: each would keep others waiting until its lease is over. "+
				"Below 400, only 202 and 207 are possible", name)
		case slices.Contains(s[:i], number):
			return fmt.Errorf("%s is given twice", name)
		case class != number && slices.Contains(s, class):
			return fmt.Errorf("%s is given twice: %dxx includes it", name, class)
		}
	}
	return nil
}
