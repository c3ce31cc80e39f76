package agenttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
)

var (
	_ agent.Engine = (*Engine)(nil)
	_ agent.Prober = (*Engine)(nil)
)

// Errors of the engine itself.
var (
	// ErrKilled is the cause to end an agent's context with, to have it killed
	// instead of stopped.
	ErrKilled = errors.New("killed with -9")
	ErrDown   = fmt.Errorf("cannot connect to the engine: %w", agent.ErrUnavailable)
)

// Options say how an engine behaves. The zero value is an engine of ordinary
// speed where nothing goes wrong.
type Options struct {
	// Dice draw all delays and chances; nil for those of seed 0.
	Dice *Dice
	// Host is part of the names that are drawn and of container ids.
	Host string
	// Images are those on the host; nil means that every image is.
	Images []string
	// Behave says what the container of a launch does once it has started;
	// nil for one that answers soon and never ends.
	Behave func(agent.Launch) Behaviour
	// Fault is asked about each call; nil for none.
	Fault func(Call) Fault
	// Events are what happens to events on their way.
	Events EventFaults
	// Adopted are the foreign containers that the cluster has adopted, by id;
	// nil for none ever. The engine is locked while it is asked.
	Adopted func() map[string]agent.Adopted
	// Watch sees each deed as it is done, with the container as it was before.
	// The engine is locked: Watch must not call it; nil for nobody.
	Watch func(Deed)
}

// Behaviour is what a container does after its start.
type Behaviour struct {
	// AnswersAfter is how long it takes to serve.
	AnswersAfter time.Duration
	// EndsAfter is when it ends by itself; 0 for never.
	EndsAfter time.Duration
	ExitCode  int
	OOM       bool
	// StopTakes is from the stop signal to its end. Longer than the grace time
	// it is killed.
	StopTakes time.Duration
	// Unfit: its limits cannot be changed while it runs.
	Unfit bool
}

// Call is one call of an engine's method. Name is the container's, or "" for
// calls that are about none.
type Call struct{ Method, Name string }

// Fault is what goes wrong with a call. A call with Lost is carried out, but
// its caller gets the error; with Err nothing is done.
type Fault struct {
	Delay     time.Duration
	Err, Lost error
}

// EventFaults are the chances for each event to be lost or doubled, and how
// late it comes: from Delay to Delay and Jitter more. Their order stays.
type EventFaults struct {
	Delay, Jitter time.Duration
	Lose, Double  float64
}

// Deed is something that was done to a container.
type Deed struct {
	Kind      DeedKind
	At        time.Time
	Container agent.Container
	By        Doer
}

// Doer is who did a deed.
type Doer string

// The doers.
const (
	// Outside: an accident, an operator, another program.
	Outside Doer = "outside"
	// ByLaunch, ByStop and ByRemove are an agent's calls. ByClean is a launch
	// that removes what has its name, ByUndo one that failed and cleans up.
	ByLaunch Doer = "launch"
	ByStop   Doer = "stop"
	ByRemove Doer = "remove"
	ByClean  Doer = "clean"
	ByUndo   Doer = "undo"
)

// DeedKind is what was done.
type DeedKind string

// The deeds.
const (
	Created DeedKind = "created"
	Started DeedKind = "started"
	// Stopping: the stop signal is sent.
	Stopping DeedKind = "stopping"
	Ended    DeedKind = "ended"
	Removed  DeedKind = "removed"
	// Trespass: an agent tried to act on a container that is not its own.
	Trespass DeedKind = "trespass"
)

// container is one of the engine's.
type container struct {
	agent.Container
	foreign bool
	// restart is its restart policy.
	restart string
	behave  Behaviour
	checked bool
	// answersAt is when it begins to serve; sick says that it does not.
	answersAt time.Time
	sick      bool
	// life counts its starts: timers of an earlier life mean nothing.
	life int
	// staleUntil is how long lists go on to say that it runs, as was says.
	staleUntil time.Time
	was        agent.Container
	ended      chan struct{}
}

// Engine is a container engine in memory. All methods are safe for concurrent
// use; agents come and go, the engine stays.
type Engine struct {
	o    Options
	dice *Dice

	mu         sync.Mutex
	containers map[string]*container
	// foreignPorts are held by other programs.
	foreignPorts map[string]bool
	watchers     map[*watcher]bool
	made         int
	down         chan struct{}
}

// New makes an engine.
func New(o Options) *Engine {
	if o.Dice == nil {
		o.Dice = NewDice(0)
	}
	if o.Behave == nil {
		o.Behave = func(agent.Launch) Behaviour {
			return Behaviour{AnswersAfter: 20 * time.Millisecond, StopTakes: 10 * time.Millisecond}
		}
	}
	if o.Fault == nil {
		o.Fault = func(Call) Fault { return Fault{} }
	}
	if o.Adopted == nil {
		o.Adopted = func() map[string]agent.Adopted { return nil }
	}
	if o.Watch == nil {
		o.Watch = func(Deed) {}
	}
	return &Engine{
		o: o, dice: o.Dice,
		containers:   map[string]*container{},
		foreignPorts: map[string]bool{},
		watchers:     map[*watcher]bool{},
	}
}

