// Package history remembers what the handlers of this process have done lately: the last
// refusals, how many lost updates were prevented in each hour, which writes would be refused
// or have no condition, and, in mode report, which writes replaced what their client hadn't
// seen.
//
// It answers questions of operators; no request depends on it. All of it has a fixed bound,
// belongs to the process, and is gone when the process ends.
package history
