package engine_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// double is an engine of a few answers, for what the real one cannot be made
// to do. Paths are without the version.
type double struct {
	mu      sync.Mutex
	api     string
	paths   []string
	answers map[string]http.HandlerFunc
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paths = append(d.paths, r.URL.Path)
	w.Header().Set("Api-Version", d.api)
	path := r.URL.Path
	if _, rest, found := strings.Cut(strings.TrimPrefix(path, "/"), "/"); found {
		path = "/" + rest
	}
	if answer := d.answers[path]; answer != nil {
		w.Header().Set("Content-Type", "application/json")
		d.mu.Unlock()
		defer d.mu.Lock()
		answer(w, r)
	}
}

func says(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// serve starts the double and dials it.
func (d *double) serve(t *testing.T, o engine.Options) *engine.Engine {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "engine.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return dial(t, "unix://"+socket, o)
}

func dial(t *testing.T, host string, o engine.Options) *engine.Engine {
	t.Helper()
	o.Host, o.Cluster, o.Log = host, "c1", slog.New(slog.DiscardHandler)
	e, err := engine.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestAnEngineThatIsAwayIsRecognised(t *testing.T) {
	absent := dial(t, "unix://"+filepath.Join(t.TempDir(), "none.sock"), engine.Options{})
	hang := func(_ http.ResponseWriter, r *http.Request) {
		// A server notices that its client has gone only when it has read all.
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			<-r.Context().Done()
		}
	}
	all := func(f http.HandlerFunc) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{"/containers/json": f, "/containers/a/json": f, "/containers/create": f, "/events": f, "/networks": f, "/info": f}
	}
	broken := (&double{api: "1.41", answers: all(hangUp)}).serve(t, engine.Options{})
	hanging := (&double{api: "1.41", answers: all(hang)}).serve(t, engine.Options{Timeout: 30 * time.Millisecond})
	for name, e := range map[string]*engine.Engine{"absent": absent, "hangs up": broken, "hangs": hanging} {
		for call, f := range map[string]func(context.Context) error{
			"list":    func(ctx context.Context) error { _, err := e.List(ctx); return err },
			"inspect": func(ctx context.Context) error { _, err := e.Inspect(ctx, "a"); return err },
			"stop":    func(ctx context.Context) error { return e.Stop(ctx, "a", 0) },
			"remove":  func(ctx context.Context) error { return e.Remove(ctx, "a") },
			"launch": func(ctx context.Context) error {
				_, err := e.Launch(ctx, agent.Launch{Cluster: "c1", Name: "a"})
				return err
			},
			"prepare": func(ctx context.Context) error {
				return e.Prepare(ctx, state.Spec{Networks: map[string]state.Network{"a": {Name: "a"}}})
			},
			"info": func(ctx context.Context) error { _, err := e.Info(ctx); return err },
			"tail": func(ctx context.Context) error { _, err := e.Tail(ctx, "a", 1); return err },
		} {
			if err := f(t.Context()); !errors.Is(err, engine.ErrUnavailable) {
				t.Errorf("%s, %s: got %v", name, call, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := f(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrUnavailable) {
				t.Errorf("%s, %s, cancelled: got %v", name, call, err)
			}
		}
	}
}

func TestConnectedIsToldOnlyWhenTheSubscriptionStands(t *testing.T) {
	for name, tc := range map[string]struct {
		events http.HandlerFunc
		want   string
		told   int
	}{
		"refused":     {says(500, `{"message":"no more watchers"}`), "no more watchers", 0},
		"hung up":     {hangUp, engine.ErrUnavailable.Error(), 0},
		"broken soon": {says(200, `{"Type":"container","Action":"start","Actor":{"ID":"a","Attributes":{"io.supervisord.cluster":"c1"}}}{"Type":"container","Action":"start","Actor":{"ID":"b"}}{"Ty`), engine.ErrUnavailable.Error(), 2},
	} {
		e := (&double{api: "1.41", answers: map[string]http.HandlerFunc{"/events": tc.events}}).serve(t, engine.Options{})
		var told []agent.Event
		err := e.Watch(t.Context(), func(e agent.Event) { told = append(told, e) })
		if err == nil || !strings.Contains(err.Error(), tc.want) || len(told) != tc.told {
			t.Errorf("%s: ended with %v after %v", name, err, told)
		}
		if tc.told > 0 && (told[0].Kind != agent.Connected || told[1].Kind != agent.Started) {
			t.Errorf("%s: %v", name, told)
		}
	}
	e := dial(t, "unix://"+filepath.Join(t.TempDir(), "none.sock"), engine.Options{})
	if err := e.Watch(t.Context(), func(agent.Event) { t.Error("told something") }); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("absent: %v", err)
	}
}

func TestAnEngineOfAnotherVersionIsSpokenToInItsOwn(t *testing.T) {
	d := &double{api: "1.41", answers: map[string]http.HandlerFunc{"/containers/json": says(200, "[]")}}
	e := d.serve(t, engine.Options{})
	list := func() string {
		if _, err := e.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.paths[len(d.paths)-1]
	}
	if got := list(); got != "/v1.41/containers/json" {
		t.Errorf("got %s", got)
	}
	d.mu.Lock()
	d.api = "1.44"
	d.mu.Unlock()
	if err := e.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := list(); got != "/v1.44/containers/json" {
		t.Errorf("after the exchange: got %s", got)
	}
}

func TestAMissingImageIsPulledOnce(t *testing.T) {
	missing := says(404, `{"message":"No such image: acme:1"}`)
	hang := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	for name, tc := range map[string]struct {
		pull http.HandlerFunc
		want string
	}{
		"refused":        {says(404, `{"message":"pull access denied"}`), "pull access denied"},
		"fails later":    {says(200, `{"status":"Pulling"}{"error":"unexpected end of layer"}`), "unexpected end of layer"},
		"takes too long": {hang, "took longer than 50ms"},
		"still missing":  {says(200, `{"status":"Done"}`), "No such image"},
	} {
		d := &double{api: "1.41", answers: map[string]http.HandlerFunc{"/containers/create": missing, "/images/create": tc.pull}}
		e := d.serve(t, engine.Options{PullTimeout: 50 * time.Millisecond})
		_, err := e.Launch(t.Context(), agent.Launch{Cluster: "c1", Name: "a", Spec: state.Container{Image: "acme:1"}})
		if !errors.Is(err, agent.ErrNoImage) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestDialRefusesWhatCannotWork(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, o := range map[string]engine.Options{
		"no cluster": {Log: log},
		"no logger":  {Cluster: "c1"},
		"no address": {Cluster: "c1", Log: log, Host: "nonsense"},
	} {
		if _, err := engine.Dial(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
