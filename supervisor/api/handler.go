package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Options say how a handler behaves; Log is required.
type Options struct {
	// Token allows changing calls, and logs, to those who send it as
	// "Authorization: Bearer TOKEN". Empty: nobody may over TCP.
	Token string
	// Trusted is for the unix socket, whose file mode says who may come.
	Trusted bool
	// Hosts are names, besides localhost and IP addresses, that requests may
	// be sent to.
	Hosts []string
	Log   *slog.Logger
	// Stopping ends event streams and logs when it is closed, so that a server
	// can shut down; nil never is.
	Stopping <-chan struct{}
	// Heartbeat is how often a quiet event stream shows that it is alive; 15 s
	// by default.
	Heartbeat time.Duration
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// Ages over which the daemon no longer counts as well.
const (
	// stalledAfter is the age of the loop's last round. A commit may take 5 s
	// before it gives up, and the loop goes on.
	stalledAfter = 30 * time.Second
	// staleAfter is the age of a health report; one is made every 10 s.
	staleAfter = time.Minute
)

type server struct {
	Options
	backend Backend
	metrics http.Handler
}

// Handler serves the API, the metrics and the page. It starts nothing and
// keeps no connection beyond its request. It fails where the options have no
// Log or a metric is registered twice.
func Handler(b Backend, o Options) (http.Handler, error) {
	if o.Log == nil {
		return nil, errors.New("api: the handler needs a Log")
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &server{Options: o, backend: b}
	var err error
	if s.metrics, err = newMetrics(b, o.Now, o.Log); err != nil {
		return nil, fmt.Errorf("api: register metrics: %w", err)
	}
	return s.guard(s.routes()), nil
}

// routes is the list of everything that is served.
func (s *server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, h := range map[string]func(*http.Request) (any, error){
		"GET /admin/monitoring/health/history": s.monitoringHistory,
		"GET /admin/monitoring/system/metrics": s.systemMetrics,
		"GET /v1/status":                       s.status,
		"GET /v1/hosts":                        s.hosts,
		"GET /v1/hosts/{name}":                 s.oneHost,
		"GET /v1/services":                     s.services,
		"GET /v1/services/{name}":              s.service,
		"GET /v1/instances":                    s.instances,
		"GET /v1/instances/{name}":             s.instance,
		"GET /v1/instances/{name}/history":     s.instanceHistory,
		"GET /v1/decisions":                    s.decisions,
		"GET /v1/decisions/{service}":          s.decision,
		"GET /v1/events":                       s.events,
		"GET /v1/revisions":                    s.releases,
		"GET /v1/canary":                       s.canary,
		"GET /v1/certs":                        s.certs,
		"GET /v1/backups":                      s.backups,
		"GET /v1/tasks/{id}":                   s.task,
	} {
		mux.HandleFunc(pattern, s.answer(h))
	}
	mux.HandleFunc("GET /health", s.liveness)
	mux.HandleFunc("GET /admin/monitoring/health", s.monitoring)
	mux.HandleFunc("GET /v1/events/stream", s.stream)
	mux.HandleFunc("GET /v1/tasks/{id}/stream", s.taskStream)
	mux.Handle("GET /v1/logs/{service}", s.trusted(http.HandlerFunc(s.logs)))
	mux.Handle("POST /v1/services/{name}/scale", s.trusted(s.answer(s.scale)))
	for pattern, h := range map[string]func(*http.Request) (any, error){
		"POST /v1/hosts/{name}/drain":   s.changeHost(drainHost),
		"POST /v1/hosts/{name}/resume":  s.changeHost(resumeHost),
		"POST /v1/hosts/{name}/remove":  s.changeHost(removeHost),
		"POST /v1/certs/{name}/renew":   s.renewCert,
		"POST /v1/certs/{name}/import":  s.importCert,
		"POST /v1/certs/rehearse":       s.rehearse,
		"POST /v1/deploy":               s.deploy,
		"POST /v1/rollback":             s.rollback,
		"POST /v1/canary/promote":       s.promote,
		"POST /v1/canary/abort":         s.abort,
		"POST /v1/backups":              s.backupNow,
		"POST /v1/backups/{id}/verify":  s.useBackup(state.TaskDrill),
		"POST /v1/backups/{id}/restore": s.useBackup(state.TaskRestore),
		// Its text may hold secrets.
		"GET /v1/revisions/{revision}": s.oneRelease,
		"GET /v1/tokens":               s.tokens,
		"POST /v1/tokens":              s.createToken,
		"DELETE /v1/tokens/{id}":       s.revokeToken,
	} {
		mux.Handle(pattern, s.trusted(s.answer(h)))
	}
	for pattern, h := range s.takeoverRoutes() {
		mux.Handle(pattern, s.trusted(s.answer(h)))
	}
	mux.Handle("GET /metrics", s.metrics)
	mux.Handle("GET /{$}", page())
	mux.Handle("GET /ui/", page())
	return mux
}
