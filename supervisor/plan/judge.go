package plan

import (
	"fmt"
	"math"

	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/state"
)

// Trial is what nginx on all hosts has seen of a service since its canary
// serves: the attempts at the canary's instances and at the others, with their
// times since the canary is warm.
type Trial struct {
	Stable accesslog.Counts `json:"stable"`
	Canary accesslog.Counts `json:"canary"`
}

// Verdict is how a canary does against what it may replace.
type Verdict struct {
	// Known: there were enough requests to tell. Worse: it has more errors, or
	// is slower, than chance explains.
	Known bool `json:"known"`
	Worse bool `json:"worse"`
	// Why says it in a sentence, with the figures.
	Why string `json:"why"`
}

const (
	// judgeLeast is how many requests the canary and the others must have had.
	judgeLeast = 50
	// judgeErrors is how many errors it takes at the least.
	judgeErrors = 3
	// judgeMoreErrors and judgeMoreSlow are by how much the shares of errors,
	// and of requests slower than 95 % of the others', must differ to matter.
	judgeMoreErrors = 0.01
	judgeMoreSlow   = 0.10
	// judgeQuantile is the one that latencies are compared at.
	judgeQuantile = 0.95
	// judgeZ is how many standard deviations a difference must be away from
	// none. A canary is looked at every second, so that chance has many tries;
	// one look gets there in 30,000.
	judgeZ = 4
)

// Judge compares a canary with the others by the shares of errors and of slow
// requests. Both are differences of two proportions, and count when they are
// large enough to matter and too large for chance (the z-test for two
// proportions with pooled variance, one-sided; any textbook of statistics, as
// NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.3).
func Judge(t Trial) Verdict {
	c, s := t.Canary, t.Stable
	if c.Requests < judgeLeast || s.Requests < judgeLeast {
		return Verdict{Why: fmt.Sprintf("too few requests to judge: %d at the canary, %d at the others, %d are needed at both", c.Requests, s.Requests, judgeLeast)}
	}
	errors := fmt.Sprintf("%s of %d requests at the canary went wrong, %s of %d at the others",
		percent(c.ErrorRate()), c.Requests, percent(s.ErrorRate()), s.Requests)
	if c.Errors >= judgeErrors && c.ErrorRate()-s.ErrorRate() > judgeMoreErrors &&
		zOf(c.Errors, c.Requests, s.Errors, s.Requests) > judgeZ {
		return Verdict{Known: true, Worse: true, Why: errors}
	}
	timedC, timedS := c.Timed(), s.Timed()
	if timedC < judgeLeast || timedS < judgeLeast {
		return Verdict{Why: fmt.Sprintf("%s; too few to compare their times: %d at the canary, %d at the others, %d are needed at both", errors, timedC, timedS, judgeLeast)}
	}
	within, n := s.Quantile(judgeQuantile)
	slowC, slowS := c.Slower(n), s.Slower(n)
	shareC, shareS := float64(slowC)/float64(timedC), float64(slowS)/float64(timedS)
	slow := fmt.Sprintf("%s of its requests take longer than %s, %s of the others'", percent(shareC), state.Brief(within), percent(shareS))
	if shareC-shareS > judgeMoreSlow && zOf(slowC, timedC, slowS, timedS) > judgeZ {
		return Verdict{Known: true, Worse: true, Why: "the canary is slower: " + slow}
	}
	return Verdict{Known: true, Why: errors + "; " + slow}
}

// zOf is by how many standard deviations the share a of n exceeds b of m, if
// both were the same.
func zOf(a, n, b, m uint64) float64 {
	p := float64(a+b) / float64(n+m)
	deviation := math.Sqrt(p * (1 - p) * (1/float64(n) + 1/float64(m)))
	if deviation == 0 {
		return 0
	}
	return (float64(a)/float64(n) - float64(b)/float64(m)) / deviation
}

func percent(share float64) string { return fmt.Sprintf("%.3g %%", 100*share) }
