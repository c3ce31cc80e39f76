package agent

import (
	"context"
	"sync"
	"time"
)

// suspicions wake the health checks of instances that clients get errors from:
// the next regular check may be half a minute away.
type suspicions struct {
	mu    sync.Mutex
	wakes map[string]chan struct{}
}

// of returns the channel that wakes the checks of an instance, until forget is
// called. It has room for one.
func (s *suspicions) of(instance string) (wake <-chan struct{}, forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wakes == nil {
		s.wakes = map[string]chan struct{}{}
	}
	mine := make(chan struct{}, 1)
	s.wakes[instance] = mine
	return mine, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		// Another check of it may have begun.
		if s.wakes[instance] == mine {
			delete(s.wakes, instance)
		}
	}
}

// Suspect has the health of an instance of this host checked at once.
func (a *Agent) Suspect(instance string) {
	a.suspects.mu.Lock()
	defer a.suspects.mu.Unlock()
	select {
	case a.suspects.wakes[instance] <- struct{}{}:
	default:
	}
}

// sleepUnless waits, or less where it is woken; or returns why the context
// ended.
func sleepUnless(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wake:
	case <-t.C:
	}
	return nil
}
