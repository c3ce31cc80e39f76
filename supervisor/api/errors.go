package api

import (
	"errors"
	"fmt"
	"net/http"
)

// Errors of the client, for callers to branch on; each stands for an answer of
// the server, except ErrUnreachable.
var (
	// ErrUnreachable: there was no answer at all.
	ErrUnreachable = errors.New("the daemon cannot be reached")
	// ErrInvalid: the request, or a file in it, makes no sense (400, 405, 413,
	// 415, 422).
	ErrInvalid = errors.New("invalid request")
	// ErrForbidden: this caller may not do that (401, 403, 421).
	ErrForbidden = errors.New("not allowed")
	// ErrNotFound: there is no such service, instance or path (404).
	ErrNotFound = errors.New("not found")
	// ErrRefused: the command does not fit the state (409).
	ErrRefused = errors.New("refused")
	// ErrUnavailable: it cannot be committed now (503).
	ErrUnavailable = errors.New("not available now")
)

// ErrClosedCluster is a Backend's where no host can join the cluster.
var ErrClosedCluster = errors.New("this cluster is not open to other hosts")

// Error is the answer to a request that was not carried out.
type Error struct {
	// Status is the HTTP status; it is not repeated in the body.
	Status int `json:"-"`
	// Message says what is wrong, Hint what to do about it, where that is
	// known.
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Is matches the sentinels of this package.
func (e *Error) Is(target error) bool { return target == sentinel(e.Status) }

func sentinel(status int) error {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return ErrInvalid
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest:
		return ErrForbidden
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusConflict:
		return ErrRefused
	case http.StatusServiceUnavailable:
		return ErrUnavailable
	}
	return nil
}

func invalid(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func noService(name string) *Error {
	return &Error{
		Status:  http.StatusNotFound,
		Message: fmt.Sprintf("there is no service %q", name),
		Hint:    "services are those of the compose file in force; see /v1/services",
	}
}

func noInstance(name string) *Error {
	return &Error{
		Status:  http.StatusNotFound,
		Message: fmt.Sprintf("there is no instance %q", name),
		Hint:    "instances come and go; see /v1/instances",
	}
}
