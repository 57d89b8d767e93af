package preconditions

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// Where signatures are expected, and conditions are confirmed at the origin each time, the
// operator hears at once what that means, and what may be better.
func TestWarnsOfVerifyingSigned(t *testing.T) {
	t.Parallel()
	aws := []string{"aws"}
	for _, tt := range []struct {
		handler Handler
		warns   bool
	}{
		{Handler{}, false},
		{Handler{Signed: aws}, true},
		{Handler{Signed: aws, Verify: "all"}, true},
		{Handler{Signed: aws, Verify: "1h"}, false},
		{Handler{Signed: aws, Verify: "never"}, false},
		{Handler{Signed: aws, ETag: []ETagSource{{Source: "version"}}}, false},
	} {
		core, logs := observer.New(zap.WarnLevel)
		h := tt.handler
		h.setDefaults()
		warnOfSigned(&h, zap.New(core))
		if got := logs.All(); (len(got) > 0) != tt.warns || tt.warns && !strings.Contains(got[0].Message, "verify never") {
			t.Errorf("%v, verify %s: %v", h.Signed, h.Verify, got)
		}
	}
}
