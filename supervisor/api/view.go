package api

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/state"
)

// view is everything at one moment, from which answers are made.
type view struct {
	state.Cluster
	local Local
	now   time.Time
}

func (s *server) view() view { return look(s.backend, s.Now()) }

func look(b Backend, now time.Time) view {
	c, _ := b.State()
	return view{Cluster: c, local: b.Local(), now: now.UTC()}
}

// names are those of the services, sorted.
func (v view) names() []string { return slices.Sorted(maps.Keys(v.Spec.Services)) }

func (v view) spec() Spec {
	s := Spec{Revision: v.Spec.Revision, Hash: v.Spec.Hash, Project: v.Spec.Project, Problems: []SpecProblem{}}
	if r, ok := v.Releases.Get(state.ReleaseKey(v.Spec.Revision)); ok {
		s.State, s.Why = r.State, r.Why
	}
	for h := range v.Hosts.Values() {
		if h.SpecError != "" {
			s.Problems = append(s.Problems, SpecProblem{h.Name, h.SpecError})
		}
	}
	return s
}

func (v view) hosts() []Host {
	out := []Host{}
	for h := range v.Hosts.Values() {
		out = append(out, v.host(h))
	}
	return out
}

func (v view) services() []Service {
	out := []Service{}
	for _, name := range v.names() {
		out = append(out, v.service(name))
	}
	return out
}

func (v view) service(name string) Service {
	s := v.Spec.Services[name]
	scale, _ := v.Scales.Get(name)
	out := Service{
		Name: name, Image: s.Container.Image, Stateful: s.Stateful,
		Desired: scale.Desired, Hold: scale.Hold, LastOut: scale.LastOut, LastIn: scale.LastIn,
		Pending: v.local.Pending[name], Failures: v.failures(name), Rejected: v.rejected(name),
	}
	if s.Autoscale != nil {
		out.Autoscaled, out.Min, out.Max = true, s.Autoscale.Min, s.Autoscale.Max
	}
	if d, ok := v.local.Decisions[name]; ok {
		out.Sentence, out.Reason = d.Sentence(name), d.Reason
	}
	for i := range v.Stable(name) {
		out.Phases.add(i.Phase)
		if i.Revision != s.Hash {
			out.Outdated++
		}
		if i.Sick != "" {
			out.Sick++
		}
	}
	if suspicion, ok := v.Suspicions.Get(name); ok {
		out.Suspected = suspicion.Why
	}
	out.CPU, out.Memory = v.use(name)
	out.Backup = v.backupStatus(name)
	return out
}

func (p *Phases) add(phase state.Phase) {
	switch phase {
	case state.Assigned:
		p.Assigned++
	case state.Starting:
		p.Starting++
	case state.Ready:
		p.Ready++
	case state.Draining:
		p.Draining++
	case state.Failed:
		p.Failed++
	}
}

// use is the mean use of the ready instances of a service.
func (v view) use(name string) (cpu, memory *float64) {
	var n, c, m float64
	for i := range v.Stable(name) {
		if sample, ok := v.local.Samples[i.ID]; ok && i.Phase == state.Ready {
			n, c, m = n+1, c+sample.CPU, m+sample.Memory
		}
	}
	if n == 0 {
		return nil, nil
	}
	c, m = c/n, m/n
	return &c, &m
}

func (v view) failures(name string) *Failures {
	f, ok := v.Failures.Get(name)
	if !ok {
		return nil
	}
	return &Failures{Count: f.Count, Last: f.Last, Retry: f.Retry, Reason: f.Reason}
}

func (v view) rejected(name string) map[string]string {
	out := map[string]string{}
	for h := range v.Hosts.Values() {
		if why, ok := h.RejectedSites[name]; ok {
			out[h.Name] = why
		}
	}
	return out
}

func (v view) detail(name string) ServiceDetail {
	s := v.Spec.Services[name]
	out := ServiceDetail{Service: v.service(name), Instances: v.of(name), Policy: policyOf(s), Definition: definitionOf(s)}
	if in := s.Ingress; in != nil {
		out.Ingress = &Ingress{Hosts: in.Hosts, Port: in.Port, HealthPath: in.Health.Path, Balance: in.Balance}
	}
	return out
}

