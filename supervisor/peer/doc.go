// Package peer is how the daemons of one cluster talk to each other beside the
// log: JSON over HTTP, on connections that somebody else makes and trusts.
//
// It never decides anything and keeps nothing: a Node answers the calls, a
// Client makes them.
package peer
