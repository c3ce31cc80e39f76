package state

import (
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig"
)

// Spec is what the operator's compose file asks for.
type Spec struct {
	// Revision counts the accepted specs of the cluster; 0 before the first.
	Revision uint64 `json:"revision"`
	// Hash identifies the content: equal hashes mean that nothing changed.
	Hash string `json:"hash"`
	// Source is the file's text, which the other hosts' files follow.
	Source string `json:"source,omitempty"`
	// Project prefixes the names of networks and volumes, as docker compose
	// does, so that both tools find the same data.
	Project  string             `json:"project"`
	Services map[string]Service `json:"services"`
	Networks map[string]Network `json:"networks,omitempty"`
	Volumes  map[string]Volume  `json:"volumes,omitempty"`
	Nginx    Nginx              `json:"nginx,omitzero"`
	// TLS says where certificates come from; nil where nothing does.
	TLS *TLS `json:"tls,omitempty"`
	// Databases are outside of this file's services and only watched.
	Databases []Database `json:"databases,omitempty"`
	// Backup is x-supervisor.backup.
	Backup BackupSettings `json:"backup,omitzero"`
}

// Nginx is the x-supervisor.nginx key.
type Nginx struct {
	// Container is the name of the container that runs nginx; empty means the
	// host's own service.
	Container string `json:"container,omitempty"`
	// Listen are the public addresses in nginx's form; empty means "80".
	Listen []string `json:"listen,omitempty"`
	// ListenTLS are those for TLS; empty means "443". They are used where a
	// site has TLS.
	ListenTLS []string `json:"listen_tls,omitempty"`
}

// Service is one entry of services.
type Service struct {
	Name string `json:"name"`
	// Hash identifies Container: an instance with another revision runs an
	// outdated definition.
	Hash      string    `json:"hash"`
	Container Container `json:"container"`
	// Replicas is the count where Autoscale is nil, and the first count of an
	// autoscaled service (within its bounds).
	Replicas  int               `json:"replicas"`
	Autoscale *autoscale.Policy `json:"autoscale,omitempty"`
	Ingress   *lbconfig.Ingress `json:"ingress,omitempty"`
	Database  *Database         `json:"database,omitempty"`
	Backup    *Backup           `json:"backup,omitempty"`
	// Stateful services own data (a named volume or a writable bind mount):
	// one instance, never duplicated, never moved, replaced stop-first.
	Stateful bool `json:"stateful,omitempty"`
	// DependsOn are services that must be up before the first instance starts.
	DependsOn []Dependency `json:"depends_on,omitempty"`
	// Drain is how long an instance that leaves may finish its requests.
	Drain time.Duration `json:"drain"`
	// Placement says which hosts may run it.
	Placement Placement `json:"placement,omitzero"`
	// Update says how a new definition replaces the old one.
	Update Update `json:"update,omitzero"`
}

// Update is deploy.update_config, and x-deploy.
type Update struct {
	// Parallelism is how many instances are replaced at once; 1 where zero.
	Parallelism int `json:"parallelism,omitempty"`
	// Delay is the pause between an instance that is ready and the next.
	Delay time.Duration `json:"delay,omitempty"`
	// Monitor is how long the last one must have served before the release
	// counts as healthy; DefaultMonitor where zero.
	Monitor time.Duration `json:"monitor,omitempty"`
	// OnFailure says what to do when more than MaxFailureRatio of the
	// service's instances have failed; OnFailureRollBack where empty.
	OnFailure       OnFailure `json:"on_failure,omitempty"`
	MaxFailureRatio float64   `json:"max_failure_ratio,omitempty"`
	// StopFirst replaces instances by others in their place, where the new one
	// comes first otherwise.
	StopFirst bool `json:"stop_first,omitempty"`
	// ReadyWithin is how long an instance may take from its container's start
	// until it is ready, beyond the start period of its own health check;
	// DefaultReadyWithin where zero.
	ReadyWithin time.Duration `json:"ready_within,omitempty"`
}

// OnFailure is update_config.failure_action.
type OnFailure string

// What may be done when a release fails.
const (
	OnFailureRollBack OnFailure = "rollback"
	OnFailurePause    OnFailure = "pause"
	OnFailureContinue OnFailure = "continue"
)

// Defaults where the file says nothing.
const (
	DefaultMonitor     = 5 * time.Second
	DefaultReadyWithin = time.Minute
)

// Placement is deploy.placement.
type Placement struct {
	// Constraints must all hold.
	Constraints []Constraint `json:"constraints,omitempty"`
	// Spread are labels over whose values the instances are spread evenly, the
	// most important first.
	Spread []string `json:"spread,omitempty"`
	// MaxPerHost is how many of its instances one host may have; 0 for any
	// number.
	MaxPerHost int `json:"max_per_host,omitempty"`
}

// Against returns a constraint that a host does not meet; false where it meets
// all.
func (p Placement) Against(h Host) (Constraint, bool) {
	for _, k := range p.Constraints {
		if !k.Allows(h) {
			return k, true
		}
	}
	return Constraint{}, false
}

// Constraint is one condition on a host: the host's name where Label is empty,
// else the value of that label, is (or with Not, is not) Value.
type Constraint struct {
	Label string `json:"label,omitempty"`
	Not   bool   `json:"not,omitempty"`
	Value string `json:"value"`
}

// String is the constraint in compose's form.
func (k Constraint) String() string {
	key, op := "node.hostname", "=="
	if k.Label != "" {
		key = "node.labels." + k.Label
	}
	if k.Not {
		op = "!="
	}
	return key + " " + op + " " + k.Value
}

// Allows says whether a host meets the constraint. A label that a host does
// not have is empty.
func (k Constraint) Allows(h Host) bool {
	value := h.Name
	if k.Label != "" {
		value = h.Labels[k.Label]
	}
	return (value == k.Value) != k.Not
}

