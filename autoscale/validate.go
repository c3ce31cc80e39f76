package autoscale

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// PolicyError is one thing that is wrong with a policy.
type PolicyError struct {
	// Key is the place in x-autoscale, dotted: "cpu.scale_out_above",
	// "scale_in.window", "max".
	Key string
	// Problem is what is there and what was expected, to be read after the
	// key: "80% must be less than scale_out_above 70%".
	Problem string
}

func (e *PolicyError) Error() string { return e.Key + " " + e.Problem }

// PolicyErrors returns the problems that Validate has joined into err, in the
// order of the policy's fields; nil when there are none.
func PolicyErrors(err error) []*PolicyError {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return nil
	}
	var all []*PolicyError
	for _, e := range joined.Unwrap() {
		if p, ok := errors.AsType[*PolicyError](e); ok {
			all = append(all, p)
		}
	}
	return all
}

// Validate says everything that is wrong with the policy, taken with its
// defaults: nil, or a *PolicyError for each problem, joined by errors.Join
// (see PolicyErrors).
func (p Policy) Validate() error {
	p = p.WithDefaults()
	v := &validation{}
	if p.Min < 1 {
		v.add("min", "%d must be at least 1: a service at 0 has no load that could wake it", p.Min)
	}
	if p.Max < max(p.Min, 1) {
		v.add("max", "%d must be at least min %d", p.Max, max(p.Min, 1))
	}
	if p.CPU == (Band{}) && p.Memory == (Band{}) {
		v.add("cpu", "is not set: cpu, memory or both need scale_out_above and scale_in_below")
	}
	v.band("cpu", p.CPU)
	v.band("memory", p.Memory)
	if p.SampleEvery < MinSampleEvery || p.SampleEvery > MaxSampleEvery {
		v.add("sample_every", "%s must be between %s and %s", p.SampleEvery, MinSampleEvery, MaxSampleEvery)
	}
	// A wrong interval is reported once, not again in what follows from it.
	every := min(max(p.SampleEvery, MinSampleEvery), MaxSampleEvery)
	v.pace("scale_out", p.Out, every)
	v.pace("scale_in", p.In, every)
	if p.In.MaxStep.Fraction > 1 {
		v.add("scale_in.max_step", "%s must be at most 100%%", percent(p.In.MaxStep.Fraction))
	}
	v.duration("warm_up", p.WarmUp)
	return errors.Join(v.problems...)
}

// validation collects problems.
type validation struct{ problems []error }

func (v *validation) add(key, format string, args ...any) {
	v.problems = append(v.problems, &PolicyError{Key: key, Problem: fmt.Sprintf(format, args...)})
}

func (v *validation) band(key string, b Band) {
	if b == (Band{}) {
		return
	}
	above := v.share(key+".scale_out_above", b.Above)
	below := v.share(key+".scale_in_below", b.Below)
	if above && below && b.Below >= b.Above {
		v.add(key+".scale_in_below", "%s must be less than scale_out_above %s", percent(b.Below), percent(b.Above))
	}
}

// share says whether x is in (0, 1]; NaN is not.
func (v *validation) share(key string, x float64) bool {
	if x > 0 && x <= 1 {
		return true
	}
	v.add(key, "%s must be more than 0%% and at most 100%%", percent(x))
	return false
}

func (v *validation) pace(key string, p Pace, every time.Duration) {
	if p.Window < 2*every {
		v.add(key+".window", "%s must be at least two samples (%s): a single one is no proof", p.Window, 2*every)
	}
	v.duration(key+".stabilization", p.Stabilization)
	v.duration(key+".cooldown", p.Cooldown)
	p.Stabilization = max(p.Stabilization, 0)
	if history := MaxFrames * every; p.Window > history || p.Stabilization > history-p.Window {
		v.add(key+".stabilization", "%s after a window of %s looks back further than the %d samples that are kept (%s at sample_every %s)",
			p.Stabilization, p.Window, MaxFrames, history, every)
	}
	if p.MaxStep.Count < 0 {
		v.add(key+".max_step", "%d must be at least 1 instance", p.MaxStep.Count)
	}
	if f := p.MaxStep.Fraction; !(f >= 0 && f <= 100) {
		v.add(key+".max_step", "%s must be more than 0%% and at most 10000%%", percent(f))
	}
}

func (v *validation) duration(key string, d time.Duration) {
	if d < 0 && d != None {
		v.add(key, "%s must not be negative", d)
	}
}

// percent writes a fraction as an operator does: 0.7 is "70%".
func percent(x float64) string {
	return strconv.FormatFloat(x*100, 'g', 6, 64) + "%"
}
