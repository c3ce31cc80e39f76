package sample

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/autoscale"
)

// source hands out readings by container as a test sends them.
type source struct {
	mu      sync.Mutex
	started map[string]int
	sends   map[string]chan Reading
	err     error
}

func newSource() *source {
	return &source{started: map[string]int{}, sends: map[string]chan Reading{}}
}

func (s *source) channel(container string) chan Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sends[container] == nil {
		s.sends[container] = make(chan Reading)
	}
	return s.sends[container]
}

func (s *source) Stream(ctx context.Context, container string, f func(Reading)) error {
	readings := s.channel(container)
	s.mu.Lock()
	s.started[container]++
	err := s.err
	s.mu.Unlock()
	if err != nil {
		// Not before the call that has started it has looked.
		time.Sleep(time.Millisecond)
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-readings:
			f(r)
		}
	}
}

func TestTheSourceIsAskedWhereFilesCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, layouts[0])
		src := newSource()
		s, now := f.sampler(Options{Source: src})
		target := target(1)
		target.CPULimit = 2
		send := func(r Reading) {
			src.channel(target.Container) <- r
			synctest.Wait()
		}
		if _, ok := one(t, s, *now, target); ok {
			t.Error("a sample before any reading")
		}
		send(Reading{At: start, CPU: time.Second, Periods: 10, Memory: 1 << 20, MemoryLimit: 4 << 20})
		if _, ok := one(t, s, *now, target); ok {
			t.Error("a sample from one reading")
		}
		send(Reading{At: start.Add(time.Second), CPU: 2 * time.Second, Periods: 20, Throttled: 5, Memory: 2 << 20, MemoryLimit: 4 << 20})
		want := autoscale.Sample{Instance: "web-1.1", At: start.Add(time.Second), CPU: .5, CPUCores: 1, Memory: .5, MemoryBytes: 2 << 20, Throttled: .5}
		for _, when := range []string{"at once", "and until there is a newer one"} {
			*now = now.Add(time.Second)
			got, _ := one(t, s, *now, target)
			if diff := cmp.Diff(want, got, almost); diff != "" {
				t.Errorf("%s: %s", when, diff)
			}
		}
		if n := src.started[target.Container]; n != 1 {
			t.Errorf("%d streams were started", n)
		}
	})
}

func TestAStreamThatEndedIsStartedAgainAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, layouts[0])
		src := newSource()
		src.err = errors.New("no such container")
		s, now := f.sampler(Options{Source: src})
		sample := func() error {
			_, err := s.Sample(t.Context(), *now, []Target{target(1)})
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			return err
		}
		if err := sample(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := sample(); !errors.Is(err, src.err) {
				t.Errorf("got %v", err)
			}
		}
		if n := src.started[id(1)]; n != 1 {
			t.Errorf("%d streams were started within the pause", n)
		}
		*now = now.Add(streamAgain)
		if err := sample(); !errors.Is(err, src.err) {
			t.Errorf("got %v", err)
		}
		if err := sample(); err != nil {
			t.Errorf("started again: %v", err)
		}
		if n := src.started[id(1)]; n != 2 {
			t.Errorf("%d streams were started", n)
		}
	})
}

func TestAStreamEndsWithItsTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, layouts[0])
		ended := make(chan error, 1)
		s, now := f.sampler(Options{Source: SourceFunc(func(ctx context.Context, _ string, _ func(Reading)) error {
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		})})
		// The stream outlives the call and its context.
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := s.Sample(ctx, *now, []Target{target(1)}); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("it ended with the call that started it")
		}
		if _, err := s.Sample(t.Context(), *now, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(ended) != 1 {
			t.Error("it goes on without its target")
		}
	})
}
