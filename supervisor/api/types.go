package api

import (
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Times are RFC 3339 in UTC, shares are fractions (0.7 is 70 %), sizes bytes,
// and durations seconds, except inside of autoscale's and state's own types,
// which have nanoseconds. Fields are only ever added.

// States of a daemon's own life.
const (
	// LivenessOK: the loop makes progress.
	LivenessOK = "ok"
	// LivenessStarting: it has not done its first round.
	LivenessStarting = "starting"
	// LivenessStalled: its last round is too long ago.
	LivenessStalled = "stalled"
)

// Liveness answers GET /health: 200 while the daemon's own loop makes
// progress, 503 otherwise. It says nothing of what the daemon looks after.
type Liveness struct {
	Status    string    `json:"status"`
	Host      string    `json:"host"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	LastRound time.Time `json:"last_round,omitzero"`
}

// Unknown is the overall health before the first report and after the last
// one has become too old to tell.
const Unknown = "unknown"

// Monitoring answers GET /admin/monitoring/health: 200 when Overall is healthy
// or degraded, 503 when it is unhealthy or unknown. Parts that were not looked
// at are left out.
type Monitoring struct {
	At      time.Time  `json:"at,omitzero"`
	Overall string     `json:"overall"`
	System  *Component `json:"system,omitempty"`
	Engine  *Component `json:"engine,omitempty"`
	Nginx   *Component `json:"nginx,omitempty"`
	Raft    *Component `json:"raft,omitempty"`
	// Databases are by name; Others are all further components.
	Databases []Component `json:"databases"`
	Others    []Component `json:"others,omitempty"`
}

// MonitoringHistory answers GET /admin/monitoring/health/history, the newest
// report last.
type MonitoringHistory struct {
	Reports []Monitoring `json:"reports"`
}

// SystemMetrics answers GET /admin/monitoring/system/metrics.
type SystemMetrics struct {
	At        time.Time     `json:"at"`
	Host      string        `json:"host"`
	Machine   Machine       `json:"machine"`
	Raft      Raft          `json:"raft"`
	Instances []InstanceUse `json:"instances"`
}

// InstanceUse is the latest use of one instance; Sample is absent before the
// first.
type InstanceUse struct {
	Name    string            `json:"name"`
	Service string            `json:"service"`
	Phase   state.Phase       `json:"phase"`
	Sample  *autoscale.Sample `json:"sample,omitempty"`
}

// Status answers GET /v1/status: the cluster on one page.
type Status struct {
	// At is the daemon's time of the answer: ages are differences from it.
	At        time.Time `json:"at"`
	Cluster   string    `json:"cluster"`
	Host      string    `json:"host"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Raft      Raft      `json:"raft"`
	Spec      Spec      `json:"spec"`
	// Health is this host's; see GET /admin/monitoring/health.
	Health   Monitoring `json:"health"`
	Hosts    []Host     `json:"hosts"`
	Services []Service  `json:"services"`
	// Outside is how the backups of databases outside of the file's services
	// stand; absent where there are none.
	Outside   []BackupStatus `json:"outside,omitempty"`
	LastEvent uint64         `json:"last_event"`
	// Canary is the one that is being tried out; absent where there is none.
	Canary *Canary `json:"canary,omitempty"`
	// Connected is false while this host is cut off from the others: all of
	// the above may be old then.
	Connected bool `json:"connected"`
}

// Spec says which compose file is in force.
type Spec struct {
	// Revision counts the accepted files; 0 before the first.
	Revision uint64 `json:"revision"`
	Hash     string `json:"hash"`
	Project  string `json:"project"`
	// State is where its rollout stands, as a Release's; absent where it came
	// before there were releases. Why is the reason of a pause.
	State state.ReleaseState `json:"state,omitempty"`
	Why   string             `json:"why,omitempty"`
	// Problems are why a host's file is not in force. The revision above goes
	// on meanwhile.
	Problems []SpecProblem `json:"problems"`
}

// SpecProblem is what is wrong with the file of one host, a line for each
// problem.
type SpecProblem struct {
	Host    string `json:"host"`
	Problem string `json:"problem"`
}

// Hosts answers GET /v1/hosts.
type Hosts struct {
	Hosts []Host `json:"hosts"`
}

// Host is one machine of the cluster.
type Host struct {
	Name string `json:"name"`
	// Address is where its instances are published, Peer the "IP:port" that
	// the other hosts reach it at; empty in a cluster of one.
	Address string            `json:"address"`
	Peer    string            `json:"peer,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// CPUs are cores, Memory is in bytes; Reserved is what its instances take.
	CPUs           float64 `json:"cpus"`
	Memory         int64   `json:"memory_bytes"`
	ReservedCPUs   float64 `json:"reserved_cpus"`
	ReservedMemory int64   `json:"reserved_memory_bytes"`
	Version        string  `json:"version"`
	// Leader says whether it is the one that plans; Role is "leader", "voter",
	// "non-voter" or "none".
	Leader bool   `json:"leader"`
	Role   string `json:"role"`
	// State is "ready", "draining" or "lost", which it is since LostSince.
	State     string    `json:"state"`
	LostSince time.Time `json:"lost_since,omitzero"`
	Instances int       `json:"instances"`
	Phases    Phases    `json:"phases"`
	// Data are the services whose data it holds.
	Data []string `json:"data,omitempty"`
	// ClockAhead is how many seconds its clock is ahead of the leader's, where
	// that is more than a few; negative when it is behind.
	ClockAhead float64 `json:"clock_ahead_seconds,omitzero"`
	// RejectedSites are the sites that its nginx refused, by service, with
	// nginx's own words; their last good form goes on.
	RejectedSites map[string]string `json:"rejected_sites,omitempty"`
	SpecError     string            `json:"spec_error,omitempty"`
}

// Services answers GET /v1/services, sorted by name.
type Services struct {
	Services []Service `json:"services"`
}

// Service is one service of the compose file and how it stands.
type Service struct {
	Name  string `json:"name"`
	Image string `json:"image"`
	// Desired is the count in force. Min and Max are its bounds where it is
	// autoscaled, and 0 where it is not.
	Desired    int  `json:"desired"`
	Autoscaled bool `json:"autoscaled"`
	Min        int  `json:"min,omitzero"`
	Max        int  `json:"max,omitzero"`
	// Hold is the count that an operator has set by hand, absent when the load
	// (or the file) decides.
	Hold *int `json:"hold,omitempty"`
	// Stateful services own data and are never duplicated.
	Stateful bool `json:"stateful"`
	// Phases counts its instances by phase; Outdated ones run an older
	// definition.
	Phases   Phases `json:"phases"`
	Outdated int    `json:"outdated,omitzero"`
	// Sick counts the ready instances that do not answer their health checks;
	// Suspected says why they go on serving, where most of them are.
	Sick      int    `json:"sick,omitzero"`
	Suspected string `json:"suspected,omitempty"`
	// CPU and Memory are the mean use of the ready instances as shares of
	// their limits; absent when none was measured.
	CPU    *float64 `json:"cpu,omitempty"`
	Memory *float64 `json:"memory,omitempty"`
	// LastOut and LastIn are when a decision last changed the count.
	LastOut time.Time `json:"last_out,omitzero"`
	LastIn  time.Time `json:"last_in,omitzero"`
	// Sentence is the latest decision in words; Reason is its code.
	Sentence string           `json:"sentence,omitempty"`
	Reason   autoscale.Reason `json:"reason,omitempty"`
	// Pending is why wanted instances are not placed.
	Pending string `json:"pending,omitempty"`
	// Failures is the streak of failures that holds back the next attempt.
	Failures *Failures `json:"failures,omitempty"`
	// Backup is how its backups stand; absent where it has none.
	Backup *BackupStatus `json:"backup,omitempty"`
	// Rejected says, by host, why nginx refused its site.
	Rejected map[string]string `json:"rejected,omitempty"`
}

// Phases counts instances.
type Phases struct {
	Assigned int `json:"assigned"`
	Starting int `json:"starting"`
	Ready    int `json:"ready"`
	Draining int `json:"draining"`
	Failed   int `json:"failed"`
}

// Failures is a streak of failures of a service.
type Failures struct {
	Count int       `json:"count"`
	Last  time.Time `json:"last"`
	// Retry is the earliest time of the next attempt.
	Retry  time.Time `json:"retry"`
	Reason string    `json:"reason"`
}

// ServiceDetail answers GET /v1/services/{name}.
type ServiceDetail struct {
	Service
	Instances  []Instance        `json:"instances"`
	Policy     *autoscale.Policy `json:"policy,omitempty"`
	Ingress    *Ingress          `json:"ingress,omitempty"`
	Definition Definition        `json:"definition"`
}

// Ingress is how the public reaches a service.
type Ingress struct {
	Hosts      []string `json:"hosts"`
	Port       int      `json:"port"`
	HealthPath string   `json:"health_path,omitempty"`
	Balance    string   `json:"balance,omitempty"`
}

// Definition is the part of a service's container definition that may be
// shown. What often holds passwords is left out: command lines, options of log
// drivers, and the values of variables.
type Definition struct {
	// Revision identifies the definition.
	Revision string `json:"revision"`
	User     string `json:"user,omitempty"`
	ReadOnly bool   `json:"read_only"`
	// Environment has "NAME=…" for each variable.
	Environment []string           `json:"environment,omitempty"`
	Ports       []state.Port       `json:"ports,omitempty"`
	Mounts      []state.Mount      `json:"mounts,omitempty"`
	Networks    []state.Attachment `json:"networks,omitempty"`
	Resources   state.Resources    `json:"resources"`
	// StopGraceSeconds is the time between the stop signal and the kill,
	// DrainSeconds what a leaving instance may take for its last requests.
	StopGraceSeconds float64 `json:"stop_grace_seconds"`
	DrainSeconds     float64 `json:"drain_seconds"`
}

// Instances answers GET /v1/instances, sorted by service and slot.
type Instances struct {
	// At is the daemon's time of the answer.
	At        time.Time  `json:"at"`
	Instances []Instance `json:"instances"`
}

// Instance is one container that the cluster wants.
type Instance struct {
	state.Instance
	// Outdated: it runs an older definition than the one in force.
	Outdated bool              `json:"outdated,omitzero"`
	Sample   *autoscale.Sample `json:"sample,omitempty"`
}

// InstanceHistory answers GET /v1/instances/{name}/history?from=&to=, both
// RFC 3339 and by default the last hour.
type InstanceHistory struct {
	Instance string    `json:"instance"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Points   []Point   `json:"points"`
}

// Decisions answers GET /v1/decisions: one for each service, sorted by name.
type Decisions struct {
	Decisions []Explanation `json:"decisions"`
}

// Explanation answers GET /v1/decisions/{service}: why it has as many
// instances as it has.
type Explanation struct {
	Service    string `json:"service"`
	Autoscaled bool   `json:"autoscaled"`
	Desired    int    `json:"desired"`
	Hold       *int   `json:"hold,omitempty"`
	// Sentence says it in words, whatever the reason.
	Sentence string `json:"sentence"`
	// Policy has its defaults filled in.
	Policy *autoscale.Policy `json:"policy,omitempty"`
	// Latest is the last decision, which mostly changes nothing; absent before
	// the first and on hosts that do not lead.
	Latest *autoscale.Decision `json:"latest,omitempty"`
	// Changed is the decision that set the count in force; absent where the
	// file or an operator did.
	Changed         *autoscale.Decision `json:"changed,omitempty"`
	ChangedSentence string              `json:"changed_sentence,omitempty"`
	Pending         string              `json:"pending,omitempty"`
	Failures        *Failures           `json:"failures,omitempty"`
}

// Events answers GET /v1/events?after=SEQ&limit=N, oldest first: without after
// the last N events, with it the first N that came after SEQ. N is 100 by
// default and state.MaxEvents at the most.
type Events struct {
	Events []state.Event `json:"events"`
	// Oldest is the first event that is still kept, LastEvent the newest; 0
	// when there is none.
	Oldest    uint64 `json:"oldest"`
	LastEvent uint64 `json:"last_event"`
}

// Scale is the body of POST /v1/services/{name}/scale. A null count gives the
// service back to the load, or to deploy.replicas; it must be written out.
type Scale struct {
	Count *int `json:"count"`
}