func (e *Engine) draw(what, name string, low, high time.Duration) time.Duration {
	return e.dice.Between(e.o.Host+"/"+what+"/"+name, low, high)
}

// call is the way of one call to the engine: it takes a while, may fail on the
// way there or back, and do happens in between.
func (e *Engine) call(ctx context.Context, c Call, low, high time.Duration, do func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e.mu.Lock()
	down := e.down != nil
	e.mu.Unlock()
	if down {
		return fmt.Errorf("%s: %w", c.Method, ErrDown)
	}
	fault := e.o.Fault(c)
	took := e.draw(c.Method, c.Name, low, high)
	if err := pause(ctx, took/2+fault.Delay); err != nil {
		return err
	}
	if fault.Err != nil {
		return fault.Err
	}
	if err := do(); err != nil {
		return err
	}
	if err := pause(ctx, took-took/2); err != nil {
		return err
	}
	return fault.Lost
}

// own finds a container that an agent asks for; one that is not ours is not
// there for it.
func (e *Engine) own(id string) (*container, error) {
	k, ok := e.containers[id]
	if !ok {
		return nil, fmt.Errorf("%s: %w", id, agent.ErrNoContainer)
	}
	if k.foreign && !e.adopted(k) {
		e.o.Watch(Deed{Kind: Trespass, At: time.Now(), Container: k.Container})
		return nil, fmt.Errorf("%s: %w", id, agent.ErrNoContainer)
	}
	return k, nil
}

// end ends a running container. The lock is held.
func (e *Engine) end(k *container, code int, oom bool, by Doer) {
	now := time.Now()
	before := k.Container
	// Lists were seen to be stale for this long after a death.
	k.was, k.staleUntil = before, now.Add(e.draw("stale", k.Name, 53*time.Millisecond, 246*time.Millisecond))
	k.Running, k.PID, k.ExitCode, k.OOMKilled, k.EndedAt = false, 0, code, oom, now
	k.life++
	close(k.ended)
	e.o.Watch(Deed{Kind: Ended, At: now, Container: before, By: by})
	if oom {
		e.emit(k, agent.Event{Kind: agent.OOM})
	}
	e.emit(k, agent.Event{Kind: agent.Died, ExitCode: code})
}

// begin starts a container. The lock is held.
func (e *Engine) begin(k *container, by Doer) {
	now := time.Now()
	e.made++
	k.life++
	k.Running, k.PID, k.StartedAt, k.EndedAt, k.ExitCode, k.OOMKilled = true, 1000+e.made, now, time.Time{}, 0, false
	k.answersAt, k.ended, k.staleUntil = now.Add(k.behave.AnswersAfter), make(chan struct{}), time.Time{}
	if k.checked {
		k.Health = agent.HealthStarting
		e.later(k, k.behave.AnswersAfter, func() { e.health(k) })
	}
	if k.behave.EndsAfter > 0 {
		e.later(k, k.behave.EndsAfter, func() { e.end(k, k.behave.ExitCode, k.behave.OOM, Outside) })
	}
	e.o.Watch(Deed{Kind: Started, At: now, Container: k.Container, By: by})
	e.emit(k, agent.Event{Kind: agent.Started})
}

// later runs do, with the lock, when the container still lives the same life.
func (e *Engine) later(k *container, after time.Duration, do func()) {
	life := k.life
	time.AfterFunc(after, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if k.life == life {
			do()
		}
	})
}

// health brings the container's own check up to date. The lock is held.
func (e *Engine) health(k *container) {
	now := agent.HealthHealthy
	switch {
	case !k.checked || !k.Running:
		return
	case k.sick:
		now = agent.HealthUnhealthy
	case time.Now().Before(k.answersAt):
		now = agent.HealthStarting
	}
	if now != k.Health {
		k.Health = now
		e.emit(k, agent.Event{Kind: agent.HealthChanged, Health: now})
	}
}

// Containers returns all containers as they are, foreign ones too, by id.
func (e *Engine) Containers() []agent.Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []agent.Container
	for _, k := range e.containers {
		all = append(all, k.Container)
	}
	slices.SortFunc(all, func(a, b agent.Container) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Own returns the containers that are not foreign, by id.
func (e *Engine) Own() []agent.Container {
	return slices.DeleteFunc(e.Containers(), func(c agent.Container) bool { return c.Instance == "" })
}

// Serves says whether something answers at a published address.
func (e *Engine) Serves(address string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range e.containers {
		if k.Address == address && k.answers() {
			return true
		}
	}
	return false
}

func (k *container) answers() bool {
	return k.Running && !k.sick && !time.Now().Before(k.answersAt)
}

// pause waits, or returns why the context ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
