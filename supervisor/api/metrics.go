package api

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/state"
)

// newMetrics serves GET /metrics from a registry of its own, so that nothing
// else in the process can add to it.
func newMetrics(b Backend, now func() time.Time, log *slog.Logger) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		newCollector(b, now),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: errorLog{log},
		// A scrape that is partly wrong says so instead of looking complete.
		ErrorHandling:       promhttp.HTTPErrorOnError,
		MaxRequestsInFlight: 4,
	}), nil
}

type errorLog struct{ log *slog.Logger }

func (l errorLog) Println(v ...any) { l.log.Error("metrics", "err", fmt.Sprint(v...)) }

// collector reads the backend when it is scraped; between scrapes it does
// nothing.
//
// Only the scale events need a memory. The state keeps the newest events, so
// counting those that are there would go down when old ones leave. Events are
// numbered without a gap instead: each scrape counts those after the last one
// counted, so the counter only grows and no event is counted twice, whoever
// scrapes and how often. It begins at 0 with the handler, which Prometheus
// reads as a restart. Only where more than state.MaxEvents events pass between
// two scrapes are some not counted; supervisord_events_total, which is the
// newest number itself, is exact always.
type collector struct {
	backend Backend
	now     func() time.Time

	mu      sync.Mutex
	counted uint64
	scales  map[scaling]uint64
}

type scaling struct{ service, direction string }

// Directions of a scale event.
const (
	directionOut = "out"
	directionIn  = "in"
)

func newCollector(b Backend, now func() time.Time) *collector {
	c, _ := b.State()
	return &collector{backend: b, now: now, counted: c.LastEvent, scales: map[scaling]uint64{}}
}

// Describe sends nothing, which makes the collector an unchecked one: what
// there is depends on the state.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	cluster, _ := c.backend.State()
	m := metrics{out: out, view: view{Cluster: cluster, local: c.backend.Local(), now: cluster.Time}}
	m.daemon()
	m.raft()
	m.spec()
	for h := range m.Hosts.Values() {
		m.host(m.view.host(h))
	}
	for _, name := range m.names() {
		m.service(name)
	}
	for _, i := range m.instances() {
		m.instance(i)
	}
	m.certMetrics(c.now())
	m.backups()
	m.health(c.backend.Health())
	m.scaleEvents(c.count(cluster))
}

// count returns the scale events seen so far.
func (c *collector) count(cluster state.Cluster) map[scaling]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range cluster.EventsAfter(c.counted) {
		switch e.Kind {
		case state.EventScaledOut:
			c.scales[scaling{e.Service, directionOut}]++
		case state.EventScaledIn:
			c.scales[scaling{e.Service, directionIn}]++
		}
		c.counted = e.Seq
	}
	return maps.Clone(c.scales)
}

// metrics are those of one scrape.
type metrics struct {
	view
	out chan<- prometheus.Metric
}

// labels are names and values in turn.
type labels []string

func (m metrics) emit(kind prometheus.ValueType, name, help string, value float64, l labels) {
	var names, values []string
	for pair := range slices.Chunk(l, 2) {
		names, values = append(names, pair[0]), append(values, pair[1])
	}
	desc := prometheus.NewDesc("supervisord_"+name, help, names, nil)
	m.out <- prometheus.MustNewConstMetric(desc, kind, value, values...)
}

func (m metrics) gauge(name, help string, value float64, l ...string) {
	m.emit(prometheus.GaugeValue, name, help, value, l)
}

func (m metrics) counter(name, help string, value float64, l ...string) {
	m.emit(prometheus.CounterValue, name, help, value, l)
}

