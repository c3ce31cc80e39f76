// Package api is the daemon's status API over HTTP, its Go client, its
// Prometheus metrics and its page. Server and client share the types in
// types.go, so they cannot drift apart.
//
// It reads the state and what the host measured through a Backend and proposes
// commands to it; it holds nothing of its own but counters of what it has
// seen. Every answer is JSON, errors too ([Error]), except the metrics, the
// event stream (text/event-stream), logs (text/plain) and the page.
//
// # Who may do what
//
// On the unix socket, which only root can open, everything is allowed. Over
// TCP reading is; changing calls, and logs, because applications write
// anything into them, need the token. A page in a browser can do neither
// from another origin: requests that change and come from elsewhere are
// refused, and so is, against DNS rebinding, any Host that is neither an IP
// address nor localhost nor a name it was told of.
//
// Values of environment variables are in no answer.
package api
