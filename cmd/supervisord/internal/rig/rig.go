// Package rig sets up a whole one-host installation in a directory of its own:
// a private nginx, a compose file, and the real daemon as a child process,
// with ports and an engine project that no other has. The demo, the end-to-end
// tests and the benchmarks run on it. It never touches the host's own nginx or
// anybody's containers.
package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/supervisor/api"
)

// Rig is one installation. Its methods are for one goroutine.
type Rig struct {
	// Dir is its directory, Binary the daemon's program.
	Dir    string
	Binary string
	// Public is nginx's public address, Secure that for TLS, Status that of its status server, API
	// the daemon's TCP address.
	Public, Secure, Status, API string
	// Client speaks to the daemon over its socket.
	Client *api.Client

	nginx  *demo.PrivateNginx
	log    io.Writer
	daemon *exec.Cmd
	ended  chan error
	closed bool
	// cluster is the id that all which the daemon makes is labelled with. It is
	// kept, because the daemon may be gone when that is to be removed.
	cluster string
}

// New makes a directory, picks ports and starts nginx. The daemon's output
// goes to log. The caller must Close it.
func New(ctx context.Context, binary string, log io.Writer) (r *Rig, err error) {
	// In /tmp whatever TMPDIR says: a socket's path has room for 108 bytes.
	dir, err := os.MkdirTemp("/tmp", "supervisord-")
	if err != nil {
		return nil, err
	}
	r = &Rig{Dir: dir, Binary: binary, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close(context.WithoutCancel(ctx)))
			r = nil
		}
	}()
	// nginx's workers are not root and need to pass.
	if err := os.Chmod(dir, 0o755); err != nil {
		return r, err
	}
	for _, address := range []*string{&r.Public, &r.Secure, &r.Status, &r.API} {
		if *address, err = freeAddress(); err != nil {
			return r, err
		}
	}
	ng := &demo.PrivateNginx{Dir: filepath.Join(dir, "nginx")}
	if err := os.Mkdir(ng.Dir, 0o755); err != nil {
		return r, err
	}
	if err := ng.Start(ctx); err != nil {
		return r, err
	}
	r.nginx = ng
	r.Client, err = api.NewClient(api.Target{Socket: r.Socket()})
	return r, err
}

// freeAddress is a loopback address that nobody listens on at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Socket is the daemon's unix socket.
func (r *Rig) Socket() string { return filepath.Join(r.Dir, "run", "supervisord.sock") }

// Compose is the path of the compose file.
func (r *Rig) Compose() string { return filepath.Join(r.Dir, "docker-compose.prod.yml") }

// WriteCompose replaces the compose file as an editor does, by a rename.
func (r *Rig) WriteCompose(text string) error {
	aside := r.Compose() + ".new"
	if err := os.WriteFile(aside, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(aside, r.Compose())
}

// Start starts the daemon and returns when it says that it is well.
func (r *Rig) Start(ctx context.Context) error {
	cmd := exec.Command(r.Binary, "run",
		"--config", r.Compose(),
		"--state-dir", filepath.Join(r.Dir, "state"),
		"--run-dir", filepath.Join(r.Dir, "run"),
		"--host", "demo",
		"--listen", r.API,
		"--nginx-conf", r.nginx.Conf(),
		"--nginx-dir", r.nginx.Root(),
		"--nginx-pid", r.nginx.PIDFile(),
		"--nginx-error-log", r.nginx.ErrorLog(),
		"--nginx-access-log", r.nginx.AccessLog(),
		"--nginx-listen", r.Public,
		"--nginx-listen-tls", r.Secure,
		"--nginx-challenge", "127.0.0.1:0",
		"--nginx-status", r.Status,
	)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	// The daemon is not to outlive a rig that is killed. It has a process group
	// of its own, or an interrupt at the terminal would end it before the rig
	// is through with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	r.daemon, r.ended = cmd, make(chan error, 1)
	go func(ended chan<- error) { ended <- cmd.Wait() }(r.ended)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if r.well(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the daemon: %w", ctx.Err())
		case err := <-r.ended:
			r.daemon = nil
			return fmt.Errorf("the daemon ended at its start: %w", err)
		case <-tick.C:
		}
	}
}