func policyOf(s state.Service) *autoscale.Policy {
	if s.Autoscale == nil {
		return nil
	}
	p := s.Autoscale.WithDefaults()
	return &p
}

func definitionOf(s state.Service) Definition {
	c := s.Container.Redacted()
	return Definition{
		Revision: s.Hash, User: c.User, ReadOnly: c.ReadOnly, Environment: c.Environment,
		Ports: c.Ports, Mounts: c.Mounts, Networks: c.Networks, Resources: c.Resources,
		StopGraceSeconds: c.StopGrace.Seconds(), DrainSeconds: s.Drain.Seconds(),
	}
}

// instances are all, by service and slot.
func (v view) instances() []Instance {
	out := []Instance{}
	for i := range v.Instances.Values() {
		out = append(out, v.instance(i))
	}
	slices.SortFunc(out, bySlot)
	return out
}

// of are the instances of one service, by slot.
func (v view) of(service string) []Instance {
	out := []Instance{}
	for i := range v.Of(service) {
		out = append(out, v.instance(i))
	}
	slices.SortFunc(out, bySlot)
	return out
}

func bySlot(a, b Instance) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.ID, b.ID))
}

func (v view) instance(i state.Instance) Instance {
	s, _ := v.ServiceOf(i)
	out := Instance{Instance: i, Outdated: i.Revision != s.Hash}
	if sample, ok := v.local.Samples[i.ID]; ok {
		out.Sample = &sample
	}
	return out
}

// find looks for an instance by its name or id.
func (v view) find(name string) (state.Instance, bool) {
	for i := range v.Instances.Values() {
		if i.Name == name || i.ID == name {
			return i, true
		}
	}
	return state.Instance{}, false
}

func (v view) explain(name string) Explanation {
	s := v.Spec.Services[name]
	scale, _ := v.Scales.Get(name)
	e := Explanation{
		Service: name, Autoscaled: s.Autoscale != nil, Desired: scale.Desired, Hold: scale.Hold,
		Policy: policyOf(s), Pending: v.local.Pending[name], Failures: v.failures(name),
	}
	// A hold, or what is left of one, is not the decision's doing.
	if d := scale.Decision; d.Changes() && d.To == scale.Desired && scale.Hold == nil {
		e.Changed, e.ChangedSentence = &scale.Decision, scale.Decision.Sentence(name)
	}
	d, decided := v.local.Decisions[name]
	switch {
	case e.Autoscaled && decided:
		e.Latest, e.Sentence = &d, d.Sentence(name)
	case e.Hold != nil:
		e.Sentence = fmt.Sprintf("%s stays at %d: an operator holds it there", name, e.Desired)
	case e.Autoscaled:
		e.Sentence = fmt.Sprintf("%s stays at %d: nothing has been decided yet by this host", name, e.Desired)
	default:
		e.Sentence = fmt.Sprintf("%s stays at %d: it is not autoscaled, deploy.replicas says so", name, e.Desired)
	}
	return e
}

// latestHealth is the newest report, or that nothing is known.
func latestHealth(reports []HealthReport, now time.Time) Monitoring {
	if len(reports) == 0 {
		return Monitoring{Overall: Unknown, Databases: []Component{}}
	}
	m := monitoringOf(reports[len(reports)-1])
	if now.Sub(m.At) > staleAfter {
		m.Overall = Unknown
	}
	return m
}

const databasePrefix = "database:"

func monitoringOf(r HealthReport) Monitoring {
	m := Monitoring{At: r.At, Overall: r.Overall, Databases: []Component{}}
	for _, c := range r.Components {
		name, isDatabase := strings.CutPrefix(c.Name, databasePrefix)
		switch {
		case isDatabase:
			c.Name = name
			m.Databases = append(m.Databases, c)
		case c.Name == "system":
			m.System = &c
		case c.Name == "engine":
			m.Engine = &c
		case c.Name == "nginx":
			m.Nginx = &c
		case c.Name == "raft":
			m.Raft = &c
		default:
			m.Others = append(m.Others, c)
		}
	}
	return m
}
