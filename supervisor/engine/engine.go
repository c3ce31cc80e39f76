package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/client"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// Options say which engine it is and whose containers are ours.
type Options struct {
	// Host is the engine's address, as unix:///run/docker.sock; "" for
	// DOCKER_HOST and its companions, or the default socket.
	Host string
	// Cluster is the id that our containers carry. It is required: with an
	// empty one, every container would look like ours or none.
	Cluster string
	// Timeout bounds each call that does not wait for a container or a stream;
	// 1 min by default.
	Timeout time.Duration
	// PullTimeout bounds the download of an image; 5 min by default.
	PullTimeout time.Duration
	// Obtain gets an image that is not on this host; Pull where it is nil. Its
	// error is agent.ErrNoImage where the image cannot be had.
	Obtain func(ctx context.Context, ref string) error
	// Adopted returns the containers that this cluster has adopted on this
	// host, by id; nil for none ever.
	Adopted func() map[string]agent.Adopted
	Log     *slog.Logger
}

// Engine is the Docker engine of this host. All methods are safe for
// concurrent use and end with their context.
type Engine struct {
	cluster     string
	timeout     time.Duration
	pullTimeout time.Duration
	obtain      func(ctx context.Context, ref string) error
	adopted     func() map[string]agent.Adopted
	log         *slog.Logger
	dial        func() (*client.Client, error)
	// current is replaced when the engine comes back with another version.
	current atomic.Pointer[connection]
	// preparing keeps two calls from making one network twice.
	preparing sync.Mutex
}

// connection is a client with the API version that the engine offered when
// the version to speak was agreed on; "" as long as it was not.
type connection struct {
	*client.Client
	offered string
}

const (
	defaultTimeout     = time.Minute
	defaultPullTimeout = 5 * time.Minute
)

// Dial connects to the engine and agrees on an API version. An engine that is
// away is no error, because it may come at any time: it is logged, and calls
// give ErrUnavailable until it is there.
func Dial(ctx context.Context, o Options) (*Engine, error) {
	if o.Cluster == "" {
		return nil, errors.New("dial engine: the cluster's id is required")
	}
	if o.Log == nil {
		return nil, errors.New("dial engine: a logger is required")
	}
	e := &Engine{
		cluster:     o.Cluster,
		timeout:     positive(o.Timeout, defaultTimeout),
		pullTimeout: positive(o.PullTimeout, defaultPullTimeout),
		adopted:     o.Adopted,
		log:         o.Log,
		dial:        func() (*client.Client, error) { return newClient(o.Host) },
	}
	if e.obtain = o.Obtain; e.obtain == nil {
		e.obtain = e.Pull
	}
	c, err := e.dial()
	if err != nil {
		return nil, fmt.Errorf("dial engine: %w", err)
	}
	e.current.Store(&connection{Client: c})
	if err := e.Ping(ctx); err != nil {
		if !errors.Is(err, ErrUnavailable) {
			return nil, errors.Join(fmt.Errorf("dial engine: %w", err), c.Close())
		}
		e.log.WarnContext(ctx, "the container engine does not answer yet", "host", c.DaemonHost(), "err", err)
	}
	return e, nil
}

// newClient is a client of the engine at a host, or at DOCKER_HOST where that is
// empty.
func newClient(host string) (*client.Client, error) {
	where := client.FromEnv
	if host != "" {
		where = client.WithHost(host)
	}
	return client.NewClientWithOpts(where, client.WithAPIVersionNegotiation(), client.WithUserAgent("supervisord"))
}

func positive(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Close ends idle connections. Calls under way go on.
func (e *Engine) Close() error {
	if err := e.api().Close(); err != nil {
		return fmt.Errorf("close engine: %w", err)
	}
	return nil
}

func (e *Engine) api() *client.Client { return e.current.Load().Client }

// within bounds a short call.
func (e *Engine) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.timeout)
}

// Ping asks whether the engine answers. If it has been exchanged for another
// version since the last time, the API version is agreed on again: newer
// engines refuse what was spoken before.
func (e *Engine) Ping(ctx context.Context) error {
	short, cancel := e.within(ctx)
	defer cancel()
	was := e.current.Load()
	ping, err := was.Client.Ping(short)
	if err != nil {
		return failure(ctx, err, "ping engine")
	}
	if ping.APIVersion == was.offered {
		return nil
	}
	c, err := e.dial()
	if err != nil {
		return fmt.Errorf("dial engine: %w", err)
	}
	c.NegotiateAPIVersionPing(ping)
	if !e.current.CompareAndSwap(was, &connection{c, ping.APIVersion}) {
		// Another call was faster.
		was = &connection{Client: c}
	}
	if err := was.Client.Close(); err != nil {
		e.log.WarnContext(ctx, "cannot close idle connections to the engine", "err", err)
	}
	return nil
}

// Info is what the engine says of itself.
type Info struct {
	Version string
	// APIVersion is the one agreed on.
	APIVersion string
	// Containers are all on this host, Running those that run, ours or not.
	Containers int
	Running    int
	// CgroupVersion is "1" or "2", CgroupDriver "cgroupfs" or "systemd".
	CgroupVersion string
	CgroupDriver  string
	// LiveRestore says that containers survive a restart of the engine.
	LiveRestore bool
	CPUs        int
	Memory      int64
}

// Info asks the engine about itself.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	short, cancel := e.within(ctx)
	defer cancel()
	c := e.api()
	i, err := c.Info(short)
	if err != nil {
		return Info{}, failure(ctx, err, "ask the engine about itself")
	}
	return Info{
		Version: i.ServerVersion, APIVersion: c.ClientVersion(),
		Containers: i.Containers, Running: i.ContainersRunning,
		CgroupVersion: i.CgroupVersion, CgroupDriver: i.CgroupDriver,
		LiveRestore: i.LiveRestoreEnabled, CPUs: i.NCPU, Memory: i.MemTotal,
	}, nil
}
