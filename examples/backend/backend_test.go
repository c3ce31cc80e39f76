package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(t *testing.T, h http.Handler, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, nil))
	if got := w.Header().Get("X-Instance"); got != "backend-1" {
		t.Errorf("X-Instance %q", got)
	}
	return w
}

func TestARequestBurnsTheCPUTimeItAsksFor(t *testing.T) {
	s := newService(options{instance: "backend-1", work: 2 * time.Millisecond})
	for _, tc := range []struct {
		target string
		want   float64
	}{{"/", 2}, {"/?ms=7.5", 7.5}, {"/?ms=0", 0}} {
		before := processTime(t)
		w := ask(t, s.handler(), "GET", tc.target)
		used := processTime(t) - before
		var a answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		if a.Instance != "backend-1" || a.PID != os.Getpid() || a.CPUMilliseconds < tc.want {
			t.Errorf("%s: %+v, want %v ms of CPU time", tc.target, a, tc.want)
		}
		// The kernel must have seen it, too. It counts in ticks on some
		// machines, so one tick is allowed to be missing.
		if used.Seconds()*1000 < tc.want-4 {
			t.Errorf("%s: the process used %s, want %v ms", tc.target, used, tc.want)
		}
	}
	if n := s.requests.Load(); n != 3 {
		t.Errorf("%d requests counted, want 3", n)
	}
}

func processTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestWaitingIsNoWork(t *testing.T) {
	before, err := threadTime()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	after, err := threadTime()
	if err != nil {
		t.Fatal(err)
	}
	if after-before >= 20*time.Millisecond {
		t.Errorf("a sleep of 20ms used %s of CPU time", after-before)
	}
}

