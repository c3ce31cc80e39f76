package autoscale

// shrink decides when no metric is above its line.
func (c *consideration) shrink() {
	if !c.below() {
		c.withinBand()
		return
	}
	d := &c.d
	d.Wanted = c.fewer()
	d.To = d.Wanted
	if d.limit(ReasonAtMin, max(d.To, c.min)) {
		d.Reason = ReasonAtMin
		return
	}
	if c.Rolling {
		d.hold(ReasonDeploying)
		return
	}
	stood, ok := c.stoodIn()
	if !ok {
		d.hold(ReasonStabilizing)
		return
	}
	d.limit(ReasonStabilizing, max(d.To, min(stood, d.From-1)))
	peaks := c.peaks()
	if d.limit(ReasonWouldOverload, max(d.To, min(c.carriers(peaks), d.From))) {
		d.Reason = ReasonWouldOverload
		c.explainOverload(peaks)
		return
	}
	last := c.LastOut
	if c.LastIn.After(last) {
		last = c.LastIn
	}
	if until, cooling := c.cooling(last, c.Policy.In.Cooldown); cooling {
		d.hold(ReasonCooldown)
		d.Until = until
		return
	}
	d.limit(ReasonMaxStep, max(d.To, d.From-c.Policy.In.MaxStep.from(d.From)))
	d.Reason = ReasonBelowThreshold
}

// below says whether all metrics are below their lines over the newest
// In.Window.
func (c *consideration) below() bool {
	for m := range metrics {
		if c.has(m) && !(c.in.utilisation(m) < c.bands[m].Below-epsilon) {
			return false
		}
	}
	return true
}

// fewer is the count that the load of the newest In.Window asks for, and at
// most one less than the one in force. It leaves the formula of the metric
// that asks for the most.
func (c *consideration) fewer() int {
	best := formula{result: -1}
	for m := range metrics {
		if !c.has(m) {
			continue
		}
		target := c.bands[m].target()
		if wanted := instances(c.in.meanLoad(m), target); wanted > best.result {
			best = formula{members: c.in.meanMembers(), use: c.in.utilisation(m), target: target, result: wanted}
			c.d.Metric = m.String()
		}
	}
	if best.result < 1 {
		best.atLeastOne = true
		best.result = 1
	}
	if oneFewer := c.Desired - 1; oneFewer >= 1 && best.result > oneFewer {
		best.oneFewerThan = c.Desired
		best.result = oneFewer
	}
	c.d.Formula = best.String()
	return min(best.result, c.Desired)
}

// stoodIn is the highest count that was wanted within In.Stabilization, and
// whether all metrics were below their lines all that time.
func (c *consideration) stoodIn() (int, bool) {
	p := c.Policy.In
	if !c.h.covers(in, p.span()) {
		return 0, false
	}
	e := c.h.sweep(in, p.Window, p.Stabilization)
	stood := 0
	for m := range metrics {
		if !c.has(m) {
			continue
		}
		// A load of the past is judged on the count of today.
		if !(e.high[m]/float64(c.Desired) < c.bands[m].Below-epsilon) {
			return 0, false
		}
		stood = max(stood, instances(e.high[m], c.bands[m].target()))
	}
	return stood, true
}

// peaks are the highest loads of any Out.Window in the time that shrinking
// looks at: what the instances that stay must be able to carry.
func (c *consideration) peaks() [metrics]float64 {
	window := c.Policy.Out.Window
	return c.h.sweep(in, window, max(0, c.Policy.In.span()-window)).high
}

// unready is how many of the instances in force do not serve. Those that leave
// are taken to be serving ones, so they cannot be counted on.
func (c *consideration) unready() int { return max(0, c.Desired-c.Ready) }

// carriers is the least count that carries the peaks with head room, and keeps
// an instance that serves.
func (c *consideration) carriers(peaks [metrics]float64) int {
	most := 1
	for m, load := range peaks {
		if c.has(metric(m)) {
			most = max(most, instances(load, overloadHeadroom*c.bands[m].Above))
		}
	}
	return most + c.unready()
}

// explainOverload replaces the formula by the one that forbids to shrink.
func (c *consideration) explainOverload(peaks [metrics]float64) {
	rest := c.Desired - 1 - c.unready()
	worst := -1.0
	for m, load := range peaks {
		if c.has(metric(m)) && load/c.bands[m].Above > worst {
			worst = load / c.bands[m].Above
			c.d.Metric = metric(m).String()
			c.d.Formula = overloadFormula(load, rest, c.bands[m].Above)
		}
	}
}
