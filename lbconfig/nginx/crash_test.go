package nginx_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/supervisord/supervisord/lbconfig/nginx"
)

// dieAt ends the program at the n-th step that is logged, as kill -9 would:
// nothing that is deferred is run.
type dieAt struct {
	slog.Handler
	n *int
}

const diedAt = 77

func (dieAt) Enabled(context.Context, slog.Level) bool { return true }

func (d dieAt) Handle(context.Context, slog.Record) error {
	if *d.n--; *d.n == 0 {
		os.Exit(diedAt)
	}
	return nil
}

// TestKilledAtEachStep runs Apply in a program that dies at its n-th step, for
// each n, and then another Apply, which must come to the right end.
func TestKilledAtEachStep(t *testing.T) {
	if dir := os.Getenv("APPLY_AND_DIE_IN"); dir != "" {
		n, err := strconv.Atoi(os.Getenv("APPLY_AND_DIE_AT"))
		if err != nil {
			t.Fatal(err)
		}
		f := &fake{dir: dir}
		log := slog.New(dieAt{slog.DiscardHandler, &n})
		a := nginx.NewApplier(nginx.Options{Root: f.root(), Conf: f.conf()}, f, log)
		if _, err := a.Apply(t.Context(), config(2, "a=a2.x", "b=bad.x", "c=c.x")); err != nil {
			t.Fatal(err)
		}
		return
	}
	for n := 1; ; n++ {
		f := newFake(t)
		if _, err := f.applier().Apply(t.Context(), config(1, "a=a.x", "b=b.x")); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledAtEachStep$")
		cmd.Env = append(os.Environ(), "APPLY_AND_DIE_IN="+f.dir, fmt.Sprintf("APPLY_AND_DIE_AT=%d", n))
		output, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		died := errors.As(err, &exit) && exit.ExitCode() == diedAt
		if err != nil && !died {
			t.Fatalf("step %d: %v\n%s", n, err, output)
		}
		// What nginx would read if it were started now.
		if live := f.live(t); live != "a=a.x b=b.x" && live != "a=a2.x b=b.x c=c.x" {
			t.Errorf("step %d: after the kill, live is %q", n, live)
		}
		out, err := f.applier().Apply(t.Context(), config(3, "a=a2.x", "b=b.x", "c=c.x"))
		if err != nil {
			t.Fatalf("step %d: the next Apply fails: %v", n, err)
		}
		served, err := f.Generation(t.Context())
		if err != nil || served != out.Generation || f.live(t) != "a=a2.x b=b.x c=c.x" {
			t.Errorf("step %d: live %q, generation %d, outcome %+v, error %v", n, f.live(t), served, out, err)
		}
		f.tidy(t)
		if !died {
			if n < 10 {
				t.Fatalf("only %d steps: is the log handed on?", n)
			}
			return
		}
	}
}
