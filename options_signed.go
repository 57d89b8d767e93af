package preconditions

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-preconditions/preconditions/internal/resource"
)

// signatureSchemes returns what the option signed means.
func signatureSchemes(names []string) (schemes []resource.Scheme, err error) {
	for i, name := range names {
		scheme := resource.Scheme(name)
		switch {
		case !slices.Contains(resource.Schemes, scheme):
			return nil, fmt.Errorf("must be %s, not %q", schemeNames(), name)
		case slices.Contains(names[:i], name):
			return nil, fmt.Errorf("%s is given twice", name)
		}
		schemes = append(schemes, scheme)
	}
	return schemes, nil
}

func schemeNames() string {
	var names []string
	for _, scheme := range resource.Schemes {
		names = append(names, string(scheme))
	}
	return strings.Join(names, " or ")
}

// warnOfSigned warns if the conditions of signed writes must be confirmed at the origin
// each time: most origins that want a signature show nothing without one.
func warnOfSigned(h *Handler, logger *zap.Logger) {
	if len(h.Signed) > 0 && (h.Verify == verifyPassing || h.Verify == verifyAll) {
		logger.Warn("signed requests: the handler can't sign, so it confirms conditions at the origin without the signature, "+
			"and refuses each conditional write of what the origin doesn't show to everybody; "+
			"if every write comes through here, choose verify never",
			zap.Strings("signed", h.Signed), zap.String("verify", h.Verify))
	}
}
