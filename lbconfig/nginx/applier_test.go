package nginx_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/nginx"
)

// apply is one Apply with what it should come to.
type apply struct {
	cfg      lbconfig.Config
	with     func(t *testing.T, f *fake) // before the call
	err      error                       // by errors.Is; nil for none
	says     string                      // in the error's text
	live     string                      // sites in force
	serves   uint64                      // the generation nginx answers with
	unmoved  bool                        // want Changed = false
	rejected map[string]string           // service → part of the reason
	tests    int                         // calls of Test; -1 for any
}

func TestApply(t *testing.T) {
	broken := &nginx.ConfigError{}
	failure := errors.New("no such binary")
	tests := map[string][]apply{
		"nothing to serve yet": {
			{cfg: config(1), serves: 1, tests: 1},
		},
		"sites come, change and go": {
			{cfg: config(3, "a=a.x"), live: "a=a.x", serves: 3, tests: 1},
			{cfg: config(5, "a=a.x", "b=b.x"), live: "a=a.x b=b.x", serves: 5, tests: 1},
			{cfg: config(6, "a=a2.x", "b=b.x"), live: "a=a2.x b=b.x", serves: 6, tests: 1},
			{cfg: config(9, "b=b.x"), live: "b=b.x", serves: 9, tests: 1},
		},
		"a mere number is no change": {
			{cfg: config(3, "a=a.x"), live: "a=a.x", serves: 3, tests: 1},
			{cfg: config(4, "a=a.x"), live: "a=a.x", serves: 3, unmoved: true},
		},
		"a change of what is common": {
			{cfg: config(3, "a=a.x"), live: "a=a.x", serves: 3, tests: 1},
			{cfg: func() lbconfig.Config { c := config(4, "a=a.x"); c.Status = "127.0.0.1:1"; return c }(), live: "a=a.x", serves: 4, tests: 1},
		},
		"a number that is in use gets the next one": {
			{cfg: config(3, "a=a.x"), live: "a=a.x", serves: 3, tests: 1},
			{cfg: config(3, "a=b.x"), live: "a=b.x", serves: 4, tests: 1},
			{cfg: config(1, "a=c.x"), live: "a=c.x", serves: 5, tests: 1},
		},
		"a refused site keeps its last good file while others change": {
			{cfg: config(1, "a=a.x", "b=b.x"), live: "a=a.x b=b.x", serves: 1, tests: 1},
			{cfg: config(2, "a=a2.x", "b=bad.x", "c=c.x"), live: "a=a2.x b=b.x c=c.x", serves: 2,
				rejected: map[string]string{"b": "bad name in site-b.conf:7"}, tests: 5},
			{cfg: config(3, "a=a2.x", "b=b3.x", "c=c.x"), live: "a=a2.x b=b3.x c=c.x", serves: 3, tests: 1},
		},
		"a new site that is refused is left out": {
			{cfg: config(1, "a=bad.x", "b=b.x"), live: "b=b.x", serves: 1, rejected: map[string]string{"a": "bad name"}, tests: 4},
		},
		"only a refused site has changed": {
			{cfg: config(1, "a=a.x"), live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(2, "a=bad.x"), live: "a=a.x", serves: 1, unmoved: true, rejected: map[string]string{"a": "bad name"}, tests: 3},
		},
		"a site that is wrong in the model": {
			{cfg: config(1, "a=a.x", "b=b.x"), live: "a=a.x b=b.x", serves: 1, tests: 1},
			{cfg: config(2, "a=a;x", "b=b2.x", "c=c}"), live: "a=a.x b=b2.x", serves: 2,
				rejected: map[string]string{"a": "hosts[0]:", "c": "hosts[0]:"}, tests: 1},
		},
		"sites that do not go together": {
			{cfg: config(1, "a=a.x", "b=b.x"), live: "a=a.x b=b.x", serves: 1, tests: 1},
			{cfg: config(2, "a=left.x", "b=right.x"), live: "a=left.x b=b.x", serves: 2, rejected: map[string]string{"b": "bad name"}, tests: 4},
		},
		"what is common is wrong": {
			{cfg: config(1, "a=a.x"), live: "a=a.x", serves: 1, tests: 1},
			{cfg: func() lbconfig.Config { c := config(2, "a=b.x"); c.Status = "0.0.0.0:1"; return c }(), says: "status:", live: "a=a.x", serves: 1},
		},
		"the main file is broken": {
			{cfg: config(1, "a=a.x"), live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(2, "a=b.x"), with: func(t *testing.T, f *fake) {
				f.write(t, "nginx.conf", "spoilt;\n include "+f.root()+"/current/*.conf;")
			}, err: broken, says: "/nginx.conf:2", live: "a=a.x", serves: 1, tests: 2},
		},
		"the main file includes nothing of ours": {
			{cfg: config(1, "a=a.x"), with: func(t *testing.T, f *fake) {
				f.write(t, "nginx.conf", "# include "+f.root()+"/current/*.conf;")
			}, err: nginx.ErrNoInclude, says: "/supervisord.d/current/*.conf;\" to the http block of"},
		},
		"the test cannot be run": {
			{cfg: config(1, "a=a.x"), live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(2, "a=b.x"), with: func(_ *testing.T, f *fake) { f.testErr = failure }, err: failure, live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(3, "a=b.x"), with: func(_ *testing.T, f *fake) { f.testErr = nil }, live: "a=b.x", serves: 3, tests: 1},
		},
		"nginx is not running, then is started, then told": {
			{cfg: config(1, "a=a.x"), with: func(_ *testing.T, f *fake) { f.stopped = true }, err: nginx.ErrNotRunning, live: "a=a.x", tests: 1},
			{cfg: config(2, "a=a.x"), err: nginx.ErrNotRunning, live: "a=a.x", tests: 1},
			{cfg: config(3, "a=a.x"), with: func(_ *testing.T, f *fake) { f.stopped = false }, live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(4, "a=a.x"), live: "a=a.x", serves: 1, unmoved: true},
		},
		"the reload cannot be asked for": {
			{cfg: config(1, "a=a.x"), live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(2, "a=b.x"), with: func(_ *testing.T, f *fake) { f.reloadErr = failure }, err: failure, live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(3, "a=b.x"), with: func(_ *testing.T, f *fake) { f.reloadErr = nil }, live: "a=b.x", serves: 3, tests: 1},
		},
		"the reload fails silently": {
			{cfg: config(1, "a=a.x"), live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(2, "a=b.x"), with: func(t *testing.T, f *fake) { f.deaf = true; f.write(t, "error.log", "old line\n") },
				err: nginx.ErrNotServed, says: "says:\n[emerg] bind() failed", live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(2, "a=b.x"), with: func(_ *testing.T, f *fake) { f.deaf = false }, live: "a=b.x", serves: 2, tests: 1},
		},
		"the first reload fails silently": {
			{cfg: config(1, "a=a.x"), with: func(_ *testing.T, f *fake) { f.deaf = true }, err: nginx.ErrNotServed, tests: 1},
		},
		"a slow reload": {
			{cfg: config(1, "a=a.x"), with: func(_ *testing.T, f *fake) { f.slow = 9 * time.Second }, live: "a=a.x", serves: 1, tests: 1},
		},
		"old workers answer now and then": {
			{cfg: config(1, "a=a.x"), live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(2, "a=b.x"), with: func(_ *testing.T, f *fake) { f.old = func(n int) bool { return n%3 == 0 && n < 30 } }, live: "a=b.x", serves: 2, tests: 1},
		},
		"a current that is not ours": {
			{cfg: config(1, "a=a.x"), with: func(t *testing.T, f *fake) {
				if err := errors.Join(os.MkdirAll(f.root(), 0o755), os.Symlink("/etc", filepath.Join(f.root(), "current"))); err != nil {
					t.Fatal(err)
				}
			}, says: `points to "/etc"`},
		},
		"left-overs of a kill": {
			{cfg: config(1, "a=a.x"), live: "a=a.x", serves: 1, tests: 1},
			{cfg: config(2, "a=a.x"), with: func(t *testing.T, f *fake) {
				f.write(t, ".nginx.conf.supervisord-test", "x")
				err := errors.Join(os.Mkdir(filepath.Join(f.root(), "gen-2"), 0o755), os.Symlink("gen-2", filepath.Join(f.root(), "current.next")))
				if err != nil {
					t.Fatal(err)
				}
			}, live: "a=a.x", serves: 1, unmoved: true},
		},
	}
	for name, calls := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				for i, call := range calls {
					if call.with != nil {
						call.with(t, f)
					}
					// A new Applier each time: nothing may hang on its memory.
					call.check(t, f, i)
				}
			})
		})
	}
}

