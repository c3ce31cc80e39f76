package agent

import (
	"context"
	"time"
)

// How launches are spread. The engine creates and starts a container in some
// 260 ms alone; three that begin together take twice that, each of them. The
// first one to serve is what an overloaded service waits for, so they begin
// one after the other and overlap only as far as it costs the first little.
// Beyond maxLaunches at once the engine only gets slower.
const (
	maxLaunches = 6
	headStart   = 250 * time.Millisecond
)

// starter gives launches their turns.
type starter struct {
	slots chan struct{}
	// line holds the time of the last turn; who has taken it out is next.
	line chan time.Time
}

func newStarter() *starter {
	s := &starter{slots: make(chan struct{}, maxLaunches), line: make(chan time.Time, 1)}
	s.line <- time.Time{}
	return s
}

// turn waits until a launch may begin; done must be called at its end.
func (s *starter) turn(ctx context.Context) (done func(), err error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release := func() { <-s.slots }
	select {
	case last := <-s.line:
		err := sleep(ctx, time.Until(last.Add(headStart)))
		s.line <- time.Now()
		if err != nil {
			release()
			return nil, err
		}
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
	return release, nil
}
