package agent

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// How instances are checked. While one starts it is asked again and again,
// because each wait is time without its help; a ready one is asked at its
// service's own interval, and more often once it has failed to answer.
const (
	startFirst   = 10 * time.Millisecond
	startLongest = 250 * time.Millisecond
	// relistStarting is how often the engine is asked for its list while a
	// container's own check has not passed.
	relistStarting = 5 * time.Second
	steadyEvery    = 30 * time.Second
	suspectEvery   = time.Second
	// How many checks in a row make an instance sick, and well again, where the
	// file says nothing.
	defaultFall = 3
	defaultRise = 2
)

// monitors are the health checks of this host's instances, one goroutine an
// instance and phase.
type monitors struct {
	agent   *Agent
	wg      sync.WaitGroup
	running map[monitorKey]context.CancelFunc
}

type monitorKey struct {
	instance  string
	phase     state.Phase
	container string
	// spec is the revision of the file: an edit may change the check.
	spec uint64
}

func newMonitors(a *Agent) *monitors {
	return &monitors{agent: a, running: map[monitorKey]context.CancelFunc{}}
}

// follow starts and ends checks so that they are those of the state.
func (m *monitors) follow(ctx context.Context, c state.Cluster, l Local) {
	wanted := map[monitorKey]bool{}
	for _, container := range l.Containers {
		i, ok := c.Instances.Get(container.Instance)
		if !ok || !container.Running || i.Host != l.Host || i.Container != container.ID {
			continue
		}
		if i.Phase != state.Starting && i.Phase != state.Ready {
			continue
		}
		s, ok := c.ServiceOf(i)
		if !ok {
			continue
		}
		key := monitorKey{i.ID, i.Phase, container.ID, c.Spec.Revision}
		wanted[key] = true
		if m.running[key] != nil {
			continue
		}
		mctx, cancel := context.WithCancel(ctx)
		m.running[key] = cancel
		m.wg.Go(func() {
			if i.Phase == state.Starting {
				m.agent.awaitReady(mctx, s, i, container)
			} else {
				m.agent.keepWatch(mctx, s, i, container)
			}
		})
	}
	for key, cancel := range m.running {
		if !wanted[key] {
			cancel()
			delete(m.running, key)
		}
	}
}

func (m *monitors) stop() {
	for _, cancel := range m.running {
		cancel()
	}
	m.wg.Wait()
}

// check asks an instance once. What can be asked from outside decides; where
// there is nothing to ask, the container's own check does, and where there is
// none either, that it runs.
func (a *Agent) check(ctx context.Context, s state.Service, c Container) error {
	applies, err := a.Prober.Probe(ctx, s, c)
	if applies {
		return err
	}
	if now, ok := a.view.get(c.Instance); ok {
		c = now
	}
	switch c.Health {
	case HealthNone, HealthHealthy:
		return nil
	case HealthStarting:
		// The event that says more may have been lost.
		a.view.listBy(time.Now().Add(relistStarting))
	}
	return fmt.Errorf("its container's own health check says %s", c.Health)
}

// awaitReady asks until the instance answers, and reports it ready; or failed
// when it takes too long.
func (a *Agent) awaitReady(ctx context.Context, s state.Service, i state.Instance, c Container) {
	limit := cmp.Or(s.Update.ReadyWithin, state.DefaultReadyWithin)
	if hc := s.Container.Healthcheck; hc != nil {
		limit += hc.StartPeriod
	}
	// By this host's own clock: that of the state is another's.
	deadline := time.Now().Add(limit)
	for wait := startFirst; ; wait = min(wait*3/2, startLongest) {
		err := a.check(ctx, s, c)
		var cmd state.Command
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			cmd = state.Observe{ID: i.ID, Phase: state.Ready, Container: c.ID, Address: c.Address}
		case time.Now().After(deadline):
			// What was adopted and is not well is given back, not removed.
			cmd = state.Fail{ID: i.ID, Reason: fmt.Sprintf("not ready within %s: %v", limit, err), Return: i.IsAdopted()}
		}
		if cmd != nil {
			err := a.report(ctx, cmd)
			if err == nil || ctx.Err() != nil {
				return
			}
			a.Log.WarnContext(ctx, "cannot report, trying again", "instance", i.Name, "err", err)
			wait = startLongest
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// keepWatch asks a ready instance from time to time, marks it sick when it fails
// to answer so many times in a row, and well when it answers again so many
// times.
func (a *Agent) keepWatch(ctx context.Context, s state.Service, i state.Instance, c Container) {
	var h lbconfig.Health
	if s.Ingress != nil {
		h = s.Ingress.Health
	}
	every, fall, rise := cmp.Or(h.Every, steadyEvery), cmp.Or(h.Fall, defaultFall), cmp.Or(h.Rise, defaultRise)
	wake, forget := a.suspects.of(i.ID)
	defer forget()
	verdict := tally{fall: fall, rise: rise, sick: i.Sick != ""}
	for {
		wait := every
		if verdict.open() {
			wait = min(suspectEvery, every)
		}
		if sleepUnless(ctx, wait, wake) != nil {
			return
		}
		err := a.check(ctx, s, c)
		if ctx.Err() != nil {
			return
		}
		verdict.take(err == nil)
		if err != nil {
			a.Log.WarnContext(ctx, "health check failed", "instance", i.Name, "in_a_row", verdict.against, "sick", verdict.sick, "err", err)
			// It may have ended, and the event that says so may be lost.
			a.view.listBy(time.Now())
		}
		why := ""
		switch {
		case verdict.sick == (err == nil), !verdict.sick && verdict.open():
			continue // it may change, and has not
		case verdict.sick:
			why = fmt.Sprintf("it failed %d health checks in a row: %v", fall, err)
		}
		if a.view.mark(i.ID, why) {
			a.poke()
		}
	}
}

// tally makes a verdict of checks: it changes when enough in a row speak
// against it.
type tally struct {
	fall, rise int
	sick       bool
	// against is how many in a row do.
	against int
}

func (t *tally) take(passed bool) {
	if passed != t.sick {
		t.against = 0
		return
	}
	t.against++
	enough := t.fall
	if t.sick {
		enough = t.rise
	}
	if t.against >= enough {
		t.sick, t.against = !t.sick, 0
	}
}

// open says whether the next check is waited for eagerly.
func (t *tally) open() bool { return t.sick || t.against > 0 }