// oneOf is 1 for the state that something is in and 0 for the others.
func (m metrics) oneOf(name, help, label, is string, all []string, l ...string) {
	for _, s := range all {
		m.gauge(name, help, number(s == is), append(slices.Clone(l), label, s)...)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m metrics) daemon() {
	m.gauge("build_info", "The daemon's version; always 1.", 1, "version", m.local.Version, "goversion", runtime.Version())
	m.gauge("last_round_timestamp_seconds", "When the loop last did its whole round, in Unix time; 0 before the first.", unix(m.local.LastRound))
	m.counter("events_total", "Events of the cluster since it began.", float64(m.LastEvent))
}

func (m metrics) raft() {
	r := m.local.Raft
	m.gauge("raft_term", "The term of Raft that this host is in.", float64(r.Term))
	m.gauge("raft_is_leader", "Whether this host leads.", number(r.IsLeader))
	m.gauge("raft_has_leader", "Whether this host knows of a leader.", number(r.Leader != ""))
	m.gauge("raft_commit_index", "The highest log index that is committed.", float64(r.Commit))
	m.gauge("raft_applied_index", "The highest log index that is applied here.", float64(r.Applied))
}

func (m metrics) spec() {
	m.gauge("spec_revision", "The revision of the compose file in force.", float64(m.Spec.Revision))
	all := []string{
		string(state.ReleaseRolling), string(state.ReleaseHealthy), string(state.ReleaseFailed),
		string(state.ReleasePaused), string(state.ReleaseSuperseded),
	}
	share := 0.0
	if m.Canary.Active() {
		share = m.Canary.Share
	}
	m.gauge("canary_share_ratio", "The share of the requests that the canary gets; 0 where there is none.", share)
	m.oneOf("release_state", "How the release in force stands: 1 for the state it is in.", "state", string(m.view.spec().State), all)
	for h := range m.Hosts.Values() {
		m.gauge("spec_error", "Whether the compose file of a host is not in force because of an error.", number(h.SpecError != ""), "host", h.Name)
		m.gauge("nginx_rejected_sites", "Sites that a host's nginx refused and that keep their last good form.", float64(len(h.RejectedSites)), "host", h.Name)
	}
}

func (m metrics) host(h Host) {
	m.oneOf("host_state", "How a host stands: 1 for the state it is in.", "state", h.State, []string{HostReady, HostDraining, HostLost}, "host", h.Name)
	m.gauge("host_voter", "Whether a host votes.", number(h.Role == RoleVoter || h.Role == RoleLeader), "host", h.Name)
	m.gauge("host_instances", "Instances on a host, in any phase.", float64(h.Instances), "host", h.Name)
	m.gauge("host_cpus", "Cores that a host has.", h.CPUs, "host", h.Name)
	m.gauge("host_reserved_cpus", "Cores that a host's instances reserve.", h.ReservedCPUs, "host", h.Name)
	m.gauge("host_memory_bytes", "Memory that a host has.", float64(h.Memory), "host", h.Name)
	m.gauge("host_reserved_memory_bytes", "Memory that a host's instances reserve.", float64(h.ReservedMemory), "host", h.Name)
	m.gauge("host_clock_ahead_seconds", "How far a host's clock is ahead of the leader's, where it is more than a few seconds; else 0.", h.ClockAhead, "host", h.Name)
}

func (m metrics) service(name string) {
	s := m.view.service(name)
	m.gauge("service_desired_instances", "Instances that a service should have.", float64(s.Desired), "service", name)
	m.gauge("service_held", "Whether an operator holds the count by hand.", number(s.Hold != nil), "service", name)
	m.gauge("service_pending", "Whether wanted instances cannot be placed.", number(s.Pending != ""), "service", name)
	for _, p := range []struct {
		phase state.Phase
		n     int
	}{
		{state.Assigned, s.Phases.Assigned}, {state.Starting, s.Phases.Starting}, {state.Ready, s.Phases.Ready},
		{state.Draining, s.Phases.Draining}, {state.Failed, s.Phases.Failed},
	} {
		m.gauge("instances", "Instances by service and phase.", float64(p.n), "service", name, "phase", string(p.phase))
	}
	m.gauge("service_sick_instances", "Ready instances that do not answer their health checks.", float64(s.Sick), "service", name)
	m.gauge("service_health_check_suspected", "Whether so many instances are sick at once that the check is suspected and they go on serving.", number(s.Suspected != ""), "service", name)
	failures := 0
	if s.Failures != nil {
		failures = s.Failures.Count
	}
	m.gauge("service_failure_streak", "Failures of a service's instances in a row.", float64(failures), "service", name)
	if s.CPU != nil {
		m.gauge("service_cpu_utilization_ratio", "Mean CPU use of the ready instances, as a share of their limit.", *s.CPU, "service", name)
		m.gauge("service_memory_utilization_ratio", "Mean memory use of the ready instances, as a share of their limit.", *s.Memory, "service", name)
	}
	if s.Autoscaled {
		m.autoscaled(s)
	}
}

func (m metrics) autoscaled(s Service) {
	m.gauge("service_min_instances", "The lower bound of an autoscaled service.", float64(s.Min), "service", s.Name)
	m.gauge("service_max_instances", "The upper bound of an autoscaled service.", float64(s.Max), "service", s.Name)
	d, ok := m.local.Decisions[s.Name]
	if !ok {
		return
	}
	m.gauge("decision_wanted_instances", "Instances that the load asks for, before any bound.", float64(d.Wanted), "service", s.Name)
	m.gauge("decision_missing_samples", "Ready instances without a fresh sample.", float64(d.Missing), "service", s.Name)
	m.oneOf("decision_reason", "The reason of the latest decision: 1 for the one it has.", "reason", string(d.Reason), reasons(d.Reason), "service", s.Name)
}

// reasons are those that a decision can have, and the given one in any case.
func reasons(given autoscale.Reason) []string {
	all := []string{
		string(autoscale.ReasonAboveThreshold), string(autoscale.ReasonAtMax), string(autoscale.ReasonAtMin),
		string(autoscale.ReasonBelowThreshold), string(autoscale.ReasonCooldown), string(autoscale.ReasonDeploying), string(autoscale.ReasonMetricsMissing),
		string(autoscale.ReasonOperator), string(autoscale.ReasonSaturated), string(autoscale.ReasonStabilizing),
		string(autoscale.ReasonWarmingUp), string(autoscale.ReasonWithinBand), string(autoscale.ReasonWouldOverload),
	}
	if !slices.Contains(all, string(given)) {
		all = append(all, string(given))
	}
	return all
}

func (m metrics) instance(i Instance) {
	if i.Sample == nil {
		return
	}
	l := labels{"service", i.Service, "instance", i.Name}
	m.gauge("instance_cpu_utilization_ratio", "CPU use of an instance as a share of its limit.", i.Sample.CPU, l...)
	m.gauge("instance_memory_utilization_ratio", "Memory use of an instance as a share of its limit.", i.Sample.Memory, l...)
	m.gauge("instance_cpu_throttled_ratio", "Share of scheduling periods in which the CPU limit held an instance back.", i.Sample.Throttled, l...)
	m.gauge("instance_cpu_cores", "CPU use of an instance in cores.", i.Sample.CPUCores, l...)
	m.gauge("instance_memory_bytes", "Memory use of an instance without reclaimable cache.", float64(i.Sample.MemoryBytes), l...)
}

func (m metrics) health(reports []HealthReport) {
	if len(reports) == 0 {
		return
	}
	latest := reports[len(reports)-1]
	all := []string{Degraded, Healthy, Unhealthy}
	m.gauge("health_timestamp_seconds", "When the latest health report was made, in Unix time.", unix(latest.At))
	m.oneOf("health_status", "The health of this host and all it needs: 1 for the state it is in.", "status", latest.Overall, all)
	parts := monitoringOf(latest)
	for _, c := range latest.Components {
		m.oneOf("health_component_status", "The health of one component: 1 for the state it is in.", "status", c.Status, all, "component", c.Name)
	}
	for _, d := range parts.Databases {
		m.gauge("database_up", "Whether a database accepts connections.", number(d.Status == Healthy), "database", d.Name)
	}
}

// scaleEvents shows a counter for each service in force from its beginning,
// so that the first event is an increase too.
func (m metrics) scaleEvents(seen map[scaling]uint64) {
	for name := range m.Spec.Services {
		for _, direction := range []string{directionIn, directionOut} {
			m.counter("scale_events_total", "Changes of a service's count by decision since the daemon started.",
				float64(seen[scaling{name, direction}]), "service", name, "direction", direction)
		}
	}
}

// unix is a time in seconds since 1970; 0 for none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
