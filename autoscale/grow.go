package autoscale

// growth is what the metrics above their lines ask for.
type growth struct {
	wanted  int
	metric  metric
	formula formula
	// saturated is that of the metric, urgent that of any: a wish of another
	// metric, even a larger one, does not make a saturated CPU less so.
	saturated, urgent bool
}

// grow decides when a metric is above its line; otherwise it returns false and
// has changed nothing.
func (c *consideration) grow() bool {
	g, above := c.growth()
	if !above {
		return false
	}
	d := &c.d
	d.Wanted, d.To = g.wanted, g.wanted
	d.Metric, d.Formula = g.metric.String(), g.formula.String()

	if g.wanted <= c.Desired {
		d.hold(ReasonWarmingUp)
		return true
	}
	if c.Policy.Out.Stabilization > 0 && d.limit(ReasonStabilizing, min(d.To, c.stoodOut())) {
		d.Reason = ReasonStabilizing
		return true
	}
	if d.limit(ReasonAtMax, min(d.To, c.max)) {
		d.Reason = ReasonAtMax
		return true
	}
	// The cooldown waits for the last growth to have its effect. It must not
	// hide that the effect is there and not enough, or that the load has risen
	// beyond what the limit shows.
	until, cooling := c.cooling(c.LastOut, c.Policy.Out.Cooldown)
	if cooling && c.coming() && !g.urgent {
		d.hold(ReasonCooldown)
		d.Until = until
		return true
	}
	d.limit(ReasonMaxStep, min(d.To, d.From+c.Policy.Out.MaxStep.from(d.From)))
	d.Reason = ReasonAboveThreshold
	if g.saturated {
		d.Reason = ReasonSaturated
	}
	return true
}

// growth asks every metric above its line; the largest wish counts.
func (c *consideration) growth() (growth, bool) {
	var best growth
	above, urgent := false, false
	for m := range metrics {
		if !c.has(m) {
			continue
		}
		over, saturated := c.above(m)
		if !over {
			continue
		}
		g := c.wish(m, saturated)
		if !above || g.wanted > best.wanted {
			best = g
		}
		above, urgent = true, urgent || saturated
	}
	best.urgent = urgent
	return best, above
}

// above judges a metric over the newest Out.Window.
func (c *consideration) above(m metric) (over, saturated bool) {
	use := c.out.utilisation(m)
	over = use > c.bands[m].Above+epsilon
	if m != cpu {
		return over, false
	}
	full := use >= saturation-epsilon
	throttled := c.throttled() >= heldBack-epsilon
	over = over || full && throttled
	return over, over && (full || throttled)
}

// throttled is the mean over the newest Out.Window, missing instances at none.
func (c *consideration) throttled() float64 {
	sum := 0.0
	frames := c.h.last(c.Policy.Out.Window)
	for i := range frames {
		sum += float64(frames[i].Counted) * frames[i].Throttled
	}
	return sum / float64(c.out.members)
}

// wish is the count that a metric above its line asks for.
func (c *consideration) wish(m metric, saturated bool) growth {
	target := c.bands[m].target()
	g := growth{
		wanted:    instances(c.out.meanLoad(m), target),
		metric:    m,
		saturated: saturated,
		formula:   formula{members: c.out.meanMembers(), use: c.out.utilisation(m), target: target},
	}
	if doubled := 2 * c.d.Counted; saturated && doubled > g.wanted {
		g.wanted = doubled
		g.formula.doubled = c.d.Counted
	}
	g.formula.result = g.wanted
	return g
}

// stoodOut is the count that was wanted throughout Out.Stabilization: the one
// in force when no metric was above its line all the time.
func (c *consideration) stoodOut() int {
	p := c.Policy.Out
	stood := c.Desired
	if !c.h.covers(out, p.span()) {
		return stood
	}
	e := c.h.sweep(out, p.Window, p.Stabilization)
	for m := range metrics {
		if over, _ := c.above(m); !c.has(m) || !over {
			continue
		}
		// A load of the past is judged on the instances of today. A saturated
		// CPU may stand at a line that it cannot cross.
		line := c.bands[m].Above + epsilon
		if m == cpu {
			line = min(line, saturation)
		}
		if e.low[m] > line*c.out.meanMembers() {
			stood = max(stood, instances(e.low[m], c.bands[m].target()))
		}
	}
	return stood
}
