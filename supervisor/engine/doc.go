// Package engine is the Docker engine of one host, as an agent needs it: it
// creates, starts, stops and removes containers, tells what happens to them,
// and runs commands in them. It is the only package that imports the Docker
// client, and keeps the quirks of its versions.
//
// It never decides what should run, and never touches a container that does
// not carry its cluster's id as label: every call that names a container looks
// at it first and then acts on its full id, whose labels cannot change. There
// are two exceptions: a container that the operator names in the configuration
// (NginxContainer), in which commands are run and which gets signals, and those
// that the replicated state has as adopted (Options.Adopted), whose labels are
// another tool's. Containers of others are read, to see what they are and what
// they hold.
//
// # Labels
//
// The labels of docker compose (com.docker.compose.project and .service) are
// not set. With them, `docker compose down`, or `up --remove-orphans`, of the
// same project would take our containers for its own and remove them.
// Networks and volumes have compose's names, so both tools find the same data.
//
// # Pulling
//
// An image that is not on the host is pulled, without credentials.
package engine
