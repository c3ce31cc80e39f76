package api_test

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

func TestThePageNeedsNothingFromElsewhere(t *testing.T) {
	h := handler(apitest.New())
	elsewhere := regexp.MustCompile(`https?://|//[a-z]|@import|\binnerHTML\b|\beval\b|style="|onclick`)
	for path, kind := range map[string]string{
		"/":            "text/html; charset=utf-8",
		"/ui/page.js":  "text/javascript; charset=utf-8",
		"/ui/page.css": "text/css; charset=utf-8",
	} {
		w := ask(h, http.MethodGet, path, "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		if found := elsewhere.FindString(w.Body.String()); found != "" {
			t.Errorf("%s contains %q", path, found)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
	if w := ask(h, http.MethodGet, "/ui/nothing.js", ""); w.Code != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", w.Code)
	}
}

// browse returns what a real browser has made of the page, and its complaints.
func browse(t *testing.T, url string) (dom, console string) {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if testing.Short() || err != nil {
		t.Skip("needs a real browser (chromium)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var complaints strings.Builder
	cmd := exec.CommandContext(ctx, browser,
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=3000", "--window-size=1200,1100",
		"--enable-logging=stderr", "--dump-dom", url)
	cmd.Stderr = &complaints
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%v\n%s", err, complaints.String())
	}
	return string(out), complaints.String()
}

// shown is the page of a backend in a real browser. The browser's virtual time
// stands still while a stream is open, so the streams end at once.
func shown(t *testing.T, b *apitest.Backend) (dom, console string) {
	t.Helper()
	stopping := make(chan struct{})
	close(stopping)
	return browse(t, serve(t, handler(b, func(o *api.Options) { o.Stopping = stopping })).URL)
}

func TestThePageShowsDatabasesOutside(t *testing.T) {
	b, fail := backedUpOutside()
	fail()
	dom, _ := shown(t, b)
	for _, want := range []string{`<span class="name">orders</span><span class="small">postgres, outside</span>`, "backup: the last backup failed: no route to host"} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page does not show %s", want)
		}
	}
}

func TestThePageShowsTheClusterInARealBrowser(t *testing.T) {
	b := apitest.Example()
	b.Must(state.ReportSpecError{Host: "alpha", Problem: "docker-compose.prod.yml:7:5: services.backend.imge: unknown key"})
	note(b, "<img src=x onerror=alert(1)> is only text")
	dom, console := shown(t, b)
	for _, want := range []string{
		`<span class="name">backend</span><span class="count">3 / 4</span>`,
		`min 2 · max 12`,
		`56 %`,
		`backend stays at 4: cpu is at 56 % of its limit, inside its band of 30–70 %`,
		`<td>backend-4</td><td><span class="assigned" title="backend wants 4">assigned</span></td><td>4s</td>`,
		`unknown key`,
		`3 in a row failed: exited with code 1`,
		`<span class="pill degraded"`,
		`&lt;img src=x onerror=alert(1)&gt; is only text`,
		`alpha · 1.0.0 · leads · acme revision 1 · up 1m6s`,
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page does not show %s", want)
		}
	}
	for _, bad := range []string{"Content Security Policy", "Uncaught", "Refused to"} {
		if strings.Contains(console, bad) {
			t.Errorf("the browser complains:\n%s", console)
		}
	}
}
