package preconditions

import (
	"fmt"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestUnstableIsNamedOnce: in the log, with what to do, after some changes in a
// row; and what is remembered of resources is bounded.
func TestUnstableIsNamedOnce(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	u := newUnstable()
	rd := &reading{exchange: &exchange{h: &Handler{logger: zap.New(core), store: &sharedStore{unstable: u}}, key: "page"}}
	for i := range 100 {
		rd.noteChange("calm", i%unstableRun != 0)
	}
	if logs.Len() != 0 {
		t.Fatalf("named: %v", logs.All())
	}
	for range 100 {
		rd.noteChange("a", true)
		rd.noteChange("b", true)
	}
	if logs.Len() != 1 || logs.All()[0].ContextMap()["resource"] != "page" {
		t.Errorf("named %d times: %v", logs.Len(), logs.All())
	}
	elsewhere := &reading{exchange: &exchange{h: rd.h, key: "page of another host"}}
	for range unstableRun {
		elsewhere.noteChange("c", true) // the path is the same, and so is the variant
		rd.noteChange("c", false)
	}
	if logs.Len() != 2 {
		t.Errorf("one that changes beside one that doesn't: named %d", logs.Len()-1)
	}
	for i := range 10 * maxUnstable {
		for range unstableRun {
			u.note(fmt.Sprint(i), fmt.Sprint(i), true)
		}
	}
	if len(u.runs) > maxUnstable || len(u.named) > maxUnstable {
		t.Errorf("%d and %d are remembered", len(u.runs), len(u.named))
	}
}
