// Package wire is the one TCP port between the servers of a cluster. All of it
// is TLS 1.3 with certificates of the cluster's own authority on both sides;
// the protocol that a connection names (ALPN) says what it is for: the log,
// calls between the servers, or the admission of a new one, which alone has no
// certificate yet.
//
// Whoever else connects gets nothing: the connection ends in the handshake.
// A server that was removed is refused at its next handshake, and a connection
// that it has ends with the next thing it says or is told.
//
// The package never decides who is a member, and knows nothing of what is
// said.
package wire
