package telemetry

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxLogged is how many refusals of a handler are logged in a second. The rest is counted:
// a client that tries again and again must not fill the disk.
const maxLogged = 100

// log logs a refusal, unless too many were logged within this second.
func (o *Observer) log(r *Refusal) {
	message := "refused"
	if r.Mode != "enforce" {
		message = "would be refused"
	}
	c := o.logger.Check(zap.InfoLevel, message)
	if c == nil || !o.logged.admit(r.Time, o.logger) {
		return
	}
	c.Write(r.fields()...)
}

// limiter admits maxLogged messages in each second, and logs how many it has left out.
type limiter struct {
	mu       sync.Mutex
	second   int64
	admitted int
	left     int // out, since that was logged last
}

// admit reports whether a message may be logged at a time. If it may not, the logger hears of
// that when the second is over.
func (l *limiter) admit(at time.Time, logger *zap.Logger) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := at.Unix(); second != l.second {
		l.second, l.admitted = second, 0
	}
	if l.admitted < maxLogged {
		l.admitted++
		return true
	}
	if l.left++; l.left == 1 {
		time.AfterFunc(at.Truncate(time.Second).Add(time.Second).Sub(at), func() { l.confess(logger) })
	}
	return false
}

// confess logs how many messages were left out.
func (l *limiter) confess(logger *zap.Logger) {
	l.mu.Lock()
	left := l.left
	l.left = 0
	l.mu.Unlock()
	logger.Info("more refusals than are logged in a second", zap.Int("left_out", left), zap.Int("logged", maxLogged))
}
