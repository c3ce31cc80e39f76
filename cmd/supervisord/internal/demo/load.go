package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// LoadOptions say what a Load sends.
type LoadOptions struct {
	// URL is http://host:port/path; Host is the Host header, by default URL's.
	URL  string
	Host string
	// Open makes it an open loop: requests are sent at Rate per second, however
	// long answers take, as the visitors of a site do. At most MaxInFlight wait
	// for their answers, 1000 by default.
	Open        bool
	Rate        float64
	MaxInFlight int
	// Concurrency is how many clients send one request after the other where
	// the loop is not open; 1 by default.
	Concurrency int
	// Fresh is the share of requests, from 0 to 1, that come on a new
	// connection and close it. The others use idle connections.
	Fresh float64
	// Methods are mixed by weight; GET alone by default.
	Methods []Method
	// Timeout is for one request with its connection; 10 s by default.
	Timeout time.Duration
	// Count and Duration end the load; 0 is no bound.
	Count    int64
	Duration time.Duration
	// Dial makes connections; a net.Dialer's by default.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Method is one of the methods that are mixed.
type Method struct {
	Name   string
	Weight int
}

// ErrNoRate is SetRate's of a Load that is no open loop.
var ErrNoRate = errors.New("this load has no rate: its loop is not open")

// Load sends requests and counts what becomes of them. It speaks HTTP/1.1 by
// itself: net/http would repeat what fails on an idle connection without
// telling, and cost twice the CPU time that belongs to the server under test.
type Load struct {
	options LoadOptions
	address string
	mix     *mix
	pool    pool
	// changed tells the pacer that the rate is another one.
	changed chan struct{}

	mu       sync.Mutex
	tally    *tally
	rate     float64
	inFlight int
}

// NewLoad returns a Load that has sent nothing. Its errors name the option.
func NewLoad(o LoadOptions) (*Load, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("load: URL: %w", err)
	}
	if u.Scheme != "http" || u.Hostname() == "" {
		return nil, fmt.Errorf("load: URL %q: want http://host:port/path", o.URL)
	}
	if !(o.Fresh >= 0 && o.Fresh <= 1) {
		return nil, fmt.Errorf("load: Fresh %v: want a share from 0 to 1", o.Fresh)
	}
	if !validRate(o.Rate) {
		return nil, fmt.Errorf("load: Rate %v: want requests per second", o.Rate)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	o.MaxInFlight = cmp.Or(max(o.MaxInFlight, 0), 1000)
	o.Concurrency = cmp.Or(max(o.Concurrency, 0), 1)
	o.Timeout = cmp.Or(max(o.Timeout, 0), 10*time.Second)
	if len(o.Methods) == 0 {
		o.Methods = []Method{{http.MethodGet, 1}}
	}
	mix, err := newMix(u, o)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return &Load{
		options: o,
		address: net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")),
		mix:     mix,
		changed: make(chan struct{}, 1),
		tally:   newTally(time.Time{}),
		rate:    o.Rate,
	}, nil
}

func validRate(r float64) bool { return r >= 0 && !math.IsInf(r, 1) }

// Run sends until ctx or the Load's own bound ends it, waits for the answers
// to what it has sent, and reports. It may be called once.
func (l *Load) Run(ctx context.Context) Report {
	start := time.Now()
	l.mu.Lock()
	l.tally = newTally(start)
	if l.options.Open {
		l.tally.report.Steps = []Step{{At: start, Rate: l.rate}}
	}
	l.mu.Unlock()
	// Requests in flight shall end by themselves, or the end of the load would
	// look like failures.
	requests := context.WithoutCancel(ctx)
	if l.options.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.options.Duration)
		defer cancel()
	}
	var all sync.WaitGroup
	if l.options.Open {
		l.pace(ctx, start, func(due time.Time) { l.launch(requests, &all, due) })
	} else {
		l.loop(ctx, requests, &all)
	}
	all.Wait()
	l.pool.close()
	return l.Snapshot()
}

// Snapshot reports while it runs.
func (l *Load) Snapshot() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.tally.snapshot(time.Now())
	r.InFlight = l.inFlight
	return r
}

// SetRate changes the rate from now on; 0 pauses.
func (l *Load) SetRate(perSecond float64) error {
	if !l.options.Open {
		return ErrNoRate
	}
	if !validRate(perSecond) {
		return fmt.Errorf("rate %v: want requests per second", perSecond)
	}
	l.mu.Lock()
	l.rate = perSecond
	if !l.tally.report.Start.IsZero() {
		l.tally.report.Steps = append(l.tally.report.Steps, Step{At: time.Now(), Rate: perSecond})
	}
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
		// It has a change to look at, and will find this one.
	}
	return nil
}

// pace calls send when a request is due. When it is late it catches up, so
// that a slow moment of this process takes nothing off the load.
func (l *Load) pace(ctx context.Context, start time.Time, send func(due time.Time)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	// The first is due at once.
	last := start.Add(-l.interval())
	for sent := int64(0); l.options.Count == 0 || sent < l.options.Count; {
		due, ok := l.due(last)
		if ok {
			timer.Reset(time.Until(due))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
			// What was due under the old rate may be due sooner now, but not
			// before the change.
			last = l.notBefore(last, time.Now())
			continue
		case <-timer.C:
		}
		send(due)
		last = due
		sent++
	}
}

// due is when the next request after one at last is to be sent; false means
// not at this rate.
func (l *Load) due(last time.Time) (time.Time, bool) {
	interval := l.interval()
	return last.Add(interval), interval > 0
}

// interval between two requests; 0 means a pause.
func (l *Load) interval() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate == 0 {
		return 0
	}
	// A rate can be so low that its interval is none any more.
	const most = 1e6 * float64(time.Hour)
	return max(1, time.Duration(min(float64(time.Second)/l.rate, most)))
}

// notBefore moves last so that the next request is due at now at the earliest.
func (l *Load) notBefore(last, now time.Time) time.Time {
	due, ok := l.due(last)
	if !ok || !due.Before(now) {
		return last
	}
	return last.Add(now.Sub(due))
}

// launch sends one request, unless too many are in flight.
func (l *Load) launch(ctx context.Context, all *sync.WaitGroup, due time.Time) {
	l.mu.Lock()
	if l.inFlight >= l.options.MaxInFlight {
		l.tally.report.Shed++
		l.mu.Unlock()
		return
	}
	l.inFlight++
	r := l.mix.next()
	l.mu.Unlock()
	all.Go(func() { l.finish(l.send(ctx, r, due)) })
}

// loop is the closed one.
func (l *Load) loop(ctx, requests context.Context, all *sync.WaitGroup) {
	var sent int64
	take := func() (request, bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if ctx.Err() != nil || l.options.Count > 0 && sent >= l.options.Count {
			return request{}, false
		}
		sent++
		l.inFlight++
		return l.mix.next(), true
	}
	for range l.options.Concurrency {
		all.Go(func() {
			for r, ok := take(); ok; r, ok = take() {
				l.finish(l.send(requests, r, time.Now()))
			}
		})
	}
}

func (l *Load) finish(r result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.tally.add(r)
}
