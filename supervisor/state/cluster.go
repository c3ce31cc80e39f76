package state

import (
	"fmt"
	"iter"
	"time"

	"github.com/supervisord/supervisord/autoscale"
)

// SchemaVersion is the version of the snapshot's form. A daemon reads this
// version and the ones before it, and refuses later ones.
const SchemaVersion = 1

// Cluster is the whole replicated state at one index of the log. It is a
// value: copies share their tables and none of them ever changes.
type Cluster struct {
	Schema int `json:"schema"`
	// Index is the log index of the last command applied.
	Index uint64 `json:"index"`
	// Time is the latest time that any command carried. It never goes back.
	Time time.Time `json:"time"`
	// ID is made once, when the cluster begins; it marks what is ours.
	ID        string               `json:"id"`
	Spec      Spec                 `json:"spec"`
	Hosts     Table[Host]          `json:"hosts"`
	Scales    Table[Scale]         `json:"scales"`
	Instances Table[Instance]      `json:"instances"`
	Failures  Table[FailureStreak] `json:"failures"`
	// Homes are the hosts that hold the data of stateful services.
	Homes  Table[Home]  `json:"homes"`
	Events Table[Event] `json:"events"`
	// Authority issues the hosts' certificates; zero in a cluster that no
	// other host can join yet. Tokens let hosts join it, by id. Denied are the
	// servers that were removed, by id: their certificates count no more.
	Authority Authority     `json:"authority,omitzero"`
	Tokens    Table[Token]  `json:"tokens"`
	Denied    Table[Denial] `json:"denied"`
	// Releases are the last revisions of the spec, by ReleaseKey; Rollout is
	// the one on its way.
	Releases Table[Release] `json:"releases,omitzero"`
	Rollout  Rollout        `json:"rollout,omitzero"`
	// Retired are images that only releases had which are no longer kept, the
	// latest last: every host removes what it has of them.
	Retired []string `json:"retired,omitempty"`
	// Canary is the one that is being tried out, or the last one.
	Canary Canary `json:"canary,omitzero"`
	// Suspicions are the health checks that are not believed now, by service.
	Suspicions Table[Suspicion] `json:"suspicions,omitzero"`
	// Takeovers are what has been decided of the containers that another tool
	// runs, by service.
	Takeovers Table[Takeover] `json:"takeovers,omitzero"`
	// SealKey is the id of the key that seals; empty before the first.
	SealKey string `json:"seal_key,omitempty"`
	// Certificates and what came of their orders are by host name;
	// CertOrderTimes are when orders began that still count, oldest first.
	Certificates   Table[Certificate] `json:"certificates,omitzero"`
	CertOrders     Table[CertOrder]   `json:"cert_orders,omitzero"`
	CertOrderTimes []time.Time        `json:"cert_order_times,omitempty"`
	Blobs          Table[Blob]        `json:"blobs,omitzero"`
	Locks          Table[Lock]        `json:"locks,omitzero"`
	// Backups are those that exist, by BackupKey, and BackupLines how they stand
	// by service. Tasks are what hosts are to do, by service, and TaskResults
	// how the last ones went.
	Backups     Table[BackupRecord] `json:"backups,omitzero"`
	BackupLines Table[BackupLine]   `json:"backup_lines,omitzero"`
	Tasks       Table[Task]         `json:"tasks,omitzero"`
	TaskResults Table[TaskResult]   `json:"task_results,omitzero"`
	// LastEvent is the sequence number of the newest event.
	LastEvent uint64 `json:"last_event"`
}

// Scale is how many instances a service should have, and why.
type Scale struct {
	Service string `json:"service"`
	Desired int    `json:"desired"`
	// Hold is the count an operator asked for by hand; nil when the load
	// decides.
	Hold *int `json:"hold,omitempty"`
	// LastOut and LastIn are when the count last grew and shrank by decision.
	LastOut time.Time `json:"last_out,omitzero"`
	LastIn  time.Time `json:"last_in,omitzero"`
	// Decision is the one that set Desired; zero where the spec or an
	// operator did.
	Decision autoscale.Decision `json:"decision,omitzero"`
}

