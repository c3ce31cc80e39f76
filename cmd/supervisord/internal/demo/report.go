package demo

import (
	"maps"
	"slices"
	"time"
)

// Report is what has become of the requests of a Load so far. Each request
// that has ended is counted once: Requests is the sum of OK, NonOK,
// FailedFresh, ResetIdle, Timeouts and Broken.
type Report struct {
	// Start is when the first request was due, At when the report was made.
	Start, At time.Time
	// InFlight requests have not ended.
	InFlight int
	Requests int64
	// OK are the answers with 2xx; NonOK the others by status.
	OK    int64
	NonOK map[int]int64
	// FailedFresh could not connect, or got not a byte of an answer on a
	// connection that was made for them: the server let a new client down.
	FailedFresh int64
	// ResetIdle went out on a connection that had been idle and was closed
	// before a byte of an answer. HTTP allows a server to do so; clients repeat
	// such a request on a new connection if it is idempotent. A Load does not,
	// so that it is seen.
	ResetIdle int64
	// Timeouts took longer than the Load's Timeout, connecting included.
	Timeouts int64
	// Broken got some of an answer, and not all or not HTTP.
	Broken int64
	// Shed were not sent, as too many were in flight already; they are not
	// among the Requests.
	Shed int64
	// Connections were opened.
	Connections int64
	// Latency is of all answers, whatever their status, from when a request was
	// due: a wait for a turn is part of it.
	Latency Quantiles
	// Seconds is the course of the load, by when requests ended.
	Seconds []Second
	// Steps are the rates, the first included, and when they came in force.
	Steps []Step
	// Instances are those that answered, sorted by their first answer.
	Instances []Instance
}

// Quantiles of durations, at most 3 % too high; zero where there are none.
type Quantiles struct {
	P50, P90, P99, P999, Max time.Duration
}

// Second is one second of a load.
type Second struct {
	// OK and Failed ended in it; Failed is all that was not a 2xx.
	OK, Failed int64
}

// Step is a change of the rate.
type Step struct {
	At time.Time
	// Rate in requests per second.
	Rate float64
}

// Instance is one that answered, by its X-Instance header.
type Instance struct {
	Name    string
	Answers int64
	// First is when its first answer was complete.
	First time.Time
}

// Failed is the number of requests that got no 2xx.
func (r Report) Failed() int64 { return r.Requests - r.OK }

// FirstNew is the first answer after t of an instance that had not answered
// before; false when there is none.
func (r Report) FirstNew(t time.Time) (Instance, bool) {
	for _, i := range r.Instances {
		if i.First.After(t) {
			return i, true
		}
	}
	return Instance{}, false
}

// outcome is what became of one request.
type outcome int

const (
	answered outcome = iota
	failedFresh
	resetIdle
	timedOut
	broken
)

// result is one request that has ended.
type result struct {
	outcome outcome
	// status and instance of an answer.
	status   int
	instance string
	due, end time.Time
}

// tally counts results. Its owner locks.
type tally struct {
	report    Report
	latency   histogram
	instances map[string]*Instance
}

func newTally(start time.Time) *tally {
	return &tally{report: Report{Start: start, NonOK: map[int]int64{}}, instances: map[string]*Instance{}}
}

func (t *tally) add(r result) {
	p := &t.report
	p.Requests++
	second := t.second(r.end)
	good := r.outcome == answered && r.status >= 200 && r.status < 300
	if good {
		p.OK++
		second.OK++
	} else {
		second.Failed++
	}
	switch r.outcome {
	case failedFresh:
		p.FailedFresh++
	case resetIdle:
		p.ResetIdle++
	case timedOut:
		p.Timeouts++
	case broken:
		p.Broken++
	case answered:
		if !good {
			p.NonOK[r.status]++
		}
		t.latency.add(r.end.Sub(r.due))
		t.answer(r)
	}
}

func (t *tally) answer(r result) {
	if r.instance == "" {
		return
	}
	i, known := t.instances[r.instance]
	if !known {
		i = &Instance{Name: r.instance, First: r.end}
		t.instances[r.instance] = i
	}
	i.Answers++
	// Results come in nearly, but not quite, in the order of their ends.
	if r.end.Before(i.First) {
		i.First = r.end
	}
}

// second is the entry for a time.
func (t *tally) second(at time.Time) *Second {
	n := int(max(at.Sub(t.report.Start), 0) / time.Second)
	for len(t.report.Seconds) <= n {
		t.report.Seconds = append(t.report.Seconds, Second{})
	}
	return &t.report.Seconds[n]
}

// snapshot shares nothing with the tally.
func (t *tally) snapshot(now time.Time) Report {
	p := t.report
	p.At = now
	p.NonOK = maps.Clone(p.NonOK)
	p.Seconds = slices.Clone(p.Seconds)
	p.Steps = slices.Clone(p.Steps)
	p.Latency = t.latency.quantiles()
	p.Instances = make([]Instance, 0, len(t.instances))
	for _, i := range t.instances {
		p.Instances = append(p.Instances, *i)
	}
	slices.SortFunc(p.Instances, func(a, b Instance) int {
		if c := a.First.Compare(b.First); c != 0 {
			return c
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return p
}
