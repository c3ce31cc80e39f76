package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what has to come; it is no measure.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// told is one call of onChange.
type told struct {
	project *Project
	err     error
}

// image is that of the service web; empty for an error.
func (t told) image() string {
	if t.project == nil {
		return ""
	}
	return t.project.Spec.Services["web"].Container.Image
}

// watched runs a watch of real files.
type watched struct {
	*testing.T
	calls chan told
}

func startWatch(t *testing.T, file string) *watched {
	t.Helper()
	w := &watched{t, make(chan told, 1000)}
	w.run(func(ctx context.Context) error {
		return Watch(ctx, file, Options{}, func(p *Project, err error) { w.calls <- told{p, err} })
	})
	return w
}

func (w *watched) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.Errorf("the watch ended with %v", err)
		}
	})
}

func (w *watched) next() told {
	w.Helper()
	select {
	case c := <-w.calls:
		return c
	case <-time.After(patience):
		w.Fatal("nothing was told")
		return told{}
	}
}

// until waits for an image and gives the calls on the way to it.
func (w *watched) until(image string) (before []told) {
	w.Helper()
	for {
		c := w.next()
		if c.image() == image {
			return before
		}
		before = append(before, c)
	}
}

// untilError waits for an error.
func (w *watched) untilError() error {
	w.Helper()
	for {
		if c := w.next(); c.err != nil {
			return c.err
		}
	}
}

func web(image string) string { return "services:\n  web:\n    image: " + image + "\n" }

// replace writes aside and renames, as editors and deployments do.
func replace(t *testing.T, file, text string) {
	t.Helper()
	write(t, file+".new", text)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchFollowsEditors(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(t *testing.T, file string)
	}{
		{"write in place", func(t *testing.T, file string) { write(t, file, web("two")) }},
		{"rename over it", func(t *testing.T, file string) { replace(t, file, web("two")) }},
		{"move away, then write anew", func(t *testing.T, file string) {
			must(t, os.Rename(file, file+"~"))
			write(t, file, web("two"))
		}},
		{"truncate, then write", func(t *testing.T, file string) {
			must(t, os.Truncate(file, 0))
			time.Sleep(150 * time.Millisecond) // longer than the quiet time
			write(t, file, web("two"))
		}},
		{"delete, then recreate", func(t *testing.T, file string) {
			must(t, os.Remove(file))
			time.Sleep(150 * time.Millisecond)
			write(t, file, web("two"))
		}},
		{"recreate the directory", func(t *testing.T, file string) {
			must(t, os.RemoveAll(filepath.Dir(file)))
			write(t, file, web("two"))
		}},
		{"exchange the directory", func(t *testing.T, file string) {
			dir := filepath.Dir(file)
			write(t, filepath.Join(dir+".new", filepath.Base(file)), web("two"))
			must(t, os.Rename(dir, dir+".old"))
			must(t, os.Rename(dir+".new", dir))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "conf", name)
			write(t, file, web("one"))
			w := startWatch(t, file)
			if first := w.next(); first.image() != "one" {
				t.Fatalf("first %+v", first)
			}
			c.edit(t, file)
			w.until("two")
			// It is still followed afterwards.
			replace(t, file, web("three"))
			w.until("three")
		})
	}
}

// Kubernetes and others publish a directory by exchanging one link.
func TestWatchFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "v1", name), web("one"))
	write(t, filepath.Join(dir, "v2", name), web("two"))
	link := func(target, at string) {
		t.Helper()
		must(t, os.Symlink(target, at+".new"))
		must(t, os.Rename(at+".new", at))
	}
	link("v1", filepath.Join(dir, "..data"))
	file := filepath.Join(dir, name)
	link("..data/"+name, file)

	w := startWatch(t, file)
	w.until("one")
	link("v2", filepath.Join(dir, "..data"))
	w.until("two")
	write(t, filepath.Join(dir, "v2", name), web("two-edited"))
	w.until("two-edited")
	link(filepath.Join(dir, "v1", name), file)
	w.until("one")
	write(t, filepath.Join(dir, "v1", name), web("one-edited"))
	w.until("one-edited")
}

