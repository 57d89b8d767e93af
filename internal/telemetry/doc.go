// Package telemetry tells operators what the handler does: in logs, metrics, events and
// spans.
//
// Whatever serves requests reports here, and nothing here reports back. An [Observer]
// belongs to one handler of one config, and a [Course] to one request. What is counted
// belongs to the process, so it survives reloads.
package telemetry
