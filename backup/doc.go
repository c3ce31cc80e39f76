// Package backup takes, checks, keeps and restores dumps of databases.
//
// A dump goes in one pass through compression (zstd), encryption (age) and a
// checksum (SHA-256) to every target at once, in constant memory. A backup
// exists when its manifest does, and the manifest is written last: after the
// dump's tool has ended well and its end mark was seen, after the archive was
// made durable, and after it was read back with the right size and checksum.
// Whatever a crash leaves has no manifest and is removed by the next Sweep; so
// is a backup that is whole, and that nobody came to know of.
//
// Names in a target are CLUSTER/SERVICE/ID.*. Nothing is read as a backup, and
// nothing is removed, that a manifest or a note of this cluster and service
// does not name.
//
// When to run (Schedule) and what to keep (Retain) are pure functions. The
// package knows no database, no store, no container and no cluster: those come
// in through Dumper and Target. It never decides that a backup is due, and it
// never reads a clock but the one it is given.
package backup
