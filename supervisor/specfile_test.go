package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// clusterOf is a replica and a reporter in one: what is proposed is applied.
type clusterOf struct {
	mu      sync.Mutex
	c       state.Cluster
	changed chan struct{}
}

func newClusterOf(t *testing.T, hosts ...string) *clusterOf {
	k := &clusterOf{c: state.New(), changed: make(chan struct{})}
	cmds := []state.Command{state.Found{ID: "tested"}}
	for _, h := range hosts {
		cmds = append(cmds, state.RegisterHost{Name: h, Server: h})
	}
	refused, err := k.Propose(t.Context(), cmds...)
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *clusterOf) Current() (state.Cluster, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.c, k.changed
}

func (k *clusterOf) Propose(_ context.Context, cmds ...state.Command) ([]error, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next, refused := state.Apply(k.c, k.c.Index+1, state.Proposal{At: time.Now(), Commands: cmds})
	k.c = next
	close(k.changed)
	k.changed = make(chan struct{})
	return refused, nil
}

// fileHost is one host's file, watched and followed for real.
type fileHost struct {
	t    *testing.T
	name string
	file string
	// state is where the daemon remembers.
	state string
}

const fileOf = "services:\n  web:\n    image: acme/web:%s\n"

func textOf(tag string) string { return strings.Replace(fileOf, "%s", tag, 1) }

// follows runs a host's watch and follower until the function it returns is
// called.
func follows(t *testing.T, k *clusterOf, h *fileHost) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	file := newSpecFile(h.file, h.state)
	f := &follower{host: h.name, replica: k, report: k, file: file, ready: func() bool { return true }, log: log}
	edits := make(chan edit)
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.run(ctx, edits) })
	wg.Go(func() { _ = watchSpec(ctx, Options{Config: h.file, Log: log}, file, edits) })
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(stop)
	return stop
}

func newFileHost(t *testing.T, name, text string) *fileHost {
	dir := t.TempDir()
	h := &fileHost{t: t, name: name, file: filepath.Join(dir, "acme", "docker-compose.prod.yml"), state: t.TempDir()}
	if err := os.Mkdir(filepath.Dir(h.file), 0o755); err != nil {
		t.Fatal(err)
	}
	if text != "" {
		h.edit(text)
	}
	return h
}