// FailureStreak counts the failures of a service in a row, for backoff.
type FailureStreak struct {
	Service string    `json:"service"`
	Count   int       `json:"count"`
	Last    time.Time `json:"last"`
	// Retry is the earliest time of the next attempt.
	Retry time.Time `json:"retry"`
	// Reason is that of the last failure, Host where it was.
	Reason string `json:"reason"`
	Host   string `json:"host,omitempty"`
	// TakenSlots are numbers whose names belong to containers that are not
	// ours.
	TakenSlots []int `json:"taken_slots,omitempty"`
}

// Phase is where an instance stands in its life. It moves only forward:
//
//	assigned ──► starting ──► ready ──► draining ──► (gone)
//	    └────────────┴──────────┴──────────┴──► failed ──► (gone)
type Phase string

// The phases.
const (
	// Assigned: placed on a host whose agent has not started it yet.
	Assigned Phase = "assigned"
	// Starting: the container runs and its health check has not passed yet.
	Starting Phase = "starting"
	// Ready: it serves.
	Ready Phase = "ready"
	// Draining: it gets no new requests and leaves when the old are done.
	Draining Phase = "draining"
	// Failed: it will not serve again; its container is being removed.
	Failed Phase = "failed"
)

// Instance is one container that the cluster wants, by id.
type Instance struct {
	// ID is unique for all time: the name and the index it was placed at.
	ID string `json:"id"`
	// Name is "<service>-<slot>" and the container's name; it is used again
	// after the instance is gone.
	Name    string `json:"name"`
	Service string `json:"service"`
	Slot    int    `json:"slot"`
	Host    string `json:"host"`
	// Revision is the hash of the definition it was created from.
	Revision string `json:"revision"`
	Phase    Phase  `json:"phase"`
	// PhaseAt and PhaseIndex say since when.
	PhaseAt    time.Time `json:"phase_at"`
	PhaseIndex uint64    `json:"phase_index"`
	PlacedAt   time.Time `json:"placed_at"`
	// Container is the engine's id, Address the "IP:port" that nginx uses;
	// empty until the host has started it or where there is no ingress.
	Container string `json:"container,omitempty"`
	Address   string `json:"address,omitempty"`
	// Adopted says that another tool has made its container; see Adoption.
	Adopted Adoption `json:"adopted,omitzero"`
	// Reason is why it is in its phase.
	Reason string `json:"reason,omitempty"`
	// Canary: it is of the spec that is tried out, beside the wanted count.
	Canary bool `json:"canary,omitempty"`
	// Sick is why a ready instance does not answer its health checks, and
	// SickSince since when; empty while it does.
	Sick      string    `json:"sick,omitempty"`
	SickSince time.Time `json:"sick_since,omitzero"`
	// Relimiting: its limits are about to be changed to those of its
	// definition, which happened last at RelimitedAt. Unfit is why that cannot
	// be done while it runs.
	Relimiting  bool      `json:"relimiting,omitempty"`
	RelimitedAt time.Time `json:"relimited_at,omitzero"`
	Unfit       string    `json:"unfit,omitempty"`
}

// Active says whether the instance counts towards the desired number: it
// serves, or will.
func (i Instance) Active() bool {
	return i.Phase == Assigned || i.Phase == Starting || i.Phase == Ready
}

// InstanceName is the name of a service's instance in a slot.
func InstanceName(service string, slot int) string {
	return fmt.Sprintf("%s-%d", service, slot)
}

// InstanceID is the id of the instance that takes the slot at a log index.
func InstanceID(service string, slot int, index uint64) string {
	return fmt.Sprintf("%s-%d.%d", service, slot, index)
}

