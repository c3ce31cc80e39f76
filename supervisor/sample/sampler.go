package sample

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/mem"

	"github.com/supervisord/supervisord/autoscale"
)

// Target is a running container to be measured.
type Target struct {
	// Instance names it in the sample.
	Instance string
	// Container is its full id, PID its first process on this host.
	Container string
	PID       int
	// CPULimit in cores and MemoryLimit in bytes are those it was created
	// with, 0 for none. What its control group says comes first, because
	// limits can be changed while it runs.
	CPULimit    float64
	MemoryLimit int64
}

// Options are all optional.
type Options struct {
	// Proc and Cgroup are where the kernel's file systems are mounted; /proc
	// and /sys/fs/cgroup by default.
	Proc   string
	Cgroup string
	// HostCPUs and HostMemory (bytes) are the limits of a container that has
	// none; by default what this machine has.
	HostCPUs   float64
	HostMemory int64
	// Source is asked for containers whose control group cannot be read; nil
	// for none.
	Source Source
}

// Sampler measures containers. It keeps their files open from one call to the
// next, and is safe for concurrent use.
type Sampler struct {
	proc, cgroup string
	hostCPUs     float64
	hostMemory   uint64
	source       Source
	// clock is time.Now; rates need the moment of the reading itself, since a
	// tick may have waited.
	clock func() time.Time

	mu      sync.Mutex
	closed  bool
	entries map[string]*entry
	buffer  []byte
	streams sync.WaitGroup
}

// ErrClosed is the error of a closed sampler.
var ErrClosed = errors.New("the sampler is closed")

// New makes a sampler. The caller must Close it.
func New(o Options) (*Sampler, error) {
	s := &Sampler{
		proc: o.Proc, cgroup: o.Cgroup, source: o.Source,
		hostCPUs: o.HostCPUs, hostMemory: uint64(max(0, o.HostMemory)),
		clock:   time.Now,
		entries: map[string]*entry{},
		// A memory.stat has some 1,500 bytes.
		buffer: make([]byte, 4096),
	}
	if s.proc == "" {
		s.proc = "/proc"
	}
	if s.cgroup == "" {
		s.cgroup = "/sys/fs/cgroup"
	}
	if s.hostCPUs <= 0 {
		n, err := cpu.Counts(true)
		if err != nil {
			return nil, fmt.Errorf("count this host's CPUs: %w", err)
		}
		s.hostCPUs = float64(n)
	}
	if s.hostMemory == 0 {
		m, err := mem.VirtualMemory()
		if err != nil {
			return nil, fmt.Errorf("measure this host's memory: %w", err)
		}
		s.hostMemory = m.Total
	}
	return s, nil
}

// Close ends what the sampler has started and closes its files.
func (s *Sampler) Close() error {
	s.mu.Lock()
	for id := range s.entries {
		s.drop(id)
	}
	s.closed = true
	s.mu.Unlock()
	s.streams.Wait()
	return nil
}

// TargetError says that one container could not be measured.
type TargetError struct {
	Instance string
	Err      error
}

func (e *TargetError) Error() string { return fmt.Sprintf("measure %s: %v", e.Instance, e.Err) }

// Unwrap returns the reason.
func (e *TargetError) Unwrap() error { return e.Err }

// Sample measures the targets once, at now. Its samples are in the order of
// the targets. Those it could not measure are missing from them and named by
// the error, a join of *TargetErrors. A container that is seen for the first
// time, or that has been restarted, is missing without an error: its use is
// the difference of two readings, and there is only one.
//
// Containers that are not among the targets are forgotten.
func (s *Sampler) Sample(ctx context.Context, now time.Time, targets []Target) ([]autoscale.Sample, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.forget(targets)
	samples := make([]autoscale.Sample, 0, len(targets))
	var errs []error
	for i := range targets {
		if ctx.Err() != nil {
			return samples, errors.Join(append(errs, ctx.Err())...)
		}
		e := s.entry(targets[i])
		f, err := s.read(ctx, e, now)
		if err != nil {
			errs = append(errs, &TargetError{targets[i].Instance, err})
			continue
		}
		if sample, ok := s.advance(e, f); ok {
			samples = append(samples, sample)
		}
	}
	return samples, errors.Join(errs...)
}

