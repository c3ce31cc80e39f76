package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// answers are requests with the golden files of what they get.
func answers() map[string]string {
	return map[string]string{
		"health":                 "/health",
		"monitoring":             "/admin/monitoring/health",
		"monitoring_history":     "/admin/monitoring/health/history",
		"system_metrics":         "/admin/monitoring/system/metrics",
		"status":                 "/v1/status",
		"hosts":                  "/v1/hosts",
		"services":               "/v1/services",
		"service_autoscaled":     "/v1/services/backend",
		"service_stateful":       "/v1/services/postgres",
		"service_failing":        "/v1/services/worker",
		"service_unknown":        "/v1/services/nobody",
		"instances":              "/v1/instances",
		"instance":               "/v1/instances/backend-1",
		"instance_unknown":       "/v1/instances/backend-9",
		"instance_history":       "/v1/instances/backend-1/history",
		"instance_history_from":  "/v1/instances/backend-1/history?from=2026-03-01T12:01:06Z",
		"instance_history_wrong": "/v1/instances/backend-1/history?from=yesterday",
		"instance_history_turn":  "/v1/instances/backend-1/history?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
		"decisions":              "/v1/decisions",
		"decision":               "/v1/decisions/backend",
		"decision_not_scaled":    "/v1/decisions/postgres",
		"decision_unknown":       "/v1/decisions/nobody",
		"events":                 "/v1/events",
		"events_last":            "/v1/events?limit=2",
		"events_after":           "/v1/events?after=2&limit=2",
		"events_after_all":       "/v1/events?after=10000",
		"events_limit_wrong":     "/v1/events?limit=0",
		"events_after_wrong":     "/v1/events?after=-1",
		"logs_unknown":           "/v1/logs/nobody",
		"logs_tail_wrong":        "/v1/logs/backend?tail=0",
		"logs_follow_wrong":      "/v1/logs/backend?follow=perhaps",
		"stream_after_wrong":     "/v1/events/stream?after=x",
		"nothing":                "/v1/nothing",
	}
}

func TestAnswers(t *testing.T) {
	h := handler(apitest.Example())
	for name, path := range answers() {
		t.Run(name, func(t *testing.T) {
			w := ask(h, http.MethodGet, path, "")
			if kind := w.Header().Get("Content-Type"); kind != "application/json; charset=utf-8" {
				t.Errorf("Content-Type %q", kind)
			}
			golden(t, name+".json", fmt.Appendf(nil, "%s → %d\n%s", path, w.Code, pretty(t, w.Body.Bytes())))
		})
	}
}

func TestAnEmptyClusterHasEmptyListsAndNoNulls(t *testing.T) {
	h := handler(apitest.New())
	for name, path := range answers() {
		w := ask(h, http.MethodGet, path, "")
		if strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
}

func TestNoValueOfAVariableIsInAnyAnswer(t *testing.T) {
	b := apitest.Example()
	h := handler(b)
	c, _ := b.State()
	if c.Spec.Services["backend"].Container.Environment[0] != "API_KEY="+apitest.Secret {
		t.Fatal("the example does not carry the secret, so this test proves nothing")
	}
	paths := []string{"/metrics", "/", "/v1/logs/backend", "/v1/logs/postgres"}
	for _, path := range answers() {
		paths = append(paths, path)
	}
	for _, path := range paths {
		w := ask(h, http.MethodGet, path, "")
		if strings.Contains(w.Body.String(), apitest.Secret) {
			t.Errorf("GET %s shows a secret:\n%s", path, w.Body)
		}
	}
	for _, body := range []string{`{"count": 5}`, `{"count": 99}`, `{"count": null}`} {
		w := ask(h, http.MethodPost, "/v1/services/backend/scale", body)
		if strings.Contains(w.Body.String(), apitest.Secret) {
			t.Errorf("scale %s shows a secret:\n%s", body, w.Body)
		}
	}
	if w := ask(h, http.MethodGet, "/v1/services/backend", ""); !strings.Contains(w.Body.String(), `"API_KEY=…"`) {
		t.Errorf("the names of the variables are not shown:\n%s", w.Body)
	}
}

func TestHealthIsTheProgressOfTheLoop(t *testing.T) {
	for _, c := range []struct {
		name string
		last func(now time.Time) time.Time
		code int
		want string
	}{
		{"just now", func(now time.Time) time.Time { return now }, 200, api.LivenessOK},
		{"half a minute ago", func(now time.Time) time.Time { return now.Add(-30 * time.Second) }, 200, api.LivenessOK},
		{"longer ago", func(now time.Time) time.Time { return now.Add(-31 * time.Second) }, 503, api.LivenessStalled},
		{"never", func(time.Time) time.Time { return time.Time{} }, 503, api.LivenessStarting},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := apitest.Example()
			b.SetLocal(func(l *api.Local) { l.LastRound = c.last(apitest.Epoch().Add(time.Hour)) })
			h := handler(b, func(o *api.Options) {
				o.Now = func() time.Time { return apitest.Epoch().Add(time.Hour) }
			})
			w := ask(h, http.MethodGet, "/health", "")
			if w.Code != c.code || !strings.Contains(w.Body.String(), `"status":"`+c.want+`"`) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.code, c.want)
			}
		})
	}
}

