package systemd

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Watchdog shows systemd signs of life at half the interval it waits for them,
// but only while alive returns nil. alive must speak of the daemon's own
// progress; a timer beside it would go on while the work is stuck. While it
// fails, its error is the unit's status, and after the interval systemd kills
// and restarts the daemon.
//
// It blocks until ctx ends and returns its error, joined with that of the last
// sign if it could not be sent; without a watchdog it only waits. A sign that
// cannot be sent is not the end: the next one may get through.
func (n *Notifier) Watchdog(ctx context.Context, alive func() error) error {
	if n.invalid != nil {
		return n.invalid
	}
	if n.watchdog == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(max(n.watchdog/2, time.Nanosecond))
	defer tick.Stop()
	var well, unsent = true, error(nil)
	for {
		well, unsent = n.sign(alive(), well)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), unsent)
		case <-tick.C:
		}
	}
}

// sign sends what is to be sent of a daemon that was well or not, and says
// whether it is.
func (n *Notifier) sign(trouble error, wasWell bool) (well bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case trouble != nil:
		return false, n.tell("STATUS=no progress: " + strings.ReplaceAll(trouble.Error(), "\n", " "))
	case !wasWell:
		return true, n.tell("WATCHDOG=1\nSTATUS=" + n.status)
	}
	return true, n.tell("WATCHDOG=1")
}
