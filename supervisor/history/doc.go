// Package history remembers what was measured, in memory and bounded: for
// each instance an hour of use at one point a second, for each service the
// frames that its decisions are made from.
//
// It never measures, never decides, reads no clock (every call carries its
// time) and writes nothing to disk; a restart begins with an empty history.
package history
