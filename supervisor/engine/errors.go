package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// ErrUnavailable says that the engine could not be asked, or went away while
// it answered: it restarts, is stopped, or hangs. Whether the call had an
// effect is not known.
var ErrUnavailable = agent.ErrUnavailable

// ErrNotRunning says that a container that the operator has named does not
// run, or is not there.
var ErrNotRunning = errors.New("the container does not run")

// failure words the error of a call. The caller's own end comes first: what
// the engine's client says after that is noise.
func failure(ctx context.Context, err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case gone(err) && !errors.Is(err, ErrUnavailable):
		return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// gone says whether an error means that the engine is away. A deadline is ours
// here, because the caller's has been looked at before.
func gone(err error) bool {
	var network net.Error
	return client.IsErrConnectionFailed(err) ||
		errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.As(err, &network)
}

// noImage says whether a create failed for lack of the image. Networks and
// volumes that are missing are "not found" as well.
func noImage(err error) bool {
	return cerrdefs.IsNotFound(err) && strings.Contains(err.Error(), "No such image")
}

// bindFailed says whether a start failed because some address is taken.
func bindFailed(err error) bool {
	text := err.Error()
	return strings.Contains(text, "port is already allocated") || strings.Contains(text, "address already in use")
}

// portTaken says whether a start failed because another program or container
// has this address. The message must name the address: a port that the
// operator publishes by hand may be taken too, and no other choice of ours
// would help then.
func portTaken(err error, hostIP string, hostPort int) bool {
	text := err.Error()
	if !bindFailed(err) {
		return false
	}
	for _, host := range []string{hostIP, "[" + hostIP + "]"} {
		address := host + ":" + strconv.Itoa(hostPort)
		_, rest, found := strings.Cut(text, address)
		if found && (rest == "" || rest[0] < '0' || rest[0] > '9') {
			return true
		}
	}
	return false
}