func TestAClientThatGoesStopsTheWork(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if used, _, err := burn(ctx, time.Hour); !errors.Is(err, context.Canceled) || used > time.Minute {
		t.Errorf("used %s, %v", used, err)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	s := newService(options{instance: "backend-1"})
	for _, tc := range []struct {
		method, target string
		code           int
	}{
		{"GET", "/?ms=much", 400}, {"GET", "/?ms=-1", 400}, {"GET", "/?ms=NaN", 400}, {"GET", "/?ms=60001", 400},
		{"POST", "/admin/alloc?mb=", 400}, {"POST", "/admin/alloc?mb=-1", 400}, {"POST", "/admin/alloc?mb=99999999", 400},
		{"POST", "/admin/fail?share=2", 400}, {"POST", "/admin/fail?share=NaN", 400}, {"POST", "/admin/fail", 400},
		{"GET", "/admin/crash", 405}, {"GET", "/admin/sick", 405}, {"GET", "/other", 404},
	} {
		if w := ask(t, s.handler(), tc.method, tc.target); w.Code != tc.code {
			t.Errorf("%s %s: %d, want %d", tc.method, tc.target, w.Code, tc.code)
		}
	}
}

func TestAShareOfTheRequestsGoesWrong(t *testing.T) {
	s := newService(options{instance: "backend-1", fail: .25})
	failed := func() (n int) {
		for range 20 {
			if w := ask(t, s.handler(), "GET", "/?ms=0"); w.Code == 500 {
				n++
			}
		}
		return n
	}
	if n := failed(); n != 5 {
		t.Errorf("%d of 20 went wrong, want a quarter", n)
	}
	if w := ask(t, s.handler(), "GET", "/admin/monitoring/health"); w.Code != 200 {
		t.Errorf("health says %d", w.Code)
	}
	ask(t, s.handler(), "POST", "/admin/fail?share=1")
	if n := failed(); n != 20 {
		t.Errorf("%d of 20 went wrong, want all", n)
	}
}

func TestHealthFollowsSickAndWell(t *testing.T) {
	s := newService(options{instance: "backend-1"})
	for _, tc := range []struct {
		post   string
		code   int
		status string
	}{{"", 200, "healthy"}, {"/admin/sick", 503, "sick"}, {"/admin/well", 200, "healthy"}} {
		if tc.post != "" {
			ask(t, s.handler(), "POST", tc.post)
		}
		w := ask(t, s.handler(), "GET", "/admin/monitoring/health")
		if w.Code != tc.code || !strings.Contains(w.Body.String(), strconv.Quote(tc.status)) {
			t.Errorf("after %q: %d %s, want %d %s", tc.post, w.Code, w.Body, tc.code, tc.status)
		}
	}
}

func TestBallastIsResidentMemoryAndComesBack(t *testing.T) {
	s := newService(options{instance: "backend-1"})
	const mb = 64
	before := resident(t)
	ask(t, s.handler(), "POST", "/admin/alloc?mb=64")
	held := resident(t)
	if held-before < mb*9/10<<20 {
		t.Errorf("resident %d MiB more, want %d", (held-before)>>20, mb)
	}
	if w := ask(t, s.handler(), "POST", "/admin/alloc?mb=0"); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if after := resident(t); held-after < mb*9/10<<20 {
		t.Errorf("%d MiB came back, want %d", (held-after)>>20, mb)
	}
}

func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// running is a backend on a real port.
type running struct {
	url   string
	stop  context.CancelFunc
	ended chan error
}

func startBackend(t *testing.T, o options) running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := running{"http://" + l.Addr().String(), cancel, make(chan error, 1)}
	go func() { b.ended <- serve(ctx, l, o, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(cancel)
	return b
}

func client(t *testing.T) *http.Client {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// get asks and hands over the status and whether the connection was closed.
func get(ctx context.Context, c *http.Client, url string) (status int, closed bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, false, err
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, false, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Close, errors.Join(err, res.Body.Close())
}

// inFlight sends a request that stays in flight until its body is closed, and
// returns when the backend has it.
func inFlight(t *testing.T, c *http.Client, url string) (body *io.PipeWriter, answered chan error) {
	t.Helper()
	r, body := io.Pipe()
	answered = make(chan error, 1)
	reading := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		// Asked for by the header below: the backend's handler reads the body.
		Got100Continue: func() { close(reading) },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	go func() {
		res, err := c.Do(req)
		if err != nil {
			answered <- err
			return
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			err = errors.New(res.Status)
		}
		answered <- err
	}()
	<-reading
	return body, answered
}

func TestStopLetsRequestsInFlightEnd(t *testing.T) {
	b := startBackend(t, options{instance: "backend-1", stopGrace: time.Minute})
	c := client(t)
	body, answered := inFlight(t, c, b.url+"/?ms=1")
	b.stop()
	for {
		status, closed, err := get(t.Context(), c, b.url+"/admin/monitoring/health")
		if err != nil {
			t.Fatalf("health while stopping: %v", err)
		}
		if status == 200 {
			continue // The stop has not come through yet.
		}
		if status != 503 || !closed {
			t.Errorf("health while stopping: %d, connection closed %t", status, closed)
		}
		break
	}
	if status, closed, err := get(t.Context(), c, b.url+"/?ms=1"); status != 200 || !closed || err != nil {
		t.Errorf("a request while stopping: %d, connection closed %t, %v", status, closed, err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the request in flight: %v", err)
	}
	if err := <-b.ended; err != nil {
		t.Errorf("ends with %v", err)
	}
	if _, _, err := get(t.Context(), c, b.url+"/"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the stop: %v, want refused", err)
	}
}

func TestARequestThatNeverEndsDoesNotHoldTheStop(t *testing.T) {
	b := startBackend(t, options{instance: "backend-1", stopGrace: 10 * time.Millisecond})
	body, answered := inFlight(t, client(t), b.url+"/")
	b.stop()
	if err := <-b.ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ends with %v, want the grace to be over", err)
	}
	_ = body.CloseWithError(errors.New("the test ends"))
	if err := <-answered; err == nil {
		t.Error("the endless request got a good answer")
	}
}

func TestCrashEndsWithAnError(t *testing.T) {
	b := startBackend(t, options{instance: "backend-1"})
	res, err := client(t).Post(b.url+"/admin/crash", "", nil)
	if err == nil {
		_ = res.Body.Close()
	}
	if err := <-b.ended; !errors.Is(err, errCrash) {
		t.Errorf("ends with %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	host := func() (string, error) { return "box", nil }
	for _, tc := range []struct {
		name string
		env  map[string]string
		want options
		err  string
	}{
		{"defaults", nil, options{"4000", "box", 5 * time.Millisecond, 0, 10 * time.Second, 0}, ""},
		{"all", map[string]string{"PORT": "81", "INSTANCE": "i", "WORK_MS": "1.5", "START_DELAY": "2s", "STOP_GRACE": "0s"},
			options{"81", "i", 1500 * time.Microsecond, 2 * time.Second, 0, 0}, ""},
		{"bad port", map[string]string{"PORT": "http"}, options{}, `PORT="http"`},
		{"bad work", map[string]string{"WORK_MS": "5ms"}, options{}, `WORK_MS: "5ms"`},
		{"bad delay", map[string]string{"START_DELAY": "3"}, options{}, `START_DELAY="3"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := fromEnv(func(k string) string { return tc.env[k] }, host)
			switch {
			case tc.err == "" && (err != nil || got != tc.want):
				t.Errorf("got %+v, %v, want %+v", got, err, tc.want)
			case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("got %v, want an error with %s", err, tc.err)
			}
		})
	}
}

func TestStopDuringTheStartDelayIsNoError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log bytes.Buffer
	if err := run(ctx, options{port: "0", startDelay: time.Hour}, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "listening") {
		t.Errorf("it listened before the delay was over: %s", log.String())
	}
}
