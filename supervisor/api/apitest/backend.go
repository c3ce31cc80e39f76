package apitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Secret is the value of the variables in the example. It must be in no
// answer.
const Secret = "correct-horse-battery-staple"

// Epoch is the time of the backend's clock at its beginning.
func Epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// ErrNoLeader is why a backend without a leader commits nothing.
var ErrNoLeader = errors.New("commit: there is no leader")

// Backend implements api.Backend. All its methods are safe for concurrent use.
type Backend struct {
	mu       sync.Mutex
	cluster  state.Cluster
	changed  chan struct{}
	now      time.Time
	local    api.Local
	reports  []api.HealthReport
	points   map[string][]api.Point
	logs     map[string][]string
	leader   bool
	foreign  []state.Candidate
	failWith error
}

var _ api.Backend = (*Backend)(nil)

// New is a backend of an empty cluster.
func New() *Backend {
	return &Backend{
		cluster: state.New(), changed: make(chan struct{}), now: Epoch(), leader: true,
		points: map[string][]api.Point{}, logs: map[string][]string{},
	}
}

// Now is the backend's clock.
func (b *Backend) Now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// Advance moves the clock.
func (b *Backend) Advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// LoseLeader makes every commit fail from now on.
func (b *Backend) LoseLeader() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leader = false
	b.local.Raft.IsLeader, b.local.Raft.Leader = false, ""
}

// FailLogs makes every log end with an error.
func (b *Backend) FailLogs(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failWith = err
}

// SetLocal changes what the host knows of itself.
func (b *Backend) SetLocal(change func(*api.Local)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.local)
}

// Report adds a health report.
func (b *Backend) Report(r api.HealthReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reports = append(b.reports, r)
}

// State implements api.Backend.
func (b *Backend) State() (state.Cluster, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cluster, b.changed
}

// Propose implements api.Backend: the commands go through the log's form and
// state.Apply, at the backend's time.
func (b *Backend) Propose(ctx context.Context, cmds ...state.Command) ([]error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.leader {
		return nil, ErrNoLeader
	}
	data, err := state.Encode(state.Proposal{At: b.now, Commands: cmds})
	if err != nil {
		return nil, err
	}
	p, err := state.Decode(data)
	if err != nil {
		return nil, err
	}
	next, refused := state.Apply(b.cluster, b.cluster.Index+1, p)
	b.cluster = next
	close(b.changed)
	b.changed = make(chan struct{})
	return refused, nil
}

// Must proposes commands of which none may be refused.
func (b *Backend) Must(cmds ...state.Command) {
	refused, err := b.Propose(context.Background(), cmds...)
	if err := errors.Join(append(refused, err)...); err != nil {
		panic(fmt.Sprintf("apitest: %v", err))
	}
}

// Local implements api.Backend.
func (b *Backend) Local() api.Local {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.local
}

// Health implements api.Backend.
func (b *Backend) Health() []api.HealthReport {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]api.HealthReport(nil), b.reports...)
}

// Points implements api.Backend.
func (b *Backend) Points(instance string, from, to time.Time) []api.Point {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []api.Point
	for _, p := range b.points[instance] {
		if !p.At.Before(from) && !p.At.After(to) {
			out = append(out, p)
		}
	}
	return out
}

// Logs implements api.Backend. Its lines are those that were given, each
// beginning with its time; those that begin with "!" after it go to stderr.
func (b *Backend) Logs(ctx context.Context, q api.LogQuery, stdout, stderr io.Writer) error {
	b.mu.Lock()
	lines, err := b.logs[q.Instance], b.failWith
	b.mu.Unlock()
	if q.Tail > 0 && len(lines) > q.Tail {
		lines = lines[len(lines)-q.Tail:]
	}
	for _, line := range lines {
		stamp, text, _ := strings.Cut(line, " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err != nil || at.Before(q.Since) {
			continue
		}
		out := stdout
		if rest, isErr := strings.CutPrefix(text, "!"); isErr {
			text, out = rest, stderr
		}
		if q.Timestamps {
			text = stamp + " " + text
		}
		if _, err := io.WriteString(out, text+"\n"); err != nil {
			return err
		}
	}
	if q.Follow && err == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// Say adds a line, which begins with its time, to the log of an instance by
// id.
func (b *Backend) Say(instance, line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs[instance] = append(b.logs[instance], line)
}

// NewToken implements api.Backend. The token is made of its time to live.
func (b *Backend) NewToken(ctx context.Context, ttl time.Duration) (api.NewToken, error) {
	c, _ := b.State()
	if c.Authority == (state.Authority{}) {
		return api.NewToken{}, api.ErrClosedCluster
	}
	t := api.NewToken{ID: "t" + ttl.String(), Token: "SVD1-t" + ttl.String() + "-secret-print", Address: "10.0.0.1:7946", Expires: b.Now().Add(ttl)}
	refused, err := b.Propose(ctx, state.AddToken{ID: t.ID, Hash: "hash", Expires: t.Expires})
	return t, errors.Join(append(refused, err)...)
}

// Deploy implements api.Backend: of a text only its first line counts, which
// makes it another spec.
func (b *Backend) Deploy(ctx context.Context, d api.Deploy) (uint64, error) {
	c, _ := b.State()
	if strings.HasPrefix(d.Text, "wrong") {
		return 0, &api.Error{Status: http.StatusUnprocessableEntity, Message: "docker-compose.prod.yml:1:1: wrong"}
	}
	spec := c.Spec
	spec.Services = maps.Clone(spec.Services)
	if d.Text != "" {
		spec.Source, spec.Hash = d.Text, d.Text
	}
	for service, image := range d.Images {
		s := spec.Services[service]
		if s.Container.Image == image {
			continue
		}
		s.Container.Image, s.Hash = image, image
		spec.Services[service] = s
		spec.Hash += image
	}
	if spec.Hash == c.Spec.Hash {
		return c.Spec.Revision, nil
	}
	refused, err := b.Propose(ctx, state.SetSpec{Spec: spec, Base: c.Spec.Revision, Host: "alpha", By: d.By})
	return c.Spec.Revision + 1, errors.Join(append(refused, err)...)
}
