//go:build hosts

package hosts_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/hosts"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// scene is a fleet with the daemon on all of its hosts, and what the tests of
// it need. They share it: each leaves it as it should be.
type scene struct {
	*testing.T
	*hosts.Fleet
	dir string
}

const image = "supervisord-test-backend:1"

// file has enough instances for three hosts.
const file = `services:
  backend:
    image: ` + image + `
    user: "10001:10001"
    read_only: true
    cap_drop: [ALL]
    stop_grace_period: 5s
    deploy:
      replicas: 6
      resources:
        limits: {cpus: "0.5", memory: 64M}
    x-ingress:
      hosts: [_]
      port: 4000
      drain: 5s
      health: {path: /admin/monitoring/health, every: 5s, timeout: 1s}
`

const replicas = 6

// build compiles a program of this project.
func (s *scene) build(pkg, name, version string) string {
	s.Helper()
	to := filepath.Join(s.dir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("build %s: %v: %s", pkg, err, out)
	}
	return to
}

const module = "github.com/supervisord/supervisord/"

// install brings the program and the backend's image onto all hosts.
func (s *scene) install() {
	s.Helper()
	program := s.build(module+"cmd/supervisord", "supervisord", "v0.0.1")
	s.build(module+"examples/backend", "backend", "")
	recipe := "FROM scratch\nCOPY backend /backend\nENTRYPOINT [\"/backend\"]\n"
	s.must(os.WriteFile(filepath.Join(s.dir, "Dockerfile"), []byte(recipe), 0o644))
	archive := filepath.Join(s.dir, "backend.tar")
	s.command("docker", "build", "-q", "-t", image, s.dir)
	s.command("docker", "save", "-o", archive, image)
	var all sync.WaitGroup
	for _, h := range s.Hosts {
		all.Go(func() {
			ctx := s.Context()
			if err := h.Copy(ctx, program, "/root/supervisord", "755"); err != nil {
				s.Error(err)
			}
			if err := h.Load(ctx, archive); err != nil {
				s.Error(err)
			}
			if _, err := h.Exec(ctx, "sh", "-ec", "rm -f /etc/nginx/sites-enabled/default; /root/supervisord install"); err != nil {
				s.Error(err)
			}
		})
	}
	all.Wait()
	if s.Failed() {
		s.FailNow()
	}
}