func (c apply) check(t *testing.T, f *fake, i int) {
	t.Helper()
	tests := f.tests
	out, err := f.applier().Apply(t.Context(), c.cfg)
	var refused *nginx.ConfigError
	if _, wantRefused := c.err.(*nginx.ConfigError); wantRefused && errors.As(err, &refused) {
		c.err = refused
	}
	if c.err != nil && !errors.Is(err, c.err) || (err != nil) != (c.err != nil || c.says != "") {
		t.Fatalf("call %d: error %v, want %v", i, err, c.err)
	}
	if c.says != "" && !strings.Contains(err.Error(), c.says) {
		t.Errorf("call %d: error %q does not say %q", i, err, c.says)
	}
	if got := f.live(t); got != c.live {
		t.Errorf("call %d: live is %q, want %q", i, got, c.live)
	}
	if n, _ := f.Generation(t.Context()); n != c.serves {
		t.Errorf("call %d: nginx serves generation %d, want %d", i, n, c.serves)
	}
	if err == nil && (out.Generation != c.serves || out.Changed == c.unmoved) {
		t.Errorf("call %d: outcome %+v, want generation %d, changed %v", i, out, c.serves, !c.unmoved)
	}
	if err == nil && out.Changed && (out.Settled < out.Answered+100*time.Millisecond) {
		t.Errorf("call %d: answered after %v, settled after %v", i, out.Answered, out.Settled)
	}
	if len(out.Rejected) != len(c.rejected) {
		t.Errorf("call %d: rejected %v, want %v", i, out.Rejected, c.rejected)
	}
	for service, reason := range c.rejected {
		if !strings.Contains(out.Rejected[service], reason) || strings.Contains(out.Rejected[service], f.dir) {
			t.Errorf("call %d: %s is rejected because %q, want %q and no path", i, service, out.Rejected[service], reason)
		}
	}
	if got := f.tests - tests; got != c.tests {
		t.Errorf("call %d: %d tests, want %d", i, got, c.tests)
	}
	f.tidy(t)
}

func TestUnchangedFilesAreNotWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		if _, err := f.applier().Apply(t.Context(), config(1, "a=a.x", "b=b.x")); err != nil {
			t.Fatal(err)
		}
		if _, err := f.applier().Apply(t.Context(), config(2, "a=a2.x", "b=b.x")); err != nil {
			t.Fatal(err)
		}
		same := func(name string) bool {
			before, err1 := os.Stat(filepath.Join(f.root(), "gen-1", name))
			after, err2 := os.Stat(filepath.Join(f.root(), "gen-2", name))
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			return os.SameFile(before, after)
		}
		if !same("site-b.conf") || same("site-a.conf") || same(lbconfig.CommonFile) {
			t.Error("want one file of the unchanged site and two of what changed")
		}
	})
}

func TestOldWorkersThatNeverStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		if _, err := f.applier().Apply(t.Context(), config(1, "a=a.x")); err != nil {
			t.Fatal(err)
		}
		f.old = func(n int) bool { return n%2 == 0 }
		f.slow = time.Millisecond
		// Old workers answer with what was served before.
		f.onCall = func(string) { f.write(t, "served", "1") }
		out, err := f.applier().Apply(t.Context(), config(2, "a=b.x"))
		if err == nil || !strings.Contains(err.Error(), "an older one accept") {
			t.Fatalf("error %v", err)
		}
		if out.Generation != 2 || out.Answered == 0 || out.Settled != 0 || f.live(t) != "a=b.x" {
			t.Errorf("outcome %+v, live %q: want the new generation answering and not settled", out, f.live(t))
		}
	})
}

// TestCancelledAtEachCall ends the context at the n-th call of the Process, for
// each n; the next Apply must come to the right end.
func TestCancelledAtEachCall(t *testing.T) {
	for n := 1; ; n++ {
		finished := false
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			if _, err := f.applier().Apply(t.Context(), config(1, "a=a.x")); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			calls := 0
			f.slow = 20 * time.Millisecond
			f.onCall = func(string) {
				if calls++; calls == n {
					cancel()
				}
			}
			_, err := f.applier().Apply(ctx, config(2, "a=b.x"))
			finished = calls < n
			if finished != (err == nil) {
				t.Fatalf("call %d of %d: error %v", n, calls, err)
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatalf("call %d: error %v does not say that the context ended", n, err)
			}
			f.onCall = nil
			if live := f.live(t); live != "a=a.x" && live != "a=b.x" {
				t.Fatalf("call %d: live is %q", n, live)
			}
			out, err := f.applier().Apply(t.Context(), config(3, "a=b.x"))
			if err != nil {
				t.Fatalf("call %d: the next Apply fails: %v", n, err)
			}
			served, err := f.Generation(t.Context())
			if err != nil || served != out.Generation || f.live(t) != "a=b.x" {
				t.Fatalf("call %d: live %q, generation %d, outcome %+v, error %v", n, f.live(t), served, out, err)
			}
			f.tidy(t)
		})
		if finished {
			return
		}
		if n > 1000 {
			t.Fatal("Apply does not end")
		}
	}
}

func TestConcurrentCallsWaitForEachOther(t *testing.T) {
	f := newFake(t)
	a := f.applier()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			// The fake panics where two calls meet.
			if _, err := a.Apply(t.Context(), config(uint64(i+1), "a="+string(rune('a'+i))+".x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.tidy(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Apply(ctx, config(9, "a=z.x")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v for a context that has ended", err)
	}
}
