// Package hosts starts real hosts on one machine, for tests: containers that
// boot systemd and have an engine, an nginx and an address of their own, on a
// network that is theirs alone. They can be cut off, killed and powered on
// again.
//
// Everything it makes carries a label, and is removed at the end and before
// the next start. It never touches what has no such label.
package hosts
