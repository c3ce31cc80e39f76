package nginx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/nginx"
)

// private is a real nginx that lives in a temporary directory.
type private struct {
	testing.TB
	dir            string
	public, status string
	cmd            *exec.Cmd
	generation     uint64
}

// startNginx runs nginx with the base file until the test ends.
func startNginx(t testing.TB, change ...func(base string) string) *private {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real nginx")
	}
	p := &private{TB: t, dir: t.TempDir(), public: freeAddress(t), status: freeAddress(t)}
	for _, dir := range []string{"cache", "temp", "supervisord.d"} {
		if err := os.Mkdir(filepath.Join(p.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := lbconfig.BaseOptions{
		WorkerProcesses: "2",
		PIDFile:         p.path("nginx.pid"), ErrorLog: p.path("error.log"), AccessLog: p.path("access.log"),
		MimeTypes: "/etc/nginx/mime.types",
		Root:      p.path("supervisord.d"), CacheDir: p.path("cache"), TempDir: p.path("temp"),
		ShutdownTimeout: 5 * time.Second,
	}
	if os.Geteuid() == 0 {
		options.User = "root" // the directory is not everyone's
	}
	base := string(lbconfig.Base(options))
	for _, f := range change {
		base = f(base)
	}
	p.writeConf(base)
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *private) path(name string) string { return filepath.Join(p.dir, name) }

func (p *private) writeConf(text string) {
	p.Helper()
	if err := os.WriteFile(p.path("nginx.conf"), []byte(text), 0o644); err != nil {
		p.Fatal(err)
	}
}

// start returns when the master has written its process id.
func (p *private) start() {
	p.Helper()
	p.cmd = exec.Command("nginx", "-e", "stderr", "-c", p.path("nginx.conf"), "-g", "daemon off;")
	var output strings.Builder
	p.cmd.Stdout, p.cmd.Stderr = &output, &output
	if err := p.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	for range 500 {
		if text, err := os.ReadFile(p.path("nginx.pid")); err == nil && strings.TrimSpace(string(text)) == fmt.Sprint(p.cmd.Process.Pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.stop()
	p.Fatalf("nginx does not start: %s", output.String())
}

func (p *private) stop() {
	if p.cmd == nil {
		return
	}
	// The error is that it has ended already.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	p.cmd = nil
}

func (p *private) host() nginx.Host {
	return nginx.Host{PIDFile: p.path("nginx.pid"), Status: p.status}
}

func (p *private) applier() *nginx.Applier {
	return nginx.NewApplier(nginx.Options{
		Root: p.path("supervisord.d"), Conf: p.path("nginx.conf"), ErrorLog: p.path("error.log"), AnswerWithin: 10 * time.Second,
	}, p.host(), discard())
}

// config is one of the next generation.
func (p *private) config(sites ...lbconfig.Site) lbconfig.Config {
	p.generation++
	return lbconfig.Config{Generation: p.generation, Listen: []string{p.public}, Status: p.status, Sites: sites}
}

// serve applies sites and expects no complaint.
func (p *private) serve(sites ...lbconfig.Site) lbconfig.Outcome {
	p.Helper()
	out, err := p.applier().Apply(p.Context(), p.config(sites...))
	if err != nil {
		p.Fatal(err)
	}
	if len(out.Rejected) > 0 {
		p.Fatalf("rejected: %v", out.Rejected)
	}
	return out
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	body string
}

// do sends a request on a connection of its own: "GET /path", then headers as
// "Name: value". The host is that of a "Host" header.
func (p *private) do(line string, headers ...string) answer {
	p.Helper()
	a, err := p.try(line, headers...)
	if err != nil {
		p.Fatal(err)
	}
	return a
}

func (p *private) try(line string, headers ...string) (answer, error) {
	method, path, _ := strings.Cut(line, " ")
	base := "http://" + p.public
	if strings.HasPrefix(path, "http://") {
		base = ""
	}
	ctx, cancel := context.WithTimeout(p.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return answer{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body)}, errors.Join(err, resp.Body.Close())
}

// site has one host, its name with ".test", and the given backends.
func site(service string, backends ...string) lbconfig.Site {
	s := lbconfig.Site{Service: service, Ingress: lbconfig.Ingress{Hosts: []string{service + ".test"}, Port: 1}}
	for i, b := range backends {
		s.Servers = append(s.Servers, lbconfig.Server{Instance: fmt.Sprintf("%s-%d", service, i+1), Address: b})
	}
	return s
}

// backend answers with its name, or as f says.
func backend(t testing.TB, name string, f ...http.HandlerFunc) string {
	t.Helper()
	h := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }
	if len(f) > 0 {
		h = f[0]
	}
	s := httptest.NewServer(http.HandlerFunc(h))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// freeAddress is below the ports that the kernel gives to clients, so that no
// connection of another test can take it before nginx does.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}
