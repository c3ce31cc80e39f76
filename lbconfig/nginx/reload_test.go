package nginx_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/nginx"
)

func TestNginxRefusesOneSite(t *testing.T) {
	// Without the zone, no site can have static answers.
	p := startNginx(t, func(base string) string { return strings.Replace(base, "proxy_cache_path", "#proxy_cache_path", 1) })
	one, two := backend(t, "one"), backend(t, "two")
	p.serve(site("a", one), site("b", one))

	refused := site("a", two)
	refused.Ingress.Static = []lbconfig.Static{{Path: "/s", MaxAge: time.Hour}}
	newcomer := site("c", two)
	newcomer.Ingress.Static = refused.Ingress.Static
	out, err := p.applier().Apply(t.Context(), p.config(refused, site("b", two), newcomer))
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"a", "c"} {
		if reason := out.Rejected[service]; !strings.Contains(reason, `"proxy_cache" zone "supervisord" is unknown`) || strings.Contains(reason, "gen-") {
			t.Errorf("%s is rejected because %q, want nginx's own words", service, reason)
		}
	}
	for host, want := range map[string]string{"a": "one", "b": "two", "c": "no such site\n"} {
		if a := p.do("GET /", "Host: "+host+".test"); a.body != want {
			t.Errorf("%s answers %q, want %q", host, a.body, want)
		}
	}
}

// TestReloadUnderLoad is the promise of no lost request: fresh connections all
// the time, while servers come and go.
func TestReloadUnderLoad(t *testing.T) {
	p := startNginx(t)
	one, two := backend(t, "ok"), backend(t, "ok")
	p.serve(site("a", one))
	var served, lost atomic.Int64
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				a, err := p.try("GET /", "Host: a.test")
				if err != nil || a.StatusCode != 200 {
					lost.Add(1)
					t.Errorf("lost: %v %v", a.Response, err)
				}
				served.Add(1)
			}
		})
	}
	for range 3 {
		p.serve(site("a", one, two))
		p.serve(site("a", two))
		p.serve(site("a", one))
	}
	cancel()
	wg.Wait()
	if served.Load() < 100 || lost.Load() > 0 {
		t.Errorf("%d of %d requests lost", lost.Load(), served.Load())
	}
	log, err := os.ReadFile(p.path("error.log"))
	if err != nil || len(log) > 0 {
		t.Errorf("nginx complains of being reloaded: %s %v", log, err)
	}
}

func TestSettledMeansThatRemovedServersGetNothing(t *testing.T) {
	p := startNginx(t)
	kept := backend(t, "kept")
	for i := range 4 {
		removed := backend(t, fmt.Sprint("removed ", i))
		p.serve(site("a", kept, removed))
		p.serve(site("a", kept))
		for range 50 {
			if a := p.do("GET /", "Host: a.test"); a.body != "kept" {
				t.Fatalf("round %d: %q answers after it was removed", i, a.body)
			}
		}
	}
}

