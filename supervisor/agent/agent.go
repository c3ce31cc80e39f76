package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Replica is the replicated state as this host has it.
type Replica interface {
	// Current returns the state and a channel that is closed when there is a
	// newer one.
	Current() (state.Cluster, <-chan struct{})
}

// Reporter commits what the agent saw.
type Reporter interface {
	// Propose commits the commands together and returns one error each, as
	// state.Apply does; err says why nothing is known to be committed.
	Propose(ctx context.Context, cmds ...state.Command) (refused []error, err error)
}

// Prober asks an instance whether it is well.
type Prober interface {
	// Probe returns nil when the instance answers as it should. applies is
	// false where the service has nothing that could be asked from outside.
	Probe(ctx context.Context, s state.Service, c Container) (applies bool, err error)
}

// LoadBalancer is this host's nginx.
type LoadBalancer interface {
	// Apply puts a configuration in force; see lbconfig/nginx.
	Apply(ctx context.Context, cfg lbconfig.Config) (lbconfig.Outcome, error)
}

// Engine is all that an agent needs of the container engine.
type Engine interface {
	Runtime
	Limiter
	Resources
	Watcher
	Tailer
}

// Options are the parts of an agent. All are required but Connections.
type Options struct {
	// Host is this host's name in the state, Address where its instances are
	// published.
	Host    string
	Address string
	Engine  Engine
	Balance LoadBalancer
	Replica Replica
	Report  Reporter
	Prober  Prober
	// Connections counts the open connections to a published address, so that
	// a draining instance is seen to be done; nil waits out the drain time
	// only where nginx has not confirmed.
	Connections func(address string) (int, error)
	// Connected says whether this host's copy of the state can be trusted to be
	// the cluster's; nil for always.
	Connected func() bool
	// Now is the cluster's time; nil for this host's.
	Now func() time.Time
	// Ping asks whether another host's daemon answers; nil where there are no
	// others.
	Ping func(ctx context.Context, h state.Host) error
	// Dial connects to an instance of another host, to see whether it can be
	// reached, and closes the connection; nil for TCP.
	Dial func(ctx context.Context, address string) error
	// Certify knows the certificates; nil where no site has TLS.
	Certify Certifier
	// Listen and Status are lbconfig.Config's; Listen where the compose file
	// says nothing.
	Listen []string
	Status string
	Log    *slog.Logger
}

// Agent makes one host follow the state.
type Agent struct {
	Options
	view  *view
	ports *ports
	// wake has room for one: the loop looks again.
	wake chan struct{}
	// launches bounds how many containers are created at once.
	launches *starter
	prepare  preparer
	// reach knows which instances of other hosts cannot be reached.
	reach *reacher
	// suspects are instances to be checked before their time.
	suspects suspicions
}

// New makes an agent; Run starts it.
func New(o Options) *Agent {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = dial
	}
	return &Agent{
		Options:  o,
		reach:    newReacher(),
		view:     newView(),
		ports:    newPorts(),
		wake:     make(chan struct{}, 1),
		launches: newStarter(),
		prepare:  preparer{engine: o.Engine, turn: make(chan struct{}, 1)},
	}
}

// Run works until the context ends. What it has started goes on running.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.watch(ctx) })
	g.Go(func() error {
		if err := a.connect(ctx); err != nil {
			return err
		}
		g.Go(func() error { return newRouter(a).run(ctx) })
		if a.Ping != nil {
			g.Go(func() error { return a.reach.run(ctx, a) })
		}
		return a.loop(ctx)
	})
	return g.Wait()
}

// connect waits until the state can be trusted for the first time. Before
// that it may be as old as this host's last snapshot, and neither nginx nor
// any container must follow it.
func (a *Agent) connect(ctx context.Context) error {
	if a.Connected == nil {
		return nil
	}
	for !a.Connected() {
		_, changed := a.Replica.Current()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-time.After(lookConnected):
		}
	}
	return nil
}

var errCutOff = errors.New("this host is cut off from the cluster; what runs goes on")

