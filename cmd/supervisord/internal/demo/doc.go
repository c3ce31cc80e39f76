// Package demo has the pieces of "supervisord demo": a small backend as an
// image, an nginx of its own, a load generator, and a live view of what
// happens.
//
// What it starts it also ends. It knows nothing of the daemon: the command puts
// the pieces around a real one, and fills the view from its API.
package demo
