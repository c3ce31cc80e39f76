package history

import (
	"sync"
	"time"

	"github.com/supervisord/supervisord/autoscale"
)

// Store keeps the history of one host's instances and services. It is safe
// for concurrent use.
//
// Its size is bounded by what lives: an instance or service that nothing was
// recorded of for an hour is forgotten.
type Store struct {
	mu        sync.RWMutex
	instances map[string]*Ring
	services  map[string]*frames
	swept     time.Time
}

// New makes an empty store.
func New() *Store {
	return &Store{instances: map[string]*Ring{}, services: map[string]*frames{}}
}

// sweepEvery is how often Record looks for what has not been recorded of for
// an hour.
const sweepEvery = time.Minute

// Record takes in one round of samples; now is the time of the round, which
// is the same for all of them.
func (s *Store) Record(now time.Time, samples []autoscale.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range samples {
		r := s.instances[samples[i].Instance]
		if r == nil {
			r = new(Ring)
			s.instances[samples[i].Instance] = r
		}
		r.Add(now, samples[i].CPU, samples[i].Memory)
	}
	if since := now.Sub(s.swept); since >= sweepEvery || since < 0 {
		s.sweep(now)
	}
}

func (s *Store) sweep(now time.Time) {
	s.swept = now
	oldest := now.Add(-Seconds * time.Second)
	for id, r := range s.instances {
		if r.Last().Before(oldest) {
			delete(s.instances, id)
		}
	}
	for name, f := range s.services {
		if n := len(f.list); n > 0 && f.list[n-1].At.Before(oldest) {
			delete(s.services, name)
		}
	}
}

// RecordFrame takes in the newest frame of a service.
func (s *Store) RecordFrame(service string, frame autoscale.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.service(service).add(frame)
}

// Keep says how far back the frames of a service are needed, so that no more
// are held; a policy's Span. Without it, and at the most, autoscale.MaxFrames
// are.
func (s *Store) Keep(service string, span time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.service(service).span = span
}

func (s *Store) service(name string) *frames {
	f := s.services[name]
	if f == nil {
		f = &frames{}
		s.services[name] = f
	}
	return f
}

// Frames returns the frames of a service, oldest first, at most
// autoscale.MaxFrames of them. The slice is a view that nobody ever writes to
// again: it may be kept, and must not be changed.
func (s *Store) Frames(service string) []autoscale.Frame {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := s.services[service]
	if f == nil {
		return nil
	}
	return f.view()
}

// Points returns the use of an instance from `from` to `to`, both inclusive,
// oldest first; nothing of an instance that is not known. The slice is the
// caller's.
func (s *Store) Points(instance string, from, to time.Time) []Point {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.instances[instance]
	if r == nil {
		return nil
	}
	return r.Points(from, to)
}

// Forget drops the history of an instance at once. To forget one that is not
// known is fine.
func (s *Store) Forget(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.instances, instance)
}