func (s *scene) command(name string, args ...string) {
	s.Helper()
	if out, err := exec.CommandContext(s.Context(), name, args...).CombinedOutput(); err != nil {
		s.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) exec(h *hosts.Host, argv ...string) string {
	s.Helper()
	out, err := h.Exec(s.Context(), argv...)
	if err != nil {
		s.Fatalf("on %s: %v", h.Name, err)
	}
	return out
}

// eventually waits for something to be true.
func (s *scene) eventually(what string, within time.Duration, is func() string) time.Duration {
	s.Helper()
	begin, why := time.Now(), ""
	for time.Since(begin) < within {
		if why = is(); why == "" {
			return time.Since(begin)
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, h := range s.Hosts {
		s.Logf("%s:\n%s", h.Name, h.Journal(context.WithoutCancel(s.Context()), 40))
	}
	s.Fatalf("%s: after %s still: %s", what, within, why)
	return 0
}

// whole says what is not as it should be on the given hosts, "" when the
// service is whole and everyone knows it.
func (s *scene) whole(up ...*hosts.Host) func() string {
	return func() string {
		for _, h := range up {
			st, err := h.Status(s.Context())
			if err != nil {
				return err.Error()
			}
			if !st.Connected || st.Raft.Leader == "" {
				return h.Name + " is cut off"
			}
			if len(st.Services) != 1 {
				return h.Name + " knows no service"
			}
			p := st.Services[0].Phases
			if len(up) < len(s.Hosts) {
				// What has failed or drains on the others cannot be removed
				// there yet.
				p.Failed, p.Draining = 0, 0
			}
			if p != (api.Phases{Ready: replicas}) {
				return fmt.Sprintf("%s sees %+v", h.Name, p)
			}
			for _, one := range st.Hosts {
				if wanted := contains(up, one.Name); wanted == (one.State == api.HostLost) {
					return fmt.Sprintf("%s sees %s %s", h.Name, one.Name, one.State)
				}
			}
			if why := s.runs(h, st); why != "" {
				return why
			}
		}
		return ""
	}
}

// runs says whether exactly what the cluster wants on a host runs there.
func (s *scene) runs(h *hosts.Host, st api.Status) string {
	out, err := h.Exec(s.Context(), "docker", "ps", "-q")
	if err != nil {
		return err.Error()
	}
	for _, one := range st.Hosts {
		if n := len(strings.Fields(out)); one.Name == h.Name && n != one.Instances {
			return fmt.Sprintf("%s runs %d containers, the cluster wants %d", h.Name, n, one.Instances)
		}
	}
	return ""
}

func contains(all []*hosts.Host, name string) bool {
	for _, h := range all {
		if h.Name == name {
			return true
		}
	}
	return false
}

// without are the other hosts.
func (s *scene) without(gone *hosts.Host) []*hosts.Host {
	var others []*hosts.Host
	for _, h := range s.Hosts {
		if h != gone {
			others = append(others, h)
		}
	}
	return others
}

// leader is the host that leads.
func (s *scene) leader() *hosts.Host {
	s.Helper()
	var leader *hosts.Host
	s.eventually("somebody leads", 30*time.Second, func() string {
		for _, h := range s.Hosts {
			st, err := h.Status(s.Context())
			if err == nil && st.Raft.IsLeader {
				leader = h
				return ""
			}
		}
		return "nobody leads"
	})
	return leader
}

// load sends requests through the nginx of all hosts until the function it
// returns is called, which reports by host.
func (s *scene) load() (end func() map[string]demo.Report) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	reports := map[string]demo.Report{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, h := range s.Hosts {
		l, err := demo.NewLoad(demo.LoadOptions{
			URL: "http://" + h.IP + "/", Open: true, Rate: 20, Fresh: 0.5, Timeout: 8 * time.Second,
			Duration: 5 * time.Minute, Methods: []demo.Method{{Name: "GET", Weight: 3}, {Name: "POST", Weight: 1}},
		})
		s.must(err)
		all.Go(func() {
			r := l.Run(ctx)
			mu.Lock()
			defer mu.Unlock()
			reports[h.Name] = r
		})
	}
	time.Sleep(time.Second)
	return func() map[string]demo.Report {
		time.Sleep(time.Second)
		cancel()
		all.Wait()
		s.table(reports)
		return reports
	}
}

// table logs what has become of the requests, by kind.
func (s *scene) table(reports map[string]demo.Report) {
	s.Logf("%-6s %8s %8s %8s %12s %10s %9s %7s %9s", "host", "requests", "ok", "non-2xx", "failed fresh", "reset idle", "timed out", "broken", "p99")
	for _, h := range s.Hosts {
		r := reports[h.Name]
		var non int64
		for _, n := range r.NonOK {
			non += n
		}
		s.Logf("%-6s %8d %8d %8d %12d %10d %9d %7d %9s", h.Name, r.Requests, r.OK, non, r.FailedFresh, r.ResetIdle, r.Timeouts, r.Broken, r.Latency.P99.Round(time.Millisecond))
	}
}

// lossless wants every request through the given hosts answered; resets of
// idle connections at a reload are nginx's.
func (s *scene) lossless(reports map[string]demo.Report, through ...*hosts.Host) {
	s.Helper()
	for _, h := range through {
		r := reports[h.Name]
		if lost := r.Failed() - r.ResetIdle; lost > 0 || r.Requests == 0 {
			s.Errorf("%d of %d requests through %s were lost: %v", lost, r.Requests, h.Name, r.NonOK)
		}
	}
}

// bounded wants few requests lost: those that were on their way when a host
// went silent, which nobody can take back.
func (s *scene) bounded(reports map[string]demo.Report, most float64, through ...*hosts.Host) {
	s.Helper()
	for _, h := range through {
		r := reports[h.Name]
		if lost := r.Failed() - r.ResetIdle; float64(lost) > most*float64(r.Requests) || r.FailedFresh > 0 {
			s.Errorf("%d of %d requests through %s were lost (%d of them on fresh connections)", lost, r.Requests, h.Name, r.FailedFresh)
		}
	}
}

// happened wants an event of a kind.
func (s *scene) happened(on *hosts.Host, kind state.EventKind) {
	s.Helper()
	if out := s.exec(on, "supervisord", "events", "--json"); !strings.Contains(out, string(kind)) {
		s.Errorf("no event tells of %s", kind)
	}
}
