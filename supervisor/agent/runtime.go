package agent

import (
	"context"
	"errors"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Runtime is the container engine of this host. All calls are safe for
// concurrent use, end with their context, and touch only containers that
// carry this cluster's id or that the state has as adopted.
type Runtime interface {
	// List returns this cluster's containers in any state, sorted by id. What
	// it says of a container that changed in the last moments may be stale.
	List(ctx context.Context) ([]Container, error)
	// Inspect returns one container as it is now; ErrNoContainer when there is
	// none, or none of ours.
	Inspect(ctx context.Context, id string) (Container, error)
	// Launch creates and starts a container. A leftover of ours that has the
	// name is removed first. On any error nothing stays behind, and the error
	// is ErrPortTaken, ErrNameTaken or ErrNoImage where one of them fits.
	Launch(ctx context.Context, l Launch) (Container, error)
	// Start starts a container that has ended. One that runs is left as it is.
	Start(ctx context.Context, id string) error
	// Stop sends the container's stop signal, kills it after grace, and
	// returns when it has ended. A container that is not there has stopped.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove deletes a container and its anonymous volumes, killing it if it
	// runs. A container that is not there has been removed.
	// Of an adopted one the anonymous volumes stay: they may hold data.
	Remove(ctx context.Context, id string) error
	// SetRestart gives a container another restart policy, in the engine's
	// form; ErrNoContainer when there is none, or none of ours.
	SetRestart(ctx context.Context, id, policy string) error
}

// Resources makes the networks and volumes of a spec exist. What exists stays
// as it is; what is external and missing is an error.
type Resources interface {
	Prepare(ctx context.Context, spec state.Spec) error
}

// Limiter changes limits of containers that run.
type Limiter interface {
	// Limit puts the limits of a definition in force and returns the container
	// as it is then. The error is ErrUnfit where that cannot be done while it
	// runs; what was in force before is in force then.
	Limit(ctx context.Context, id string, to state.Resources) (Container, error)
}

// Watcher tells what happens to this cluster's containers.
type Watcher interface {
	// Watch calls f for each event, in order and from one goroutine, until the
	// context ends or the stream breaks; it returns why. The first event of
	// each call is a Connected: from then on nothing is missed, and the caller
	// should list once to see what it missed before.
	Watch(ctx context.Context, f func(Event)) error
}

// Tailer reads the end of a container's log.
type Tailer interface {
	// Tail returns the last n lines, oldest first, stdout and stderr merged.
	Tail(ctx context.Context, id string, n int) ([]string, error)
}

// Errors that a Runtime wraps, for callers to branch on.
var (
	ErrNoContainer = errors.New("no such container")
	ErrPortTaken   = errors.New("host port is taken")
	ErrNameTaken   = errors.New("container name is taken by a container that is not ours")
	ErrNoImage     = errors.New("image is not on this host")
	ErrUnfit       = errors.New("the limits cannot be changed while it runs")
	// ErrHeld: a running container that is not ours has the data, or a port
	// that the operator publishes.
	ErrHeld = errors.New("held by a container that is not ours")
	// ErrUnavailable: the engine cannot be asked.
	ErrUnavailable = errors.New("the container engine is not available")
)

// Launch is one container to be created and started.
type Launch struct {
	// Cluster, Instance and Revision become labels, Name the container's name.
	Cluster  string
	Instance string
	Name     string
	Service  string
	Revision string
	Spec     state.Container
	// OwnsData says that nobody else may run on its data. Project is docker
	// compose's: its other services may, where the file says so.
	OwnsData bool
	Project  string
	// ContainerPort is published on HostIP:HostPort; 0 publishes nothing.
	ContainerPort int
	HostIP        string
	HostPort      int
}

// Container is one of this cluster's containers as the engine sees it.
type Container struct {
	ID       string
	Name     string
	Instance string
	Service  string
	Revision string
	// Adopted: it was made by another tool, and has none of our labels.
	Adopted bool
	Running bool
	// PID of the first process, 0 when not running.
	PID int
	// Health is "" where the container has no check of its own.
	Health HealthStatus
	// Address is "IP:port" of the published ingress port; "" for none.
	Address string
	// IP is the container's own address on its first network.
	IP string
	// CPULimit in cores and MemoryLimit in bytes; 0 for none.
	CPULimit    float64
	MemoryLimit int64
	// Where it has ended: how.
	ExitCode  int
	OOMKilled bool
	StartedAt time.Time
	EndedAt   time.Time
}

// HealthStatus is the result of a container's own check.
type HealthStatus string

// The health states of the engine.
const (
	HealthNone      HealthStatus = ""
	HealthStarting  HealthStatus = "starting"
	HealthHealthy   HealthStatus = "healthy"
	HealthUnhealthy HealthStatus = "unhealthy"
)

// Event is something that happened to a container of ours.
type Event struct {
	Kind      EventKind
	At        time.Time
	Container string
	Instance  string
	// ExitCode with Died; Health with HealthChanged.
	ExitCode int
	Health   HealthStatus
}

// EventKind is what happened.
type EventKind string

// The events that an agent looks at.
const (
	Connected     EventKind = "connected"
	Started       EventKind = "started"
	Died          EventKind = "died"
	OOM           EventKind = "oom"
	HealthChanged EventKind = "health"
	Removed       EventKind = "removed"
)