func TestWatchTellsWrongThenRight(t *testing.T) {
	file := filepath.Join(t.TempDir(), name)
	write(t, file, web("one"))
	w := startWatch(t, file)
	w.until("one")
	write(t, file, "services:\n  web:\n    imagee: two\n")
	if err := w.untilError(); !strings.Contains(err.Error(), name+":3:5: services.web.imagee") {
		t.Errorf("error %v", err)
	}
	write(t, file, web("two"))
	w.until("two")
	// Back to what was, after an error, is news.
	write(t, file, "services: [")
	w.untilError()
	write(t, file, web("two"))
	w.until("two")
}

func TestWatchStartsWithoutAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not", "yet", name)
	w := startWatch(t, file)
	if err := w.next().err; !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error %v", err)
	}
	write(t, file, web("one"))
	w.until("one")
	must(t, os.Remove(file))
	if err := w.untilError(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// What the file refers to is followed like the file itself, from the moment it
// is referred to, and also when it does not exist yet.
func TestWatchFollowsOtherFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	write(t, file, web("acme/${TAG:-none}"))
	w := startWatch(t, file)
	w.until("acme/none")

	write(t, filepath.Join(dir, ".env"), "TAG=one\n")
	w.until("acme/one")
	replace(t, filepath.Join(dir, ".env"), "TAG=two\n")
	w.until("acme/two")

	write(t, file, web("acme/x")+"    env_file: conf/web.env\n    secrets: [key]\nsecrets: {key: {file: secrets/key}}\n")
	if err := w.untilError(); strings.Count(err.Error(), "does not exist") != 2 {
		t.Errorf("error %v", err)
	}
	write(t, filepath.Join(dir, "conf", "web.env"), "A=1\n")
	write(t, filepath.Join(dir, "secrets", "key"), "secret")
	w.until("acme/x")

	write(t, filepath.Join(dir, "conf", "web.env"), "A=2\n")
	for w.next().project.Spec.Services["web"].Container.Environment[0] != "A=2" {
	}
	replace(t, filepath.Join(dir, "secrets", "key"), "other")
	if c := w.next(); c.image() != "acme/x" {
		t.Errorf("after the secret has changed: %+v", c)
	}
}

// Many writes are few calls, and the last one wins.
func TestWatchCoalesces(t *testing.T) {
	file := filepath.Join(t.TempDir(), name)
	write(t, file, web("start"))
	w := startWatch(t, file)
	w.until("start")
	const writes = 300
	for i := range writes {
		replace(t, file, web(fmt.Sprintf("image%d", i)))
	}
	replace(t, file, web("last"))
	if calls := len(w.until("last")) + 1; calls > writes/4 {
		t.Errorf("%d calls for %d writes", calls, writes)
	}
}

// Writing the same again, touching it and files beside it are no change.
func TestWatchIgnoresWhatChangesNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	write(t, file, web("one"))
	w := startWatch(t, file)
	w.until("one")
	replace(t, file, web("one"))
	must(t, os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)))
	write(t, filepath.Join(dir, "other.yml"), web("other"))
	time.Sleep(700 * time.Millisecond) // more than a look needs
	write(t, file, web("two"))
	if between := w.until("two"); len(between) > 0 {
		t.Errorf("told %+v", between)
	}
}

// bench is a watch whose events and failures come from the test.
func bench(t *testing.T, file string, p pace, src source) (*watched, chan fsnotify.Event, chan error) {
	t.Helper()
	w := &watched{t, make(chan told, 1000)}
	events, failures := make(chan fsnotify.Event), make(chan error)
	inner := &watch{file: file, abs: file, pace: p, source: src,
		onChange: func(p *Project, err error) { w.calls <- told{p, err} }}
	w.run(func(ctx context.Context) error { return inner.run(ctx, events, failures) })
	return w, events, failures
}

