package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/supervisord/supervisord/supervisor/engine"
)

func TestExec(t *testing.T) {
	e := kit.New(t)
	c := e.Run(e.Launch(e.Container("serve", "80")))
	t.Run("streams and exit code", func(t *testing.T) {
		input := strings.Repeat("some input\n", 100_000)
		var out, errs bytes.Buffer
		code, err := e.Exec(t.Context(), c.ID, []string{"/server", "cat", "7"}, strings.NewReader(input), &out, &errs)
		if err != nil || code != 7 || out.String() != input || errs.String() != "done\n" {
			t.Errorf("code %d, %v; %d bytes of %d came back; stderr %q", code, err, out.Len(), len(input), &errs)
		}
	})
	t.Run("nothing given", func(t *testing.T) {
		if code, err := e.Exec(t.Context(), c.ID, []string{"/server", "exit", "0"}, nil, nil, nil); err != nil || code != 0 {
			t.Errorf("code %d, %v", code, err)
		}
	})
	t.Run("a command that does not read its input", func(t *testing.T) {
		big := io.LimitReader(iotest.DataErrReader(endless{}), 64<<20)
		if code, err := e.Exec(t.Context(), c.ID, []string{"/server", "exit", "4"}, big, nil, nil); err != nil || code != 4 {
			t.Errorf("code %d, %v", code, err)
		}
	})
	t.Run("input that breaks", func(t *testing.T) {
		broken := errors.New("the disk is broken")
		_, err := e.Exec(t.Context(), c.ID, []string{"/server", "cat", "0"}, io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken)), nil, nil)
		if !errors.Is(err, broken) {
			t.Errorf("got %v: half an input must not look like a whole one", err)
		}
	})
	t.Run("a command that is not there", func(t *testing.T) {
		var out bytes.Buffer
		code, err := e.Exec(t.Context(), c.ID, []string{"/nonexistent", "secret"}, nil, &out, &out)
		if err == nil && code == 0 {
			t.Error("no error and code 0")
		}
		if err != nil && strings.Contains(strings.Split(err.Error(), ":")[0], "secret") {
			t.Errorf("an argument is shown: %v", err)
		}
	})
	t.Run("the context ends", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := e.Exec(ctx, c.ID, []string{"/server", "signal"}, nil, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestTheNginxContainerIsSomebodyElses(t *testing.T) {
	e, other := kit.New(t), kit.New(t)
	theirs := other.Run(other.Launch(other.Container("signal")))
	nginx := e.NginxContainer(theirs.Name)
	out, code, err := nginx.Exec(t.Context(), []string{"/server", "cat", "3"})
	if err != nil || code != 3 || string(out) != "done\n" {
		t.Errorf("got %q, %d, %v", out, code, err)
	}
	if err := nginx.Signal(t.Context(), "HUP"); err != nil {
		t.Fatal(err)
	}
	if err := other.Stop(t.Context(), theirs.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if tail, err := other.Tail(t.Context(), theirs.ID, 1); err != nil || !slices.Equal(tail, []string{"hangup"}) {
		t.Errorf("got %q, %v", tail, err)
	}
	for what, gone := range map[string]*engine.Named{"ended": nginx, "not there": e.NginxContainer("nonexistent")} {
		if _, _, err := gone.Exec(t.Context(), []string{"nginx", "-t"}); !errors.Is(err, engine.ErrNotRunning) {
			t.Errorf("run a command in one that is %s: %v", what, err)
		}
		if err := gone.Signal(t.Context(), "HUP"); !errors.Is(err, engine.ErrNotRunning) {
			t.Errorf("signal one that is %s: %v", what, err)
		}
	}
}

func TestLogs(t *testing.T) {
	e := kit.New(t)
	c := e.Run(e.Launch(e.Container("print", "6")))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// Following, until the last line has come.
	var out lineWriter
	out.until, out.done = "line 4", cancel
	var errs bytes.Buffer
	if err := e.Logs(ctx, c.ID, engine.LogOptions{Follow: true}, &out, &errs); !errors.Is(err, context.Canceled) {
		t.Errorf("following ended with %v", err)
	}
	if got := out.String(); got != "line 0\nline 2\nline 4\n" {
		t.Errorf("stdout %q", got)
	}
	if err := e.Stop(t.Context(), c.ID, 0); err != nil {
		t.Fatal(err)
	}
	tail, err := e.Tail(t.Context(), c.ID, 3)
	if err != nil || !slices.Equal(tail, []string{"line 3", "line 4", "line 5"}) {
		t.Errorf("tail: %q, %v", tail, err)
	}
	var all bytes.Buffer
	if err := e.Logs(t.Context(), c.ID, engine.LogOptions{Follow: true, Timestamps: true, Tail: 2}, &all, &all); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(all.String(), " ")
	at, err := time.Parse(time.RFC3339Nano, first)
	if err != nil || strings.Count(all.String(), "\n") != 2 {
		t.Errorf("with timestamps: %q, %v", &all, err)
	}
	var since bytes.Buffer
	if err := e.Logs(t.Context(), c.ID, engine.LogOptions{Since: at.Add(1)}, &since, &since); err != nil || since.String() != "line 5\n" {
		t.Errorf("since %s: %q, %v", at, &since, err)
	}
	if _, err := e.Tail(t.Context(), c.ID, 0); err == nil {
		t.Error("a tail of no lines is accepted")
	}
	silent := e.Run(e.Launch(e.Container("exit", "0")))
	if tail, err := e.Tail(t.Context(), silent.ID, 5); err != nil || tail == nil || len(tail) != 0 {
		t.Errorf("of a silent container: %#v, %v", tail, err)
	}
}

// lineWriter calls done when a text has been written.
type lineWriter struct {
	bytes.Buffer
	until string
	done  func()
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if strings.Contains(w.Buffer.String(), w.until) {
		w.done()
	}
	return n, err
}

func TestStatsStream(t *testing.T) {
	e := kit.New(t)
	spec := e.Container("burn")
	spec.Resources.CPULimit, spec.Resources.MemoryLimit = .2, 64<<20
	c := e.Run(e.Launch(spec))
	var got []engine.Stat
	err := e.StatsStream(t.Context(), c.ID, func(s engine.Stat) {
		if got = append(got, s); len(got) == 2 {
			if err := e.Stop(t.Context(), c.ID, 0); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Errorf("a container that ended: %v", err)
	}
	if len(got) < 2 {
		t.Fatalf("got %+v", got)
	}
	a, b := got[0], got[1]
	if b.CPU <= a.CPU || !b.At.After(a.At) || b.Throttled <= a.Throttled || b.Periods < b.Throttled || b.Memory == 0 || b.MemoryLimit != 64<<20 {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestInfo(t *testing.T) {
	e := kit.New(t)
	if err := e.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Run(e.Launch(e.Container("serve", "80")))
	i, err := e.Info(t.Context())
	if err != nil || i.Version == "" || i.APIVersion == "" || i.Running < 1 || i.Containers < i.Running || i.CPUs < 1 || i.Memory <= 0 {
		t.Errorf("got %+v, %v", i, err)
	}
	if (i.CgroupVersion != "1" && i.CgroupVersion != "2") || (i.CgroupDriver != "cgroupfs" && i.CgroupDriver != "systemd") {
		t.Errorf("got %+v", i)
	}
}