func (h *fileHost) edit(text string) {
	h.t.Helper()
	if err := os.WriteFile(h.file, []byte(text), 0o640); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fileHost) text() string {
	data, err := os.ReadFile(h.file)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// aside is what was saved beside the file.
func (h *fileHost) aside() []string {
	h.t.Helper()
	names, err := filepath.Glob(h.file + ".conflict-*")
	if err != nil {
		h.t.Fatal(err)
	}
	var texts []string
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			h.t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
	return texts
}

func inForce(k *clusterOf, revision uint64, text string, hosts ...*fileHost) func() string {
	return func() string {
		c, _ := k.Current()
		if c.Spec.Revision != revision || c.Spec.Source != text {
			return "revision " + time.Duration(c.Spec.Revision).String() + " with " + c.Spec.Source
		}
		for _, h := range hosts {
			if h.text() != text {
				return "on " + h.name + ": " + h.text()
			}
		}
		return ""
	}
}

func TestAnEditOnAnyHostBecomesTheClustersAndTheOthersFollow(t *testing.T) {
	k := newClusterOf(t, "a", "b")
	a, b := newFileHost(t, "a", textOf("1")), newFileHost(t, "b", "")
	follows(t, k, a)
	eventually(t, "the first file", inForce(k, 1, textOf("1"), a))
	follows(t, k, b)
	eventually(t, "the host without a file gets it", inForce(k, 1, textOf("1"), a, b))
	b.edit(textOf("2"))
	eventually(t, "an edit on b", inForce(k, 2, textOf("2"), a, b))
	a.edit(textOf("3") + "# with a remark\n")
	eventually(t, "an edit on a", inForce(k, 3, textOf("3")+"# with a remark\n", a, b))
	if info, err := os.Stat(a.file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode of a's file is %v (%v), want that of the operator", info.Mode(), err)
	}
	if n := len(a.aside()) + len(b.aside()); n > 0 {
		t.Errorf("%d edits were saved aside, nothing was in conflict", n)
	}
}

func TestAnEditFromAnOlderRevisionIsSavedAsideAndNotTaken(t *testing.T) {
	k := newClusterOf(t, "a", "b")
	a, b := newFileHost(t, "a", textOf("1")), newFileHost(t, "b", "")
	follows(t, k, a)
	stop := follows(t, k, b)
	eventually(t, "both in step", inForce(k, 1, textOf("1"), a, b))
	stop() // b is cut off, say
	b.edit(textOf("b"))
	a.edit(textOf("a"))
	eventually(t, "the edit on a", inForce(k, 2, textOf("a"), a))
	follows(t, k, b)
	eventually(t, "b follows", inForce(k, 2, textOf("a"), a, b))
	if got := b.aside(); len(got) != 1 || got[0] != textOf("b") {
		t.Errorf("saved aside: %q, want b's edit", got)
	}
	eventually(t, "the event", func() string {
		c, _ := k.Current()
		for _, e := range c.EventsAfter(0) {
			if e.Kind == state.EventSpecConflict && e.Host == "b" && strings.Contains(e.Message, "was made from revision 1") {
				return ""
			}
		}
		return "no event tells of it"
	})
}

func TestAHostThatJoinsWithAFileOfItsOwnKeepsItAside(t *testing.T) {
	k := newClusterOf(t, "a", "b")
	a, b := newFileHost(t, "a", textOf("1")), newFileHost(t, "b", "not even: [yaml")
	follows(t, k, a)
	eventually(t, "the first file", inForce(k, 1, textOf("1"), a))
	follows(t, k, b)
	eventually(t, "b follows", inForce(k, 1, textOf("1"), a, b))
	if got := b.aside(); len(got) != 1 || got[0] != "not even: [yaml" {
		t.Errorf("saved aside: %q", got)
	}
}

func TestAWrongEditIsToldAndTakenBackByARightOne(t *testing.T) {
	k := newClusterOf(t, "a")
	a := newFileHost(t, "a", textOf("1"))
	stop := follows(t, k, a)
	eventually(t, "the first file", inForce(k, 1, textOf("1"), a))
	problem := func(want string) func() string {
		return func() string {
			c, _ := k.Current()
			if h, _ := c.Hosts.Get("a"); !strings.Contains(h.SpecError, want) || want == "" && h.SpecError != "" {
				return "told: " + h.SpecError
			}
			return ""
		}
	}
	a.edit(textOf("1") + "    imagine: this\n")
	eventually(t, "the problem", problem("docker-compose.prod.yml:4:5"))
	stop() // a restart does not forget that
	follows(t, k, a)
	time.Sleep(300 * time.Millisecond)
	eventually(t, "still", problem("imagine"))
	a.edit(textOf("1"))
	eventually(t, "taken back", problem(""))
	if c, _ := k.Current(); c.Spec.Revision != 1 {
		t.Errorf("revision %d is in force, nothing was changed", c.Spec.Revision)
	}
}

func TestAnEnvFileThatChangesIsAnEditAndOneThatOnlyThisHostHasIsNot(t *testing.T) {
	text := "services:\n  web:\n    image: acme/web:1\n    env_file: web.env\n"
	k := newClusterOf(t, "a", "b")
	a, b := newFileHost(t, "a", ""), newFileHost(t, "b", "")
	env := filepath.Join(filepath.Dir(a.file), "web.env")
	if err := os.WriteFile(env, []byte("LEVEL=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.edit(text)
	follows(t, k, a)
	eventually(t, "the first file", inForce(k, 1, text, a))
	follows(t, k, b) // without the env file
	eventually(t, "b follows", inForce(k, 1, text, a, b))
	if err := os.WriteFile(env, []byte("LEVEL=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the env file", inForce(k, 2, text, a, b))
	c, _ := k.Current()
	if got := c.Spec.Services["web"].Container.Environment; len(got) != 1 || got[0] != "LEVEL=2" {
		t.Errorf("the environment is %v", got)
	}
	time.Sleep(500 * time.Millisecond)
	c, _ = k.Current()
	if h, _ := c.Hosts.Get("b"); h.SpecError != "" || c.Spec.Revision != 2 {
		t.Errorf("b, which has no env file, says %q; revision %d", h.SpecError, c.Spec.Revision)
	}
}

func TestALinkToTheFileStaysALink(t *testing.T) {
	k := newClusterOf(t, "a", "b")
	a, b := newFileHost(t, "a", textOf("1")), newFileHost(t, "b", "")
	real := filepath.Join(t.TempDir(), "real.yml")
	if err := errors.Join(os.WriteFile(real, []byte(textOf("1")), 0o600), os.Symlink(real, b.file)); err != nil {
		t.Fatal(err)
	}
	follows(t, k, a)
	eventually(t, "the first file", inForce(k, 1, textOf("1"), a))
	follows(t, k, b)
	a.edit(textOf("2"))
	eventually(t, "an edit on a", inForce(k, 2, textOf("2"), a, b))
	if to, err := os.Readlink(b.file); err != nil || to != real {
		t.Errorf("the link points to %q: %v", to, err)
	}
}
