package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine/enginetest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// watching runs Watch until the test ends and hands its events on.
func watching(t *testing.T, e *enginetest.Env) <-chan agent.Event {
	t.Helper()
	events := make(chan agent.Event, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Watch(ctx, func(e agent.Event) { events <- e }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v, not with its context", err)
		}
	})
	if first := next(t, events); first.Kind != agent.Connected {
		t.Fatalf("the first event is %+v", first)
	}
	return events
}

func next(t *testing.T, events <-chan agent.Event) agent.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(30 * time.Second):
		t.Fatal("no event comes")
	}
	return agent.Event{}
}

// expect reads events of one container and compares kinds, codes and health.
func expect(t *testing.T, events <-chan agent.Event, c agent.Container, want ...agent.Event) {
	t.Helper()
	last := time.Time{}
	for _, w := range want {
		got := next(t, events)
		if got.At.Before(last) || time.Since(got.At) > time.Minute {
			t.Errorf("%s at %s, the one before at %s", got.Kind, got.At, last)
		}
		last = got.At
		w.At, w.Container, w.Instance = got.At, c.ID, c.Instance
		if got != w {
			t.Errorf("got %+v, want %+v", got, w)
		}
	}
}

func TestACrashIsToldWithItsCode(t *testing.T) {
	e := kit.New(t)
	events := watching(t, e)
	c := e.Run(e.Launch(e.Container("exit", "3")))
	expect(t, events, c, agent.Event{Kind: agent.Started}, agent.Event{Kind: agent.Died, ExitCode: 3})
	if got, err := e.Inspect(t.Context(), c.ID); err != nil || got.Running || got.ExitCode != 3 || got.OOMKilled {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := e.Remove(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	expect(t, events, c, agent.Event{Kind: agent.Removed})
}

// TestOutOfMemoryIsTold gives the engine three tries to note in the container
// what it tells in an event: in 20.10 the two parts of it race.
func TestOutOfMemoryIsTold(t *testing.T) {
	e := kit.New(t)
	events := watching(t, e)
	for try := 1; ; try++ {
		got := outOfMemory(t, e, events)
		if got.ExitCode == 137 && got.OOMKilled {
			return
		}
		if got.ExitCode != 137 || try == 3 {
			t.Fatalf("got %+v at try %d", got, try)
		}
	}
}

// outOfMemory has a container take more than it may, and returns it as it is
// then.
func outOfMemory(t *testing.T, e *enginetest.Env, events <-chan agent.Event) agent.Container {
	t.Helper()
	spec := e.Container("hold", "200", "/tmp/go")
	spec.Resources.MemoryLimit = 24 << 20
	c := e.Run(e.Launch(spec))
	// The command that makes the file may be killed as well.
	if code, err := e.Exec(t.Context(), c.ID, []string{"/server", "touch", "/tmp/go"}, nil, nil, nil); err != nil {
		t.Log("touch:", code, err)
	}
	// The two notices of the end come from different parts of the engine, in
	// any order, and that of the memory more than once.
	var oom, died agent.Event
	for oom.Kind == "" || died.Kind == "" {
		switch got := next(t, events); {
		case got.Container != c.ID:
		case got.Kind == agent.OOM:
			oom = got
		case got.Kind == agent.Died:
			died = got
		}
	}
	if died.ExitCode != 137 {
		t.Errorf("got %+v and %+v of %s", oom, died, c.ID)
	}
	got, err := e.Inspect(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestHealthIsTold(t *testing.T) {
	e := kit.New(t)
	events := watching(t, e)
	spec := e.Container("serve", "80")
	spec.Healthcheck = &state.Healthcheck{Test: []string{"CMD", "/server", "file", "/tmp/well"}, Interval: 200 * time.Millisecond, Timeout: 5 * time.Second, Retries: 1}
	c := e.Run(e.Launch(spec))
	if c.Health != agent.HealthStarting {
		t.Errorf("launched with health %q", c.Health)
	}
	expect(t, events, c, agent.Event{Kind: agent.Started}, agent.Event{Kind: agent.HealthChanged, Health: agent.HealthUnhealthy})
	if code, err := e.Exec(t.Context(), c.ID, []string{"/server", "touch", "/tmp/well"}, nil, nil, nil); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	expect(t, events, c, agent.Event{Kind: agent.HealthChanged, Health: agent.HealthHealthy})
	if got, err := e.Inspect(t.Context(), c.ID); err != nil || got.Health != agent.HealthHealthy {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEventsOfOthersAreNotTold(t *testing.T) {
	e, other := kit.New(t), kit.New(t)
	events := watching(t, e)
	other.Run(other.Launch(other.Container("exit", "1")))
	c := e.Run(e.Launch(e.Container("exit", "2")))
	expect(t, events, c, agent.Event{Kind: agent.Started}, agent.Event{Kind: agent.Died, ExitCode: 2})
}

func TestWatchDoesNotTellThePast(t *testing.T) {
	e := kit.New(t)
	old := e.Run(e.Launch(e.Container("exit", "1")))
	if err := e.Stop(t.Context(), old.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	events := watching(t, e)
	c := e.Run(e.Launch(e.Container("serve", "80")))
	expect(t, events, c, agent.Event{Kind: agent.Started})
}
