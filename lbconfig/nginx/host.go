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
//
// It then tells the old workers itself to finish, as soon as new ones are
// there to accept. The master would do so 100 ms later, and until then nearly
// every connection still goes to an old worker, because those are first in the
// kernel's queue. To the master it is all the same: it learns of workers that
// have ended only after telling them to. Where a worker is told although there
// was no reload after all, the master replaces it.
//
// A second reload within those 100 ms waits for their end.
func (h Host) Reload(ctx context.Context) (time.Duration, error) {
	master, err := h.master()
	if err != nil {
		return 0, err
	}
	defer func() { _ = master.Release() }()
	old, listErr := workersOf(master.Pid)
	err = master.Signal(syscall.SIGHUP)
	if errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("%w: process %d has ended", ErrNotRunning, master.Pid)
	}
	if err != nil {
		return 0, fmt.Errorf("sending SIGHUP to nginx's master, process %d: %w", master.Pid, err)
	}
	if listErr != nil || !retire(ctx, master.Pid, old) {
		return masterOverlap, nil
	}
	return 0, nil
}

// master returns a handle of the process that the pid file names, if it is an
// nginx.
func (h Host) master() (*os.Process, error) {
	file := h.PIDFile
	if file == "" {
		file = "/run/nginx.pid"
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no %s", ErrNotRunning, file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading nginx's process id: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 2 {
		return nil, fmt.Errorf("%w: %s contains %.20q, not a process id", ErrNotRunning, file, text)
	}
	// The handle is taken before the look at the name, so that a signal cannot
	// reach another process that gets the same id in between.
	master, err := os.FindProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("finding nginx's master: %w", err)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || strings.TrimSpace(string(comm)) != "nginx" {
		_ = master.Release()
		return nil, fmt.Errorf("%w: process %d of %s is %.20q", ErrNotRunning, pid, file, strings.TrimSpace(string(comm)))
	}
	return master, nil
}

// Version asks the program that the master runs, which may have been replaced on
// disk since.
func (h Host) Version(ctx context.Context) (string, error) {
	master, err := h.master()
	if err != nil {
		return "", err
	}
	defer func() { _ = master.Release() }()
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/%d/exe", master.Pid), "-v")
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("asking nginx for its version: %w", err)
	}
	return string(output), nil
}

// Generation asks the status server.
func (h Host) Generation(ctx context.Context) (uint64, error) { return askGeneration(ctx, h.Status) }