// TestWorkersDoNotPileUp looks at what the master makes of workers that were
// told to finish by us.
func TestWorkersDoNotPileUp(t *testing.T) {
	p := startNginx(t)
	one, two := backend(t, "one"), backend(t, "two")
	for range 5 {
		p.serve(site("a", one))
		p.serve(site("a", two))
	}
	children := func() int {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(strings.Fields(string(text)))
	}
	// Two workers, the cache's manager and, for a minute, its loader.
	for range 500 {
		if children() == 4 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("nginx has %d processes", children())
}

func TestNginxRestarts(t *testing.T) {
	p := startNginx(t)
	one, two := backend(t, "one"), backend(t, "two")
	p.serve(site("a", one))
	p.stop()
	_, err := p.applier().Apply(t.Context(), p.config(site("a", two)))
	if !errors.Is(err, nginx.ErrNotRunning) {
		t.Fatalf("error %v while nginx is stopped", err)
	}
	p.start()
	if out := p.serve(site("a", two)); out.Changed {
		t.Errorf("outcome %+v: nginx has started with the newest files, want no reload", out)
	}
	if a := p.do("GET /", "Host: a.test"); a.body != "two" {
		t.Errorf("after the restart %q answers", a.body)
	}
}

func TestReloadThatFailsSilently(t *testing.T) {
	p := startNginx(t)
	one, two := backend(t, "one"), backend(t, "two")
	p.serve(site("a", one))
	// nginx -t does not mind an address that is taken; a reload does.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := p.config(site("a", two))
	cfg.Listen = append(cfg.Listen, taken.Addr().String())
	a := nginx.NewApplier(nginx.Options{
		Root: p.path("supervisord.d"), Conf: p.path("nginx.conf"), ErrorLog: p.path("error.log"), AnswerWithin: time.Second,
	}, p.host(), discard())
	out, err := a.Apply(t.Context(), cfg)
	if !errors.Is(err, nginx.ErrNotServed) || !strings.Contains(err.Error(), "Address already in use") {
		t.Errorf("error %v, want ErrNotServed with nginx's own words", err)
	}
	if out.Changed || out.Generation != 1 {
		t.Errorf("outcome %+v", out)
	}
	if target, err := os.Readlink(p.path("supervisord.d/current")); err != nil || target != "gen-1" {
		t.Errorf("current is %q, %v; want it rolled back", target, err)
	}
	if a := p.do("GET /", "Host: a.test"); a.body != "one" {
		t.Errorf("%q answers, want the last good site", a.body)
	}
	p.serve(site("a", two))
	if a := p.do("GET /", "Host: a.test"); a.body != "two" {
		t.Errorf("%q answers after the next change", a.body)
	}
}

func TestOperatorBreaksTheMainFile(t *testing.T) {
	p := startNginx(t)
	one, two := backend(t, "one"), backend(t, "two")
	p.serve(site("a", one))
	good, err := os.ReadFile(p.path("nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	p.writeConf("spoilt;\n" + string(good))
	_, err = p.applier().Apply(t.Context(), p.config(site("a", two)))
	var refused *nginx.ConfigError
	if !errors.As(err, &refused) || refused.Reason != `unknown directive "spoilt" in `+p.path("nginx.conf")+":1" {
		t.Errorf("error %v", err)
	}
	if a := p.do("GET /", "Host: a.test"); a.body != "one" {
		t.Errorf("%q answers, want the last good site", a.body)
	}
	p.writeConf(string(good))
	p.serve(site("a", two))
}

// TestLimitsOfNames has the longest names that are accepted taken by nginx, and
// an upstream that is as long as one gets.
func TestLimitsOfNames(t *testing.T) {
	p := startNginx(t)
	label := strings.Repeat("a", 63)
	s := site("s" + strings.Repeat("-", 62))
	s.Ingress.Hosts = []string{label + "." + label + "." + label + "." + label[:61]}
	s.Ingress.StickyCookie = label + "A"
	s.Ingress.CORS = &lbconfig.CORS{Origins: []string{"https://" + s.Ingress.Hosts[0] + ":65535"}}
	s.Ingress.RateLimit = &lbconfig.RateLimit{PerSecond: 1e6, Burst: 1e6}
	s.Ingress.Static = []lbconfig.Static{{Path: "/" + strings.Repeat("b", 511), MaxAge: time.Hour}}
	for i := range 1000 {
		s.Servers = append(s.Servers, lbconfig.Server{Instance: fmt.Sprint("s-", i), Address: fmt.Sprintf("[2001:db8:1111:2222:3333:4444:5555:%x]:65535", i+0x1000)})
	}
	p.serve(s)
}

func TestHostReload(t *testing.T) {
	for name, text := range map[string]string{
		"no such process":    "999999999\n",
		"another program":    strconv.Itoa(os.Getpid()),
		"not a number":       "x",
		"everyone":           "-1",
		"the first process":  "1",
		"there is no file":   "",
		"a group of process": "0",
	} {
		t.Run(name, func(t *testing.T) {
			h := nginx.Host{PIDFile: t.TempDir() + "/nginx.pid"}
			if text != "" {
				if err := os.WriteFile(h.PIDFile, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := h.Reload(t.Context()); !errors.Is(err, nginx.ErrNotRunning) {
				t.Errorf("error %v, want ErrNotRunning", err)
			}
		})
	}
}

func TestHostTestWithoutNginx(t *testing.T) {
	err := nginx.Host{Binary: "/no/such/nginx"}.Test(t.Context(), "x")
	var refused *nginx.ConfigError
	if err == nil || errors.As(err, &refused) {
		t.Errorf("error %v, want one that blames no configuration", err)
	}
}

func TestGenerationOfSomethingElse(t *testing.T) {
	for _, address := range []string{backend(t, "hello"), freeAddress(t), ""} {
		if n, err := (nginx.Host{Status: address}).Generation(t.Context()); err == nil {
			t.Errorf("%q answers with generation %d", address, n)
		}
	}
}

func TestGenerationEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := (nginx.Host{Status: silent.Addr().String()}).Generation(ctx); err == nil {
		t.Error("no error of a server that never answers")
	}
}

// local stands for an engine: its container is nginx on this host.
type local struct{ pid int }

func (l local) Exec(ctx context.Context, argv []string) ([]byte, int, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return output, exit.ExitCode(), nil
	}
	return output, 0, err
}

func (l local) Signal(_ context.Context, signal string) error {
	if signal != "HUP" {
		return fmt.Errorf("signal %q", signal)
	}
	return syscall.Kill(l.pid, syscall.SIGHUP)
}

func TestContained(t *testing.T) {
	p := startNginx(t)
	a := nginx.NewApplier(nginx.Options{Root: p.path("supervisord.d"), Conf: p.path("nginx.conf")},
		nginx.Contained{Container: local{p.cmd.Process.Pid}, Status: p.status}, discard())
	out, err := a.Apply(t.Context(), p.config(site("a", backend(t, "ok"))))
	if err != nil || out.Generation != 1 || p.do("GET /", "Host: a.test").body != "ok" {
		t.Fatalf("outcome %+v, error %v", out, err)
	}
	p.writeConf("spoilt;\n include " + p.path("supervisord.d") + "/current/*.conf;")
	_, err = a.Apply(t.Context(), p.config())
	var refused *nginx.ConfigError
	if !errors.As(err, &refused) {
		t.Errorf("error %v, want a *ConfigError", err)
	}
	gone := nginx.Contained{Container: noContainer{}}
	_, reload := gone.Reload(t.Context())
	if err := errors.Join(gone.Test(t.Context(), "x"), reload); !errors.Is(err, nginx.ErrNotRunning) || errors.As(err, &refused) {
		t.Errorf("error %v without a container", err)
	}
}

type noContainer struct{}

func (noContainer) Exec(context.Context, []string) ([]byte, int, error) {
	return nil, 0, nginx.ErrNotRunning
}
func (noContainer) Signal(context.Context, string) error { return nginx.ErrNotRunning }

// TestWhatATestSays has a container that answers nginx -t as it is told.
func TestWhatATestSays(t *testing.T) {
	for _, tt := range []struct {
		name, output string
		code         int
		reason       string // of a *ConfigError
		fails        bool   // otherwise
	}{
		{name: "fine", output: "nginx: [warn] conflicting server name"},
		{name: "terminal", output: "nginx: [warn] x\nnginx: [emerg] no \"events\" in /n.conf\nnginx: test failed\n", code: 1, reason: `no "events" in /n.conf`},
		{name: "log", output: "2026/01/01 00:00:00 [emerg] 12#12: host not found in /n.conf:3\n", code: 1, reason: "host not found in /n.conf:3"},
		{name: "other words", output: "what?\n", code: 1, reason: "what?"},
		{name: "no such program", output: "exec failed", code: 126, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := nginx.Contained{Container: canned{tt.output, tt.code}}.Test(t.Context(), "/n.conf")
			var refused *nginx.ConfigError
			if errors.As(err, &refused) != (tt.reason != "") || (err != nil) != (tt.fails || tt.reason != "") {
				t.Fatalf("error %v", err)
			}
			if refused != nil && refused.Reason != tt.reason {
				t.Errorf("reason %q, want %q", refused.Reason, tt.reason)
			}
		})
	}
}

type canned struct {
	output string
	code   int
}

func (c canned) Exec(context.Context, []string) ([]byte, int, error) {
	return []byte(c.output), c.code, nil
}
func (canned) Signal(context.Context, string) error { return nil }
