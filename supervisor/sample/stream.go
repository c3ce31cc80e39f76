package sample

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Reading is one look at a container's counters.
type Reading struct {
	// At is when they were read.
	At time.Time
	// CPU is the time on all cores since the container's start.
	CPU time.Duration
	// Periods of the scheduler since the start in which it wanted to run,
	// Throttled those in which its limit held it back.
	Periods   uint64
	Throttled uint64
	// Memory is what it uses in bytes without reclaimable file cache;
	// MemoryLimit its limit, 0 for none.
	Memory      uint64
	MemoryLimit uint64
}

// Source gives readings of containers whose control groups cannot be read.
type Source interface {
	// Stream calls f with each new reading of a container, from one goroutine,
	// until the container or the context ends; it returns why.
	Stream(ctx context.Context, container string, f func(Reading)) error
}

// SourceFunc is a Source of one function.
type SourceFunc func(ctx context.Context, container string, f func(Reading)) error

// Stream implements Source.
func (s SourceFunc) Stream(ctx context.Context, container string, f func(Reading)) error {
	return s(ctx, container, f)
}

// stream is the source's readings of one container as they come in.
type stream struct {
	cancel context.CancelFunc

	mu     sync.Mutex
	latest Reading
	ended  bool
	err    error
	since  time.Time
}

// streamAgain is the pause before a stream that has ended is started again.
const streamAgain = time.Second

var errStreamEnded = errors.New("its statistics have ended")

// fromStream returns the newest reading of the container's stream, and starts
// it where there is none. Without a reading yet the figures are zero.
func (s *Sampler) fromStream(ctx context.Context, e *entry) (figures, error) {
	if e.stream == nil {
		e.stream = s.stream(ctx, e.Container)
	}
	reading, err := e.stream.get()
	if err != nil {
		if s.clock().Sub(e.stream.since) >= streamAgain {
			e.stream.cancel()
			e.stream = nil
		}
		return figures{}, fmt.Errorf("stream of its statistics: %w", err)
	}
	f := figures{Reading: reading, clock: reading.At, at: reading.At, cpuLimit: e.CPULimit}
	if f.MemoryLimit == 0 {
		f.MemoryLimit = uint64(max(0, e.MemoryLimit))
	}
	return f, nil
}

// stream starts a goroutine that outlives the call; the sampler ends it when
// the container is no longer a target, and waits for it in Close.
func (s *Sampler) stream(ctx context.Context, container string) *stream {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &stream{cancel: cancel, since: s.clock()}
	s.streams.Go(func() {
		err := s.source.Stream(ctx, container, t.put)
		t.end(err)
	})
	return t
}

func (t *stream) put(r Reading) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest = r
}

func (t *stream) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.err = true, err
}

func (t *stream) get() (Reading, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended && t.err != nil:
		return Reading{}, t.err
	case t.ended:
		return Reading{}, errStreamEnded
	}
	return t.latest, nil
}
