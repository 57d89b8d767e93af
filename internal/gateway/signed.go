package gateway

import (
	"strings"

	"go.uber.org/zap"
)

// warnOfSignature warns, once, of a request that says it is signed in a scheme that nobody
// expects. It is served like any other: its fields may change on their way, and the backend
// then refuses a signature that covers them.
func warnOfSignature(x *exchange) {
	if x.request.Claimed == nil || x.request.Signed || !x.Learned.tellOfSigned() {
		return
	}
	var words []string
	for _, scheme := range x.request.Claimed {
		words = append(words, string(scheme))
	}
	x.Logger.Warn("a request says that it is signed; if your clients sign requests, say so with the option signed, "+
		"or the backend may refuse the signature of what is changed on the way",
		zap.String("option", "signed "+strings.Join(words, " ")), zap.String("method", x.r.Method), zap.String("resource", x.plan.Subject.Key))
}
