package autoscale

import "time"

// Reason is why a decision came out as it did; one code a decision.
type Reason string

// The reasons.
const (
	// ReasonAboveThreshold: a metric is over its band, the service grows.
	ReasonAboveThreshold Reason = "above_threshold"
	// ReasonSaturated: as above, and the limit hides how much more is wanted.
	ReasonSaturated Reason = "saturated"
	// ReasonBelowThreshold: all metrics are under their bands, it shrinks.
	ReasonBelowThreshold Reason = "below_threshold"
	// ReasonWithinBand: nothing to do.
	ReasonWithinBand Reason = "within_band"
	// ReasonCooldown: a change is wanted, the last one is too fresh.
	ReasonCooldown Reason = "cooldown"
	// ReasonStabilizing: fewer are wanted now, not yet for long enough.
	ReasonStabilizing Reason = "stabilizing"
	// ReasonAtMin and ReasonAtMax: the bound holds the count.
	ReasonAtMin Reason = "at_min"
	ReasonAtMax Reason = "at_max"
	// ReasonWarmingUp: what is wanted is already on its way.
	ReasonWarmingUp Reason = "warming_up"
	// ReasonMetricsMissing: too little is known to decide.
	ReasonMetricsMissing Reason = "metrics_missing"
	// ReasonWouldOverload: fewer would push the rest over the upper line.
	ReasonWouldOverload Reason = "would_overload"
	// ReasonOperator: an operator has set the count by hand.
	ReasonOperator Reason = "operator"
)

// Limit is one step in which a wanted count was changed on its way to the
// final one.
type Limit struct {
	Reason Reason `json:"reason"`
	From   int    `json:"from"`
	To     int    `json:"to"`
}

// Decision is the count a service should have, with all that led to it.
type Decision struct {
	At time.Time `json:"at"`
	// From is the count in force, Wanted what the load asks for before any
	// bound, To the final count.
	From   int    `json:"from"`
	Wanted int    `json:"wanted"`
	To     int    `json:"to"`
	Reason Reason `json:"reason"`
	// Limits are the bounds that changed Wanted into To, in order.
	Limits []Limit `json:"limits,omitempty"`
	// Metric is the one that decided ("cpu", "memory", "" for none), Formula
	// its arithmetic with numbers: "ceil(2 × 0.93 / 0.50) = 4".
	Metric  string  `json:"metric,omitempty"`
	Formula string  `json:"formula,omitempty"`
	CPU     Measure `json:"cpu,omitzero"`
	Memory  Measure `json:"memory,omitzero"`
	// Ready, Starting, Counted and Missing are the instances it looked at.
	Ready    int `json:"ready"`
	Starting int `json:"starting"`
	Counted  int `json:"counted"`
	Missing  int `json:"missing"`
}

// Measure is one metric as a decision saw it: means over the windows of the
// two directions, against the band.
type Measure struct {
	Out  float64 `json:"out"`
	In   float64 `json:"in"`
	Band Band    `json:"band"`
}

// Changes says whether the decision changes the count.
func (d Decision) Changes() bool { return d.To != d.From }
