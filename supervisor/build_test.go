package supervisor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsBuiltHasANameOfItsOwn(t *testing.T) {
	const id = "sha256:0123456789abcdef0123456789abcdef"
	for image, want := range map[string]string{
		"acme/web:1.4":                "acme/web:1.4-0123456789ab",
		"acme/web":                    "acme/web:built-0123456789ab",
		"registry.example:5000/web":   "registry.example:5000/web:built-0123456789ab",
		"registry.example:5000/web:2": "registry.example:5000/web:2-0123456789ab",
		"acme/web:1.4-fedcba987654":   "acme/web:1.4-0123456789ab",
		"acme/web:1.4-beta":           "acme/web:1.4-beta-0123456789ab",
	} {
		if got := unique(image, id); got != want {
			t.Errorf("%s becomes %s, want %s", image, got, want)
		}
	}
}

// TestBuildReadsTheContextAndLeavesOutWhatIsIgnored builds on a real engine.
func TestBuildReadsTheContextAndLeavesOutWhatIsIgnored(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real engine")
	}
	dir := t.TempDir()
	files := map[string]string{
		"compose.yml":       "services: {web: {image: supervisord-test-built:1, build: {context: src, dockerfile: my.Dockerfile, args: {WHO: web}}}}",
		"src/my.Dockerfile": "FROM scratch\nARG WHO\nLABEL who=$WHO\nCOPY . /\n",
		"src/.dockerignore": "*\n!wanted\n",
		"src/wanted":        "yes",
		"src/secret":        "no",
	}
	write := func() {
		for name, text := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	docker := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("docker", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("docker %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	var said strings.Builder
	build := func() string {
		t.Helper()
		images, err := Build(t.Context(), BuildOptions{
			File: filepath.Join(dir, "compose.yml"), Tell: func(service, text string) { said.WriteString(service + text) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return images["web"]
	}
	write()
	first := build()
	t.Cleanup(func() { docker("rmi", "-f", "supervisord-test-built:1", first) })
	if !strings.Contains(said.String(), "webStep 1/") {
		t.Errorf("it says %q", said.String())
	}
	if who := docker("inspect", "-f", "{{.Config.Labels.who}}", first); strings.TrimSpace(who) != "web" {
		t.Errorf("the argument is %q", who)
	}
	id := strings.TrimSpace(docker("create", first, "/none"))
	archive := docker("export", id)
	docker("rm", id)
	if !strings.Contains(archive, "wanted") || strings.Contains(archive, "secret") {
		t.Error("the image has what is ignored, or has not what is wanted")
	}
	// The same again is the same; another one is not.
	if again := build(); again != first {
		t.Errorf("built again it is %s, was %s", again, first)
	}
	files["src/wanted"] = "other"
	write()
	second := build()
	if second == first {
		t.Error("another content has the same name")
	}
	docker("rmi", "-f", second)
	files["src/my.Dockerfile"] = "FROM scratch\nCOPY nowhere /\n"
	write()
	if _, err := Build(t.Context(), BuildOptions{File: filepath.Join(dir, "compose.yml"), Tell: func(string, string) {}}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a recipe that fails: %v", err)
	}
}
