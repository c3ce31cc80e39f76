package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// Exec runs a command in a container of ours and returns its exit code. A nil
// stdin is empty, nil writers discard.
//
// When the context ends Exec returns, but the command goes on: the engine
// cannot end it. Exec waits for a Read of stdin that is under way.
func (e *Engine) Exec(ctx context.Context, id string, argv []string, stdin io.Reader, stdout, stderr io.Writer) (exitCode int, err error) {
	c, err := e.find(ctx, id)
	if err == nil {
		exitCode, err = e.exec(ctx, c.ID, argv, stdin, stdout, stderr)
	}
	if err != nil {
		return 0, failure(ctx, err, "run %q in container %s", first(argv), id)
	}
	return exitCode, nil
}

// first is all of a command that may be shown: arguments can be secret.
func first(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	return argv[0]
}

func (e *Engine) exec(ctx context.Context, id string, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return e.execAs(ctx, id, container.ExecOptions{Cmd: argv, AttachStdin: stdin != nil}, stdin, stdout, stderr)
}

func (e *Engine) execAs(ctx context.Context, id string, o container.ExecOptions, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	o.AttachStdout, o.AttachStderr = true, true
	made, err := e.api().ContainerExecCreate(short, id, o)
	if err != nil {
		return 0, err
	}
	stream, err := e.api().ContainerExecAttach(short, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, err
	}
	if err := converse(ctx, stream, stdin, stdout, stderr); err != nil {
		return 0, err
	}
	return e.exitCode(ctx, made.ID)
}

// converse copies between the streams until the command has closed its output.
func converse(ctx context.Context, stream types.HijackedResponse, stdin io.Reader, stdout, stderr io.Writer) error {
	stop := context.AfterFunc(ctx, stream.Close)
	defer stop()
	var input sync.WaitGroup
	defer input.Wait()
	defer stream.Close()
	var inputErr error
	if stdin != nil {
		input.Go(func() {
			// A command may end before it has read all: that the copy fails
			// then is no error, its exit code tells whether it had enough.
			source := &reader{r: stdin}
			if _, err := io.Copy(stream.Conn, source); err != nil && source.err != nil {
				inputErr = fmt.Errorf("read input: %w", source.err)
				stream.Close()
				return
			}
			_ = stream.CloseWrite()
		})
	}
	_, err := stdcopy.StdCopy(orDiscard(stdout), orDiscard(stderr), stream.Reader)
	stream.Close()
	input.Wait()
	return errors.Join(inputErr, err)
}

// reader keeps the error of its source apart from that of the copy's target.
type reader struct {
	r   io.Reader
	err error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// exitCode asks for a command's exit code. The stream ends a moment before the
// engine has noted it.
func (e *Engine) exitCode(ctx context.Context, exec string) (int, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		state, err := e.api().ContainerExecInspect(short, exec)
		if err != nil {
			return 0, fmt.Errorf("ask for the exit code: %w", err)
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-short.Done():
			t.Stop()
			return 0, fmt.Errorf("ask for the exit code: %w", short.Err())
		case <-t.C:
		}
	}
}

// Signal sends a signal, as "HUP" or "SIGHUP", to the first process of a
// container of ours.
func (e *Engine) Signal(ctx context.Context, id, sig string) error {
	c, err := e.find(ctx, id)
	if err == nil {
		err = e.kill(ctx, c.ID, sig)
	}
	if err != nil {
		return failure(ctx, err, "send %s to container %s", sig, id)
	}
	return nil
}

func (e *Engine) kill(ctx context.Context, id, sig string) error {
	short, cancel := e.within(ctx)
	defer cancel()
	return e.api().ContainerKill(short, id, sig)
}

// Named is a container that the operator has named in the configuration. It
// may be anybody's, and is looked up by its name each time, so that it can be
// replaced.
type Named struct {
	engine *Engine
	name   string
}

// NginxContainer is the container that runs nginx where the host does not.
func (e *Engine) NginxContainer(name string) *Named { return &Named{engine: e, name: name} }

// running returns the container's id; ErrNotRunning where it has no process.
func (n *Named) running(ctx context.Context) (id string, err error) {
	c, err := n.engine.look(ctx, n.name)
	switch {
	case errors.Is(err, agent.ErrNoContainer):
		return "", fmt.Errorf("%w: %w", ErrNotRunning, err)
	case err != nil:
		return "", err
	case !c.State.Running:
		return "", fmt.Errorf("%w: it is %s", ErrNotRunning, c.State.Status)
	}
	return c.ID, nil
}

// Exec runs a command in the container and returns what it wrote, stdout and
// stderr merged, and its exit code. The error wraps ErrNotRunning where the
// container does not run.
func (n *Named) Exec(ctx context.Context, argv []string) (output []byte, exitCode int, err error) {
	var text bytes.Buffer
	id, err := n.running(ctx)
	if err == nil {
		exitCode, err = n.engine.exec(ctx, id, argv, nil, &text, &text)
	}
	if err != nil {
		return text.Bytes(), 0, failure(ctx, err, "run %q in container %s", first(argv), n.name)
	}
	return text.Bytes(), exitCode, nil
}

// Signal sends a signal, as "HUP", to the container's first process. The error
// wraps ErrNotRunning where the container does not run.
func (n *Named) Signal(ctx context.Context, sig string) error {
	id, err := n.running(ctx)
	if err == nil {
		err = n.engine.kill(ctx, id, sig)
	}
	if err != nil {
		return failure(ctx, err, "send %s to container %s", sig, n.name)
	}
	return nil
}
