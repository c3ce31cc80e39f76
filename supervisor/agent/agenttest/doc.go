// Package agenttest has an engine and a load balancer in memory, for tests of
// the agent and simulations of a cluster. They are made for testing/synctest:
// every delay is a timer, so that in a bubble minutes pass in no time.
//
// The engine misbehaves as real ones were seen to do: lists that are stale
// after a death, events late, lost and doubled, streams that break, names and
// ports that strangers hold, calls that fail before or after their effect. How
// much of it is set by options and drawn from a seed.
//
// A context that ends with the cause ErrKilled stands for a daemon killed with
// -9: what it was doing stays half done.
package agenttest
