package faults

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A history records what clients did to some documents, and the answers they got.
// It is linearizable if all operations can be put in one order such that each
// takes effect between its request and its answer, and every answer is correct
// for a document that is read and written by one client at a time.

// deed is one operation of a client.
type deed struct {
	client  int
	path    string
	content string // the content read, or sent to be written
	basedOn string // the content that the write may replace; "" for any
	came    end
	call    time.Duration // since the history began
	back    time.Duration

	node string // for debugging, as is
	told string
}

// end is the outcome of a deed, as far as its client knows.
type end string

const (
	read    end = "read"    // the document has this content
	written end = "written" // it had the content that the write is based on, and now has this one
	refused end = "refused" // it has a content that the write isn't based on
	nothing end = "nothing" // the document was not written
	unknown end = "unknown" // the document may have been written
)

// history collects deeds.
type history struct {
	begun time.Time

	mu    sync.Mutex
	deeds []deed
}

func newHistory() *history { return &history{begun: time.Now()} }

func (h *history) now() time.Duration { return time.Since(h.begun) }

// add records a deed that has just ended.
func (h *history) add(d deed) {
	d.back = h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deeds = append(h.deeds, d)
}

// operations returns the operations on one document. If the client doesn't know
// the outcome, the backend does: applied says when it had applied each content.
func (h *history) operations(path string, applied map[string]time.Duration) (ops []porcupine.Operation) {
	for _, d := range h.deeds {
		if d.path != path || d.came == nothing {
			continue
		}
		if d.came == unknown {
			at, ok := applied[d.content]
			if !ok {
				continue
			}
			d.came, d.back = written, max(d.call, at)
		}
		ops = append(ops, porcupine.Operation{
			ClientId: d.client, Input: d, Call: int64(d.call), Return: int64(d.back),
		})
	}
	return ops
}

// documentModel models one document with an initial content.
func documentModel(content string) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return content },
		Step: func(state, input, _ any) (bool, any) {
			d := input.(deed)
			switch d.came {
			case read:
				return state == d.content, state
			case written:
				return d.basedOn == "" || state == d.basedOn, d.content
			default: // refused
				return state != d.basedOn, state
			}
		},
		DescribeOperation: func(input, _ any) string {
			d := input.(deed)
			return fmt.Sprintf("%s %q, based on %q", d.came, d.content, d.basedOn)
		},
	}
}

// expectLinearizable fails the test unless the history of every document is
// linearizable, starting with the given contents.
func (h *history) expectLinearizable(t *testing.T, contents map[string]string, applied map[string]time.Duration) {
	t.Helper()
	for path, content := range contents {
		model := documentModel(content)
		switch result, info := porcupine.CheckOperationsVerbose(model, h.operations(path, applied), time.Minute); result {
		case porcupine.Ok:
		case porcupine.Unknown:
			t.Errorf("%s: the history is too long to check whether it is linearizable", path)
		default:
			file := filepath.Join(t.ArtifactDir(), filepath.Base(path)+".html")
			t.Errorf("%s: the history isn't linearizable, see %s (kept with -artifacts): %v", path, file,
				porcupine.VisualizePath(model, info, file))
			for _, d := range h.unfounded(path, applied) {
				t.Errorf("a possible cause is this refusal: %+v", d)
			}
		}
	}
}

// unfounded returns the deeds that were refused without cause: by the backend's
// clock, no write came between the content that they are based on and their end.
func (h *history) unfounded(path string, applied map[string]time.Duration) (deeds []deed) {
	for _, d := range h.deeds {
		if d.path != path || d.came != refused || applied[d.basedOn] > d.call {
			continue
		}
		replaced := slices.ContainsFunc(h.deeds, func(o deed) bool {
			at, ok := applied[o.content]
			return ok && o.path == path && o.came != read && at > applied[d.basedOn] && at <= d.back
		})
		if !replaced {
			deeds = append(deeds, d)
		}
	}
	return deeds
}

// linearizable reports whether the history of every document is linearizable.
func (h *history) linearizable(contents map[string]string, applied map[string]time.Duration) bool {
	for path, content := range contents {
		if porcupine.CheckOperationsTimeout(documentModel(content), h.operations(path, applied), time.Minute) != porcupine.Ok {
			return false
		}
	}
	return true
}

// The model tells linearizable histories from others.
func TestHistory(t *testing.T) {
	const path = "/docs/a"
	at := func(client int, came end, content, basedOn string, call, back time.Duration) deed {
		return deed{client: client, path: path, content: content, basedOn: basedOn, came: came, call: call, back: back}
	}
	for _, tt := range []struct {
		name    string
		deeds   []deed
		applied map[string]time.Duration
		want    bool
	}{
		{"one after the other", []deed{at(0, written, "b", "a", 1, 2), at(1, read, "b", "", 3, 4)}, nil, true},
		{"a read of what was before", []deed{at(0, written, "b", "a", 1, 2), at(1, read, "a", "", 3, 4)}, nil, false},
		{"the same meanwhile", []deed{at(0, written, "b", "a", 1, 4), at(1, read, "a", "", 2, 3)}, nil, true},
		{"two based on one", []deed{at(0, written, "b", "a", 1, 4), at(1, written, "c", "a", 2, 3)}, nil, false},
		{"the second one refused", []deed{at(0, written, "b", "a", 1, 4), at(1, refused, "c", "a", 2, 3)}, nil, true},
		{"refused without a reason", []deed{at(1, refused, "c", "a", 2, 3)}, nil, false},
		{"whatever was there", []deed{at(0, written, "b", "", 1, 4), at(1, written, "c", "a", 2, 3)}, nil, true},
		{"unknown and not applied", []deed{at(0, unknown, "b", "a", 1, 2), at(1, written, "c", "a", 3, 4)}, nil, true},
		{"unknown and applied", []deed{at(0, unknown, "b", "a", 1, 2), at(1, written, "c", "a", 3, 4)}, map[string]time.Duration{"b": 5}, false},
		{"unknown and seen", []deed{at(0, unknown, "b", "a", 1, 2), at(1, written, "c", "b", 3, 4)}, map[string]time.Duration{"b": 3}, true},
		{"seen before it was applied", []deed{at(0, unknown, "b", "a", 3, 4), at(1, read, "b", "", 1, 2)}, map[string]time.Duration{"b": 5}, false},
		{"nothing came of it", []deed{at(0, nothing, "b", "a", 1, 2), at(1, read, "a", "", 3, 4)}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &history{deeds: tt.deeds}
			if got := h.linearizable(map[string]string{path: "a"}, tt.applied); got != tt.want {
				t.Errorf("linearizable: %v, want %v", got, tt.want)
			}
		})
	}
}
