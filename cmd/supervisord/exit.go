package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/supervisord/supervisord/supervisor"
	"github.com/supervisord/supervisord/supervisor/api"
)

// The exit codes. This list and exitHelp are the only places they are given.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
	exitNotFound    = 5
	exitUnavailable = 6
	exitLeft        = 7
)

const exitHelp = `Exit codes:
  0  done
  1  failed
  2  wrong usage, or a file that is not in order
  3  the daemon cannot be reached
  4  the daemon refuses
  5  there is no such service or instance
  6  the daemon cannot commit now: it has no leader; try again
  7  run: this host has left its cluster, there is nothing left to run`

// errSaid ends a command that has said itself what is wrong.
var errSaid = errors.New("said already")

// usageError is a wrong call of the program.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.hint }

func usage(err error) error { return &usageError{err: err} }

func exitCode(err error) int {
	_, isUsage := errors.AsType[*usageError](err)
	switch {
	case isUsage, errors.Is(err, api.ErrInvalid):
		return exitUsage
	case errors.Is(err, api.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, api.ErrRefused), errors.Is(err, api.ErrForbidden):
		return exitRefused
	case errors.Is(err, api.ErrNotFound):
		return exitNotFound
	case errors.Is(err, api.ErrUnavailable):
		return exitUnavailable
	case errors.Is(err, supervisor.ErrLeft):
		return exitLeft
	}
	return exitFailed
}

// report says on stderr what is wrong and, where that is known, what to do.
func report(stderr io.Writer, err error) {
	text := err.Error()
	if errors.Is(err, context.Canceled) {
		text = strings.TrimSuffix(text, context.Canceled.Error()) + "interrupted"
	}
	fmt.Fprintf(stderr, "supervisord: %s\n", text)
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
}

func hintOf(err error) string {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Hint
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
