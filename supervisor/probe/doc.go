// Package probe asks a server once whether it is well: an HTTP path, a TCP
// port, or a database in its own protocol. It keeps nothing between two calls,
// opens a fresh connection for each, and needs no credentials: a database that
// refuses ours accepts connections, and that is what was asked.
//
// It never retries, never remembers and never decides what a failure means:
// that is its caller's work.
package probe
