package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Summary is what the demo has shown in the end.
type Summary struct {
	Took time.Duration
	Load Report
	// Before and After are the rates around the step of the load.
	Before, After float64
	// From the step of the load: until the count was raised, and until the
	// first answer of a container that was new. 0 where it did not happen.
	ToDecision, ToServing time.Duration
	// ToReady is the stage between them, when the first new container passed
	// its health check, from the step too; 0 where it is not known.
	ToReady time.Duration
	// ToFloor is from the end of the high load until the count was back at its
	// first; 0 where it did not happen.
	ToFloor time.Duration
	// First, Peak and Last are counts of ready replicas.
	First, Peak, Last int
}

// Lost says how many requests were let down: not by a 2xx, not by a reset of
// an idle connection either, which a client repeats.
func (s Summary) Lost() int64 { return s.Load.Failed() - s.Load.ResetIdle }

// Good says whether all happened that the demo is to show: out, in, and no
// request lost.
func (s Summary) Good() bool {
	return s.Lost() == 0 && s.Load.OK > 0 && s.ToServing > 0 && s.Peak > s.First && s.ToFloor > 0
}

// servedRow is the name of the row that the stages before it lead to.
const servedRow = "  until a new container served"

// Render returns the summary as lines.
func (s Summary) Render() []string {
	l := s.Load
	type entry struct{ name, figure, remark string }
	rows := []entry{
		{"requests", grouped(l.Requests), fmt.Sprintf("latency p50 %s, p99 %s, longest %s", millis(l.Latency.P50), millis(l.Latency.P99), millis(l.Latency.Max))},
		{"non-2xx answers", grouped(l.Requests - l.OK - l.FailedFresh - l.ResetIdle - l.Timeouts - l.Broken), statuses(l.NonOK)},
		{"failed fresh connections", grouped(l.FailedFresh), ""},
		{"timeouts", grouped(l.Timeouts), ""},
		{"broken answers", grouped(l.Broken), ""},
		{"keep-alive resets", grouped(l.ResetIdle), "by reloads of nginx before 1.27.4; clients repeat these"},
		{"not sent", grouped(l.Shed), "too many requests were waiting already"},
		{"load step", fmt.Sprintf("%.0f → %.0f", s.Before, s.After), "requests per second"},
		{"  until the decision", seconds(s.ToDecision), ""},
		{servedRow, seconds(s.ToServing), ""},
		{"replicas", fmt.Sprintf("%d → %d → %d", s.First, s.Peak, s.Last), fmt.Sprintf("%d containers answered", len(l.Instances))},
		{"  back in after the load fell", seconds(s.ToFloor), ""},
	}
	if s.ToReady > 0 {
		at := slices.IndexFunc(rows, func(r entry) bool { return r.name == servedRow })
		rows = slices.Insert(rows, at, entry{"  until a new one was ready", seconds(s.ToReady), ""})
	}
	lines := []string{"Summary after " + s.Took.Round(100*time.Millisecond).String()}
	for _, r := range rows {
		// What did not happen needs no explanation.
		if r.figure == "0" {
			r.remark = ""
		}
		lines = append(lines, strings.TrimRight(fmt.Sprintf("  %s%12s  %s", pad(r.name, 32), r.figure, r.remark), " "))
	}
	return lines
}

func statuses(by map[int]int64) string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%d: %s", status, grouped(by[status])))
	}
	return strings.Join(parts, ", ")
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
