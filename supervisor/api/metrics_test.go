package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

func scrape(t *testing.T, h http.Handler) []byte {
	t.Helper()
	w := ask(h, http.MethodGet, "/metrics", "")
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}

var goVersion = regexp.MustCompile(`goversion="[^"]*"`)

// own are the lines of our own metrics.
func own(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("supervisord_")) {
			out = append(out, line...)
		}
	}
	return goVersion.ReplaceAll(out, []byte(`goversion="go"`))
}

func TestMetrics(t *testing.T) {
	b := apitest.Example()
	b.Must(state.ConfirmRoutes{Host: "alpha", Index: 1, Rejected: map[string]string{"backend": "unknown directive"}})
	b.Must(state.ReportSpecError{Host: "alpha", Problem: "f:1:1: no"})
	text := scrape(t, handler(b))
	golden(t, "metrics.txt", own(text))
	for _, name := range []string{"process_resident_memory_bytes", "process_cpu_seconds_total", "go_goroutines"} {
		if !bytes.Contains(text, []byte("\n"+name+" ")) {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestMetricsOfAnEmptyCluster(t *testing.T) {
	golden(t, "metrics_empty.txt", own(scrape(t, handler(apitest.New()))))
}

func TestMetricsFollowTheConventions(t *testing.T) {
	problems, err := promlint.New(bytes.NewReader(scrape(t, handler(apitest.Example())))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestAnUnknownReasonIsShownAllTheSame(t *testing.T) {
	b := apitest.Example()
	b.SetLocal(func(l *api.Local) {
		l.Decisions = map[string]autoscale.Decision{"backend": {Reason: "new_reason"}}
	})
	text := scrape(t, handler(b))
	if n := strings.Count(string(text), `supervisord_decision_reason{reason="new_reason",service="backend"} 1`); n != 1 {
		t.Errorf("%d times in\n%s", n, own(text))
	}
	if n := strings.Count(string(text), `supervisord_decision_reason{`); n != 14 {
		t.Errorf("%d reasons", n)
	}
}

// The counter of scale events counts each event once, never goes down when old
// events leave the state, and does not depend on who scrapes.
func TestScaleEventsAreCountedOnce(t *testing.T) {
	b := apitest.Example()
	h := handler(b)
	count := func(direction string) string {
		text := string(scrape(t, h))
		_, after, _ := strings.Cut(text, fmt.Sprintf(`supervisord_scale_events_total{direction=%q,service="backend"} `, direction))
		value, _, _ := strings.Cut(after, "\n")
		return value
	}
	if got := count("out"); got != "0" {
		t.Fatalf("begins at %q: what was before the daemon's start is counted", got)
	}
	scale := func(from, to int) {
		b.Must(state.ScaleTo{Service: "backend", Decision: autoscale.Decision{From: from, To: to, Wanted: to, Reason: autoscale.ReasonOperator}})
	}
	scale(4, 6)
	scale(6, 5)
	scale(5, 8)
	for range 2 {
		if out, in := count("out"), count("in"); out != "2" || in != "1" {
			t.Errorf("out %s in %s, want 2 and 1", out, in)
		}
	}
	for n := range state.MaxEvents {
		note(b, fmt.Sprint(n))
		if n%500 == 0 {
			scrape(t, h)
		}
	}
	scale(8, 9)
	if out, in := count("out"), count("in"); out != "3" || in != "1" {
		t.Errorf("after the events have left: out %s in %s, want 3 and 1", out, in)
	}
}
