package rig_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

const scaled = `    deploy: {replicas: 1, resources: {limits: {cpus: "0.25", memory: 128M}}}
    x-autoscale:
      min: 1
      max: 4
      cpu: {scale_out_above: 70%, scale_in_below: 30%}
      sample_every: 250ms
      warm_up: 1s
      scale_in: {window: 2s, stabilization: 2s, cooldown: 1s, max_step: 50%}`

func fixed(n int) string {
	return fmt.Sprintf("    deploy: {replicas: %d, resources: {limits: {cpus: \"0.5\", memory: 64M}}}", n)
}

func TestItScalesOutAndInUnderLoadAndLosesNothing(t *testing.T) {
	s := start(t, scaled)
	s.ready(1)
	load, end := s.load(demo.LoadOptions{Open: true, Rate: 5, Fresh: 0.5, Methods: []demo.Method{{Name: "GET", Weight: 3}, {Name: "POST", Weight: 1}}})
	if err := load.SetRate(90); err != nil { // 0.45 cores: more than one instance's 0.25
		t.Fatal(err)
	}
	s.eventually("wait for it to scale out", func() string {
		if got := s.service(); got.Phases.Ready < 2 {
			return fmt.Sprintf("%d are ready", got.Phases.Ready)
		}
		return ""
	})
	if err := load.SetRate(4); err != nil {
		t.Fatal(err)
	}
	s.ready(1)
	lossless(t, end())
	s.event(state.EventScaledOut, "backend goes from 1 to")
	s.event(state.EventScaledIn, "backend goes from")
	why, err := s.Client.Decision(s.ctx, "backend")
	if err != nil || !strings.Contains(why.Sentence, "backend stays at 1") {
		t.Errorf("why: %q, %v", why.Sentence, err)
	}
}

func TestStoppingKillingAndUpgradingTheDaemonChangesNothingThatRuns(t *testing.T) {
	s := start(t, fixed(3))
	before := s.ready(3)
	running := func() string {
		t.Helper()
		out, err := rig.Docker(s.ctx, "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.CreatedAt}}", "--filter", "label=io.supervisord.service=backend")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	containers := running()
	_, end := s.load(demo.LoadOptions{Open: true, Rate: 40, Fresh: 0.5})
	for _, stop := range []func() error{s.Stop, s.Kill, s.Kill} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(s.ctx); err != nil {
			t.Fatal(err)
		}
		after := s.ready(3)
		if got := running(); got != containers {
			t.Fatalf("containers changed:\n%s\nwere\n%s", got, containers)
		}
		for n := range after {
			if after[n].ID != before[n].ID || !after[n].PhaseAt.Equal(before[n].PhaseAt) {
				t.Errorf("instance %s was forgotten", before[n].ID)
			}
		}
	}
	lossless(t, end())

	// What ends while nobody looks is replaced, and nothing else is.
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Docker(s.ctx, "kill", before[0].Name); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.event(state.EventInstanceFailed, "exit code 137")
	after := s.ready(3)
	for _, was := range before[1:] {
		if !slices.ContainsFunc(after, func(i api.Instance) bool { return i.ID == was.ID }) {
			t.Errorf("%s is gone", was.ID)
		}
	}
}

func TestAnEditIsInForceAndAWrongOneIsNot(t *testing.T) {
	s := start(t, fixed(1))
	s.ready(1)
	_, end := s.load(demo.LoadOptions{Open: true, Rate: 40, Fresh: 0.5})
	_, image := build(t)
	s.write(image, fixed(2))
	s.ready(2)
	s.write(image, strings.ReplaceAll(fixed(3), "replicas", "replicsa"))
	s.eventually("wait for the wrong edit to be shown", func() string {
		st, err := s.Client.Status(s.ctx)
		if err != nil {
			return err.Error()
		}
		got := st.Hosts[0].SpecError
		if strings.Contains(got, s.Compose()+":5:14:") && strings.Contains(got, "replicsa") {
			return ""
		}
		return "it says " + got
	})
	s.ready(2)
	// A new definition replaces the instances start-first.
	old := s.instances()
	s.write(image, fixed(2)+"\n    labels: {release: two}")
	s.eventually("wait for the new definition", func() string {
		for _, i := range s.instances() {
			for _, was := range old {
				if i.ID == was.ID {
					return i.ID + " is still there"
				}
			}
		}
		return ""
	})
	s.ready(2)
	lossless(t, end())
}

func TestWhatFailsIsReplacedAndTheEventSaysWhy(t *testing.T) {
	s := start(t, fixed(2))
	first := s.ready(2)
	if _, err := rig.Docker(s.ctx, "kill", first[0].Name); err != nil {
		t.Fatal(err)
	}
	s.event(state.EventInstanceFailed, first[0].Name+" failed: its container ended with exit code 137")
	second := s.ready(2)

	// One that takes more memory than its limit.
	post(t, s, second[0].Address, "/admin/alloc?mb=200")
	s.event(state.EventInstanceFailed, second[0].Name+" failed: killed for lack of memory")
	third := s.ready(2)

	// One that runs and says that it is not well.
	post(t, s, third[0].Address, "/admin/sick")
	s.event(state.EventInstanceFailed, third[0].Name+" failed: it failed 3 health checks in a row")
	s.ready(2)
}

func post(t *testing.T, s *site, address, path string) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(s.ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path)
	_, _ = c.Read(make([]byte, 1)) // the answer, or the end of one that dies of it
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	s := start(t, fixed(1))
	s.ready(1)
	_, image := build(t)
	// A stranger's container that has a name we want, and another program on
	// the port that comes next.
	stranger, err := rig.Docker(s.ctx, "run", "-d", "--name", "backend-2", image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := rig.Docker(context.Background(), "rm", "-f", stranger); err != nil {
			t.Error(err)
		}
	})
	for port := 4001; port <= 4003; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Logf("port %d is taken already: %v", port, err)
			continue
		}
		defer l.Close()
	}
	// A container of this cluster that the state does not know.
	st, err := s.Client.Status(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Docker(s.ctx, "run", "-d", "--label", "io.supervisord.cluster="+st.Cluster, "--label", "io.supervisord.service=backend", "--label", "io.supervisord.instance=backend-9.9", image); err != nil {
		t.Fatal(err)
	}
	s.event(state.EventOrphanRemoved, "the state does not know it")
	s.write(image, fixed(3))
	for _, i := range s.ready(3) {
		if i.Name == "backend-2" {
			t.Errorf("took the stranger's name: %+v", i)
		}
	}
	if out, err := rig.Docker(s.ctx, "inspect", "-f", "{{.State.Running}} {{.RestartCount}}", stranger); err != nil || out != "true 0" {
		t.Errorf("the stranger's container: %q, %v", out, err)
	}
}

func TestARigThatIsClosedLeavesNothingEvenOfADeadDaemon(t *testing.T) {
	s := start(t, fixed(1))
	s.ready(1)
	st, err := s.Client.Status(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	s.close()
	for _, list := range [][]string{{"ps", "-aq"}, {"network", "ls", "-q"}} {
		left, err := rig.Docker(s.ctx, append(list, "--filter", "label=io.supervisord.cluster="+st.Cluster)...)
		if err != nil || left != "" {
			t.Errorf("%v: %q is left, %v", list, left, err)
		}
	}
}
