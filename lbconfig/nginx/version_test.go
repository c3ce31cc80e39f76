package nginx_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/lbconfig/nginx"
)

// What a newer nginx can do is used where it runs, and an older one is not
// given what it does not know.
func TestWhatNewerNginxOffersIsUsedWhereItRuns(t *testing.T) {
	for _, tc := range []struct {
		version string
		want    bool
	}{
		{"1.22.1", false}, {"1.27.3", false}, {"1.27.4", true}, {"1.28.0", true}, {"2.0.0", true}, {"unknown", false},
	} {
		t.Run(tc.version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.version = tc.version
				begin := time.Now()
				if _, err := f.applier().Apply(t.Context(), lbconfig.Config{Generation: 1, Listen: []string{"80"}, Status: "127.0.0.1:9371"}); err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(filepath.Join(f.root(), "current", lbconfig.CommonFile))
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Contains(string(text), "keepalive_min_timeout 1s;"); got != tc.want {
					t.Errorf("used: %v, want %v", got, tc.want)
				}
				// Old workers may pass on a request of an idle client for as long.
				if tc.want && time.Since(begin) < time.Second {
					t.Errorf("confirmed after %s already", time.Since(begin))
				}
			})
		})
	}
}

func TestTheRunningNginxSaysItsVersion(t *testing.T) {
	if _, err := (nginx.Host{PIDFile: t.TempDir() + "/nginx.pid"}).Version(t.Context()); err == nil {
		t.Error("a version of no nginx")
	}
	got, err := nginx.Contained{Container: canned{"nginx version: nginx/1.25.3\n", 0}}.Version(t.Context())
	if err != nil || !strings.Contains(got, "1.25.3") {
		t.Errorf("in a container: %q, %v", got, err)
	}
	if _, err := (nginx.Contained{Container: canned{"sh: not found\n", 127}}).Version(t.Context()); err == nil {
		t.Error("a version of what is not there")
	}
	if testing.Short() {
		return
	}
	p := startNginx(t)
	if got, err := p.host().Version(t.Context()); err != nil || !strings.Contains(got, "nginx version: nginx/1.") {
		t.Errorf("the real one: %q, %v", got, err)
	}
}
