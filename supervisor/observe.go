package supervisor

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/history"
	"github.com/supervisord/supervisord/supervisor/sample"
	"github.com/supervisord/supervisord/supervisor/state"
)

// sampler measures containers once a call. Containers it could not measure
// are missing from the samples and named by the error.
type sampler interface {
	Sample(ctx context.Context, now time.Time, targets []sample.Target) ([]autoscale.Sample, error)
}

// observer samples this host's containers and records what it saw.
type observer struct {
	replica    agent.Replica
	containers func() []agent.Container
	sampler    sampler
	history    *history.Store
	// sampled tells the leader; it has room for one.
	sampled chan struct{}
	log     *slog.Logger

	mu       sync.Mutex
	latest   map[string]autoscale.Sample
	framedAt map[string]time.Time
	// complained keeps one trouble from being logged every second.
	complained bool
}

func newObserver(r agent.Replica, containers func() []agent.Container, s sampler, h *history.Store, log *slog.Logger) *observer {
	return &observer{
		replica: r, containers: containers, sampler: s, history: h, log: log,
		sampled:  make(chan struct{}, 1),
		framedAt: map[string]time.Time{},
	}
}

// run samples until the context ends, at the shortest interval that any
// service asks for.
func (o *observer) run(ctx context.Context) error {
	every := defaultSampleEvery
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			c, _ := o.replica.Current()
			o.observe(ctx, now, c)
			if wanted := sampleEvery(c.Spec); wanted != every {
				every = wanted
				tick.Reset(every)
			}
		}
	}
}

func sampleEvery(spec state.Spec) time.Duration {
	every := defaultSampleEvery
	for _, s := range spec.Services {
		if s.Autoscale != nil && s.Autoscale.SampleEvery > 0 {
			every = min(every, s.Autoscale.SampleEvery)
		}
	}
	return every
}

// observe is one round: measure, record, and sum up by service.
func (o *observer) observe(ctx context.Context, now time.Time, c state.Cluster) {
	var targets []sample.Target
	for _, k := range o.containers() {
		if k.Running && k.PID != 0 {
			targets = append(targets, sample.Target{Instance: k.Instance, Container: k.ID, PID: k.PID, CPULimit: k.CPULimit, MemoryLimit: k.MemoryLimit})
		}
	}
	samples, err := o.sampler.Sample(ctx, now, targets)
	if err != nil && ctx.Err() == nil && !o.complained {
		o.log.WarnContext(ctx, "some containers cannot be sampled", "err", err)
	}
	o.complained = err != nil
	latest := make(map[string]autoscale.Sample, len(samples))
	for _, s := range samples {
		latest[s.Instance] = s
	}
	o.history.Record(now, samples)
	o.frame(now, c, latest)
	o.mu.Lock()
	o.latest = latest
	o.mu.Unlock()
	select {
	case o.sampled <- struct{}{}:
	default:
	}
}

// frame records one frame for each autoscaled service whose interval is over.
func (o *observer) frame(now time.Time, c state.Cluster, latest map[string]autoscale.Sample) {
	for name, s := range c.Spec.Services {
		if s.Autoscale == nil {
			continue
		}
		// The ticker is never exact; a tick a little early still counts.
		every := s.Autoscale.SampleEvery
		if now.Sub(o.framedAt[name]) < every-every/8 {
			continue
		}
		o.framedAt[name] = now
		o.history.Keep(name, s.Autoscale.Span())
		var members []autoscale.Member
		for i := range c.Of(name) {
			if i.Phase == state.Ready {
				members = append(members, autoscale.Member{ID: i.ID, ReadySince: i.PhaseAt})
			}
		}
		o.history.RecordFrame(name, autoscale.Gather(now, *s.Autoscale, members, latest))
	}
	for name := range o.framedAt {
		if s, ok := c.Spec.Services[name]; !ok || s.Autoscale == nil {
			delete(o.framedAt, name)
		}
	}
}

// samples returns the latest sample of each instance.
func (o *observer) samples() map[string]autoscale.Sample {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.latest)
}
