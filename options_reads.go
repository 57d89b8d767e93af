package preconditions

import (
	"errors"
	"fmt"

	"github.com/caddy-preconditions/preconditions/internal/gateway"
	"github.com/caddy-preconditions/preconditions/internal/spelling"
	"github.com/caddy-preconditions/preconditions/proxyhooks"
)

// checkReads refuses to answer reads from a store that can't know of every write, and where
// that could never happen.
func checkReads(h *Handler) error {
	if err := spelling.Check(h.Reads, readsOrigin, readsStore); err != nil || h.Reads == readsOrigin {
		return err
	}
	list, _ := sources(h.ETag)
	switch {
	case h.Verify != verifyNever:
		return fmt.Errorf("store needs verify never beside it, which says that every writer comes through here, and verify is %s: "+
			"write verify never, or reads origin", h.Verify)
	case proxyhooks.Deriver{Sources: list}.OnlyVersion():
		return errors.New("store needs tags that are made from responses, and etag is version alone: write a different source, or reads origin")
	case h.Unconditional == unconditionalForward:
		return errors.New("store needs to know which writes are in flight, and with unconditional forward nobody does: " +
			"write unconditional serialize, or reads origin")
	}
	return nil
}

// responsesOf returns where the handler remembers what responses have shown, or nil if it
// always asks the origin.
func responsesOf(h *Handler) *gateway.Responses {
	if h.Reads != readsStore {
		return nil
	}
	return gateway.NewResponses()
}
