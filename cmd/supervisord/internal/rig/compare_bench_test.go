package rig_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
)

// BenchmarkRollingUpdate replaces six instances of one image one after the
// other, the new one first, while clients send to them: by supervisord with
// nginx, and by docker service update with Swarm's ingress network. The time is
// from the command until six of the new ones run and none of the old. The other
// figures are what clients saw of it, per update: fresh connections that failed,
// answers that were cut off or not 2xx, and requests on idle connections that
// were closed under them.
//
// Swarm's ingress network needs IPVS; on a kernel without, nothing can be sent
// through it, and only the time is measured.
//
//	go test ./cmd/supervisord/internal/rig -run '^$' -bench RollingUpdate -timeout 30m
func BenchmarkRollingUpdate(b *testing.B) {
	const updates = 3
	b.Run("supervisord", func(b *testing.B) {
		rolled(b, updates, func(release string) fleet {
			binary, image := build(b)
			s := startWith(b, binary, image, rolling+labelled(release), "1s")
			s.ready(6)
			s.answers()
			return fleet{
				address: s.Public, ctx: s.ctx, filter: "label=io.supervisord.cluster=" + clusterOf(s),
				update: func(release string) error {
					if out, code := s.command(s.file(image, `WORK_MS: "5"`, rolling+labelled(release)), "deploy", "-f", "-"); code != 0 {
						return fmt.Errorf("deploy: %s", out)
					}
					return nil
				},
			}
		})
	})
	b.Run("swarm", func(b *testing.B) {
		rolled(b, updates, func(release string) fleet { return swarm(b, release) })
	})
}

// fleet is six instances behind one address.
type fleet struct {
	ctx context.Context
	// address is where clients send to; empty where they cannot.
	address string
	// filter finds its containers.
	filter string
	// update replaces all of them, and returns when that is done.
	update func(release string) error
}

func labelled(release string) string { return "    labels: {release: " + release + "}\n" }

func clusterOf(s *site) string {
	s.t.Helper()
	st, err := s.Client.Status(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return st.Cluster
}

// rolled updates a fleet, under load where it can be, and reports the figures.
func rolled(b *testing.B, updates int, begin func(release string) fleet) {
	b.Helper()
	for b.Loop() {
		f := begin("r0")
		end := f.load(b)
		var took []time.Duration
		for n := 1; n <= updates; n++ {
			took = append(took, f.replace(b, fmt.Sprintf("r%d", n)))
		}
		quantiles(b, "replaced", took)
		end(updates)
	}
}

// load sends to a fleet until its end, which reports what clients saw per
// update.
func (f fleet) load(b *testing.B) (end func(updates int)) {
	b.Helper()
	if f.address == "" {
		return func(int) {}
	}
	l, err := demo.NewLoad(demo.LoadOptions{
		URL: "http://" + f.address + "/", Open: true, Rate: 40, Fresh: 0.5,
		Methods: []demo.Method{{Name: "GET", Weight: 3}, {Name: "POST", Weight: 1}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan demo.Report, 1)
	go func() { done <- l.Run(ctx) }()
	return func(updates int) {
		b.Helper()
		cancel()
		r := <-done
		nonOK := int64(0)
		for _, n := range r.NonOK {
			nonOK += n
		}
		per := func(n int64, unit string) { b.ReportMetric(float64(n)/float64(updates), unit) }
		per(r.FailedFresh, "failed-fresh/update")
		per(nonOK+r.Broken+r.Timeouts, "bad-answers/update")
		per(r.ResetIdle, "reset-idle/update")
		per(r.Requests, "requests/update")
		b.ReportMetric(float64(r.Latency.P99.Microseconds())/1000, "p99-ms")
	}
}

// replace makes one update and returns how long it took until the engine had
// six of the release and no other.
func (f fleet) replace(b *testing.B, release string) time.Duration {
	b.Helper()
	start := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- f.update(release) }()
	took := time.Duration(0)
	for took == 0 {
		out, err := rig.Docker(f.ctx, "ps", "--filter", f.filter, "--format", `{{.Label "release"}}`)
		if err != nil {
			b.Fatal(err)
		}
		running := strings.Fields(out)
		if len(running) == 6 && strings.Count(out, release) == 6 {
			took = time.Since(start)
			break
		}
		// The command costs CPU time that the fleet needs.
		time.Sleep(300 * time.Millisecond)
	}
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return took
}

// swarm makes the engine a swarm of one node for the benchmark's time, with six
// tasks of the backend behind a port that the ingress network publishes.
func swarm(b *testing.B, release string) fleet {
	b.Helper()
	_, image := build(b)
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	b.Cleanup(cancel)
	state, err := rig.Docker(ctx, "info", "--format", "{{.Swarm.LocalNodeState}}")
	if err != nil || state != "inactive" {
		b.Skipf("needs an engine that is in no swarm: it is %q, %v", state, err)
	}
	address, port := loopback(b), loopback(b)
	if _, err := rig.Docker(ctx, "swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", address); err != nil {
		b.Skipf("the engine cannot be a swarm: %v", err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := rig.Docker(ctx, "swarm", "leave", "--force"); err != nil {
			b.Error(err)
		}
		// It is made for the swarm, and stays behind.
		if _, err := rig.Docker(ctx, "network", "rm", "docker_gwbridge"); err != nil {
			b.Log(err)
		}
	})
	name := "supervisord-bench"
	_, published, _ := net.SplitHostPort(port)
	// The same limits and the same order as rolling's.
	if _, err := rig.Docker(ctx, "service", "create", "--name", name, "--replicas", "6", "--publish", "published="+published+",target=4000",
		"--env", "WORK_MS=5", "--container-label", "release="+release, "--limit-cpu", "0.2", "--limit-memory", "64M",
		"--update-order", "start-first", "--update-parallelism", "1", "--update-monitor", "1s", "--no-resolve-image", image); err != nil {
		b.Fatal(err)
	}
	f := fleet{
		ctx: ctx, filter: "label=com.docker.swarm.service.name=" + name,
		update: func(release string) error {
			out, err := exec.CommandContext(ctx, "docker", "service", "update", "--quiet", "--container-label-add", "release="+release, "--no-resolve-image", name).CombinedOutput()
			if err != nil {
				return fmt.Errorf("docker service update: %w: %s", err, out)
			}
			return nil
		},
	}
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		b.Logf("this kernel has no IPVS, which Swarm's ingress network needs: the updates are measured without clients")
		return f
	}
	f.address = "127.0.0.1:" + published
	for {
		resp, err := http.Get("http://" + f.address + "/")
		if err == nil {
			resp.Body.Close()
			return f
		}
		select {
		case <-ctx.Done():
			b.Fatalf("the swarm does not answer: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// loopback is an address of this machine alone that nobody listens on.
func loopback(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
