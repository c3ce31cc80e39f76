// Package certstest runs a real CA for tests: Pebble, with its DNS server, as
// processes on loopback. They are built once from the module proxy, in a cache
// of their own, so that the program's go.mod does not carry them.
package certstest