// DefaultDrain is the drain time where the file says nothing.
const DefaultDrain = 30 * time.Second

// Dependency is one entry of depends_on.
type Dependency struct {
	Service string `json:"service"`
	// Healthy asks for a ready instance; otherwise a started one is enough.
	Healthy bool `json:"healthy,omitempty"`
}

// Database says how a database is asked whether it answers.
type Database struct {
	Name string `json:"name"`
	// Engine is "postgres", "mysql" or "redis".
	Engine string `json:"engine"`
	// Address is "host:port" of a database outside; empty for a service's own.
	Address string `json:"address,omitempty"`
	// Port is the container's port of a service's own database.
	Port int `json:"port,omitempty"`
	// Backup and Login are of a database outside that is backed up.
	Backup *Backup `json:"backup,omitempty"`
	Login  Login   `json:"login,omitzero"`
}

// Network is a top-level network of the compose file.
type Network struct {
	// Name is the name in the engine.
	Name     string `json:"name"`
	External bool   `json:"external,omitempty"`
	Internal bool   `json:"internal,omitempty"`
	Driver   string `json:"driver,omitempty"`
	// Options and Labels go to the engine as they are.
	Options map[string]string `json:"options,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// Volume is a top-level volume of the compose file.
type Volume struct {
	Name     string            `json:"name"`
	External bool              `json:"external,omitempty"`
	Driver   string            `json:"driver,omitempty"`
	Options  map[string]string `json:"options,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// Container is all that the engine needs to create an instance.
type Container struct {
	Image string `json:"image"`
	// Command and Entrypoint are nil for the image's own; an empty non-nil
	// slice clears it.
	Command    []string `json:"command,omitzero"`
	Entrypoint []string `json:"entrypoint,omitzero"`
	// Environment is sorted "NAME=value".
	Environment []string          `json:"environment,omitempty"`
	User        string            `json:"user,omitempty"`
	WorkingDir  string            `json:"working_dir,omitempty"`
	ReadOnly    bool              `json:"read_only,omitempty"`
	Init        *bool             `json:"init,omitempty"`
	Tmpfs       map[string]string `json:"tmpfs,omitempty"`
	CapAdd      []string          `json:"cap_add,omitempty"`
	CapDrop     []string          `json:"cap_drop,omitempty"`
	SecurityOpt []string          `json:"security_opt,omitempty"`
	Ulimits     []Ulimit          `json:"ulimits,omitempty"`
	StopSignal  string            `json:"stop_signal,omitempty"`
	// StopGrace is the time between the stop signal and the kill.
	StopGrace time.Duration     `json:"stop_grace"`
	Labels    map[string]string `json:"labels,omitempty"`
	Logging   *Logging          `json:"logging,omitempty"`
	// ExtraHosts is sorted "name:address".
	ExtraHosts  []string     `json:"extra_hosts,omitempty"`
	Ports       []Port       `json:"ports,omitempty"`
	Expose      []string     `json:"expose,omitempty"`
	Mounts      []Mount      `json:"mounts,omitempty"`
	Networks    []Attachment `json:"networks,omitempty"`
	Healthcheck *Healthcheck `json:"healthcheck,omitempty"`
	Resources   Resources    `json:"resources"`
}

// Resources are limits and reservations; zero means none.
type Resources struct {
	// CPULimit and CPUReservation are in cores.
	CPULimit       float64 `json:"cpu_limit,omitempty"`
	CPUReservation float64 `json:"cpu_reservation,omitempty"`
	// MemoryLimit and MemoryReservation are in bytes.
	MemoryLimit       int64 `json:"memory_limit,omitempty"`
	MemoryReservation int64 `json:"memory_reservation,omitempty"`
	PidsLimit         int64 `json:"pids_limit,omitempty"`
}

// Ulimit is one resource limit of the container's processes.
type Ulimit struct {
	Name string `json:"name"`
	Soft int64  `json:"soft"`
	Hard int64  `json:"hard"`
}

// Logging is the engine's log driver.
type Logging struct {
	Driver  string            `json:"driver"`
	Options map[string]string `json:"options,omitempty"`
}

// Port is a port that the operator publishes by hand.
type Port struct {
	HostIP    string `json:"host_ip,omitempty"`
	Published string `json:"published,omitempty"`
	Target    uint32 `json:"target"`
	Protocol  string `json:"protocol"`
}

// Mount is a volume, bind or tmpfs mount.
type Mount struct {
	// Type is "volume", "bind" or "tmpfs". Source is the engine's volume name
	// (empty for an anonymous volume) or the absolute path.
	Type        string `json:"type"`
	Source      string `json:"source,omitempty"`
	Target      string `json:"target"`
	ReadOnly    bool   `json:"read_only,omitempty"`
	Propagation string `json:"propagation,omitempty"`
	NoCopy      bool   `json:"no_copy,omitempty"`
	// TmpfsSize is in bytes, TmpfsMode in octal notation's value.
	TmpfsSize int64  `json:"tmpfs_size,omitempty"`
	TmpfsMode uint32 `json:"tmpfs_mode,omitempty"`
}

// Attachment joins a container to a network.
type Attachment struct {
	// Network is the engine's name of the network, or "host" or "none".
	Network string   `json:"network"`
	Aliases []string `json:"aliases,omitempty"`
}

// Healthcheck is the container's own check, run by the engine.
type Healthcheck struct {
	// Test is in the engine's form: ["CMD", …], ["CMD-SHELL", …], ["NONE"].
	Test        []string      `json:"test"`
	Interval    time.Duration `json:"interval,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`
	StartPeriod time.Duration `json:"start_period,omitempty"`
	Retries     int           `json:"retries,omitempty"`
}
