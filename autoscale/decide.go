package autoscale

import "time"

const (
	// saturation is the CPU use at which the limit hides the demand: what is
	// measured is a mean over time and instances, and rarely a full 1.
	saturation = 0.9
	// heldBack is the share of throttled scheduling periods that proves the
	// same.
	heldBack = 0.5
	// overloadHeadroom is the part of the upper line that the rest may fill
	// after shrinking.
	overloadHeadroom = 0.9
)

// Decide says how many instances the service should have. It is a pure
// function; the package's documentation has its rules. It never answers with
// less than one instance, except where an operator holds the service at 0.
//
// It costs a few microseconds while the service stays in its band, and a pass
// over Policy.Span of frames when it could shrink.
func Decide(input Input) Decision {
	c := consider(input)
	c.byLoad()
	if c.Hold != nil {
		c.d.To, c.d.Limits, c.d.Until = c.d.Wanted, nil, time.Time{}
		c.d.limit(ReasonOperator, *c.Hold)
		c.d.Reason = ReasonOperator
	}
	return c.d
}

// consideration is one decision in the making.
type consideration struct {
	Input
	d Decision
	h history
	// out and in are the sums over the newest window of either direction.
	out, in sums
	bands   [metrics]Band
	// min and max are the bounds, made sound: max ≥ min ≥ 1.
	min, max int
	fresh    bool
}

func consider(input Input) consideration {
	c := consideration{Input: input}
	c.Policy = c.Policy.resolved()
	c.bands = [metrics]Band{cpu: c.Policy.CPU, memory: c.Policy.Memory}
	c.min = max(1, c.Policy.Min)
	c.max = max(c.min, c.Policy.Max)
	c.d = Decision{
		At:   c.Now,
		From: c.Desired, Wanted: c.Desired, To: c.Desired,
		Ready: c.Ready, Starting: c.Starting,
		Missing: c.Ready,
	}
	c.h = historyUntil(c.Now, c.Frames, c.Policy.SampleEvery)
	c.fresh = len(c.h.frames) > 0 && c.Now.Sub(c.h.newest().At) <= staleAfter*c.Policy.SampleEvery
	if c.fresh {
		newest := c.h.newest()
		c.d.Counted, c.d.Missing, c.d.Warming = newest.Counted, newest.Missing, newest.Warming
		c.out = c.h.sum(out, c.Policy.Out.Window)
		c.in = c.h.sum(in, c.Policy.In.Window)
	}
	c.d.CPU, c.d.Memory = c.measure(cpu), c.measure(memory)
	return c
}

// has says whether the policy looks at a metric.
func (c *consideration) has(m metric) bool { return c.bands[m] != Band{} }

func (c *consideration) measure(m metric) Measure {
	if !c.has(m) {
		return Measure{}
	}
	return Measure{Out: c.out.utilisation(m), In: c.in.utilisation(m), Band: c.bands[m]}
}

// byLoad decides as if no operator held the count.
func (c *consideration) byLoad() {
	switch {
	case c.Desired < c.min:
		c.d.limit(ReasonAtMin, c.min)
		c.d.Reason = ReasonAtMin
	case c.Desired > c.max:
		c.d.limit(ReasonAtMax, c.max)
		c.d.Reason = ReasonAtMax
	case !c.known():
		c.d.hold(c.whyUnknown())
	case c.grow():
	default:
		c.shrink()
	}
}

// known says whether there is anything to judge: instances that serve, a
// metric to look at, and two measurements that are fresh.
func (c *consideration) known() bool {
	return c.Ready > 0 && c.fresh && c.d.Counted > 0 && c.out.frames >= 2 && (c.has(cpu) || c.has(memory))
}

// whyUnknown tells instances that are too young from ones that say nothing.
func (c *consideration) whyUnknown() Reason {
	noneReady := c.Ready == 0 && c.Starting > 0
	allWarming := c.Ready > 0 && c.fresh && c.d.Warming > 0 && c.d.Counted+c.d.Missing == 0
	if noneReady || allWarming {
		return ReasonWarmingUp
	}
	return ReasonMetricsMissing
}

// coming says whether some of the instances in force do not carry their share
// yet.
func (c *consideration) coming() bool {
	return c.Starting > 0 || c.d.Warming > 0 || c.Ready < c.Desired
}

// cooling says whether a change at last is too fresh, and until when.
func (c *consideration) cooling(last time.Time, cooldown time.Duration) (time.Time, bool) {
	if last.IsZero() {
		return time.Time{}, false
	}
	until := last.Add(cooldown)
	return until, c.Now.Before(until)
}

// withinBand ends a decision that no metric asks to be otherwise. Where that
// is only so because missing instances are taken for idle or for busy, the
// reason is that they are missing.
func (c *consideration) withinBand() {
	c.d.Metric = c.tightest().String()
	c.d.Reason = ReasonWithinBand
	if c.hidden() {
		c.d.Reason = ReasonMetricsMissing
	}
}

// tightest is the metric that keeps the service from shrinking the most.
func (c *consideration) tightest() metric {
	best, most := cpu, -1.0
	for m := range metrics {
		if !c.has(m) {
			continue
		}
		use := max(c.out.utilisation(m), c.in.utilisation(m)) / c.bands[m].target()
		if use > most {
			best, most = m, use
		}
	}
	return best
}

// hidden says whether the measured instances alone would be out of the band.
func (c *consideration) hidden() bool {
	outward := measured(c.h.last(c.Policy.Out.Window))
	inward := measured(c.h.last(c.Policy.In.Window))
	if !outward.missing && !inward.missing {
		return false
	}
	above, below := false, true
	for m := range metrics {
		if c.has(m) {
			above = above || outward.utilisation(m) > c.bands[m].Above+epsilon
			below = below && inward.utilisation(m) < c.bands[m].Below-epsilon
		}
	}
	return above || below
}

// measuredSums are sums over the measured instances alone.
type measuredSums struct {
	sums
	missing bool
}

func measured(frames []Frame) measuredSums {
	var s measuredSums
	for i := range frames {
		f := frames[i]
		s.missing = s.missing || f.Missing > 0
		f.Missing = 0
		s.add(out, &f)
	}
	return s
}
