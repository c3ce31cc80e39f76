package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen gives each connection to talk, with its number from 0 on, and closes
// it afterwards.
func listen(t *testing.T, talk func(n int, c *net.TCPConn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(n, c.(*net.TCPConn))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String() + "/"
}

// hear reads one request without a body.
func hear(c net.Conn) bool {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

func say(c net.Conn, text string) { _, _ = io.WriteString(c, text) }

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// reset makes the close that follows a reset instead of an orderly end.
func reset(c *net.TCPConn) { _ = c.SetLinger(0) }

func load(t *testing.T, o LoadOptions) *Load {
	t.Helper()
	l, err := NewLoad(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// counts is the part of a Report that is the same each time.
type counts struct {
	OK, FailedFresh, ResetIdle, Timeouts, Broken, Shed, Connections int64
	NonOK                                                           map[int]int64
}

func expect(t *testing.T, r Report, want counts) {
	t.Helper()
	if want.NonOK == nil {
		want.NonOK = map[int]int64{}
	}
	got := counts{r.OK, r.FailedFresh, r.ResetIdle, r.Timeouts, r.Broken, r.Shed, r.Connections, r.NonOK}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	sum := r.OK + r.FailedFresh + r.ResetIdle + r.Timeouts + r.Broken
	for n := range maps.Values(r.NonOK) {
		sum += n
	}
	if r.Requests != sum || r.InFlight != 0 {
		t.Errorf("%d requests, but %d are accounted for and %d in flight", r.Requests, sum, r.InFlight)
	}
	var ok, failed int64
	for _, s := range r.Seconds {
		ok, failed = ok+s.OK, failed+s.Failed
	}
	if ok != r.OK || failed != r.Failed() {
		t.Errorf("the seconds have %d and %d failed, the report %d and %d", ok, failed, r.OK, r.Failed())
	}
}

// ending is a server that ends requests in its own way, and how a load of
// count requests shall see it.
type ending struct {
	name  string
	talk  func(n int, c *net.TCPConn)
	fresh float64
	count int64
	want  counts
}

func answers() []ending {
	return []ending{
		{"answers on one kept connection", func(_ int, c *net.TCPConn) {
			for hear(c) {
				say(c, fine)
			}
		}, 0, 5, counts{OK: 5, Connections: 1}},
		{"answers on fresh connections", func(_ int, c *net.TCPConn) {
			for hear(c) {
				say(c, fine)
			}
		}, 1, 5, counts{OK: 5, Connections: 5}},
		{"a server that closes after each answer and says so", func(_ int, c *net.TCPConn) {
			hear(c)
			say(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		}, 0, 3, counts{OK: 3, Connections: 3}},
		{"statuses", func(n int, c *net.TCPConn) {
			hear(c)
			say(c, []string{
				"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
				"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
				"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
				"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
				"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 301 There\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
			}[n])
		}, 0, 5, counts{OK: 1, Connections: 5, NonOK: map[int]int64{502: 2, 503: 1, 301: 1}}},
		{"a fresh connection that is closed without a byte", func(_ int, c *net.TCPConn) {
			hear(c)
		}, 0, 2, counts{FailedFresh: 2, Connections: 2}},
		{"a fresh connection that is reset", func(_ int, c *net.TCPConn) {
			hear(c)
			reset(c)
		}, 1, 2, counts{FailedFresh: 2, Connections: 2}},
	}
}

func cuts() []ending {
	return []ending{
		{"a kept connection that is closed at the next request", func(_ int, c *net.TCPConn) {
			hear(c)
			say(c, fine)
			hear(c)
		}, 0, 4, counts{OK: 2, ResetIdle: 2, Connections: 2}},
		{"a kept connection that is reset at the next request", func(_ int, c *net.TCPConn) {
			hear(c)
			say(c, fine)
			hear(c)
			reset(c)
		}, 0, 4, counts{OK: 2, ResetIdle: 2, Connections: 2}},
		{"an answer that is cut short", func(_ int, c *net.TCPConn) {
			hear(c)
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok")
		}, 0, 2, counts{Broken: 2, Connections: 2}},
		{"an answer that is reset within", func(n int, c *net.TCPConn) {
			hear(c)
			say(c, fine)
			hear(c)
			say(c, "HTTP/1.1 2")
		}, 0, 2, counts{OK: 1, Broken: 1, Connections: 1}},
		{"no HTTP", func(_ int, c *net.TCPConn) {
			hear(c)
			say(c, "SSH-2.0-OpenSSH\r\n\r\n")
		}, 0, 1, counts{Broken: 1, Connections: 1}},
		{"silence", func(_ int, c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }, 0, 2, counts{Timeouts: 2, Connections: 2}},
		{"silence in the middle", func(_ int, c *net.TCPConn) {
			hear(c)
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok")
			_, _ = io.Copy(io.Discard, c)
		}, 0, 1, counts{Timeouts: 1, Connections: 1}},
	}
}

func TestEachEndOfARequestIsCountedAsWhatItIs(t *testing.T) {
	for _, tc := range append(answers(), cuts()...) {
		t.Run(tc.name, func(t *testing.T) {
			o := LoadOptions{URL: listen(t, tc.talk), Fresh: tc.fresh, Count: tc.count}
			if tc.want.Timeouts > 0 {
				o.Timeout = 50 * time.Millisecond
			}
			expect(t, load(t, o).Run(t.Context()), tc.want)
		})
	}
}

func TestARefusedConnectionIsAFailedFreshOne(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r := load(t, LoadOptions{URL: "http://" + l.Addr().String(), Count: 3}).Run(t.Context())
	expect(t, r, counts{FailedFresh: 3})
}

func TestAConnectionThatTakesTooLongIsATimeout(t *testing.T) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := load(t, LoadOptions{URL: "http://192.0.2.1", Count: 2, Timeout: time.Millisecond, Dial: dial}).Run(t.Context())
	expect(t, r, counts{Timeouts: 2})
}

// What the server closes while it is idle is no failure: a client sees the end
// and takes another connection.
func TestAnOrderlyEndOfAnIdleConnectionIsNoFailure(t *testing.T) {
	closed := make(chan struct{})
	url := listen(t, func(n int, c *net.TCPConn) {
		for hear(c) {
			say(c, fine)
			if n == 0 {
				_ = c.Close()
				close(closed)
				return
			}
		}
	})
	l := load(t, LoadOptions{URL: url})
	r := l.mix.next()
	for n, fresh := range []bool{true, true, false} {
		res := l.send(t.Context(), r, time.Now())
		if res.outcome != answered || res.status != 200 {
			t.Fatalf("request %d: %+v", n, res)
		}
		<-closed
		if got := l.tally.report.Connections == int64(n+1); got != fresh {
			t.Errorf("request %d: connections %d", n, l.tally.report.Connections)
		}
	}
	l.pool.close()
}

func TestMethodsAndConnectionsAreMixedByShare(t *testing.T) {
	type kind struct {
		method string
		close  bool
		body   string
	}
	seen := make(chan kind, 1000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Host != "api.example.com" || r.URL.String() != "/x?ms=1" {
			t.Errorf("%s asked for %s", r.Host, r.URL)
		}
		w.Header().Set("X-Instance", "backend-1")
		seen <- kind{r.Method, r.Close, string(body)}
		_, _ = io.WriteString(w, "answer")
	}))
	defer s.Close()
	r := load(t, LoadOptions{
		URL: s.URL + "/x?ms=1", Host: "api.example.com", Count: 100, Concurrency: 4, Fresh: 0.1,
		Methods: []Method{{"GET", 5}, {"POST", 4}, {"HEAD", 1}},
	}).Run(t.Context())
	close(seen)
	got := map[kind]int{}
	for k := range seen {
		got[k]++
	}
	want := map[kind]int{
		{"GET", false, ""}: 45, {"GET", true, ""}: 5,
		{"POST", false, "load=1"}: 36, {"POST", true, "load=1"}: 4,
		{"HEAD", false, ""}: 9, {"HEAD", true, ""}: 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if r.OK != 100 || len(r.Instances) != 1 || r.Instances[0].Name != "backend-1" || r.Instances[0].Answers != 100 {
		t.Errorf("%d ok by %v", r.OK, r.Instances)
	}
	if r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P999 || r.Latency.P999 > r.Latency.Max {
		t.Errorf("latencies %+v", r.Latency)
	}
}

// bubble serves connections in memory, for tests in which time is free. Each
// answer takes as long as takes says.
func bubble(t *testing.T, takes time.Duration, instance func() string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r := bufio.NewReader(theirs)
			for {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				time.Sleep(takes)
				say(theirs, "HTTP/1.1 200 OK\r\nX-Instance: "+instance()+"\r\nContent-Length: 0\r\n\r\n")
			}
		}()
		return ours, nil
	}
}

func always(name string) func() string { return func() string { return name } }

func TestAnOpenLoopKeepsItsRateWhateverTheAnswersTake(t *testing.T) {
	for _, takes := range []time.Duration{0, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			l := load(t, LoadOptions{
				URL: "http://a", Open: true, Rate: 50, Duration: 10*time.Second - time.Millisecond, Dial: bubble(t, takes, always("a")),
			})
			start := time.Now()
			r := l.Run(t.Context())
			expect(t, r, counts{OK: 500, Connections: r.Connections})
			if want := start.Add(9980*time.Millisecond + takes); takes > 0 && !r.At.Equal(want) {
				t.Errorf("ended after %s, want %s", r.At.Sub(start), want.Sub(start))
			}
			if r.Latency.P50 < takes || r.Latency.P50 > takes+takes/32 {
				t.Errorf("p50 %s, want %s", r.Latency.P50, takes)
			}
			if s := r.Seconds[int(takes/time.Second)]; s.OK != 50 {
				t.Errorf("%d answers in the first second of answers, want 50", s.OK)
			}
		})
	}
}

