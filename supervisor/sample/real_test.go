package sample

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/engine/enginetest"
	"github.com/supervisord/supervisord/supervisor/state"
)

func targetOf(c agent.Container) Target {
	return Target{Instance: c.Instance, Container: c.ID, PID: c.PID, CPULimit: c.CPULimit, MemoryLimit: c.MemoryLimit}
}

// streaming adapts an engine to a Source.
func streaming(e *enginetest.Env) Source {
	return SourceFunc(func(ctx context.Context, id string, f func(Reading)) error {
		return e.StatsStream(ctx, id, func(s engine.Stat) { f(Reading(s)) })
	})
}

// settled samples until a container has been measured over a while.
func settled(t *testing.T, s *Sampler, target Target) autoscale.Sample {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		if got, ok := one(t, s, time.Now(), target); ok {
			return got
		}
	}
	t.Fatal("no sample comes")
	return autoscale.Sample{}
}

func TestABusyContainer(t *testing.T) {
	e := kit.New(t)
	spec := e.Container("burn")
	spec.Resources = state.Resources{CPULimit: .2, MemoryLimit: 64 << 20}
	c := e.Run(e.Launch(spec))
	for name, o := range map[string]Options{
		"from its control group":   {},
		"from the engine's stream": {Cgroup: t.TempDir(), Source: streaming(e)},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got := settled(t, s, targetOf(c))
			if got.CPU < .3 || got.CPU > 1.7 || got.CPUCores < .06 || got.CPUCores > .34 {
				t.Errorf("a burner at 0.2 cores: %+v", got)
			}
			if got.Throttled <= 0 || got.Throttled > 1 || got.Memory <= 0 || got.Memory > 1 || got.MemoryBytes == 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestALiveUpdateAndARestart(t *testing.T) {
	e := kit.New(t)
	spec := e.Container("hold", "20")
	spec.Resources = state.Resources{CPULimit: .5, MemoryLimit: 128 << 20}
	c := e.Run(e.Launch(spec))
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var before autoscale.Sample
	for before.MemoryBytes < 20<<20 {
		before = settled(t, s, targetOf(c))
	}
	_, err = e.Docker.ContainerUpdate(t.Context(), c.ID, container.UpdateConfig{Resources: container.Resources{Memory: 64 << 20, MemorySwap: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	after := settled(t, s, targetOf(c))
	if ratio := after.Memory / before.Memory * float64(before.MemoryBytes) / float64(after.MemoryBytes); ratio < 1.99 || ratio > 2.01 {
		t.Errorf("half the limit makes %v of %v", after.Memory, before.Memory)
	}
	// Somebody restarts it by hand: it has another process now.
	timeout := 0
	if err := e.Docker.ContainerRestart(t.Context(), c.ID, container.StopOptions{Timeout: &timeout}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sample(t.Context(), time.Now(), []Target{targetOf(c)}); err == nil {
		t.Error("the old process is measured")
	}
	if c, err = e.Inspect(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	settled(t, s, targetOf(c))
	if err := e.Stop(t.Context(), c.ID, 0); err != nil {
		t.Fatal(err)
	}
	var te *TargetError
	if _, err := s.Sample(t.Context(), time.Now(), []Target{targetOf(c)}); !errors.As(err, &te) || te.Instance != c.Instance {
		t.Errorf("a container that ended: %v", err)
	}
}
