package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxWork bounds the CPU time that one request may ask for.
	maxWork = time.Minute
	// maxBallastMB bounds the ballast.
	maxBallastMB = 64 << 10
	// maxBody bounds how much of a request's body is read.
	maxBody = 1 << 20
)

// service is the backend's state.
type service struct {
	options  options
	requests atomic.Int64
	sick     atomic.Bool
	crash    chan struct{}
	crashed  sync.Once

	mu sync.Mutex
	// fail is the share of the requests that are answered with an error, owed
	// what of it has not come to a whole one.
	fail, owed float64
	inFlight   int
	stopping   bool
	idle       chan struct{} // closed when stopping and nothing is in flight
	ballast    []byte
}

func newService(o options) *service {
	return &service{options: o, fail: o.fail, crash: make(chan struct{}), idle: make(chan struct{})}
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.work)
	mux.HandleFunc("GET /admin/monitoring/health", s.health)
	mux.HandleFunc("POST /admin/sick", func(w http.ResponseWriter, _ *http.Request) { s.setSick(w, true) })
	mux.HandleFunc("POST /admin/well", func(w http.ResponseWriter, _ *http.Request) { s.setSick(w, false) })
	mux.HandleFunc("POST /admin/fail", s.setFail)
	mux.HandleFunc("POST /admin/alloc", s.alloc)
	mux.HandleFunc("POST /admin/crash", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		s.crashed.Do(func() { close(s.crash) })
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", s.options.instance)
		if s.enter() {
			w.Header().Set("Connection", "close")
		}
		defer s.leave()
		mux.ServeHTTP(w, r)
	})
}

// enter counts a request in, and says whether its client has to go elsewhere
// with the next one.
func (s *service) enter() (stopping bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight++
	return s.stopping
}

func (s *service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	s.settle()
}

// settle is called with the lock held.
func (s *service) settle() {
	if !s.stopping || s.inFlight > 0 {
		return
	}
	select {
	case <-s.idle:
	default:
		close(s.idle)
	}
}

// drain makes health say 503 and waits until no request is in flight, or until
// ctx ends. Requests that come meanwhile are answered.
func (s *service) drain(ctx context.Context) {
	s.mu.Lock()
	s.stopping = true
	s.settle()
	s.mu.Unlock()
	select {
	case <-s.idle:
	case <-ctx.Done():
	}
}

// answer is the JSON of a request.
type answer struct {
	Instance string `json:"instance"`
	PID      int    `json:"pid"`
	// Requests is how many this process has had, this one included.
	Requests int64 `json:"requests"`
	// CPUMilliseconds were burnt; Milliseconds is how long that took, more
	// where the instance has less than a core to itself.
	CPUMilliseconds float64 `json:"cpu_ms"`
	Milliseconds    float64 `json:"ms"`
	// Digest is the work's result.
	Digest string `json:"digest"`
}

// work burns CPU time: ?ms= or as much as WORK_MS says.
func (s *service) work(w http.ResponseWriter, r *http.Request) {
	want := s.options.work
	if v := r.URL.Query().Get("ms"); v != "" {
		var err error
		if want, err = milliseconds(v); err != nil {
			http.Error(w, "ms: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	// A body counts as read, so that the connection can be used again.
	if _, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxBody)); err != nil {
		http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
		return
	}
	if s.fails() {
		http.Error(w, "told to fail", http.StatusInternalServerError)
		return
	}
	start := time.Now()
	used, digest, err := burn(r.Context(), want)
	switch {
	case r.Context().Err() != nil:
		return // Nobody waits for the answer any more.
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, http.StatusOK, answer{
		Instance: s.options.instance, PID: os.Getpid(), Requests: s.requests.Add(1),
		CPUMilliseconds: used.Seconds() * 1000, Milliseconds: time.Since(start).Seconds() * 1000,
		Digest: fmt.Sprintf("%x", digest[:8]),
	})
}

// fails says whether this request is one of those that go wrong: they come as
// evenly as can be.
func (s *service) fails() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed += s.fail
	if s.owed < 1 {
		return false
	}
	s.owed--
	return true
}

// setFail sets the ?share= of requests that go wrong. Health stays good.
func (s *service) setFail(w http.ResponseWriter, r *http.Request) {
	share, err := shareOf(r.URL.Query().Get("share"))
	if err != nil {
		http.Error(w, "share: "+err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.fail, s.owed = share, 0
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func shareOf(v string) (float64, error) {
	share, err := strconv.ParseFloat(v, 64)
	if err != nil || !(share >= 0 && share <= 1) {
		return 0, fmt.Errorf("%q: want a share from 0 to 1", v)
	}
	return share, nil
}

func milliseconds(v string) (time.Duration, error) {
	ms, err := strconv.ParseFloat(v, 64)
	if err != nil || !(ms >= 0 && ms <= float64(maxWork/time.Millisecond)) {
		return 0, fmt.Errorf("%q: want milliseconds from 0 to %d", v, maxWork/time.Millisecond)
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

// health is what a load balancer should ask.
func (s *service) health(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	code, status := http.StatusOK, "healthy"
	switch {
	case stopping:
		code, status = http.StatusServiceUnavailable, "stopping"
	case s.sick.Load():
		code, status = http.StatusServiceUnavailable, "sick"
	}
	reply(w, code, map[string]string{"status": status, "instance": s.options.instance})
}

func (s *service) setSick(w http.ResponseWriter, sick bool) {
	s.sick.Store(sick)
	w.WriteHeader(http.StatusNoContent)
}

// alloc holds ?mb= MiB of memory, each page of it written to, in place of what
// it held before; 0 gives all back.
func (s *service) alloc(w http.ResponseWriter, r *http.Request) {
	mb, err := strconv.Atoi(r.URL.Query().Get("mb"))
	if err != nil || mb < 0 || mb > maxBallastMB {
		http.Error(w, fmt.Sprintf("mb=%q: want a number from 0 to %d", r.URL.Query().Get("mb"), maxBallastMB), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.hold(mb << 20); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, http.StatusOK, map[string]int{"ballast_mb": len(s.ballast) >> 20})
}

func reply(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, errors.Join(errors.New("answer"), err).Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// Whoever went away in the meantime misses the answer; that is no fault here.
	_, _ = w.Write(append(body, '\n'))
}
