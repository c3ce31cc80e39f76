package rig_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
	s := lay(t, binary, healthEvery)
	s.write(image, keys)
	if err := s.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// lay makes a site whose daemon does not run yet.
func lay(t testing.TB, binary, healthEvery string) *site {
	t.Helper()
	// Many times what the longest takes alone: only what hangs is cut off, and
	// with its log.
	limit := 12 * time.Minute
	if *soakScales+*soakDeploys+*soakKills > 0 || *soakBackups > 20 {
		limit = 40 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
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
	return &site{r, t, ctx, healthEvery}
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

// file is a compose file of one backend.
func (s *site) file(image, environment, keys string) string {
	return "services:\n  backend:\n    image: " + image + "\n    environment: {" + environment + "}\n" + keys + `
    x-ingress:
      hosts: [_]
      port: 4000
      health: {path: /admin/monitoring/health, every: ` + s.healthEvery + `}
`
}

func (s *site) write(image, keys string) {
	s.t.Helper()
	if err := s.WriteCompose(s.file(image, `WORK_MS: "5"`, keys)); err != nil {
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
