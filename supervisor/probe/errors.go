package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// What can be wrong with a server. Each error of Probe that is not of the
// caller's own making wraps exactly one of them.
var (
	// ErrRefused: no connection came about, as nothing listens there, no route
	// leads there, or the name is unknown.
	ErrRefused = errors.New("connection refused")
	// ErrTimeout: no connection or no whole answer in time.
	ErrTimeout = errors.New("timed out")
	// ErrBadAnswer: something answers there, but not as a server that is ready.
	ErrBadAnswer = errors.New("bad answer")
)

// failure is an error that belongs to one of the kinds above and says in its
// text what came instead of a good answer.
type failure struct {
	kind  error
	text  string
	cause error
}

func (f *failure) Error() string { return f.text }

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}

func badAnswer(format string, args ...any) error {
	return &failure{kind: ErrBadAnswer, text: fmt.Sprintf(format, args...)}
}

// classify sorts an error of the network into the kinds. otherwise is the kind
// of what is neither a timeout nor known already.
func classify(ctx context.Context, doing string, err, otherwise error) error {
	var known *failure
	if errors.As(err, &known) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	kind, why := otherwise, err.Error()
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		kind, why = ErrTimeout, "no answer in time"
	}
	return &failure{kind: kind, text: doing + ": " + why, cause: err}
}
