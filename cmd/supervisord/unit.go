package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

const unitName = "supervisord.service"

const (
	// answersWithin is how long a daemon may take from its start to its first
	// answer, and connectedWithin until it is part of the cluster.
	answersWithin = 60 * time.Second
	askAgain      = 200 * time.Millisecond
)

// startUnit starts the daemon anew where its unit is installed, and waits
// until it is part of its cluster.
func (e env) startUnit(ctx context.Context, not bool) error {
	switch {
	case not:
		fmt.Fprintln(e.err, "The daemon takes it up at its next start.")
		return nil
	case exec.CommandContext(ctx, "systemctl", "cat", unitName).Run() != nil:
		fmt.Fprintln(e.err, "The daemon's unit is not installed (supervisord install); the daemon takes it up at its next start.")
		return nil
	}
	if err := command(ctx, "systemctl", "enable", unitName); err != nil {
		return err
	}
	if err := command(ctx, "systemctl", "restart", unitName); err != nil {
		return fmt.Errorf("%w (journalctl -u supervisord tells more)", err)
	}
	return e.awaitDaemon(ctx)
}

var errNotConnected = errors.New("it answers and knows no leader")

// awaitDaemon waits until the daemon answers and is part of its cluster.
func (e env) awaitDaemon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	for {
		err := e.connected(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the daemon was started and is not part of the cluster after %s; journalctl -u supervisord tells why: %w", answersWithin, err)
		case <-time.After(askAgain):
		}
	}
}

func (e env) connected(ctx context.Context) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if !status.Connected {
		return errNotConnected
	}
	return nil
}