func TestAStepOfTheRateIsInForceAtOnceAndRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var name atomic.Value
		name.Store("backend-1")
		l := load(t, LoadOptions{
			URL: "http://a", Open: true, Rate: 10, Dial: bubble(t, 0, func() string { return name.Load().(string) }),
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan Report)
		start := time.Now()
		go func() { done <- l.Run(ctx) }()
		wait := func(d time.Duration, want int64) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := l.Snapshot().Requests; got != want {
				t.Errorf("after %s: %d requests, want %d", time.Since(start), got, want)
			}
		}
		step := func(rate float64) {
			t.Helper()
			if err := l.SetRate(rate); err != nil {
				t.Fatal(err)
			}
		}
		wait(950*time.Millisecond, 10) // 0.0 to 0.9
		step(100)
		wait(49*time.Millisecond, 15) // at once, then 0.96 to 0.99
		wait(time.Second, 115)
		name.Store("backend-2")
		step(0)
		wait(time.Hour, 115)
		step(1)
		wait(2500*time.Millisecond, 118)
		stop()
		r := <-done
		expect(t, r, counts{OK: 118, Connections: 1})
		rates := []float64{10, 100, 0, 1}
		if len(r.Steps) != len(rates) || r.Steps[1].At.Sub(start) != 950*time.Millisecond {
			t.Fatalf("steps %v", r.Steps)
		}
		for n, s := range r.Steps {
			if s.Rate != rates[n] {
				t.Errorf("step %d to %v, want %v", n, s.Rate, rates[n])
			}
		}
		first, ok := r.FirstNew(r.Steps[1].At)
		if !ok || first.Name != "backend-2" || first.First != r.Steps[3].At {
			t.Errorf("first new instance %v, %t", first, ok)
		}
		if _, ok := r.FirstNew(r.At); ok {
			t.Error("an instance that is new after the end")
		}
	})
}

func TestMoreThanMayWaitIsShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, LoadOptions{
			URL: "http://a", Open: true, Rate: 10, MaxInFlight: 3, Count: 10, Dial: bubble(t, time.Hour, always("a")), Timeout: 2 * time.Hour,
		})
		expect(t, l.Run(t.Context()), counts{OK: 3, Shed: 7, Connections: 3})
	})
}

func TestAClosedLoopWaitsForItsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, LoadOptions{
			URL: "http://a", Concurrency: 2, Duration: 10*time.Second - time.Millisecond, Dial: bubble(t, time.Second, always("a")),
		})
		expect(t, l.Run(t.Context()), counts{OK: 20, Connections: 2})
		if err := l.SetRate(5); !errors.Is(err, ErrNoRate) {
			t.Errorf("SetRate: %v", err)
		}
	})
}

func TestWrongOptionsAreRefusedByName(t *testing.T) {
	for want, o := range map[string]LoadOptions{
		"https://a":   {URL: "https://a"},
		"URL":         {URL: ""},
		"Fresh 1.5":   {URL: "http://a", Fresh: 1.5},
		"Fresh NaN":   {URL: "http://a", Fresh: math.NaN()},
		"Rate -1":     {URL: "http://a", Open: true, Rate: -1},
		"Rate +Inf":   {URL: "http://a", Open: true, Rate: math.Inf(1)},
		`"get"`:       {URL: "http://a", Methods: []Method{{"get", 1}}},
		"weight 0":    {URL: "http://a", Methods: []Method{{"GET", 0}}},
		"weight 6000": {URL: "http://a", Methods: []Method{{"GET", 6000}, {"PUT", 6000}}},
		"host:":       {URL: "http://a", Host: "a\r\nX: y"},
	} {
		if _, err := NewLoad(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", o, err, want)
		}
	}
	l := load(t, LoadOptions{URL: "http://a", Open: true})
	if err := l.SetRate(math.NaN()); err == nil {
		t.Error("NaN is taken for a rate")
	}
}

// BenchmarkLoad tells what the generator itself costs, with a server that
// costs next to nothing.
func BenchmarkLoad(b *testing.B) {
	for _, fresh := range []float64{0, 1} {
		b.Run(fmt.Sprintf("fresh=%v", fresh), func(b *testing.B) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Instance", "a")
			}))
			defer s.Close()
			l, err := NewLoad(LoadOptions{URL: s.URL, Count: int64(b.N), Concurrency: 4, Fresh: fresh})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			r := l.Run(b.Context())
			if r.OK != int64(b.N) {
				b.Errorf("%+v", r)
			}
		})
	}
}