func TestMonitoringAnswers503WhenSomethingIsBadOrUnknown(t *testing.T) {
	for _, c := range []struct {
		name    string
		reports []api.HealthReport
		age     time.Duration
		code    int
		overall string
	}{
		{"healthy", []api.HealthReport{{Overall: api.Healthy}}, 0, 200, api.Healthy},
		{"degraded", []api.HealthReport{{Overall: api.Degraded}}, time.Minute, 200, api.Degraded},
		{"unhealthy", []api.HealthReport{{Overall: api.Unhealthy}}, 0, 503, api.Unhealthy},
		{"the latest counts", []api.HealthReport{{Overall: api.Unhealthy}, {Overall: api.Healthy}}, 0, 200, api.Healthy},
		{"none yet", nil, 0, 503, api.Unknown},
		{"too old to tell", []api.HealthReport{{Overall: api.Healthy}}, time.Minute + 1, 503, api.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := apitest.New()
			for _, r := range c.reports {
				r.At = b.Now().Add(-c.age)
				b.Report(r)
			}
			w := ask(handler(b), http.MethodGet, "/admin/monitoring/health", "")
			if w.Code != c.code || !strings.Contains(w.Body.String(), `"overall":"`+c.overall+`"`) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.code, c.overall)
			}
		})
	}
}

func TestAWrongFileIsShownWhileTheLastGoodOneGoesOn(t *testing.T) {
	b := apitest.Example()
	b.Must(state.ReportSpecError{Host: "alpha", Problem: "docker-compose.prod.yml:7:5: services.backend.imge: unknown key"})
	w := ask(handler(b), http.MethodGet, "/v1/status", "")
	for _, want := range []string{
		`"problems":[{"host":"alpha","problem":"docker-compose.prod.yml:7:5: services.backend.imge: unknown key"}]`,
		`"revision":1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
}

func TestAHeldServiceIsNotExplainedByAnOldDecision(t *testing.T) {
	b := apitest.Example()
	h := handler(b)
	if w := ask(h, http.MethodGet, "/v1/decisions/backend", ""); !strings.Contains(w.Body.String(), `"changed"`) {
		t.Fatalf("the growth is not shown:\n%s", w.Body)
	}
	five := 5
	b.Must(state.Hold{Service: "backend", Count: &five})
	if w := ask(h, http.MethodGet, "/v1/decisions/backend", ""); strings.Contains(w.Body.String(), `"changed"`) {
		t.Errorf("the growth to 4 explains 5:\n%s", w.Body)
	}
}

func TestHeadHasNoBody(t *testing.T) {
	w := ask(handler(apitest.Example()), http.MethodHead, "/v1/status", "")
	if w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("%d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
}

func TestAMethodThatAPathDoesNotHaveIsNamed(t *testing.T) {
	w := ask(handler(apitest.Example()), http.MethodDelete, "/v1/status", "")
	want := `{"error":"DELETE is not possible here","hint":"possible: GET, HEAD"}` + "\n"
	if w.Code != http.StatusMethodNotAllowed || w.Body.String() != want || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}

func TestAHandlerWithoutALogIsRefused(t *testing.T) {
	if _, err := api.Handler(apitest.New(), api.Options{}); err == nil {
		t.Error("it is made")
	}
}
