package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Host runs the tools on this host, for a database that is elsewhere. Env says
// where, in the variables of the tools themselves; the rest of the environment
// is not given to them, but for PATH.
type Host struct{ Env []string }

var _ Execer = Host{}

// endWithin is how long a tool may take to end after it was told to.
const endWithin = 5 * time.Second

// Exec implements Execer.
func (h Host) Exec(ctx context.Context, c Command) (int, error) {
	if len(c.Argv) == 0 {
		return 0, errors.New("run a tool: there is no command")
	}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(append([]string{"PATH=" + os.Getenv("PATH")}, h.Env...), c.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	if c.Stdout != nil {
		cmd.Stdout = wide{c.Stdout}
	}
	// The shell and what it has started end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = endWithin
	if c.Stdin == nil {
		held, hold, err := os.Pipe()
		if err != nil {
			return 0, fmt.Errorf("run %s: %w", c.Argv[0], err)
		}
		defer func() { _ = errors.Join(held.Close(), hold.Close()) }()
		cmd.Stdin = held
	} else {
		cmd.Stdin = onlyReader{c.Stdin}
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	if ctx.Err() != nil {
		return 0, fmt.Errorf("run %s: %w", c.Argv[0], context.Cause(ctx))
	}
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	return 0, nil
}

// onlyReader hides that a reader is a file: the child would share it.
type onlyReader struct{ io.Reader }

// wide has the pipe from a command to a writer hold as much as the kernel
// allows. Tools write 4 KiB at a time: in the usual 64 KiB they and their
// reader wait for each other all the time, which costs a third of the
// throughput on two cores.
type wide struct{ io.Writer }

const (
	wideBytes = 1 << 20
	readBytes = 256 << 10
)

// ReadFrom implements io.ReaderFrom, which os/exec copies with.
func (w wide) ReadFrom(r io.Reader) (int64, error) {
	if pipe, ok := r.(syscall.Conn); ok {
		if fd, err := pipe.SyscallConn(); err == nil {
			// What is refused leaves the pipe as it is: slower, and no worse.
			_ = fd.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, wideBytes) })
		}
	}
	return io.CopyBuffer(onlyWriter(w), onlyReader{r}, make([]byte, readBytes))
}

// onlyWriter hides other ways to copy, which would not use the buffer.
type onlyWriter struct{ io.Writer }
