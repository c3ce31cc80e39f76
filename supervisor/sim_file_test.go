package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/compose"
	"github.com/supervisord/supervisord/supervisor/sample"
	"github.com/supervisord/supervisord/supervisor/state"
)

type sampleTarget = sample.Target

// simFile is the operator's compose file, as far as the simulation edits it.
type simFile struct {
	webImage    string
	min, max    int
	drain       time.Duration
	worker      int // replicas; 0 for no such service
	workerImage string
	dbImage     string
	// memory is the limit of web and db in MiB.
	memory int64
	// wrong is what is wrong with it; the rest is then the file before.
	wrong error
	// last is the last good one as a project.
	last *compose.Project
	// text stands for what is written: the last good one, and what is wrong.
	text string
}

func newSimFile() simFile {
	f := simFile{webImage: "web:1", min: 2, max: 6, drain: 8 * time.Second, worker: 2, workerImage: "worker:1", dbImage: "db:1", memory: 64}
	return f.good()
}

// good is the file after a right edit.
func (f simFile) good() simFile {
	f.wrong, f.last = nil, &compose.Project{Spec: f.spec()}
	f.text = f.last.Spec.Source
	return f
}

// bad is the file after a wrong edit.
func (f simFile) bad(n int) simFile {
	f.wrong = fmt.Errorf("docker-compose.prod.yml:%d:1: services.web: unknown key", n)
	f.text = f.last.Spec.Source + " " + f.wrong.Error()
	return f
}

func (f simFile) edit() edit {
	if f.wrong != nil {
		return edit{err: f.wrong, text: f.text}
	}
	return edit{project: f.last, text: f.text}
}

func (f simFile) spec() state.Spec {
	services := map[string]state.Service{
		"web": service("web", f.webImage, f.memory, state.Service{Replicas: f.min, Drain: f.drain,
			Ingress: &lbconfig.Ingress{Hosts: []string{"_"}, Port: 4000, Health: lbconfig.Health{Path: "/health", Every: 10 * time.Second}},
			Autoscale: &autoscale.Policy{Min: f.min, Max: f.max,
				CPU:         autoscale.Band{Above: 0.7, Below: 0.3},
				SampleEvery: time.Second, WarmUp: 2 * time.Second,
				Out: autoscale.Pace{Cooldown: 5 * time.Second},
				In:  autoscale.Pace{Window: 5 * time.Second, Stabilization: 10 * time.Second, Cooldown: 5 * time.Second},
			}}),
		"db": service("db", f.dbImage, f.memory, state.Service{Replicas: 1, Stateful: true, Drain: 2 * time.Second}),
	}
	if f.worker > 0 {
		services["worker"] = service("worker", f.workerImage, 64, state.Service{Replicas: f.worker, Drain: 2 * time.Second,
			DependsOn: []state.Dependency{{Service: "db", Healthy: true}}})
	}
	spec := state.Spec{Project: "sim", Services: services}
	spec.Hash = hashOf(spec)
	spec.Source = "text of " + spec.Hash
	return spec
}

func service(name, image string, memory int64, s state.Service) state.Service {
	s.Name = name
	s.Container = state.Container{Image: image, StopGrace: 2 * time.Second, Resources: state.Resources{CPULimit: 1, MemoryLimit: memory << 20}}
	if name == "db" {
		s.Container.Healthcheck = &state.Healthcheck{Test: []string{"CMD", "true"}}
	}
	s.Hash = hashOf(s.Container)
	return s
}

func hashOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(errors.Join(errors.New("a spec is always JSON"), err))
	}
	h := fnv.New64a()
	h.Write(data)
	return fmt.Sprintf("%016x", h.Sum64())
}

// simSpecFile is the file of a host, with what the daemon remembers of it.
type simSpecFile struct{ *simHost }

var _ specFile = simSpecFile{}

func (f simSpecFile) Read() (string, error) {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	return f.file.text, nil
}

// Write implements specFile; the watch sees it as an edit.
func (f simSpecFile) Write(text string) error {
	f.sim.mu.Lock()
	file, known := f.sim.files[text]
	if known {
		f.file = file
	}
	f.sim.mu.Unlock()
	if !known {
		f.sim.violated("8 wrong config: a text that no operator wrote is written on %s: %s", f.name, text)
	}
	f.noticed(file)
	return nil
}

func (f simSpecFile) Aside(text string, _ time.Time) (string, error) {
	f.sim.tell("%s: saved aside: %s", f.name, text)
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	f.aside = append(f.aside, text)
	return "aside", nil
}

func (f simSpecFile) Synced() (synced, error) {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	return f.synced, nil
}

func (f simSpecFile) Sync(s synced) error {
	f.sim.mu.Lock()
	defer f.sim.mu.Unlock()
	f.synced = s
	return nil
}
