package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Notifier speaks on the notification socket, as sd_notify(3) does. All its
// methods may be called by many goroutines at once, and do nothing where the
// daemon was not started by systemd.
type Notifier struct {
	// send passes one message on; nil away from systemd.
	send func(message string) error
	// watchdog is how long systemd waits for a sign of life, zero for no
	// watchdog; invalid says what is wrong with the value given.
	watchdog time.Duration
	invalid  error

	mu     sync.Mutex
	status string
}

// FromEnv reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. What is wrong
// with them comes out where they are used.
func FromEnv(getenv func(string) string) *Notifier {
	n := &Notifier{}
	if socket := getenv("NOTIFY_SOCKET"); socket != "" {
		n.send = func(message string) error { return send(socket, message) }
		n.watchdog, n.invalid = watchdog(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"))
	}
	return n
}

// watchdog reads the interval in microseconds. One for another process is not
// ours: a parent's environment was handed on.
func watchdog(usec, pid string) (time.Duration, error) {
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err == nil && (n <= 0 || n > int64(time.Duration(1<<63-1)/time.Microsecond)) {
		err = errors.New("out of range")
	}
	if err != nil {
		return 0, fmt.Errorf("WATCHDOG_USEC=%q: want a number of microseconds: %w", usec, err)
	}
	return time.Duration(n) * time.Microsecond, nil
}

// send writes one datagram. An address that begins with @ is abstract, which
// is how package net spells it, too.
func send(socket, message string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	if _, err := conn.Write([]byte(message)); err != nil {
		return errors.Join(fmt.Errorf("notify systemd: %w", err), conn.Close())
	}
	return conn.Close()
}

func (n *Notifier) tell(message string) error {
	if n.send == nil {
		return nil
	}
	return n.send(message)
}

// Ready ends the start, or a reload: units that are ordered after this one may
// start now.
func (n *Notifier) Ready() error { return n.tell("READY=1") }

// Reloading says that the configuration is read anew; Ready must follow. It
// needs no clock stamp, because units of Type=notify ask for none.
func (n *Notifier) Reloading() error { return n.tell("RELOADING=1") }

// Stopping says that the daemon ends by its own will.
func (n *Notifier) Stopping() error { return n.tell("STOPPING=1") }

// Status is the line that systemctl status shows. Line breaks become spaces:
// systemd would take what follows them as another message.
func (n *Notifier) Status(text string) error {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status = text
	return n.tell("STATUS=" + text)
}
