package nginx

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Container is a container that nginx runs in.
type Container interface {
	// Exec runs a program inside to its end and returns what it printed, on
	// both streams, and its exit code. The error is that it could not be run.
	Exec(ctx context.Context, argv []string) (output []byte, exitCode int, err error)
	// Signal sends a signal such as "HUP" to the container's first process.
	// The error wraps ErrNotRunning where the container does not run.
	Signal(ctx context.Context, signal string) error
}

// Contained is an nginx that runs in a container. Its first process is nginx's
// master; it uses the host's network, as it has to listen on the host's
// addresses and see its clients' own; and the directory of its main file and
// the Applier's root are mounted in it at the paths that they have on the host.
type Contained struct {
	Container Container
	// Binary is the program inside; "" means "nginx".
	Binary string
	// Status is the address of the status server, as in lbconfig.Config.
	Status string
}

var _ Process = Contained{}

// Test runs nginx -t inside.
func (c Contained) Test(ctx context.Context, conf string) error {
	binary := cmp.Or(c.Binary, "nginx")
	output, code, err := c.Container.Exec(ctx, append([]string{binary}, testArgs(conf)...))
	if err != nil {
		return fmt.Errorf("running %s -t in its container: %w", binary, err)
	}
	return testResult(output, code)
}

// Reload sends SIGHUP to the container.
func (c Contained) Reload(ctx context.Context) (time.Duration, error) {
	if err := c.Container.Signal(ctx, "HUP"); err != nil {
		return 0, fmt.Errorf("sending SIGHUP to nginx's container: %w", err)
	}
	return masterOverlap, nil
}

// Version asks the program in the container.
func (c Contained) Version(ctx context.Context) (string, error) {
	output, code, err := c.Container.Exec(ctx, []string{cmp.Or(c.Binary, "nginx"), "-v"})
	if err == nil && code != 0 {
		err = fmt.Errorf("it ended with status %d", code)
	}
	if err != nil {
		return "", fmt.Errorf("asking nginx in its container for its version: %w", err)
	}
	return string(output), nil
}

// Generation asks the status server over the host's network.
func (c Contained) Generation(ctx context.Context) (uint64, error) {
	return askGeneration(ctx, c.Status)
}
