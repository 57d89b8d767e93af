package telemetry

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A flood of refusals gets so many lines in a second, and one that counts the rest. The next
// second is a new one.
func TestLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		o := NewObserver("flooded", "enforce", zap.New(core), nil)
		for range 2 {
			for range maxLogged + 7 {
				o.Refused(Refusal{})
			}
			if n := logs.FilterMessage("refused").Len(); n != maxLogged {
				t.Errorf("logged %d lines, want %d", n, maxLogged)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			lines := logs.FilterMessage("more refusals than are logged in a second").All()
			if len(lines) != 1 || lines[0].ContextMap()["left_out"] != int64(7) {
				t.Errorf("got %v", lines)
			}
			logs.TakeAll()
		}
	})
}

// Subscribers get each refusal once, until they stop. What the client sent is shortened.
func TestSubscribe(t *testing.T) {
	o := NewObserver("example.com", "enforce", zap.NewNop(), nil)
	if o.WantsRefusals() {
		t.Error("nobody listens")
	}
	var one, two []Refusal
	stopOne := Subscribe(func(r Refusal) { one = append(one, r) })
	stopTwo := Subscribe(func(r Refusal) { two = append(two, r) })
	if !o.WantsRefusals() {
		t.Error("somebody listens")
	}
	long := make([]byte, 2*MaxProvided)
	o.Refused(Refusal{Provided: string(long)})
	stopOne()
	o.Refused(Refusal{})
	stopTwo()
	o.Refused(Refusal{})
	if len(one) != 1 || len(two) != 2 {
		t.Errorf("got %d and %d refusals", len(one), len(two))
	}
	if r := one[0]; r.Handler != "example.com" || r.Mode != "enforce" || r.Time.IsZero() || len(r.Provided) != MaxProvided {
		t.Errorf("got %+v", r)
	}
}
