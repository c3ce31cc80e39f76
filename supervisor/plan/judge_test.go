package plan_test

import (
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/plan"
)

// counted are requests of which some went wrong and some were slow.
func counted(requests, errors, slow int) accesslog.Counts {
	var c accesslog.Counts
	for n := range requests {
		a := accesslog.Attempt{Status: 200, Took: 20 * time.Millisecond}
		if n < errors {
			a.Status = 503
		}
		if n >= requests-slow {
			a.Took = time.Second
		}
		c.Add(a)
	}
	return c
}

func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		name         string
		stable       accesslog.Counts
		canary       accesslog.Counts
		known, worse bool
		why          string
	}{
		{"nothing yet", counted(0, 0, 0), counted(0, 0, 0), false, false,
			"too few requests to judge: 0 at the canary, 0 at the others, 50 are needed at both"},
		{"too few, all wrong", counted(400, 0, 0), counted(49, 49, 0), false, false,
			"too few requests to judge: 49 at the canary, 400 at the others, 50 are needed at both"},
		{"errors while it is cold", accesslog.Counts{Requests: 450}, accesslog.Counts{Requests: 50, Errors: 5}, true, true,
			"10 % of 50 requests at the canary went wrong, 0 % of 450 at the others"},
		{"no errors while it is cold", accesslog.Counts{Requests: 450}, accesslog.Counts{Requests: 50}, false, false,
			"0 % of 50 requests at the canary went wrong, 0 % of 450 at the others; too few to compare their times: 0 at the canary, 0 at the others, 50 are needed at both"},
		{"as good", counted(900, 2, 20), counted(100, 0, 2), true, false,
			"0 % of 100 requests at the canary went wrong, 0.222 % of 900 at the others; 2 % of its requests take longer than 23ms, 2.22 % of the others'"},
		{"two errors may be chance", counted(450, 0, 0), counted(50, 2, 0), true, false,
			"4 % of 50 requests at the canary went wrong, 0 % of 450 at the others; 0 % of its requests take longer than 23ms, 0 % of the others'"},
		{"more errors", counted(450, 0, 0), counted(50, 5, 0), true, true,
			"10 % of 50 requests at the canary went wrong, 0 % of 450 at the others"},
		{"errors that all have", counted(450, 90, 0), counted(50, 10, 0), true, false,
			"20 % of 50 requests at the canary went wrong, 20 % of 450 at the others; 0 % of its requests take longer than 23ms, 0 % of the others'"},
		{"many requests show a small difference, which is too small to matter", counted(90_000, 90, 0), counted(10_000, 60, 0), true, false,
			"0.6 % of 10000 requests at the canary went wrong, 0.1 % of 90000 at the others; 0 % of its requests take longer than 23ms, 0 % of the others'"},
		{"slower", counted(900, 0, 9), counted(100, 0, 40), true, true,
			"the canary is slower: 40 % of its requests take longer than 23ms, 1 % of the others'"},
		{"a little slower", counted(900, 0, 9), counted(100, 0, 8), true, false,
			"0 % of 100 requests at the canary went wrong, 0 % of 900 at the others; 8 % of its requests take longer than 23ms, 1 % of the others'"},
		{"better", counted(900, 90, 300), counted(100, 0, 0), true, false,
			"0 % of 100 requests at the canary went wrong, 10 % of 900 at the others; 0 % of its requests take longer than 1s, 0 % of the others'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := plan.Judge(plan.Trial{Stable: tc.stable, Canary: tc.canary})
			if got != (plan.Verdict{Known: tc.known, Worse: tc.worse, Why: tc.why}) {
				t.Errorf("got %+v", got)
			}
		})
	}
}
