package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// logLine is one line of an instance's log and when it was written.
type logLine struct {
	at       time.Time
	instance string
	text     string
}

// mergeLogs writes the logs that the instances have up to now as one, in the
// order of time. It reads one line of each ahead, whatever their length.
func (s *server) mergeLogs(ctx context.Context, service string, q LogQuery, out *lineWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	c, _ := s.backend.State()
	var sources []<-chan logLine
	for i := range c.Of(service) {
		if !hasLog(i) {
			continue
		}
		lines := make(chan logLine)
		sources = append(sources, lines)
		readers.Go(func() {
			defer close(lines)
			s.readLog(ctx, i.Name, i.ID, q, lines)
		})
	}
	return merge(ctx, sources, func(l logLine) error {
		text := l.text
		if q.Timestamps && !l.at.IsZero() {
			text = l.at.Format(time.RFC3339Nano) + " " + text
		}
		return out.line(l.instance, text)
	})
}

// readLog sends an instance's lines until their end; an error is a line too.
func (s *server) readLog(ctx context.Context, name, id string, q LogQuery, lines chan<- logLine) {
	q.Instance = id
	// The time is what they are merged by.
	q.Timestamps = true
	var last time.Time
	send := func(l logLine) error {
		select {
		case lines <- l:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	stdout := &splitter{line: func(text string) error {
		l := logLine{instance: name, text: text, at: last}
		if stamp, rest, ok := strings.Cut(text, " "); ok {
			if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
				l.at, l.text, last = at, rest, at
			}
		}
		return send(l)
	}}
	stderr := &splitter{line: stdout.line}
	err := s.backend.Logs(ctx, q, stdout, stderr)
	for _, rest := range []func() error{stdout.rest, stderr.rest} {
		if err == nil {
			err = rest()
		}
	}
	if err != nil && ctx.Err() == nil {
		// The context is not over, so somebody still takes the line.
		if send(logLine{instance: "supervisord", at: last, text: fmt.Sprintf("the log of %s ends: %v", name, err)}) != nil {
			return
		}
	}
}

// merge calls f with the lines of all sources, each of which is in order, the
// earliest first. Among equals the order of the sources counts.
func merge(ctx context.Context, sources []<-chan logLine, f func(logLine) error) error {
	heads := make([]*logLine, len(sources))
	next := func(n int) {
		heads[n] = nil
		if l, ok := <-sources[n]; ok {
			heads[n] = &l
		}
	}
	for n := range sources {
		next(n)
	}
	for {
		first := -1
		for n, head := range heads {
			if head != nil && (first < 0 || head.at.Before(heads[first].at)) {
				first = n
			}
		}
		if first < 0 {
			return ctx.Err()
		}
		if err := f(*heads[first]); err != nil {
			return err
		}
		next(first)
	}
}
