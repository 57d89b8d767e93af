// Package caddytest is the harness of the suites below tests/. They test the
// handler as its users meet it: they write a Caddyfile, send HTTP requests to a
// real Caddy, and look at what the backend got.
//
// # Caddys
//
// There are three ways to run one:
//
//   - [Start] and its relatives [Site] and [OneNode] run a Caddy of the test's own
//     in this process. Several run beside each other, so their tests may be
//     parallel. Use this unless the test needs one of the others.
//   - [Load], [LoadWithAdmin] and [Reload] replace the config of this process, as
//     Caddy itself does. A test needs that for a reload, for the admin API, or
//     where it looks at something that the whole process shares, such as logs or
//     metrics. Such a test must not be parallel.
//   - [StartNodes] runs Caddys in processes of their own, which can be killed.
//     [TwoNodes] are two of them that share a Redis.
//
// # Hosts
//
// The handler knows a resource by its host and path, without the port, and all
// handlers of a process that use the default store share it. Two tests that ask
// for /docs/a at the same time would therefore read and invalidate each other's
// entries. So each test has a host of its own, an address of the loopback
// network, which [Host] returns and on which [Address] finds a free port. The
// handler, its store and its key are as in production.
//
// Two kinds of tests still disturb others and must not be parallel: tests whose key
// leaves the host out, and tests that write while their store is away. When such a
// store is closed, the handler hands what it couldn't tell it to all other stores
// of the process, which are unavailable for that moment.
//
// # Backends
//
// [Witness], [Shelf] and [Gate] are fakes in this process, beside the document
// service legacydocs. [Backends] are real programs: servers and frameworks that
// people put the handler in front of. [RunInBrowser] is a client: a page in a Chromium.
// [StartBrowser] starts one that the test drives.
package caddytest
