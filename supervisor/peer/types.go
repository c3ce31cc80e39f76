package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Node is a daemon as the others see it. All calls are safe for concurrent
// use. Those that only the leader can answer fail with a NotLeaderError
// elsewhere.
type Node interface {
	// Propose commits a proposal in state's encoded form, at the time of this
	// host: the proposer's clock may be wrong.
	Propose(ctx context.Context, proposal []byte) (Receipt, error)
	// Report takes in what another host measured. Only the leader wants it.
	Report(ctx context.Context, r Report) error
	// Recall returns the frames of this host's own instances of the last while.
	Recall(ctx context.Context, span time.Duration) (Memory, error)
	// Round returns the leader's last round of planning.
	Round(ctx context.Context) (Round, error)
	// Standing returns where this host's log stands.
	Standing(ctx context.Context) (Standing, error)
	// Enter makes a server part of the cluster, or gives it a new address.
	Enter(ctx context.Context, e Entry) error
	// Points returns the recorded use of an instance on this host.
	Points(ctx context.Context, q PointsQuery) ([]Point, error)
	// Tasks returns how far this host is with its tasks.
	Tasks(ctx context.Context) ([]TaskProgress, error)
	// Fetch makes an image be on this host.
	Fetch(ctx context.Context, image string) error
	// Image writes an image that is on this host, for another one.
	Image(ctx context.Context, image string, to io.Writer) error
	// Candidates returns the containers of this host that could be adopted:
	// those that docker compose runs of the spec's project, and those named,
	// each with its service.
	Candidates(ctx context.Context, named map[string]string) ([]state.Candidate, error)
	// Key returns a key that seals secrets of the state, for a host of the
	// cluster that lacks it.
	Key(ctx context.Context, id string) ([]byte, error)
	// Rehearse orders certificates for trial from this host.
	Rehearse(ctx context.Context, names []string) (Rehearsal, error)
	// Logs writes the log of an instance on this host.
	Logs(ctx context.Context, q LogQuery, stdout, stderr io.Writer) error
}

// Receipt is what became of a proposal.
type Receipt struct {
	// Index is where it stands in the log.
	Index uint64 `json:"index"`
	// Refused has one entry a command: why it was refused, "" where it was
	// carried out.
	Refused []string `json:"refused"`
}

// Report is one round of measuring on one host. It is the host's sign of life
// too: it is sent also when there is nothing to measure.
type Report struct {
	Host string `json:"host"`
	// At is the host's own clock when it sent the report; the leader takes the
	// difference from its own off the samples.
	At      time.Time          `json:"at"`
	Samples []autoscale.Sample `json:"samples"`
	// Traffic is what this host's nginx has seen of the instances of all hosts
	// since the report before, by id.
	Traffic map[string]accesslog.Counts `json:"traffic,omitempty"`
}

// Memory is what a host remembers of its own instances.
type Memory struct {
	// At is the host's own clock.
	At time.Time `json:"at"`
	// Frames are by service, oldest first.
	Frames map[string][]autoscale.Frame `json:"frames"`
}

// Round is what the leader's last round came to.
type Round struct {
	At        time.Time                     `json:"at"`
	Decisions map[string]autoscale.Decision `json:"decisions"`
	Pending   map[string]string             `json:"pending"`
	Samples   map[string]autoscale.Sample   `json:"samples"`
	// Verdicts are how the canary does, by service.
	Verdicts map[string]Verdict `json:"verdicts,omitempty"`
	// Skew is by host how far its clock is ahead of the leader's.
	Skew map[string]time.Duration `json:"skew"`
}

// Verdict is how a canary does; see plan.Verdict.
type Verdict struct {
	Known bool   `json:"known"`
	Worse bool   `json:"worse"`
	Why   string `json:"why"`
}

// Standing is where a server's log stands.
type Standing struct {
	LastIndex uint64 `json:"last_index"`
	LastTerm  uint64 `json:"last_term"`
	// Commit is the last index known to be committed.
	Commit uint64 `json:"commit"`
	// LastContact is how long ago the leader was heard of.
	LastContact time.Duration `json:"last_contact"`
}

// Entry is a server that wants to be part of the cluster.
type Entry struct {
	Server string `json:"server"`
	// Address is the "IP:port" that the others reach it at.
	Address string `json:"address"`
}

// PointsQuery asks for the use of an instance between two times.
type PointsQuery struct {
	Instance string    `json:"instance"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
}

// Point is the use of one instance around a second, as shares of its limits.
type Point struct {
	At     time.Time `json:"at"`
	CPU    float64   `json:"cpu"`
	Memory float64   `json:"memory"`
}

// TaskProgress is how far a host is with a task; see api.TaskProgress.
type TaskProgress struct {
	ID      string  `json:"id"`
	Kind    string  `json:"kind"`
	Service string  `json:"service"`
	Host    string  `json:"host"`
	Backup  string  `json:"backup,omitempty"`
	Phase   string  `json:"phase,omitempty"`
	Dumped  int64   `json:"dumped_bytes"`
	Stored  int64   `json:"stored_bytes"`
	Seconds float64 `json:"seconds"`
}

// LogQuery says which log is wanted; see api.LogQuery.
type LogQuery struct {
	Instance   string    `json:"instance"`
	Follow     bool      `json:"follow"`
	Since      time.Time `json:"since,omitzero"`
	Tail       int       `json:"tail"`
	Timestamps bool      `json:"timestamps"`
}

// ErrNotLeader: only the leader answers that. See NotLeaderError.
var ErrNotLeader = errors.New("this host does not lead")

// NotLeaderError says where the leader is; Address is "" when nobody knows.
type NotLeaderError struct{ Address string }

func (e *NotLeaderError) Error() string {
	if e.Address == "" {
		return "no leader is known"
	}
	return "the leader is at " + e.Address
}

// Is makes errors.Is find ErrNotLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// RemoteError is what another host answered.
type RemoteError struct {
	Address string
	Message string
}

func (e *RemoteError) Error() string { return fmt.Sprintf("%s: %s", e.Address, e.Message) }