// Event is something that happened and that an operator may want to know.
type Event struct {
	// Seq counts up by one without a gap.
	Seq      uint64    `json:"seq"`
	At       time.Time `json:"at"`
	Kind     EventKind `json:"kind"`
	Service  string    `json:"service,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Host     string    `json:"host,omitempty"`
	// Message is a sentence for people.
	Message string `json:"message"`
}

// EventKind groups events for machines.
type EventKind string

// The kinds of events.
const (
	EventClusterStarted    EventKind = "cluster_started"
	EventClusterOpened     EventKind = "cluster_opened"
	EventTokenCreated      EventKind = "token_created"
	EventTokenRevoked      EventKind = "token_revoked"
	EventHostAdmitted      EventKind = "host_admitted"
	EventHostJoined        EventKind = "host_joined"
	EventHostLost          EventKind = "host_lost"
	EventHostBack          EventKind = "host_back"
	EventHostDraining      EventKind = "host_draining"
	EventHostResumed       EventKind = "host_resumed"
	EventHostRemoved       EventKind = "host_removed"
	EventClockSkew         EventKind = "clock_skew"
	EventSpecConflict      EventKind = "spec_conflict"
	EventSpecAccepted      EventKind = "spec_accepted"
	EventSpecRejected      EventKind = "spec_rejected"
	EventScaledOut         EventKind = "scaled_out"
	EventScaledIn          EventKind = "scaled_in"
	EventHeld              EventKind = "held"
	EventReleased          EventKind = "released"
	EventInstanceReady     EventKind = "instance_ready"
	EventInstanceDraining  EventKind = "instance_draining"
	EventInstanceFailed    EventKind = "instance_failed"
	EventInstanceGone      EventKind = "instance_gone"
	EventInstanceSick      EventKind = "instance_sick"
	EventInstanceWell      EventKind = "instance_well"
	EventInstanceRelimited EventKind = "instance_relimited"
	EventCheckSuspected    EventKind = "check_suspected"
	EventCheckTrusted      EventKind = "check_trusted"
	EventInstanceLog       EventKind = "instance_log"
	EventSiteRejected      EventKind = "site_rejected"
	EventSiteAccepted      EventKind = "site_accepted"
	EventOrphanRemoved     EventKind = "orphan_removed"
	EventReleaseHealthy    EventKind = "release_healthy"
	EventReleaseFailed     EventKind = "release_failed"
	EventReleasePaused     EventKind = "release_paused"
	EventCanaryStarted     EventKind = "canary_started"
	EventCanaryPromoted    EventKind = "canary_promoted"
	EventCanaryAborted     EventKind = "canary_aborted"
	EventCanaryFailed      EventKind = "canary_failed"
	EventRolledBack        EventKind = "rolled_back"
)

// MaxEvents is how many events the state keeps; the oldest go first.
const MaxEvents = 1000

// New is the state before the first command.
func New() Cluster { return Cluster{Schema: SchemaVersion} }

// Of walks the instances of a service in the order of their ids.
func (c Cluster) Of(service string) iter.Seq[Instance] {
	return func(yield func(Instance) bool) {
		// Ids begin with the service's name, and so do those of a service
		// named "<service>-x".
		for _, i := range c.Instances.Prefix(service + "-") {
			if i.Service == service && !yield(i) {
				return
			}
		}
	}
}

// Stable walks the instances of a service that are not a canary's.
func (c Cluster) Stable(service string) iter.Seq[Instance] {
	return func(yield func(Instance) bool) {
		for i := range c.Of(service) {
			if !i.Canary && !yield(i) {
				return
			}
		}
	}
}

// Unrouted says whether the nginx of every host that is not lost is known to
// have left the instance out since it began to drain. The host that asks is
// not lost to itself, whatever the others think.
func (c Cluster) Unrouted(i Instance, asks string) bool {
	if i.Phase == Ready {
		return false
	}
	for h := range c.Hosts.Values() {
		if h.IsLost() && h.Name != asks {
			continue
		}
		// A site that nginx refused goes on in a form that may still name the
		// instance.
		_, rejected := h.RejectedSites[i.Service]
		if h.Routes < i.PhaseIndex || rejected {
			return false
		}
	}
	return true
}

// EventsAfter returns the events with a sequence number above seq, oldest
// first.
func (c Cluster) EventsAfter(seq uint64) []Event {
	var out []Event
	for e := range c.Events.Values() {
		if e.Seq > seq {
			out = append(out, e)
		}
	}
	return out
}
