package etagcache

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/redis/go-redis/v9"
)

// ErrUnreadable comes with ErrUnavailable. It means that a script stumbles over what an
// entry or a marker holds, although the server is well: to try again is no use.
var ErrUnreadable = errors.New("what is stored can't be read")

// stumbled matches the errors of the scripts themselves. Errors of the server that a script
// passes on, such as OOM, have an @ there.
var stumbled = regexp.MustCompile(`(?:^|[^@])user_script:\d+: |WRONGTYPE`)

// failed returns the error of a call that ran a script.
func failed(err error, doing string) error {
	if server, ok := errors.AsType[redis.Error](err); ok && stumbled.MatchString(server.Error()) {
		return fmt.Errorf("%w: %s: %w: %w", ErrUnavailable, doing, ErrUnreadable, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}
