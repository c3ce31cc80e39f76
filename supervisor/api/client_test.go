package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// onSocket serves a backend on a unix socket with Serve and returns a client
// of it.
func onSocket(t *testing.T, b *apitest.Backend) *api.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	h := handler(b, func(o *api.Options) { o.Stopping = ctx.Done() })
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, l, h, quiet()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return client(t, api.Target{Socket: socket})
}

func TestTheClientUnderstandsEveryAnswer(t *testing.T) {
	b := apitest.Example()
	c := onSocket(t, b)
	ctx := t.Context()
	for _, call := range []struct {
		name string
		do   func() (any, error)
		want func(any) bool
	}{
		{"liveness", func() (any, error) { return c.Liveness(ctx) }, func(a any) bool { return a.(api.Liveness).Status == api.LivenessOK }},
		{"monitoring", func() (any, error) { return c.Monitoring(ctx) }, func(a any) bool { return a.(api.Monitoring).Nginx.Status == api.Degraded }},
		{"history", func() (any, error) { return c.MonitoringHistory(ctx) }, func(a any) bool { return len(a.(api.MonitoringHistory).Reports) == 2 }},
		{"system", func() (any, error) { return c.SystemMetrics(ctx) }, func(a any) bool { return a.(api.SystemMetrics).Machine.CPUs == 8 }},
		{"status", func() (any, error) { return c.Status(ctx) }, func(a any) bool { return a.(api.Status).Cluster == "3kq7c2" }},
		{"hosts", func() (any, error) { return c.Hosts(ctx) }, func(a any) bool { return a.(api.Hosts).Hosts[0].Leader }},
		{"services", func() (any, error) { return c.Services(ctx) }, func(a any) bool { return len(a.(api.Services).Services) == 3 }},
		{"service", func() (any, error) { return c.Service(ctx, "backend") }, func(a any) bool { return len(a.(api.ServiceDetail).Instances) == 4 }},
		{"instances", func() (any, error) { return c.Instances(ctx) }, func(a any) bool { return len(a.(api.Instances).Instances) == 5 }},
		{"instance", func() (any, error) { return c.Instance(ctx, "backend-2") }, func(a any) bool { return a.(api.Instance).Phase == state.Ready }},
		{"instance history", func() (any, error) {
			return c.InstanceHistory(ctx, "backend-2", apitest.Epoch(), b.Now())
		}, func(a any) bool { return len(a.(api.InstanceHistory).Points) == 3 }},
		{"decisions", func() (any, error) { return c.Decisions(ctx) }, func(a any) bool { return len(a.(api.Decisions).Decisions) == 3 }},
		{"decision", func() (any, error) { return c.Decision(ctx, "backend") }, func(a any) bool { return a.(api.Explanation).Latest.To == 4 }},
		{"latest events", func() (any, error) { return c.LatestEvents(ctx, 2) }, func(a any) bool { return a.(api.Events).Events[1].Seq == 11 }},
		{"events after", func() (any, error) { return c.EventsAfter(ctx, 3, 1) }, func(a any) bool { return a.(api.Events).Events[0].Seq == 4 }},
	} {
		t.Run(call.name, func(t *testing.T) {
			got, err := call.do()
			if err != nil {
				t.Fatal(err)
			}
			if !call.want(got) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestTheClientScalesAndGivesBack(t *testing.T) {
	b := apitest.Example()
	c := onSocket(t, b)
	seven := 7
	s, err := c.Scale(t.Context(), "backend", &seven)
	if err != nil || s.Desired != 7 || s.Hold == nil || *s.Hold != 7 {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = c.Scale(t.Context(), "backend", nil)
	if err != nil || s.Hold != nil {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestTheClientTellsErrorsApart(t *testing.T) {
	b := apitest.Example()
	c := onSocket(t, b)
	remote := serve(t, handler(b, func(o *api.Options) { o.Trusted, o.Token = false, "right" }))
	stranger := serve(t, http.NotFoundHandler())
	many := 99
	scale := func(c *api.Client, service string) func() error {
		return func() error {
			_, err := c.Scale(t.Context(), service, &many)
			return err
		}
	}
	for _, call := range []struct {
		name string
		do   func() error
		want error
	}{
		{"refused", scale(c, "backend"), api.ErrRefused},
		{"unknown", scale(c, "nobody"), api.ErrNotFound},
		{"a name with a slash", scale(c, "a/../b"), api.ErrNotFound},
		{"without a token", scale(client(t, api.Target{URL: remote.URL}), "backend"), api.ErrForbidden},
		{"with a wrong one", scale(client(t, api.Target{URL: remote.URL, Token: "wrong"}), "backend"), api.ErrForbidden},
		{"with the right one", scale(client(t, api.Target{URL: remote.URL, Token: "right"}), "backend"), api.ErrRefused},
		{"no daemon", scale(client(t, api.Target{Socket: filepath.Join(t.TempDir(), "none")}), "backend"), api.ErrUnreachable},
		{"a wrong query", func() error {
			_, err := c.LatestEvents(t.Context(), 0)
			return err
		}, api.ErrInvalid},
		{"no leader", func() error {
			b.LoseLeader()
			return scale(c, "backend")()
		}, api.ErrUnavailable},
		{"cancelled", func() error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := c.Status(ctx)
			return err
		}, context.Canceled},
	} {
		t.Run(call.name, func(t *testing.T) {
			if err := call.do(); !errors.Is(err, call.want) {
				t.Errorf("%v, want %v", err, call.want)
			}
		})
	}
	if _, err := client(t, api.Target{URL: stranger.URL}).Status(t.Context()); err == nil || errors.Is(err, api.ErrNotFound) {
		t.Errorf("another server's 404 is taken for ours: %v", err)
	}
}

func TestBadHealthIsAnAnswerAndNoError(t *testing.T) {
	c := onSocket(t, apitest.New())
	m, err := c.Monitoring(t.Context())
	if err != nil || m.Overall != api.Unknown {
		t.Errorf("%+v, %v", m, err)
	}
	l, err := c.Liveness(t.Context())
	if err != nil || l.Status != api.LivenessStarting {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for _, u := range []string{"127.0.0.1:9370", "ftp://host", "http://", "::"} {
		if _, err := api.NewClient(api.Target{URL: u}); err == nil {
			t.Errorf("%q is taken", u)
		}
	}
}

func TestServeEndsWithItsContextThoughSomebodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := handler(apitest.New(), func(o *api.Options) { o.Stopping = ctx.Done() })
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, l, h, quiet()) }()
	heard := listen(t, "http://"+l.Addr().String()+"/v1/events/stream")
	heard.hears("retry")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServeSaysWhyItCannot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := api.Serve(ctx, l, http.NotFoundHandler(), quiet()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestAnErrorMatchesOneSentinel(t *testing.T) {
	all := []error{api.ErrInvalid, api.ErrForbidden, api.ErrNotFound, api.ErrRefused, api.ErrUnavailable}
	for status, want := range map[int]error{
		400: api.ErrInvalid, 403: api.ErrForbidden, 404: api.ErrNotFound, 405: api.ErrInvalid, 409: api.ErrRefused,
		413: api.ErrInvalid, 415: api.ErrInvalid, 421: api.ErrForbidden, 500: nil, 503: api.ErrUnavailable,
	} {
		var matched []error
		for _, s := range all {
			if errors.Is(&api.Error{Status: status}, s) {
				matched = append(matched, s)
			}
		}
		wanted := []error{want}
		if want == nil {
			wanted = nil
		}
		if diff := cmp.Diff(wanted, matched, cmp.Comparer(func(a, b error) bool { return a == b })); diff != "" {
			t.Errorf("%d: %s", status, diff)
		}
	}
}
