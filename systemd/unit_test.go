package systemd

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write supervisord.service anew")

func TestUnitFileIsTheRenderedOne(t *testing.T) {
	const file = "supervisord.service"
	got := Unit{}.Render()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (-file +rendered); run with -update\n%s", file, d)
	}
}

func TestUnitQuotesWhatItIsGiven(t *testing.T) {
	for _, tc := range []struct {
		name string
		unit Unit
		want string
	}{
		{"usual", Unit{}, "ExecStart=/usr/local/bin/supervisord run"},
		{"flags", Unit{Binary: "/opt/s", Args: []string{"--listen=", "--host", "a b"}}, `ExecStart=/opt/s run --listen= --host "a b"`},
		{"specifiers and variables", Unit{Args: []string{"--host=%h$x"}}, "ExecStart=/usr/local/bin/supervisord run --host=%%h$$x"},
		{"quotes", Unit{Args: []string{`a"b\c'd`, "", ";"}}, `ExecStart=/usr/local/bin/supervisord run "a\"b\\c'd" "" ";"`},
		{"a line of its own", Unit{Args: []string{"x\nUser=nobody"}}, `ExecStart=/usr/local/bin/supervisord run "x\x0aUser=nobody"`},
		{"writable", Unit{Writable: []string{"/srv/log s", "/srv/$a%b"}}, `ReadWritePaths=-/etc/nginx -/var/lib/nginx -/var/log/nginx /run "-/srv/log s" -/srv/$a%%b`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines := strings.Split(string(tc.unit.Render()), "\n")
			for _, l := range lines {
				if l == tc.want {
					return
				}
			}
			t.Errorf("no line\n%s\nin\n%s", tc.want, strings.Join(lines, "\n"))
		})
	}
}

// installed writes a unit that starts this very test, which exists.
func installed(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real systemd-analyze")
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze, of Debian's package systemd")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "supervisord.service")
	unit := Unit{Binary: self, Args: []string{"--host=a b%$\n\"c"}, Writable: []string{"/srv/my logs"}}
	if err := os.WriteFile(file, unit.Render(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSystemdFindsNothingWrong(t *testing.T) {
	file := installed(t)
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, file) || strings.Contains(line, "supervisord.service") {
			t.Error(line)
		}
	}
}

// maxExposure is the score that the unit must stay below: 0 is the least
// exposed, a daemon with all of root's powers has above 9.
const maxExposure = 4.0

func TestUnitExposesLittle(t *testing.T) {
	file := installed(t)
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", file).CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for .*: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no score: %v\n%s", err, out)
	}
	score, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("exposure %.1f", score)
	if score > maxExposure {
		t.Errorf("exposure %.1f, want %.1f at most\n%s", score, maxExposure, out)
	}
}
