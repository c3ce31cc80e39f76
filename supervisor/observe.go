package supervisor

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/history"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/sample"
	"github.com/supervisord/supervisord/supervisor/state"
)

// sampler measures containers once a call. Containers it could not measure
// are missing from the samples and named by the error.
type sampler interface {
	Sample(ctx context.Context, now time.Time, targets []sample.Target) ([]autoscale.Sample, error)
}

// observer samples this host's containers, records what it saw, and tells the
// leader.
type observer struct {
	host       string
	replica    agent.Replica
	containers func() []agent.Container
	sampler    sampler
	// history has the use of this host's instances, and the frames of them
	// alone: they are what this host has to add to a service's.
	history *history.Store
	// access reads what nginx has seen since the last call, by address.
	access func() (map[string]accesslog.Counts, error)
	// suspect has an instance of this host checked at once.
	suspect func(instance string)
	tell    func(context.Context, peer.Report)
	log     *slog.Logger

	mu       sync.Mutex
	latest   map[string]autoscale.Sample
	framedAt map[string]time.Time
	last     time.Time
	// complained keeps one trouble from being logged every second.
	complained, blind bool
}

// run samples until the context ends, at the shortest interval that any
// service asks for. The moments are those of the clock on the wall, so that
// hosts with clocks in step measure at the same time.
func (o *observer) run(ctx context.Context) error {
	c, _ := o.replica.Current()
	every := sampleEvery(c.Spec)
	t := time.NewTimer(untilNext(time.Now(), every))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-t.C:
			c, _ := o.replica.Current()
			o.observe(ctx, now, c)
			t.Reset(untilNext(time.Now(), sampleEvery(c.Spec)))
		}
	}
}

// untilNext is the time to the next whole multiple of an interval.
func untilNext(now time.Time, every time.Duration) time.Duration {
	return now.Truncate(every).Add(every).Sub(now)
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

// observe is one round: measure, record, and tell.
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
	o.latest, o.last = latest, time.Now()
	o.mu.Unlock()
	o.tell(ctx, peer.Report{Host: o.host, At: time.Now(), Samples: samples, Traffic: o.traffic(ctx, c)})
}

// traffic is what nginx has seen of the instances since the last call, by id.
func (o *observer) traffic(ctx context.Context, c state.Cluster) map[string]accesslog.Counts {
	at, err := o.access()
	if err != nil && !o.blind {
		o.log.WarnContext(ctx, "it is not known what clients get from the instances", "err", err)
	}
	o.blind = err != nil
	if len(at) == 0 {
		return nil
	}
	seen := map[string]accesslog.Counts{}
	for i := range c.Instances.Values() {
		counts, ok := at[i.Address]
		if !ok || i.Address == "" {
			continue
		}
		if !c.Canary.Of(i.Service) {
			// Times are only compared while there is something to compare.
			counts.Buckets = nil
		}
		if counts.Errors > 0 && i.Host == o.host {
			o.suspect(i.ID)
		}
		seen[i.ID] = counts
	}
	return seen
}

// frame records one frame of this host's part of each autoscaled service whose
// interval is over.
func (o *observer) frame(now time.Time, c state.Cluster, latest map[string]autoscale.Sample) {
	for name, s := range c.Spec.Services {
		if s.Autoscale == nil {
			continue
		}
		if !due(now, o.framedAt[name], s.Autoscale.SampleEvery) {
			continue
		}
		o.framedAt[name] = now
		o.history.Keep(name, s.Autoscale.Span())
		o.history.RecordFrame(name, autoscale.Gather(now, *s.Autoscale, members(c, name, o.host), latest))
	}
	maps.DeleteFunc(o.framedAt, func(name string, _ time.Time) bool { return c.Spec.Services[name].Autoscale == nil })
}

// due says whether an interval is over. A timer is never exact; a little early
// still counts.
func due(now, last time.Time, every time.Duration) bool { return now.Sub(last) >= every-every/8 }

// members are the ready instances of a service on a host, or on all of them
// where host is "".
func members(c state.Cluster, service, host string) []autoscale.Member {
	var m []autoscale.Member
	for i := range c.Stable(service) {
		if i.Phase == state.Ready && (host == "" || i.Host == host) {
			m = append(m, autoscale.Member{ID: i.ID, ReadySince: i.PhaseAt})
		}
	}
	return m
}

// samples returns the latest sample of each instance on this host.
func (o *observer) samples() map[string]autoscale.Sample {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.latest)
}

// observed is when the last round was done.
func (o *observer) observed() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
