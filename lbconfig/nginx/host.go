package nginx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Host is an nginx that runs on this host, as a service or by hand.
type Host struct {
	// Binary is the program, by path or name; "" means "nginx".
	Binary string
	// PIDFile is where the master has written its process id; "" means
	// /run/nginx.pid.
	PIDFile string
	// Status is the address of the status server, as in lbconfig.Config.
	Status string
}

var _ Process = Host{}

// Test runs nginx -t.
func (h Host) Test(ctx context.Context, conf string) error {
	binary := h.Binary
	if binary == "" {
		binary = "nginx"
	}
	cmd := exec.CommandContext(ctx, binary, testArgs(conf)...)
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("running %s -t: %w", binary, ctx.Err())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("running %s -t: %w", binary, err)
	}
	return testResult(output, cmd.ProcessState.ExitCode())
}

// Reload sends SIGHUP to the master. That is what nginx -s reload does too,
// after reading the whole configuration once more to learn where the pid file
// is.
func (h Host) Reload(context.Context) error {
	file := h.PIDFile
	if file == "" {
		file = "/run/nginx.pid"
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: there is no %s", ErrNotRunning, file)
	}
	if err != nil {
		return fmt.Errorf("reading nginx's process id: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 2 {
		return fmt.Errorf("%w: %s contains %.20q, not a process id", ErrNotRunning, file, text)
	}
	// The handle is taken before the look at the name, so that the signal
	// cannot reach another process that gets the same id in between.
	master, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("finding nginx's master: %w", err)
	}
	defer func() { _ = master.Release() }()
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || strings.TrimSpace(string(comm)) != "nginx" {
		return fmt.Errorf("%w: process %d of %s is %.20q", ErrNotRunning, pid, file, strings.TrimSpace(string(comm)))
	}
	err = master.Signal(syscall.SIGHUP)
	if errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%w: process %d has ended", ErrNotRunning, pid)
	}
	if err != nil {
		return fmt.Errorf("sending SIGHUP to nginx's master, process %d: %w", pid, err)
	}
	return nil
}

// Generation asks the status server.
func (h Host) Generation(ctx context.Context) (uint64, error) { return askGeneration(ctx, h.Status) }
