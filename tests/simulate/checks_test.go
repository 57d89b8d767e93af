package simulate

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// promise is what a run checks.
type promise string

const (
	noLostUpdate  promise = "a conditional write replaces the state that its condition was about"
	oneWinner     promise = "of writers with the same tag exactly one succeeds"
	honestAnswer  promise = "an answer tells what became of the request"
	rightTag      promise = "the tag on the answer to a write is the tag of its content"
	datesDiffer   promise = "no two contents share a date"
	everybodyWins promise = "every client gets a write through, once nothing goes wrong any more"
)

// violation is a promise that a run broke.
type violation struct {
	promise
	text string
}

// violate notes that a promise is broken. The caller has the lock.
func (r *run) violate(p promise, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.record("BROKEN", text)
	if r.violated == nil && (r.mutant.promise == "" || r.mutant.promise == p) {
		r.violated = &violation{p, text}
	}
}

// apply applies a write. The caller has the lock.
func (d *document) apply(o *op) {
	replaced := d.now()
	d.versions = append(d.versions, version{o.content, time.Now()})
	o.applied = true
	o.note("the backend replaces %q by %q", replaced, o.content)
	// There is no date any more when there is nothing any more (RFC 9110, section 13.1.4).
	ignored := o.byDate && replaced == ""
	if o.conditional && replaced != o.based.content && !ignored {
		d.violate(noLostUpdate, "%s's write was about %q and replaced %q", o.name, o.based.content, replaced)
	}
	if o.refused {
		d.violate(honestAnswer, "%s was told that nothing was changed, and then the write was applied", o.name)
	}
}

// checkRead checks the answer to a read, and remembers it.
func (o *op) checkRead(got reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case got.status == http.StatusNotFound && !got.problem:
		o.seen[o.path] = seen{known: true}
	case got.status == http.StatusOK:
		if want := tagOf(got.content); got.tag != want {
			o.violate(rightTag, "%s read %q with the tag %s, not %s", o.name, got.content, got.tag, want)
		}
		if got.date != "" {
			if other, known := o.dated[o.path+got.date]; known && other != got.content {
				o.violate(datesDiffer, "%q and %q are both of %s", other, got.content, got.date)
			}
			o.dated[o.path+got.date] = got.content
		}
		o.seen[o.path] = seen{known: true, content: got.content, tag: got.tag, date: got.date}
	}
}

// checkWrite checks the answer to a write.
func (o *op) checkWrite(got reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case got.problem && !strings.Contains(got.reason, "lost while the backend worked"):
		o.refused = true
		if o.applied || o.sent {
			o.violate(honestAnswer, "%s was told that nothing was changed, but the backend has got the write", o.name)
		}
		if got.status != http.StatusServiceUnavailable {
			o.seen[o.path] = seen{}
		}
	case got.status == http.StatusAccepted:
	case got.status/100 == 2:
		o.checkSuccess(got)
	}
}

func (o *op) checkSuccess(got reply) {
	if !o.applied {
		o.violate(honestAnswer, "%s was told that it succeeded, but the write wasn't applied", o.name)
	}
	if o.conditional && !o.byDate && o.based.content != "" && o.based.content != original(o.document) {
		key := o.path + o.based.content
		if other := o.winners[key]; other != nil {
			o.violate(oneWinner, "%s and %s both succeeded with the tag of %q", other.name, o.name, o.based.content)
		}
		o.winners[key] = o
	}
	o.won = true
	after := seen{known: o.content == "", content: o.content}
	if got.tag != "" {
		if got.tag != tagOf(o.content) {
			o.violate(rightTag, "%s wrote %q and got the tag %s, which isn't its tag", o.name, o.content, got.tag)
		}
		after.known, after.tag = true, got.tag
	}
	o.seen[o.path] = after
}

// succeed writes until that succeeds.
func (c *client) succeed() {
	for i := range c.plan.documents {
		time.Sleep(time.Duration(1 + slices.Index(names, c.name))) // not all at the same time
		begun := time.Now()
		// A clock that is set back makes leases and graces twice as long.
		deadline := 4*c.longestLease() + 2*c.nodes[0].grace + c.plan.wait + 2*c.node.nodePlan.lag + 10*time.Second
		for tries := uint64(0); !c.isDead(); tries++ {
			p := &opPlan{
				number: 1000 + tries*1000 + uint64(i*100+slices.Index(names, c.name)), does: edits, document: i, after: time.Millisecond,
				answer: answerPlan{status: http.StatusNoContent, applies: beforeHeader},
			}
			c.seen[documentPath(i)] = seen{}
			if c.perform(p).won {
				break
			}
			if time.Since(begun) > deadline {
				c.mu.Lock()
				c.violate(everybodyWins, "%s has got no write through in %s", c.name, time.Since(begun))
				c.mu.Unlock()
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}
