package supervisor

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/history"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// collector is what the leader knows of all hosts and does not replicate: when
// it last heard of each, and what their instances use. It is emptied at the
// beginning of each leadership.
//
// All its times are the leader's: what a host says of the time is corrected by
// the difference between the two clocks.
type collector struct {
	// now is the cluster's time.
	now func() time.Time

	mu      sync.Mutex
	contact map[string]time.Time
	skew    map[string]time.Duration
	latest  map[string]autoscale.Sample
	traffic traffic
	// frames are of whole services, made here; parts are what the hosts
	// remember of the time before, by host and service.
	frames   *history.Store
	parts    map[string]map[string][]autoscale.Frame
	framedAt map[string]time.Time
	began    time.Time
}

func newCollector(now func() time.Time) *collector {
	k := &collector{now: now}
	k.begin()
	return k
}

// begin forgets everything.
func (k *collector) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.contact, k.skew = map[string]time.Time{}, map[string]time.Duration{}
	k.latest, k.framedAt = map[string]autoscale.Sample{}, map[string]time.Time{}
	k.frames, k.parts = history.New(), map[string]map[string][]autoscale.Frame{}
	k.began = k.now()
	k.traffic = traffic{}
}

// report takes in what a host measured, and returns how far its clock is
// ahead.
func (k *collector) report(r peer.Report) (skew time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	skew = r.At.Sub(now)
	k.contact[r.Host], k.skew[r.Host] = now, skew
	for _, s := range r.Samples {
		s.At = s.At.Add(-skew)
		k.latest[s.Instance] = s
	}
	k.traffic.add(now, r.Traffic)
	return skew
}

// recalled takes in what a host remembers of its own instances.
func (k *collector) recalled(host string, m peer.Memory) {
	k.mu.Lock()
	defer k.mu.Unlock()
	skew := m.At.Sub(k.now())
	for _, frames := range m.Frames {
		for n := range frames {
			frames[n].At = frames[n].At.Add(-skew)
		}
	}
	k.parts[host] = m.Frames
}

// contacts is when each host of the cluster was last heard of; one that was
// not, since it joined or this leadership began, counts from then.
func (k *collector) contacts(c state.Cluster) map[string]time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	for h := range c.Hosts.Values() {
		if _, known := k.contact[h.Name]; !known {
			k.contact[h.Name] = now
		}
	}
	return maps.Clone(k.contact)
}

// gather makes a frame of each service whose interval is over and whose hosts
// have all reported since the last one, or are late. It returns when the next
// will be late; zero where none is waited for.
func (k *collector) gather(c state.Cluster) (late time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	for name, s := range c.Spec.Services {
		if s.Autoscale == nil {
			continue
		}
		every, last := s.Autoscale.SampleEvery, k.framedAt[name]
		if !due(now, last, every) {
			continue
		}
		if patience := last.Add(every + every/4); now.Before(patience) && !k.reported(c, name, last) {
			if late.IsZero() || patience.Before(late) {
				late = patience
			}
			continue
		}
		k.framedAt[name] = now
		k.frames.Keep(name, s.Autoscale.Span())
		k.frames.RecordFrame(name, autoscale.Gather(now, *s.Autoscale, members(c, name, ""), k.latest))
	}
	maps.DeleteFunc(k.framedAt, func(name string, _ time.Time) bool { return c.Spec.Services[name].Autoscale == nil })
	maps.DeleteFunc(k.latest, func(id string, _ autoscale.Sample) bool { _, ok := c.Instances.Get(id); return !ok })
	return late
}

// reported says whether every host with instances of a service has been heard
// of since a moment.
func (k *collector) reported(c state.Cluster, service string, since time.Time) bool {
	for i := range c.Stable(service) {
		if i.Phase == state.Ready && !k.contact[i.Host].After(since) {
			return false
		}
	}
	return true
}

// framesOf returns the frames of services in a state, oldest first: what the
// hosts remember of the time before this leadership, and its own.
func (k *collector) framesOf(c state.Cluster) func(service string) []autoscale.Frame {
	return func(service string) []autoscale.Frame {
		k.mu.Lock()
		defer k.mu.Unlock()
		own := k.frames.Frames(service)
		policy := c.Spec.Services[service].Autoscale
		if policy == nil || len(k.parts) == 0 || k.now().Sub(k.began) > policy.Span() {
			return own
		}
		begins := k.began
		if len(own) > 0 {
			begins = own[0].At
		}
		var parts [][]autoscale.Frame
		for _, host := range slices.Sorted(maps.Keys(k.parts)) {
			parts = append(parts, k.parts[host][service])
		}
		past := autoscale.Merge(policy.SampleEvery, parts...)
		end, _ := slices.BinarySearchFunc(past, begins, func(f autoscale.Frame, at time.Time) int { return f.At.Compare(at) })
		return append(past[:end:end], own...)
	}
}

// clients returns what the instances' clients got in the last moments, and how
// the canary has done.
func (k *collector) clients(c state.Cluster) (map[string]accesslog.Counts, map[string]plan.Trial) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.traffic.look(c, k.now())
}

// samples returns the latest sample of each instance of the cluster.
func (k *collector) samples() map[string]autoscale.Sample {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.latest)
}

// skews returns how far the hosts' clocks are ahead.
func (k *collector) skews() map[string]time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.skew)
}
