package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/supervisord/supervisord/supervisor/state"
)

// logs serves GET /v1/logs/{service}?follow=&since=&tail=&timestamps=: the
// lines of all instances of a service, each after the name of its instance.
// What is there already comes in the order of time. With follow it goes on
// with what is written from then on, of instances that come later too, until
// the caller leaves.
func (s *server) logs(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("service")
	q, err := logQuery(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	c, _ := s.backend.State()
	if _, ok := c.Spec.Services[name]; !ok {
		s.fail(w, r, noService(name))
		return
	}
	stream, err := newStreamWriter(w)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	done := make(chan struct{})
	var stopper sync.WaitGroup
	stopper.Go(func() {
		select {
		case <-s.Stopping:
			cancel()
		case <-done:
		}
	})
	defer stopper.Wait()
	defer close(done)

	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := &lineWriter{out: stream, cancel: cancel}
	if err := out.begin(); err != nil {
		return
	}
	if q.Follow {
		err = s.followLogs(ctx, name, q, out)
	} else {
		err = s.mergeLogs(ctx, name, q, out)
	}
	if err != nil && ctx.Err() == nil {
		// The status is sent; a line is all that is left to say it with.
		out.line("supervisord", "the log ends: "+err.Error())
		s.Log.WarnContext(ctx, "a log ends early", "service", name, "err", err)
	}
}

func logQuery(r *http.Request) (q LogQuery, err error) {
	if q.Follow, err = boolParam(r, "follow"); err != nil {
		return q, err
	}
	if q.Timestamps, err = boolParam(r, "timestamps"); err != nil {
		return q, err
	}
	if q.Since, err = timeParam(r, "since", q.Since); err != nil {
		return q, err
	}
	if text := r.URL.Query().Get("tail"); text != "" {
		if q.Tail, err = strconv.Atoi(text); err != nil || q.Tail < 1 {
			return q, invalid("tail %q: want a number of lines, at least 1", text)
		}
	}
	return q, nil
}

// hasLog says whether an instance has a container.
func hasLog(i state.Instance) bool { return i.Container != "" }

// followLogs writes the lines of each instance as they come. It waits for its
// readers.
func (s *server) followLogs(ctx context.Context, service string, q LogQuery, out *lineWriter) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	seen := map[string]bool{}
	for {
		c, changed := s.backend.State()
		for i := range c.Of(service) {
			if !hasLog(i) || seen[i.ID] {
				continue
			}
			seen[i.ID] = true
			q := q
			q.Instance = i.ID
			readers.Go(func() {
				if err := s.copyLog(ctx, i.Name, q, out); err != nil && ctx.Err() == nil {
					out.line("supervisord", fmt.Sprintf("the log of %s ends: %v", i.Name, err))
				}
			})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// copyLog writes one instance's log, line by line.
func (s *server) copyLog(ctx context.Context, name string, q LogQuery, out *lineWriter) error {
	stdout := &splitter{line: func(text string) error { return out.line(name, text) }}
	stderr := &splitter{line: stdout.line}
	err := s.backend.Logs(ctx, q, stdout, stderr)
	return errors.Join(err, stdout.rest(), stderr.rest())
}

// lineWriter writes whole lines of several writers to one caller.
type lineWriter struct {
	mu     sync.Mutex
	out    *streamWriter
	cancel context.CancelFunc
}

// begin sends the headers, so that a caller knows at once that it follows.
func (o *lineWriter) begin() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out.deadline()
	return o.out.flush()
}

// line writes one line. Where the caller is gone, it ends the whole.
func (o *lineWriter) line(name, text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out.printf("%s | %s\n", name, text)
	if err := o.out.flush(); err != nil {
		o.cancel()
		return err
	}
	return nil
}

// maxLine bounds a line; the engine itself splits at 16 KiB.
const maxLine = 64 << 10

// splitter cuts what is written into lines.
type splitter struct {
	line func(string) error
	part []byte
}

var _ io.Writer = (*splitter)(nil)

func (s *splitter) Write(p []byte) (int, error) {
	for i, b := range p {
		if b != '\n' {
			s.part = append(s.part, b)
			if len(s.part) < maxLine {
				continue
			}
		}
		if err := s.emit(); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// rest writes what came without an end of line.
func (s *splitter) rest() error {
	if len(s.part) == 0 {
		return nil
	}
	return s.emit()
}

func (s *splitter) emit() error {
	text := string(s.part)
	s.part = s.part[:0]
	if n := len(text); n > 0 && text[n-1] == '\r' {
		text = text[:n-1]
	}
	return s.line(text)
}
