package peer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// The paths of the calls.
const (
	pathPropose  = "/rpc/v1/propose"
	pathReport   = "/rpc/v1/report"
	pathRecall   = "/rpc/v1/recall"
	pathRound    = "/rpc/v1/round"
	pathStanding = "/rpc/v1/standing"
	pathEnter    = "/rpc/v1/enter"
	pathPoints   = "/rpc/v1/points"
	pathTasks    = "/rpc/v1/tasks"
	pathFetch    = "/rpc/v1/fetch"
	pathImage    = "/rpc/v1/image"
	pathLogs     = "/rpc/v1/logs"
	pathKey      = "/rpc/v1/key"
	pathRehearse = "/rpc/v1/rehearse"
	pathPing     = "/rpc/v1/ping"

	pathCandidates = "/rpc/v1/candidates"
)

// maxBody bounds a call: the largest is a report of ten thousand samples.
const maxBody = 16 << 20

// answer is the body of every answer but a log's.
type answer[T any] struct {
	Value T `json:"value,omitzero"`
	// Error is why there is no value; NotLeader that the call belongs to the
	// host at Leader.
	Error     string `json:"error,omitempty"`
	NotLeader bool   `json:"not_leader,omitempty"`
	Leader    string `json:"leader,omitempty"`
}

type recallBody struct {
	Span time.Duration `json:"span"`
}

type fetchBody struct {
	Image string `json:"image"`
}

type candidatesBody struct {
	Named map[string]string `json:"named,omitempty"`
}

type none struct{}

// Handler serves a node's calls. Caller is the server id of who makes a
// request.
func Handler(n Node, caller func(*http.Request) string, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	serve(mux, log, pathPropose, func(r *http.Request, proposal json.RawMessage) (Receipt, error) {
		return n.Propose(r.Context(), proposal)
	})
	serve(mux, log, pathReport, func(r *http.Request, body Report) (none, error) {
		return none{}, n.Report(r.Context(), body)
	})
	serve(mux, log, pathRecall, func(r *http.Request, body recallBody) (Memory, error) {
		return n.Recall(r.Context(), body.Span)
	})
	serve(mux, log, pathRound, func(r *http.Request, _ none) (Round, error) { return n.Round(r.Context()) })
	serve(mux, log, pathStanding, func(r *http.Request, _ none) (Standing, error) { return n.Standing(r.Context()) })
	serve(mux, log, pathEnter, func(r *http.Request, body Entry) (none, error) {
		if id := caller(r); id != body.Server {
			return none{}, errors.New("a server enters in its own name only")
		}
		return none{}, n.Enter(r.Context(), body)
	})
	serve(mux, log, pathPoints, func(r *http.Request, body PointsQuery) ([]Point, error) {
		return n.Points(r.Context(), body)
	})
	serve(mux, log, pathTasks, func(r *http.Request, _ none) ([]TaskProgress, error) { return n.Tasks(r.Context()) })
	serve(mux, log, pathFetch, func(r *http.Request, body fetchBody) (none, error) {
		return none{}, n.Fetch(r.Context(), body.Image)
	})
	serve(mux, log, pathCandidates, func(r *http.Request, body candidatesBody) ([]state.Candidate, error) {
		return n.Candidates(r.Context(), body.Named)
	})
	serveCerts(mux, log, n)
	stream(mux, pathLogs, func(ctx context.Context, q LogQuery, stdout, stderr io.Writer) error {
		return n.Logs(ctx, q, stdout, stderr)
	})
	stream(mux, pathImage, func(ctx context.Context, body fetchBody, to, _ io.Writer) error {
		return n.Image(ctx, body.Image, to)
	})
	mux.HandleFunc("GET "+pathPing, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	return mux
}

func serve[In, Out any](mux *http.ServeMux, log *slog.Logger, path string, call func(*http.Request, In) (Out, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var in In
		var a answer[Out]
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in)
		if err == nil {
			a.Value, err = call(r, in)
		}
		if err != nil {
			a.Error = err.Error()
			if e, ok := errors.AsType[*NotLeaderError](err); ok {
				a.NotLeader, a.Leader = true, e.Address
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(a); err != nil && !errors.Is(err, context.Canceled) {
			log.DebugContext(r.Context(), "an answer did not reach its caller", "path", path, "err", err)
		}
	})
}
