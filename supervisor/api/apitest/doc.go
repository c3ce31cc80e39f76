// Package apitest is a daemon for tests of the API and of what talks to it: a
// Backend whose state is made by real commands and whose measurements and
// clock are given.
//
// It runs nothing and is no part of the daemon.
package apitest
