package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// LogOptions say which part of a container's log is wanted.
type LogOptions struct {
	// Follow goes on until the container or the context ends.
	Follow bool
	// Since leaves out what is older; zero for all.
	Since time.Time
	// Tail is the number of last lines; 0 for all.
	Tail int
	// Timestamps puts the time (RFC 3339, nanoseconds) before each line.
	Timestamps bool
}

// Logs writes the log of a container of ours. It returns nil at its end, and
// the context's error when that ends first. Containers whose log driver cannot
// be read give the engine's error.
func (e *Engine) Logs(ctx context.Context, id string, o LogOptions, stdout, stderr io.Writer) error {
	if err := e.logs(ctx, id, o, stdout, stderr); err != nil {
		return failure(ctx, err, "read the log of container %s", id)
	}
	return nil
}

func (e *Engine) logs(ctx context.Context, id string, o LogOptions, stdout, stderr io.Writer) (err error) {
	c, err := e.find(ctx, id)
	if err != nil {
		return err
	}
	opts := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: o.Follow, Timestamps: o.Timestamps}
	if !o.Since.IsZero() {
		opts.Since = fmt.Sprintf("%d.%09d", o.Since.Unix(), o.Since.Nanosecond())
	}
	if o.Tail > 0 {
		opts.Tail = strconv.Itoa(o.Tail)
	}
	log, err := e.api().ContainerLogs(ctx, c.ID, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if c.Config.Tty {
		_, err = io.Copy(stdout, log)
		return err
	}
	_, err = stdcopy.StdCopy(stdout, stderr, log)
	return err
}

// Tail returns the last n lines of a container's log, oldest first, stdout and
// stderr merged.
func (e *Engine) Tail(ctx context.Context, id string, n int) ([]string, error) {
	if n <= 0 {
		return nil, fmt.Errorf("read the log of container %s: %d is no number of lines", id, n)
	}
	short, cancel := e.within(ctx)
	defer cancel()
	var text bytes.Buffer
	if err := e.logs(short, id, LogOptions{Tail: n}, &text, &text); err != nil {
		return nil, failure(ctx, err, "read the log of container %s", id)
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return []string{}, nil
	}
	// The engine cuts after 16 KiB and may so give more lines than asked for.
	return lines[max(0, len(lines)-n):], nil
}
