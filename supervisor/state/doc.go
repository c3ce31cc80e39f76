// Package state is the replicated truth of a cluster: its hosts, services,
// instances and what happened to them.
//
// A Cluster is an immutable value. It changes only by Apply, which is a pure
// function of the cluster before and one Command, so that every host that
// applies the same log holds the same bytes. Time, ids and choices arrive
// inside the command; nothing here reads a clock, rolls dice or walks a map.
//
// It never decides, and never talks to an engine, a file or a network.
package state
