// Package raftstore replicates an opaque log to a deterministic Machine, with
// hashicorp/raft: what one server proposes, every server applies, in the same
// order, and what was acknowledged survives any kill.
//
// A cluster of one server is the same thing with a quorum of one: it talks to
// nobody, and more members change nothing for the Machine.
//
// The package never looks into an entry, knows nothing of what it is used for,
// and never begins a cluster by itself: Bootstrap is a call of its own, made
// once in a cluster's life.
package raftstore
