// Package systemd is what a daemon says to systemd, and what systemd is told
// of the daemon: readiness, status and watchdog over the notification socket,
// and the unit file as text.
//
// It never talks to systemd's bus, never starts or stops anything, and writes
// no file. Away from systemd it does nothing, so callers need not ask.
package systemd