// well says whether the daemon is, and keeps its cluster's id.
func (r *Rig) well(ctx context.Context) bool {
	if _, err := r.Client.Liveness(ctx); err != nil {
		return false
	}
	s, err := r.Client.Status(ctx)
	if err != nil || s.Cluster == "" {
		return false
	}
	r.cluster = s.Cluster
	return true
}

// PID is the daemon's process id.
func (r *Rig) PID() int { return r.daemon.Process.Pid }

// Kill kills the daemon as a power cut would, and waits for it.
func (r *Rig) Kill() error { return r.end(syscall.SIGKILL) }

// Stop ends the daemon as systemd would, and waits for it.
func (r *Rig) Stop() error { return r.end(syscall.SIGTERM) }

func (r *Rig) end(sig syscall.Signal) error {
	if r.daemon == nil {
		return nil
	}
	if err := r.daemon.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := <-r.ended
	r.daemon = nil
	var exit *exec.ExitError
	if sig == syscall.SIGKILL && errors.As(err, &exit) {
		return nil
	}
	return err
}

// Close ends the daemon, by force when ctx is over, and nginx, and removes all
// that they made: containers, networks and volumes that carry the cluster's id,
// whether the daemon still runs or not, and the directory. To close it again
// does nothing.
func (r *Rig) Close(ctx context.Context) error {
	if r.closed {
		return nil
	}
	r.closed = true
	var errs []error
	if r.daemon != nil {
		if r.cluster == "" {
			// Its start was not waited for to the end.
			s, err := r.Client.Status(ctx)
			errs = append(errs, err)
			r.cluster = s.Cluster
		}
		process := r.daemon.Process
		patient := context.AfterFunc(ctx, func() {
			// It fails only if the daemon has ended.
			_ = process.Kill()
		})
		errs = append(errs, r.Stop())
		patient()
	}
	if r.cluster != "" {
		errs = append(errs, clear(ctx, r.cluster))
	}
	if r.Client != nil {
		r.Client.Close()
	}
	if r.nginx != nil {
		errs = append(errs, r.nginx.Stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(r.Dir))...)
}

// clear removes what carries a cluster's label. What it cannot remove does not
// keep it from the rest.
func clear(ctx context.Context, cluster string) error {
	filter := "label=io.supervisord.cluster=" + cluster
	var errs []error
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "-aq"}, []string{"rm", "-f", "-v"}},
		{[]string{"network", "ls", "-q"}, []string{"network", "rm"}},
		{[]string{"volume", "ls", "-q"}, []string{"volume", "rm"}},
	} {
		out, err := Docker(ctx, append(kind.list, "--filter", filter)...)
		if ids := strings.Fields(out); err == nil && len(ids) > 0 {
			_, err = Docker(ctx, append(kind.remove, ids...)...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Docker runs the docker command and returns what it printed.
func Docker(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// Use is what a process has used of the machine.
type Use struct {
	// RSS is its resident memory in bytes.
	RSS int64
	// CPU is its time on all cores.
	CPU time.Duration
}

// Use measures the daemon. Its CPU time is that of its process' own clock, which
// is exact where the ticks of /proc/PID/stat are not.
func (r *Rig) Use() (Use, error) {
	var u Use
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", r.PID()))
	if err != nil {
		return u, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		return u, fmt.Errorf("unexpected form of %q: %w", statm, err)
	}
	u.RSS = resident * int64(os.Getpagesize())
	// The number of a process' CPU clock; see clock_getcpuclockid(3).
	const scheduled = 2
	clock := int32(^r.PID()<<3 | scheduled)
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return u, fmt.Errorf("read the daemon's CPU clock: %w", err)
	}
	u.CPU = time.Duration(t.Nano())
	return u, nil
}
