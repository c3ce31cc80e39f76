package apitest

import (
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Example is one host with an autoscaled backend that has just grown from 2 to
// 4, a database that owns data, and a worker that keeps failing.
func Example() *Backend {
	b := New()
	b.Must(
		state.Found{ID: "3kq7c2"},
		state.RegisterHost{Name: "alpha", Server: "s1", Address: "10.0.0.1", CPUs: 8, Memory: 16 << 30, Version: "1.0.0"},
		state.SetSpec{Host: "alpha", Spec: ExampleSpec()},
	)
	b.Advance(time.Second)
	b.launch("backend", 1)
	b.launch("backend", 2)
	b.launch("postgres", 1)
	b.Advance(30 * time.Second)
	b.crash("worker", "exited with code 1: cannot connect to queue")
	b.Advance(29 * time.Second)
	b.Must(state.ScaleTo{Service: "backend", Decision: ExampleGrowth(b.Now())})
	b.Advance(time.Second)
	b.launch("backend", 3)
	b.Must(state.Place{Service: "backend", Slot: 4, Host: "alpha", Revision: ExampleSpec().Services["backend"].Hash, Why: "backend wants 4"})
	b.Advance(4 * time.Second)
	c, _ := b.State()
	b.Must(state.ConfirmRoutes{Host: "alpha", Index: c.Index})
	b.measure()
	b.talk()
	return b
}

// ExampleSpec is the spec of the example.
func ExampleSpec() state.Spec {
	return state.Spec{Hash: "f00d", Project: "acme", Services: map[string]state.Service{
		"backend": {
			Name: "backend", Hash: "b1", Replicas: 2, Drain: 30 * time.Second,
			Container: state.Container{
				Image:       "acme/backend:1.4",
				Command:     []string{"serve", "--key=" + Secret},
				Environment: []string{"API_KEY=" + Secret, "DATABASE_URL=postgres://app:" + Secret + "@postgres/app"},
				ReadOnly:    true, StopGrace: 10 * time.Second,
				Networks:  []state.Attachment{{Network: "acme_default", Aliases: []string{"backend"}}},
				Resources: state.Resources{CPULimit: 2, MemoryLimit: 2 << 30},
			},
			Autoscale: &autoscale.Policy{Min: 2, Max: 12, CPU: autoscale.Band{Above: 0.7, Below: 0.3}, Memory: autoscale.Band{Above: 0.8, Below: 0.5}},
			Ingress:   &lbconfig.Ingress{Hosts: []string{"api.example.com"}, Port: 4000, Health: lbconfig.Health{Path: "/admin/monitoring/health"}},
		},
		"postgres": {
			Name: "postgres", Hash: "p1", Replicas: 1, Stateful: true, Drain: 30 * time.Second,
			Container: state.Container{
				Image:       "postgres:15",
				Environment: []string{"POSTGRES_PASSWORD=" + Secret},
				StopGrace:   time.Minute,
				Mounts:      []state.Mount{{Type: "volume", Source: "acme_data", Target: "/var/lib/postgresql/data"}},
				Logging:     &state.Logging{Driver: "splunk", Options: map[string]string{"splunk-token": Secret}},
				Labels:      map[string]string{"team": Secret},
			},
			Database: &state.Database{Name: "postgres", Engine: "postgres", Port: 5432},
		},
		"worker": {
			Name: "worker", Hash: "w1", Replicas: 1, Drain: 30 * time.Second,
			Container: state.Container{Image: "acme/worker:1.4", StopGrace: 10 * time.Second},
		},
	}}
}

// ExampleGrowth is the decision that made the backend grow.
func ExampleGrowth(at time.Time) autoscale.Decision {
	d := ExampleDecision(at, 2, 0.97)
	return d
}

// ExampleDecision is a real decision of the backend at a steady use.
func ExampleDecision(at time.Time, instances int, cpu float64) autoscale.Decision {
	policy := *ExampleSpec().Services["backend"].Autoscale
	var frames []autoscale.Frame
	for i := range 10 {
		frames = append(frames, autoscale.Frame{At: at.Add(time.Duration(i-9) * time.Second), Counted: instances, CPU: cpu, Memory: 0.625})
	}
	return autoscale.Decide(autoscale.Input{
		Now: at, Policy: policy, Desired: instances, Ready: instances, Frames: frames,
	})
}

func (b *Backend) launch(service string, slot int) {
	c, _ := b.State()
	b.Must(state.Place{Service: service, Slot: slot, Host: "alpha", Revision: c.Spec.Services[service].Hash, Why: service + " wants one more"})
	c, _ = b.State()
	id := state.InstanceID(service, slot, c.Index)
	b.Advance(300 * time.Millisecond)
	o := state.Observe{ID: id, Phase: state.Ready, Container: "c0ffee" + id}
	if c.Spec.Services[service].Ingress != nil {
		o.Address = "10.0.0.1:" + []string{"4000", "4001", "4002", "4003"}[slot-1]
	}
	b.Must(o)
}

func (b *Backend) crash(service, why string) {
	for range 3 {
		c, _ := b.State()
		b.Must(state.Place{Service: service, Slot: 1, Host: "alpha", Revision: c.Spec.Services[service].Hash, Why: service + " wants one"})
		c, _ = b.State()
		id := state.InstanceID(service, 1, c.Index)
		b.Must(state.Fail{ID: id, Reason: why})
		b.Must(state.Gone{ID: id})
	}
}

func (b *Backend) measure() {
	now := b.Now()
	samples := map[string]autoscale.Sample{}
	c, _ := b.State()
	for n, i := range instancesOf(c) {
		if i.Phase != state.Ready {
			continue
		}
		share := 0.5 + float64(n)/16
		samples[i.ID] = autoscale.Sample{
			Instance: i.ID, At: now, CPU: share, Memory: share / 2, Throttled: 0.125,
			CPUCores: share * 2, MemoryBytes: uint64(share * (1 << 30)),
		}
		for s := range 3 {
			b.points[i.ID] = append(b.points[i.ID], api.Point{At: now.Add(time.Duration(s-2) * time.Second), CPU: share, Memory: share / 2})
		}
	}
	b.SetLocal(func(l *api.Local) {
		*l = api.Local{
			Connected: true, Members: []api.Member{{Server: "s1", Address: "s1", Voter: true}},
			Host: "alpha", Version: "1.0.0", StartedAt: Epoch(), LastRound: now,
			Raft:      api.Raft{IsLeader: true, Leader: "alpha", Term: 2, Commit: c.Index, Applied: c.Index},
			Decisions: map[string]autoscale.Decision{"backend": ExampleDecision(now, 4, 0.5625)},
			Pending:   map[string]string{"worker": "3 failures in a row, next attempt in 2s"},
			Samples:   samples,
			Machine: api.Machine{
				At: now, CPUs: 8, CPU: 0.25, MemoryBytes: 16 << 30, MemoryUsed: 4 << 30,
				Load1: 1.5, Load5: 1, Load15: 0.5, DiskBytes: 100 << 30, DiskUsed: 25 << 30,
				Uptime: 86400, ProcessMemory: 24 << 20, ProcessCPU: 1.25,
			},
		}
	})
	for _, at := range []time.Time{now.Add(-10 * time.Second), now} {
		b.Report(api.HealthReport{At: at, Overall: api.Degraded, Components: []api.Component{
			{Name: "system", Status: api.Healthy, Detail: "cpu 25 %, memory 25 %, disk 25 %, load 1.50", Milliseconds: 1.5},
			{Name: "engine", Status: api.Healthy, Detail: "answers", Milliseconds: 3},
			{Name: "nginx", Status: api.Degraded, Detail: "answers; 1 sites keep their last good form", Milliseconds: 0.5},
			{Name: "raft", Status: api.Healthy, Detail: "alpha leads term 2", Milliseconds: 0},
			{Name: "database:postgres-1", Status: api.Healthy, Detail: "accepts connections", Milliseconds: 2},
		}})
	}
}

// talk gives the ready backends logs that take turns.
func (b *Backend) talk() {
	c, _ := b.State()
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, i := range instancesOf(c) {
		if i.Service != "backend" || i.Phase != state.Ready {
			continue
		}
		for s := range 3 {
			at := Epoch().Add(time.Duration(10*s+n) * time.Second).Format(time.RFC3339Nano)
			text := []string{" listening", " GET / 200", " !GET /x 500"}[s]
			b.logs[i.ID] = append(b.logs[i.ID], at+text)
		}
	}
}

func instancesOf(c state.Cluster) []state.Instance {
	var out []state.Instance
	for i := range c.Instances.Values() {
		out = append(out, i)
	}
	return out
}