// cutOff says why nothing may be added or taken away now; nil when it may.
func (a *Agent) cutOff() error {
	if a.Connected != nil && !a.Connected() {
		return errCutOff
	}
	return nil
}

// lookConnected is how often the first connection is looked for.
const lookConnected = 50 * time.Millisecond

// Containers returns this cluster's containers on this host as last seen.
func (a *Agent) Containers() []Container {
	l, _ := a.view.local(a.Host, time.Now())
	return l.Containers
}

func (a *Agent) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// watch keeps the view up to date. The engine may restart at any time.
func (a *Agent) watch(ctx context.Context) error {
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	wait := shortest
	for {
		err := a.Engine.Watch(ctx, func(e Event) {
			if e.Kind == Connected {
				wait = shortest
				if err := a.relist(ctx); err != nil {
					a.Log.WarnContext(ctx, "cannot list containers", "err", err)
				}
				// What ended a moment ago, with nobody to tell it, may still be
				// in the list as running.
				a.view.listBy(time.Now().Add(listsAgree))
			}
			a.view.event(e, time.Now())
			a.poke()
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.Log.WarnContext(ctx, "the engine's event stream ended, trying again", "err", err, "in", wait)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, longest)
	}
}

func (a *Agent) relist(ctx context.Context) error {
	asked := time.Now()
	list, err := a.Engine.List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	a.view.list(list, asked, time.Now())
	return nil
}

// outcome of one piece of work.
type outcome struct {
	key string
	err error
}

const (
	// lookAgain is how often the loop looks without being woken.
	lookAgain = time.Second
	// relistEvery is how often the engine is asked for its whole list, in case
	// an event was lost.
	relistEvery = time.Minute
	// listsAgree is how long after a death the engine's list is sure to tell;
	// 250 ms were seen.
	listsAgree = time.Second
	// retryAfter is the pause after work that failed.
	retryAfter = time.Second
	// afterRefusal is the pause after a report that the state refused.
	afterRefusal = 250 * time.Millisecond
)

// loop starts the work that is needed and waits for it at its end.
func (a *Agent) loop(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	done := make(chan outcome)
	busy := map[string]bool{}
	notBefore := map[string]time.Time{}
	mons := newMonitors(a)
	defer mons.stop()
	phases := phases{}
	revived := revivals{}
	var cutAt time.Time
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		c, changed := a.Replica.Current()
		now := time.Now()
		local, synced := a.view.local(a.Host, now)
		if a.cutOff() == nil {
			cutAt = time.Time{}
		} else if cutAt.IsZero() {
			cutAt = now
		}
		if synced && c.ID != "" {
			local.Time, local.Seen = a.Now(), phases.look(c, a.Host, now)
			if !cutAt.IsZero() {
				local.CutOff = max(1, now.Sub(cutAt))
			}
			for _, op := range Diff(c, local) {
				key := op.Key()
				if busy[key] || now.Before(notBefore[key]) || op.Kind == OpRevive && !revived.due(op.Container.ID, now) {
					continue
				}
				busy[key] = true
				workers.Go(func() {
					err := a.work(ctx, c, op)
					select {
					case done <- outcome{key, err}:
					case <-ctx.Done():
					}
				})
			}
			mons.follow(ctx, c, local)
		}
		if a.view.listDue(now) {
			if err := a.relist(ctx); err != nil && ctx.Err() == nil {
				a.Log.WarnContext(ctx, "cannot list containers", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-a.wake:
		case <-tick.C:
		case o := <-done:
			delete(busy, o.key)
			delete(notBefore, o.key)
			switch {
			case o.err == nil, errors.Is(o.err, context.Canceled):
			case errors.Is(o.err, state.ErrRefused):
				// The state has moved on, mostly. Where it has not, the same
				// report must not be made as fast as the log allows.
				notBefore[o.key] = time.Now().Add(afterRefusal)
				a.Log.DebugContext(ctx, "report not taken", "what", o.key, "err", o.err)
			default:
				notBefore[o.key] = time.Now().Add(retryAfter)
				a.Log.WarnContext(ctx, "will try again", "what", o.key, "err", o.err)
			}
		}
	}
}

// sleep waits, or returns why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