// entry is what is kept of a container between two calls.
type entry struct {
	Target
	seen bool
	// One of the two is the source of its figures.
	group  *group
	stream *stream
	// last is the reading that the next one is compared with.
	last figures
	read bool
	// sample is the newest, measured says that there is one.
	sample   autoscale.Sample
	measured bool
}

func (s *Sampler) entry(t Target) *entry {
	e := s.entries[t.Container]
	if e != nil && e.PID != t.PID {
		s.drop(t.Container)
		e = nil
	}
	if e == nil {
		e = &entry{}
		s.entries[t.Container] = e
	}
	e.Target = t
	return e
}

func (s *Sampler) forget(targets []Target) {
	for i := range targets {
		if e := s.entries[targets[i].Container]; e != nil {
			e.seen = true
		}
	}
	for id, e := range s.entries {
		if !e.seen {
			s.drop(id)
		}
		e.seen = false
	}
}

func (s *Sampler) drop(id string) {
	e := s.entries[id]
	delete(s.entries, id)
	if e.group != nil {
		e.group.close()
	}
	if e.stream != nil {
		e.stream.cancel()
	}
}

// figures are a reading with what decides about its shares.
type figures struct {
	Reading
	// clock is the moment of the reading for differences, at for the sample.
	clock time.Time
	at    time.Time
	// cpuLimit is in cores; 0 for none.
	cpuLimit float64
}

// read gets the container's figures from its control group, or from the
// source where that cannot be read.
func (s *Sampler) read(ctx context.Context, e *entry, now time.Time) (figures, error) {
	if e.stream != nil {
		return s.fromStream(ctx, e)
	}
	f, err := s.fromGroup(e, now)
	if err == nil || s.source == nil {
		return f, err
	}
	if _, gone := os.Stat(fmt.Sprintf("%s/%d", s.proc, e.PID)); e.PID > 0 && errors.Is(gone, os.ErrNotExist) && e.read {
		// It has ended; a stream would tell nothing more.
		return f, err
	}
	return s.fromStream(ctx, e)
}

func (s *Sampler) fromGroup(e *entry, now time.Time) (figures, error) {
	if e.group != nil {
		f, err := s.readGroup(e.group, now)
		if err == nil {
			return f, nil
		}
		// The group was made anew, or is gone.
		e.group.close()
		e.group = nil
	}
	g, err := s.open(e.Target)
	if err != nil {
		return figures{}, err
	}
	f, err := s.readGroup(g, now)
	if err != nil {
		g.close()
		return figures{}, err
	}
	e.group = g
	return f, nil
}

// shortest is the least time between two readings that gives a rate.
const shortest = time.Millisecond

// advance makes the sample of the time since the last reading; false when
// there is none to compare with.
func (s *Sampler) advance(e *entry, f figures) (autoscale.Sample, bool) {
	elapsed := f.clock.Sub(e.last.clock)
	switch {
	case !e.read || f.CPU < e.last.CPU || f.Periods < e.last.Periods || f.Throttled < e.last.Throttled || elapsed < 0:
		e.last, e.read, e.measured = f, !f.clock.IsZero(), false
		return autoscale.Sample{}, false
	case elapsed < shortest:
		return e.sample, e.measured
	}
	cores := float64(f.CPU-e.last.CPU) / float64(elapsed)
	e.sample = autoscale.Sample{
		Instance: e.Instance, At: f.at,
		CPU: cores / s.cpuLimit(f.cpuLimit), CPUCores: cores,
		Memory: float64(f.Memory) / float64(s.memoryLimit(f.MemoryLimit)), MemoryBytes: f.Memory,
	}
	if periods := f.Periods - e.last.Periods; periods > 0 {
		e.sample.Throttled = float64(f.Throttled-e.last.Throttled) / float64(periods)
	}
	e.last, e.measured = f, true
	return e.sample, true
}

func (s *Sampler) cpuLimit(limit float64) float64 {
	if limit <= 0 || limit > s.hostCPUs {
		return s.hostCPUs
	}
	return limit
}

func (s *Sampler) memoryLimit(limit uint64) uint64 {
	if limit == 0 || limit > s.hostMemory {
		return s.hostMemory
	}
	return limit
}
