package nginx_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/nginx"
)

// fake is an nginx whose memory is a directory, so that it outlives a crash of
// the program under test, as the real one does.
type fake struct {
	dir  string
	busy atomic.Int32

	tests, reloads int

	// What goes wrong, where set.
	testErr   error
	reloadErr error
	deaf      bool // takes no reload
	stopped   bool
	slow      time.Duration // time a reload takes until it answers
	old       func(poll int) bool
	polls     int
	onCall    func(name string)

	version string

	ready   time.Time
	pending uint64
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{dir: t.TempDir()}
	f.write(t, "nginx.conf", "http {\n  include "+f.root()+"/current/*.conf;\n}\n")
	return f
}

func (f *fake) root() string { return filepath.Join(f.dir, "supervisord.d") }
func (f *fake) conf() string { return filepath.Join(f.dir, "nginx.conf") }
func (f *fake) logs() string { return filepath.Join(f.dir, "error.log") }

func (f *fake) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *fake) applier() *nginx.Applier {
	return nginx.NewApplier(nginx.Options{Root: f.root(), Conf: f.conf(), ErrorLog: f.logs()}, f, discard())
}

func (f *fake) enter(name string) func() {
	if f.busy.Add(1) != 1 {
		panic("two calls of a Process at once")
	}
	if f.onCall != nil {
		f.onCall(name)
	}
	return func() { f.busy.Add(-1) }
}

// Version is what a test says; 1.22.1 by default.
func (f *fake) Version(context.Context) (string, error) {
	defer f.enter("version")()
	if f.stopped {
		return "", nginx.ErrNotRunning
	}
	return "nginx version: nginx/" + cmp.Or(f.version, "1.22.1") + "\n", nil
}

var includeLine = regexp.MustCompile(`(?m)^\s*include (\S+)/\*\.conf;`)

// Test refuses files with "bad." in them, "left." together with "right.", and
// a main file with "spoilt;" in it.
func (f *fake) Test(ctx context.Context, conf string) error {
	defer f.enter("test")()
	f.tests++
	if err := errors.Join(ctx.Err(), f.testErr); err != nil {
		return err
	}
	text, err := os.ReadFile(conf)
	if err != nil {
		return err
	}
	if strings.Contains(string(text), "spoilt;") {
		return &nginx.ConfigError{Reason: "it is spoilt in " + conf + ":2"}
	}
	m := includeLine.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("no include in %q", text)
	}
	files, err := filepath.Glob(string(m[1]) + "/*.conf")
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, word := range []string{"bad.", "left.", "right."} {
			seen[word] = seen[word] || strings.Contains(string(data), word)
		}
		if strings.Contains(string(data), "bad.") || seen["left."] && seen["right."] {
			return &nginx.ConfigError{Reason: "bad name in " + file + ":7"}
		}
	}
	return nil
}

func (f *fake) Reload(context.Context) (time.Duration, error) {
	defer f.enter("reload")()
	f.reloads++
	switch {
	case f.stopped:
		return 0, fmt.Errorf("%w: no pid", nginx.ErrNotRunning)
	case f.reloadErr != nil:
		return 0, f.reloadErr
	case f.deaf:
		return 0, os.WriteFile(f.logs(), []byte("old line\n[emerg] bind() failed\n"), 0o644)
	}
	return 100 * time.Millisecond, f.load()
}

var generationLine = regexp.MustCompile(`return 200 "(\d+)\\n"`)

// load reads what current points to.
func (f *fake) load() error {
	n := uint64(0)
	common, err := os.ReadFile(filepath.Join(f.root(), "current", lbconfig.CommonFile))
	if err == nil {
		n, err = strconv.ParseUint(string(generationLine.FindSubmatch(common)[1]), 10, 64)
	}
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	f.pending, f.ready, f.polls = n, time.Now().Add(f.slow), 0
	return nil
}

func (f *fake) Generation(ctx context.Context) (uint64, error) {
	defer f.enter("generation")()
	served := filepath.Join(f.dir, "served")
	if f.stopped {
		return 0, io.ErrUnexpectedEOF
	}
	if f.pending != 0 && !time.Now().Before(f.ready) {
		f.polls++
		if f.old == nil || !f.old(f.polls) {
			if err := os.WriteFile(served, []byte(strconv.FormatUint(f.pending, 10)), 0o644); err != nil {
				return 0, err
			}
			return f.pending, ctx.Err()
		}
	}
	text, err := os.ReadFile(served)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(text), 10, 64)
	return n, errors.Join(err, ctx.Err())
}

// config has a site per "service=host" with one server.
func config(generation uint64, sites ...string) lbconfig.Config {
	c := lbconfig.Config{Generation: generation, Listen: []string{"80"}, Status: "127.0.0.1:9371"}
	for _, s := range sites {
		service, host, _ := strings.Cut(s, "=")
		c.Sites = append(c.Sites, lbconfig.Site{
			Service: service,
			Ingress: lbconfig.Ingress{Hosts: []string{host}, Port: 4000},
			Servers: []lbconfig.Server{{Instance: service + "-1", Address: "10.0.0.1:4000"}},
		})
	}
	return c
}

// live returns "service=host" of each site in current, "" for none.
func (f *fake) live(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.root(), "current", "site-*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		service := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "site-"), ".conf")
		all = append(all, service+"="+string(regexp.MustCompile(`server_name (\S+);`).FindSubmatch(text)[1]))
	}
	return strings.Join(all, " ")
}

// tidy fails where anything is left that should not be.
func (f *fake) tidy(t *testing.T) {
	t.Helper()
	for _, dir := range []string{f.dir, f.root()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		generations := 0
		for _, e := range entries {
			switch name := e.Name(); {
			case strings.HasPrefix(name, "gen-"):
				generations++
			case name == "nginx.conf", name == "served", name == "error.log", name == "supervisord.d", name == "current":
			default:
				t.Errorf("%s is left in %s", name, dir)
			}
		}
		if generations > 2 {
			t.Errorf("%d generations are kept: %v", generations, entries)
		}
	}
}
