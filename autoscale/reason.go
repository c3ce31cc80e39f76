package autoscale

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
	// ReasonStabilizing: a change is wanted now, not yet for long enough.
	ReasonStabilizing Reason = "stabilizing"
	// ReasonAtMin and ReasonAtMax: the bound holds the count, or an edit of
	// the policy has moved it.
	ReasonAtMin Reason = "at_min"
	ReasonAtMax Reason = "at_max"
	// ReasonWarmingUp: what is wanted is already on its way.
	ReasonWarmingUp Reason = "warming_up"
	// ReasonMetricsMissing: too little is known to decide.
	ReasonMetricsMissing Reason = "metrics_missing"
	// ReasonWouldOverload: fewer would push the rest over the upper line.
	ReasonWouldOverload Reason = "would_overload"
	// ReasonDeploying: it would shrink, and a release is being rolled out.
	ReasonDeploying Reason = "deploying"
	// ReasonOperator: an operator has set the count by hand.
	ReasonOperator Reason = "operator"
	// ReasonMaxStep: a change was cut to the largest step. It stands only in
	// Limits.
	ReasonMaxStep Reason = "max_step"
)

// Limit is one step in which a wanted count was changed on its way to the
// final one.
type Limit struct {
	Reason Reason `json:"reason"`
	From   int    `json:"from"`
	To     int    `json:"to"`
}
