package api

import (
	"context"
	"io"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Backend is the daemon as the API sees it. All calls are safe for concurrent
// use.
type Backend interface {
	CertStore
	// State returns the replicated state and a channel that is closed when
	// there is a newer one.
	State() (state.Cluster, <-chan struct{})
	// Propose commits commands together; one error each, nil where carried
	// out. err says why nothing is known to be committed.
	Propose(ctx context.Context, cmds ...state.Command) (refused []error, err error)
	// Deploy puts a compose file in force, or tries it out as a canary, after a
	// look whether it can be, and returns the revision in force then. An *Error says what is wrong with it.
	Deploy(ctx context.Context, d Deploy) (revision uint64, err error)
	// Candidates returns the containers of all hosts that could be adopted:
	// those that docker compose runs of the spec's project, and those named, as
	// "NAME" or "HOST/NAME", each with its service.
	Candidates(ctx context.Context, named map[string]string) ([]state.Candidate, error)
	// HaveImages sees that every host that may run services has their images.
	HaveImages(ctx context.Context, services []string) error
	// BeginTask gives a host a task of backups. An *Error says what is wrong
	// with it.
	BeginTask(ctx context.Context, o TaskOrder) (state.Task, error)
	// TaskProgress returns how far a host is with its tasks.
	TaskProgress(ctx context.Context, host string) []TaskProgress
	// NewToken makes a token for hosts to join with, and says where.
	// ErrClosedCluster where no host can join.
	NewToken(ctx context.Context, ttl time.Duration) (NewToken, error)
	// Local returns what this host knows and does not replicate.
	Local() Local
	// Health returns the latest health reports, the newest last.
	Health() []HealthReport
	// Points returns the recorded use of an instance, oldest first.
	Points(instance string, from, to time.Time) []Point
	// Logs writes the log of one instance's container until its end, or until
	// the context ends when the query follows.
	Logs(ctx context.Context, q LogQuery, stdout, stderr io.Writer) error
}

// Local is what one host knows of itself and of the last round of planning.
type Local struct {
	Host      string    `json:"host"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Raft      Raft      `json:"raft"`
	// Decisions are the latest autoscaling decisions by service, those that
	// change nothing too; Pending says by service why instances that are
	// wanted are not placed. Both are the leader's.
	Decisions map[string]autoscale.Decision `json:"decisions"`
	Pending   map[string]string             `json:"pending"`
	// Verdicts are the leader's, of the canary, by service.
	Verdicts map[string]Verdict `json:"verdicts,omitempty"`
	// Samples are the latest by instance id.
	Samples map[string]autoscale.Sample `json:"samples"`
	Machine Machine                     `json:"machine"`
	// LastRound is when the loop last did its whole round.
	LastRound time.Time `json:"last_round"`
	// Skew is by host how far its clock is ahead of the leader's.
	Skew map[string]time.Duration `json:"skew"`
	// Members are the servers of the log's cluster.
	Members []Member `json:"members"`
	// Connected is false while this host is cut off: no leader is known, and
	// the state may be old.
	Connected bool `json:"connected"`
}

// Member is one server of the log's cluster.
type Member struct {
	Server  string `json:"server"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
}

// NewToken is a token that was just made; its text is shown this once.
type NewToken struct {
	ID      string    `json:"id"`
	Token   string    `json:"token"`
	Address string    `json:"address"`
	Expires time.Time `json:"expires"`
}

// Raft is this host's place in the cluster.
type Raft struct {
	IsLeader bool   `json:"is_leader"`
	Leader   string `json:"leader"`
	Term     uint64 `json:"term"`
	Commit   uint64 `json:"commit_index"`
	Applied  uint64 `json:"applied_index"`
}

// Machine is the use of the host itself.
type Machine struct {
	At          time.Time `json:"at"`
	CPUs        float64   `json:"cpus"`
	CPU         float64   `json:"cpu"`
	MemoryBytes uint64    `json:"memory_bytes"`
	MemoryUsed  uint64    `json:"memory_used_bytes"`
	Load1       float64   `json:"load1"`
	Load5       float64   `json:"load5"`
	Load15      float64   `json:"load15"`
	DiskBytes   uint64    `json:"disk_bytes"`
	DiskUsed    uint64    `json:"disk_used_bytes"`
	// Uptime is in seconds.
	Uptime uint64 `json:"uptime_seconds"`
	// ProcessMemory and ProcessCPU are the daemon's own: resident bytes, and
	// seconds of CPU since its start.
	ProcessMemory uint64  `json:"process_memory_bytes"`
	ProcessCPU    float64 `json:"process_cpu_seconds"`
}

// Health states, from good to bad.
const (
	Healthy   = "healthy"
	Degraded  = "degraded"
	Unhealthy = "unhealthy"
)

// HealthReport is one look at everything this host needs.
type HealthReport struct {
	At time.Time `json:"at"`
	// Overall is the worst of the components.
	Overall    string      `json:"overall"`
	Components []Component `json:"components"`
}

// Component is one part of a health report: "system", "engine", "nginx",
// "raft", "database:<name>".
type Component struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	// Detail is a sentence with figures, or what is wrong.
	Detail string `json:"detail"`
	// Milliseconds is how long the check took.
	Milliseconds float64 `json:"milliseconds"`
}

// Point is the use of one instance around a second.
type Point struct {
	At     time.Time `json:"at"`
	CPU    float64   `json:"cpu"`
	Memory float64   `json:"memory"`
}

// LogQuery says which log is wanted.
type LogQuery struct {
	// Instance is the id.
	Instance string
	Follow   bool
	// Since is zero for all; Tail is the number of last lines, 0 for all.
	Since      time.Time
	Tail       int
	Timestamps bool
}
