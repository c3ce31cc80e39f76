package rig_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// built are the daemon's program, with the race detector, and the backend's
// image; made once for all tests.
var built struct {
	sync.Once
	binary, image string
	err           error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "supervisord-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built.binary = filepath.Join(dir, "supervisord")
	code := m.Run()
	if built.image != "" {
		if err := (demo.Image{Source: "."}).Remove(context.Background(), built.image); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func build(t testing.TB, flags ...string) (binary, image string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real Docker engine and nginx")
	}
	built.Do(func() {
		args := append([]string{"build"}, flags...)
		out, err := exec.CommandContext(t.Context(), "go", append(args, "-o", built.binary, "github.com/supervisord/supervisord/cmd/supervisord")...).CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build the daemon: %w: %s", err, out)
			return
		}
		built.image, built.err = demo.Image{Source: ".", Environ: os.Environ()}.Build(t.Context())
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.binary, built.image
}

// site is a rig with what a test asks of it.
type site struct {
	*rig.Rig
	t   testing.TB
	ctx context.Context
	// healthEvery is the interval of the health check.
	healthEvery string
}

// start runs a daemon on a compose file made of the service's keys, and waits
// until the service is complete.
func start(t testing.TB, keys string) *site {
	t.Helper()
	binary, image := build(t, "-race")
	return startWith(t, binary, image, keys, "1s")
}

func startWith(t testing.TB, binary, image, keys, healthEvery string) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	log := &journal{}
	r, err := rig.New(ctx, binary, log)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		if err := r.Close(end); err != nil {
			t.Error(err)
		}
		cancel()
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", log)
		}
		if strings.Contains(log.String(), "DATA RACE") {
			t.Errorf("the daemon has a data race:\n%s", log)
		}
	})
	s := &site{r, t, ctx, healthEvery}
	s.write(image, keys)
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// journal keeps the daemon's output.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (s *site) write(image, keys string) {
	s.t.Helper()
	text := "services:\n  backend:\n    image: " + image + "\n    environment: {WORK_MS: \"5\"}\n" + keys + `
    x-ingress:
      hosts: [_]
      port: 4000
      health: {path: /admin/monitoring/health, every: ` + s.healthEvery + `}
`
	if err := s.WriteCompose(text); err != nil {
		s.t.Fatal(err)
	}
}

// eventually waits until f says "", and fails with what it said last.
func (s *site) eventually(what string, f func() string) {
	s.t.Helper()
	last := "never asked"
	for {
		if last = f(); last == "" {
			return
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("%s: %s", what, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *site) service() api.Service {
	s.t.Helper()
	d, err := s.Client.Service(s.ctx, "backend")
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Service
}

func (s *site) instances() []api.Instance {
	s.t.Helper()
	all, err := s.Client.Instances(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return all.Instances
}

// ready waits until exactly n instances exist and all serve.
func (s *site) ready(n int) []api.Instance {
	s.t.Helper()
	var got []api.Instance
	s.eventually(fmt.Sprintf("wait for %d ready instances", n), func() string {
		got = s.instances()
		ready := 0
		for _, i := range got {
			if i.Phase == state.Ready {
				ready++
			}
		}
		if ready == n && len(got) == n {
			return ""
		}
		return fmt.Sprintf("%d of %d are ready", ready, len(got))
	})
	return got
}

// event waits for an event whose message contains a text.
func (s *site) event(kind state.EventKind, text string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("wait for %s with %q", kind, text), func() string {
		all, err := s.Client.EventsAfter(s.ctx, 0, 1000)
		if err != nil {
			return err.Error()
		}
		var said []string
		for _, e := range all.Events {
			if e.Kind == kind && strings.Contains(e.Message, text) {
				return ""
			}
			said = append(said, e.Message)
		}
		return strings.Join(said, "\n")
	})
}

// answers waits until nginx has an instance to send to: an instance is ready a
// moment before its first route is.
func (s *site) answers() {
	s.t.Helper()
	s.eventually("wait for the first answer", func() string {
		req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, "http://"+s.Public+"/", nil)
		if err != nil {
			return err.Error()
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return resp.Status
		}
		return ""
	})
}

// load starts a load; its end returns the report.
func (s *site) load(o demo.LoadOptions) (l *demo.Load, end func() demo.Report) {
	s.t.Helper()
	s.answers()
	o.URL = "http://" + s.Public + "/"
	l, err := demo.NewLoad(o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan demo.Report, 1)
	go func() { done <- l.Run(ctx) }()
	var once sync.Once
	var report demo.Report
	end = func() demo.Report {
		once.Do(func() {
			for l.Snapshot().OK < enough && ctx.Err() == nil {
				time.Sleep(50 * time.Millisecond)
			}
			cancel()
			report = <-done
		})
		return report
	}
	s.t.Cleanup(func() { cancel(); end() })
	return l, end
}

// enough answers make a load a proof.
const enough = 200

// lossless fails where a request was lost. Resets of idle connections are
// nginx's at a reload and told apart.
func lossless(t *testing.T, r demo.Report) {
	t.Helper()
	t.Logf("%d requests, %d on idle connections that nginx closed at a reload, p50 %s, p99 %s, max %s",
		r.Requests, r.ResetIdle, r.Latency.P50, r.Latency.P99, r.Latency.Max)
	if r.OK < enough {
		t.Errorf("only %d answers: the load tested nothing", r.OK)
	}
	if len(r.NonOK) > 0 || r.FailedFresh > 0 || r.Timeouts > 0 || r.Broken > 0 || r.Shed > 0 {
		t.Errorf("requests were lost: other than 2xx %v, failed fresh %d, timeouts %d, broken %d, shed %d",
			r.NonOK, r.FailedFresh, r.Timeouts, r.Broken, r.Shed)
	}
}

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