// deaf takes directories and tells nothing of them.
type deaf struct{}

func (deaf) Add(string) error    { return nil }
func (deaf) Remove(string) error { return nil }
func (deaf) WatchList() []string { return nil }

func TestWatchLooksAfterAnOverflow(t *testing.T) {
	file := filepath.Join(t.TempDir(), name)
	write(t, file, web("one"))
	p := defaultPace()
	p.poll = time.Hour
	w, _, failures := bench(t, file, p, deaf{})
	w.until("one")
	write(t, file, web("two"))
	failures <- fsnotify.ErrEventOverflow
	w.until("two")
}

func TestWatchLooksWithoutEvents(t *testing.T) {
	p := defaultPace()
	t.Run("lost", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), name)
		write(t, file, web("one"))
		p.poll = 20 * time.Millisecond
		w, _, _ := bench(t, file, p, deaf{})
		w.until("one")
		write(t, file, web("two"))
		w.until("two")
	})
	t.Run("not to be had", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), name)
		write(t, file, web("one"))
		p.poll, p.blind = time.Hour, 20*time.Millisecond
		w, _, _ := bench(t, file, p, noSource{})
		w.until("one")
		write(t, file, web("two"))
		w.until("two")
	})
}

// Steady events put the look off, but not for ever.
func TestWatchLooksUnderSteadyEvents(t *testing.T) {
	file := filepath.Join(t.TempDir(), name)
	write(t, file, web("one"))
	p := defaultPace()
	p.poll, p.quiet = time.Hour, time.Hour
	w, events, _ := bench(t, file, p, deaf{})
	w.until("one")
	write(t, file, web("two"))
	for {
		select {
		case events <- fsnotify.Event{Name: file, Op: fsnotify.Write}:
		case c := <-w.calls:
			if c.image() != "two" {
				t.Errorf("told %+v", c)
			}
			return
		case <-time.After(patience):
			t.Fatal("nothing was told")
		}
	}
}

func TestTraceGoesWhereTheKernelGoes(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	write(t, filepath.Join(dir, "a", "real", "f"), "")
	must(t, os.Symlink("../a/real", filepath.Join(dir, "a", "rel")))
	must(t, os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "abs")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	for _, c := range []struct{ file, names, dirs string }{
		{"abs/rel/f", "abs a a/rel a/real a/real/f", ". a a/real"},
		{"abs/rel/none/f", "abs a a/rel a/real a/real/none", ". a a/real"},
		{"loop/f", "loop", "."},
	} {
		t.Run(c.file, func(t *testing.T) {
			names, dirs := map[string]bool{}, map[string]bool{}
			trace(filepath.Join(dir, c.file), names, dirs)
			for _, n := range strings.Fields(c.names) {
				if !names[filepath.Join(dir, n)] {
					t.Errorf("no name %s in %v", n, names)
				}
			}
			for _, d := range strings.Fields(c.dirs) {
				if !dirs[filepath.Join(dir, d)] {
					t.Errorf("no directory %s in %v", d, dirs)
				}
			}
			if dirs[filepath.Join(dir, "abs")] || dirs[filepath.Join(dir, "loop")] {
				t.Errorf("a link is watched as a directory: %v", dirs)
			}
		})
	}
}

// The time from an edit to the call.
func BenchmarkWatch(b *testing.B) {
	file := filepath.Join(b.TempDir(), name)
	write(b, file, web("start"))
	calls := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- Watch(ctx, file, Options{}, func(*Project, error) { calls <- struct{}{} }) }()
	<-calls
	for i := 0; b.Loop(); i++ {
		write(b, file, web(fmt.Sprintf("image%d", i)))
		<-calls
	}
	cancel()
	<-done
}
