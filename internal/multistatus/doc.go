// Package multistatus changes properties in the answers of WebDAV servers (RFC 4918, section
// 13), which may be long. It keeps every byte that it doesn't have to change, and holds no
// more than a few responses at once. It also reads which properties a request asks for.
package multistatus
