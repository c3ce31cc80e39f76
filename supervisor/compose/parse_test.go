package compose

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/supervisord/supervisord/supervisor/state"
)

var update = flag.Bool("update", false, "write the golden files anew")

const name = "docker-compose.prod.yml"

// archive is a project as files: the compose file and what lies beside it.
func archive(t testing.TB, file string) (data []byte, opts Options) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, f := range a.Files {
		if f.Name == name {
			data = f.Data
			continue
		}
		files["srv/acme/"+f.Name] = &fstest.MapFile{Data: f.Data}
	}
	if data == nil {
		t.Fatalf("%s has no %s", file, name)
	}
	return data, Options{Dir: "/srv/acme", FS: files, Environ: []string{"FROM_PROCESS=process", "BOTH=process"}}
}

func archives(t testing.TB, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no archives in %s: %v", dir, err)
	}
	return list
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// Each archive in testdata/good is a file in order; the golden file beside it
// is what it means.
func TestGoodFiles(t *testing.T) {
	for _, file := range archives(t, "good") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, opts := archive(t, file)
			p, err := Parse(t.Context(), name, data, opts)
			if err != nil {
				t.Fatalf("refused:\n%v", err)
			}
			if p.Spec.Source != string(data) {
				t.Errorf("the source is not the file's text:\n%s", p.Spec.Source)
			}
			p.Spec.Source = "" // the archive has it
			golden(t, strings.TrimSuffix(file, ".txtar")+".json", shown(t, p))
		})
	}
}

func shown(t *testing.T, p *Project) []byte {
	t.Helper()
	var warnings []string
	for _, w := range p.Warnings {
		warnings = append(warnings, w.String())
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(struct {
		Spec     state.Spec `json:"spec"`
		Files    []string   `json:"files"`
		Warnings []string   `json:"warnings"`
	}{p.Spec, p.Files, warnings}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Each archive in testdata/bad has problems; the golden file beside it is all
// that is said of them.
func TestBadFiles(t *testing.T) {
	for _, file := range archives(t, "bad") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, opts := archive(t, file)
			p, err := Parse(t.Context(), name, data, opts)
			if err == nil || p != nil {
				t.Fatalf("taken: %+v, error %v", p, err)
			}
			for _, e := range problems(t, err) {
				if e.Line < 1 || e.Col < 1 || e.Line > bytes.Count(data, []byte("\n"))+1 && e.File == name {
					t.Errorf("%v is outside of the file", e)
				}
			}
			golden(t, strings.TrimSuffix(file, ".txtar")+".txt", []byte(err.Error()+"\n"))
		})
	}
}

// problems are the parts of what Parse returns.
func problems(t testing.TB, err error) []*Error {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not joined: %v", err, err)
	}
	var out []*Error
	for _, part := range joined.Unwrap() {
		e, ok := errors.AsType[*Error](part)
		if !ok {
			t.Fatalf("%T is no *Error: %v", part, part)
		}
		out = append(out, e)
	}
	return out
}

// Reading the same input twice gives the same bytes: nothing depends on the
// order of maps.
func TestParseIsDeterministic(t *testing.T) {
	for _, file := range append(archives(t, "good"), archives(t, "bad")...) {
		data, opts := archive(t, file)
		first, firstErr := Parse(t.Context(), name, data, opts)
		for range 20 {
			p, err := Parse(t.Context(), name, data, opts)
			if diff := cmp.Diff(first, p); diff != "" {
				t.Fatalf("%s (-first +again):\n%s", file, diff)
			}
			if firstErr != nil && firstErr.Error() != err.Error() {
				t.Fatalf("%s: first\n%v\nthen\n%v", file, firstErr, err)
			}
		}
	}
}

func TestParseNeedsAnAbsoluteDirectory(t *testing.T) {
	_, err := Parse(t.Context(), name, []byte("services: {}"), Options{})
	if err == nil || !strings.Contains(err.Error(), "not absolute") {
		t.Errorf("error %v", err)
	}
}

// The example at the top of the repository is in order, without a warning.
func TestExampleOfTheRepository(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name), string(data))
	_, err = Load(t.Context(), filepath.Join(dir, name), Options{})
	if err == nil {
		t.Error("taken without its secrets")
	} else if got := problems(t, err); len(got) != 2 || !strings.Contains(got[0].Problem, "does not exist") {
		t.Errorf("without its secrets: %v", err)
	}

	write(t, filepath.Join(dir, "secrets", "postgres_password"), "x")
	write(t, filepath.Join(dir, "secrets", "redis.conf"), "requirepass x\n")
	p, err := Load(t.Context(), filepath.Join(dir, name), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Warnings) > 0 {
		t.Errorf("warnings: %v", p.Warnings)
	}
	backend := p.Spec.Services["backend"]
	if backend.Autoscale == nil || backend.Ingress == nil || backend.Stateful {
		t.Errorf("backend: %+v", backend)
	}
	for service, engine := range map[string]string{"postgres": "postgres", "redis": "redis"} {
		s := p.Spec.Services[service]
		if !s.Stateful || s.Replicas != 1 || s.Database == nil || s.Database.Engine != engine {
			t.Errorf("%s: stateful %v, %d replicas, database %+v", service, s.Stateful, s.Replicas, s.Database)
		}
		if len(s.Container.Ports) > 0 || len(s.Container.Networks) != 1 || !p.Spec.Networks["data"].Internal {
			t.Errorf("%s can be reached from outside: %+v", service, s.Container.Networks)
		}
	}
}

// Docker compose takes the same file, with our keys in it.
func TestExampleIsTakenByDockerCompose(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real docker-compose")
	}
	tool, err := exec.LookPath("docker-compose")
	if err != nil {
		t.Skip("docker-compose is not installed")
	}
	cmd := exec.CommandContext(t.Context(), tool, "-f", filepath.Join("..", "..", name), "config", "--quiet")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("refused: %v\n%s", err, out)
	}
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
