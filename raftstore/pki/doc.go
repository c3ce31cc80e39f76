// Package pki is what lets the servers of a cluster trust each other and
// nobody else: an authority that issues certificates, a server's identity, and
// the tokens that new servers come with.
//
// It never speaks to anybody and reads no clock: times come from outside. The
// only randomness is that of keys.
package pki
