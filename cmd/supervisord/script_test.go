package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

var update = flag.Bool("update", false, "write the golden parts of the scripts anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The scripts are sessions of an operator: they run the real program, in this
// process, against a daemon whose state is that of apitest.Example.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup:         startDaemon,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"supervisord": cmdSupervisord,
			"exits":       cmdExits,
			"until":       cmdUntil,
			"daemon":      cmdDaemon,
		},
	})
}

type daemonKey struct{}

// daemon serves one backend on a unix socket and on TCP.
type daemon struct {
	backend *apitest.Backend
	ctx     context.Context
	socket  string

	mu      sync.Mutex
	stop    context.CancelFunc
	serving sync.WaitGroup
	errs    []error
}

func startDaemon(e *testscript.Env) error {
	ctx, cancel := context.WithCancel(context.Background())
	d := &daemon{backend: apitest.Example(), ctx: ctx, socket: filepath.Join(e.WorkDir, "s.sock")}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return err
	}
	if err := d.start(tcp); err != nil {
		cancel()
		return err
	}
	e.Defer(func() {
		cancel()
		if err := d.end(); err != nil {
			panic(err)
		}
	})
	e.Values[daemonKey{}] = d
	e.Setenv("SUPERVISORD_SOCKET", d.socket)
	e.Setenv("URL", "http://"+tcp.Addr().String())
	return nil
}

// start serves on the socket, and on TCP with a token where that is given.
func (d *daemon) start(tcp net.Listener) error {
	unix, err := net.Listen("unix", d.socket)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(d.ctx)
	d.mu.Lock()
	d.stop = stop
	d.mu.Unlock()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	one := func(l net.Listener, o api.Options) error {
		o.Log, o.Now, o.Stopping = log, d.backend.Now, ctx.Done()
		h, err := api.Handler(d.backend, o)
		if err != nil {
			return err
		}
		d.serving.Go(func() {
			err := api.Serve(ctx, l, h, log)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.errs = append(d.errs, err)
		})
		return nil
	}
	err = one(unix, api.Options{Trusted: true})
	if tcp != nil {
		err = errors.Join(err, one(tcp, api.Options{Token: "the-right-token"}))
	}
	return err
}

func (d *daemon) end() error {
	d.mu.Lock()
	stop := d.stop
	d.mu.Unlock()
	stop()
	d.serving.Wait()
	return errors.Join(d.errs...)
}

// variables are those of all flags, as the script has set them.
func variables(ts *testscript.TestScript) []string {
	names := map[string]bool{"NO_COLOR": true, "PATH": true, "SUDO_USER": true}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		add := func(f *pflag.Flag) { names[variable(f.Name)] = true }
		c.Flags().VisitAll(add)
		c.PersistentFlags().VisitAll(add)
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(env{out: io.Discard, err: io.Discard, to: &connection{}}))
	var vars []string
	for name := range names {
		if value := ts.Getenv(name); value != "" {
			vars = append(vars, name+"="+value)
		}
	}
	return vars
}

func execute(ts *testscript.TestScript, ctx context.Context, out io.Writer, args []string) int {
	return run(ctx, args, variables(ts), strings.NewReader(""), out, ts.Stderr())
}

// cmdSupervisord runs the program: it must succeed, or with "!" fail.
func cmdSupervisord(ts *testscript.TestScript, neg bool, args []string) {
	if code := execute(ts, context.Background(), ts.Stdout(), args); (code != 0) != neg {
		ts.Fatalf("exit code %d", code)
	}
}

// cmdExits runs the program and wants an exit code: exits CODE ARGS…
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if code := execute(ts, context.Background(), ts.Stdout(), args[1:]); code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// cmdUntil runs the program until its output has a text and then interrupts
// it, which must end it well: until TEXT ARGS…
func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &trigger{text: args[0], pull: cancel}
	code := execute(ts, ctx, out, args[1:])
	_, err := ts.Stdout().Write(out.seen.Bytes())
	ts.Check(err)
	if code != 0 {
		ts.Fatalf("exit code %d", code)
	}
}

// trigger calls pull once a text has been written.
type trigger struct {
	text string
	pull func()
	seen bytes.Buffer
}

func (w *trigger) Write(p []byte) (int, error) {
	w.seen.Write(p)
	if strings.Contains(w.seen.String(), w.text) {
		w.pull()
	}
	return len(p), nil
}

// cmdDaemon changes the daemon.
func cmdDaemon(ts *testscript.TestScript, _ bool, args []string) {
	d := ts.Value(daemonKey{}).(*daemon)
	switch args[0] {
	case "spec-error":
		d.backend.Must(state.ReportSpecError{Host: "alpha", Problem: args[1]})
	case "no-leader":
		d.backend.LoseLeader()
	case "rejects-site":
		d.backend.Must(state.ConfirmRoutes{Host: "alpha", Index: 1, Rejected: map[string]string{"backend": args[1]}})
	case "certify":
		d.backend.Certify()
	case "forgets-decisions":
		d.backend.SetLocal(func(l *api.Local) { l.Decisions = nil })
	case "runs-compose":
		d.backend.RunCompose()
	case "settles":
		d.backend.Settle()
	case "stop":
		ts.Check(d.end())
	default:
		ts.Fatalf("unknown: daemon %s", args[0])
	}
}
