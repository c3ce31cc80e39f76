package api_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

func TestLogsOfAllInstancesAreOneInTheOrderOfTime(t *testing.T) {
	h := handler(apitest.Example())
	for _, c := range []struct{ name, query, want string }{
		{"all", "", `backend-1 | listening
backend-2 | listening
backend-3 | listening
backend-1 | GET / 200
backend-2 | GET / 200
backend-3 | GET / 200
backend-1 | GET /x 500
backend-2 | GET /x 500
backend-3 | GET /x 500
`},
		{"the last line of each", "?tail=1", `backend-1 | GET /x 500
backend-2 | GET /x 500
backend-3 | GET /x 500
`},
		{"since, with times", "?timestamps=true&since=2026-03-01T12:00:21Z", `backend-2 | 2026-03-01T12:00:21Z GET /x 500
backend-3 | 2026-03-01T12:00:22Z GET /x 500
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(h, http.MethodGet, "/v1/logs/backend"+c.query, "")
			if w.Code != http.StatusOK || w.Body.String() != c.want {
				t.Errorf("%d\n%s\nwant\n%s", w.Code, w.Body, c.want)
			}
		})
	}
}

func TestAServiceWithoutContainersHasAnEmptyLog(t *testing.T) {
	w := ask(handler(apitest.Example()), http.MethodGet, "/v1/logs/worker", "")
	if w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestALogThatBreaksSaysSo(t *testing.T) {
	for _, query := range []string{"", "?follow=true"} {
		b := apitest.Example()
		b.FailLogs(errors.New("the engine is gone"))
		stopping := make(chan struct{})
		s := serve(t, handler(b, func(o *api.Options) { o.Stopping = stopping }))
		out := &waiter{want: "the engine is gone\n", times: 1, found: make(chan struct{})}
		done := make(chan error, 1)
		go func() {
			done <- client(t, api.Target{URL: s.URL}).Logs(t.Context(), "postgres", api.LogsQuery{Follow: query != ""}, out)
		}()
		<-out.found
		close(stopping)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := "supervisord | the log of postgres-1 ends: the engine is gone\n"; out.text() != want {
			t.Errorf("%q: got %q, want %q", query, out.text(), want)
		}
	}
}

// waiter is a writer that tells when a text has come a number of times.
type waiter struct {
	want  string
	times int
	found chan struct{}

	mu   sync.Mutex
	got  bytes.Buffer
	told bool
	next *waiter
}

// then passes what comes from now on to another waiter too.
func (w *waiter) then(next *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = next
}

func (w *waiter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got.Write(p)
	if !w.told && strings.Count(w.got.String(), w.want) >= w.times {
		w.told = true
		close(w.found)
	}
	if w.next != nil {
		return w.next.Write(p)
	}
	return len(p), nil
}

func (w *waiter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.String()
}

func TestFollowedLogsTakeInInstancesThatComeLater(t *testing.T) {
	b := apitest.Example()
	s := serve(t, handler(b))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// Each of the three that are there has come to its last line.
	out := &waiter{want: "/x 500", times: 3, found: make(chan struct{})}
	done := make(chan error, 1)
	c := client(t, api.Target{URL: s.URL})
	go func() { done <- c.Logs(ctx, "backend", api.LogsQuery{Follow: true}, out) }()

	<-out.found
	later := &waiter{want: "backend-4 | fresh\n", times: 1, found: make(chan struct{})}
	out.then(later)
	cluster, _ := b.State()
	for i := range cluster.Of("backend") {
		if i.Slot == 4 {
			b.Say(i.ID, "2026-03-01T12:01:10Z fresh")
			b.Must(state.Observe{ID: i.ID, Phase: state.Ready, Container: "c4", Address: "10.0.0.1:4003"})
		}
	}
	<-later.found
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
