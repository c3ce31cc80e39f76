package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

// PrivateNginx is an nginx of the demo's own: a child of this process, with
// all its files in one directory. The host's nginx is neither used nor touched.
// It has no server of its own: what it listens on is what is put in its Root.
type PrivateNginx struct {
	// Dir holds its files; it must exist.
	Dir string
	// Binary is the program; "" means "nginx", also where a plain user's PATH
	// does not look.
	Binary string
	// MimeTypes is nginx's own list; "" means Debian's.
	MimeTypes string

	process *os.Process
	done    chan struct{}
	// ended is why it ended; to be read after done.
	ended error
}

// ErrNginxEnded: nginx is not running any more.
var ErrNginxEnded = errors.New("nginx has ended")

// Conf is its main file.
func (n *PrivateNginx) Conf() string { return filepath.Join(n.Dir, "nginx.conf") }

// Root is the directory of generations that the main file includes.
func (n *PrivateNginx) Root() string { return filepath.Join(n.Dir, "supervisord.d") }

// PIDFile is the master's.
func (n *PrivateNginx) PIDFile() string { return filepath.Join(n.Dir, "nginx.pid") }

// AccessLog is where it tells of requests.
func (n *PrivateNginx) AccessLog() string { return filepath.Join(n.Dir, "access.log") }

// ErrorLog is where it complains.
func (n *PrivateNginx) ErrorLog() string { return filepath.Join(n.Dir, "error.log") }

// Done is closed when nginx has ended, for whatever reason. It may be asked
// for after Start only.
func (n *PrivateNginx) Done() <-chan struct{} { return n.done }

// Start starts nginx and returns when its master is up. ctx bounds the start
// alone; it is Stop that ends nginx, and the end of this process, however it
// comes about.
func (n *PrivateNginx) Start(ctx context.Context) error {
	binary, err := n.binary()
	if err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	if err := n.prepare(); err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	if err := n.spawn(binary); err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	if err := n.up(ctx); err != nil {
		// ctx is over, or nginx is: nothing is left to be patient for.
		n.killGroup()
		<-n.done
		return fmt.Errorf("start nginx: %w: %s", err, n.complaints())
	}
	return nil
}

func (n *PrivateNginx) binary() (string, error) {
	name := cmp.Or(n.Binary, "nginx")
	path, err := exec.LookPath(name)
	if err != nil && n.Binary == "" {
		if path, err := exec.LookPath("/usr/sbin/nginx"); err == nil {
			return path, nil
		}
	}
	return path, err
}

// prepare makes the directories and the main file.
func (n *PrivateNginx) prepare() error {
	for _, dir := range []string{n.Root(), n.path("cache"), n.path("temp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Remove(n.PIDFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	o := lbconfig.DefaultBase()
	o.User = ""
	if os.Geteuid() == 0 {
		// Dir may be closed to all others, as temporary directories are.
		o.User = "root"
	}
	o.WorkerProcesses = "1"
	o.PIDFile, o.ErrorLog, o.AccessLog = n.PIDFile(), n.ErrorLog(), n.AccessLog()
	o.MimeTypes = cmp.Or(n.MimeTypes, o.MimeTypes)
	o.Root, o.CacheDir, o.TempDir = n.Root(), n.path("cache"), n.path("temp")
	return os.WriteFile(n.Conf(), lbconfig.Base(o), 0o644)
}

func (n *PrivateNginx) path(name string) string { return filepath.Join(n.Dir, name) }

// spawn starts the master in the foreground. It gets a process group of its
// own, or an interrupt at the terminal would end it before the demo is through
// with it; and a signal when this process dies, or it would be left over.
func (n *PrivateNginx) spawn(binary string) error {
	cmd := exec.Command(binary, "-p", n.Dir, "-c", n.Conf(), "-e", n.ErrorLog(), "-g", "daemon off;")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	n.done = make(chan struct{})
	started := make(chan error)
	go func() {
		defer close(n.done)
		// The signal comes when the thread ends that started the child, so it
		// has to stay as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		n.process = cmd.Process
		started <- err
		if err == nil {
			n.ended = cmd.Wait()
			// Workers whose master was killed go on by themselves.
			n.killGroup()
		}
	}()
	if err := <-started; err != nil {
		<-n.done
		return err
	}
	return nil
}

// up waits for the pid file, which the master writes when it has read its
// configuration and opened its sockets, and for its first worker: a signal that
// comes between the two is noted by the master and looked at only when the next
// one comes.
func (n *PrivateNginx) up(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(n.PIDFile())
		if err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(n.process.Pid) && n.hasWorker() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.done:
			return fmt.Errorf("%w: %v", ErrNginxEnded, n.ended)
		case <-tick.C:
		}
	}
}

func (n *PrivateNginx) hasWorker() bool {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", n.process.Pid))
	return err == nil && len(children) > 0
}

// Stop lets nginx finish the requests that it has and waits for its end. When
// ctx ends first it is made to end at once, and the error says so. An nginx
// that has ended already is ErrNginxEnded, with the reason.
func (n *PrivateNginx) Stop(ctx context.Context) error {
	if n.done == nil {
		return nil
	}
	select {
	case <-n.done:
		return fmt.Errorf("stop nginx: %w before: %v: %s", ErrNginxEnded, n.ended, n.complaints())
	default:
	}
	if err := n.process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop nginx: %w", err)
	}
	select {
	case <-n.done:
		return nil
	case <-ctx.Done():
		n.killGroup()
		<-n.done
		return fmt.Errorf("stop nginx: requests were cut off: %w", ctx.Err())
	}
}

// killGroup ends the master and its workers, which are its process group.
func (n *PrivateNginx) killGroup() {
	// It fails only if there is nothing left to end.
	_ = syscall.Kill(-n.process.Pid, syscall.SIGKILL)
}

func (n *PrivateNginx) complaints() string {
	f, err := os.Open(n.ErrorLog())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	return lastLines(f, 5)
}
