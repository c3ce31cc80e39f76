package autoscale

import "time"

// Policy is what the operator wants of one service. The zero value of a
// duration or step means "the default", which WithDefaults fills in.
type Policy struct {
	// Min and Max bound the number of instances, both inclusive.
	Min int `json:"min"`
	Max int `json:"max"`
	// CPU and Memory are bands of utilisation. A zero Band is not looked at;
	// at least one must be set.
	CPU    Band `json:"cpu,omitzero"`
	Memory Band `json:"memory,omitzero"`
	// SampleEvery is the interval between two samples; 1 s by default, 250 ms
	// at the least.
	SampleEvery time.Duration `json:"sample_every"`
	// Out and In are the pace of growing and of shrinking.
	Out Pace `json:"scale_out"`
	In  Pace `json:"scale_in"`
	// WarmUp is how long after becoming ready an instance's own use does not
	// count as load: it is still filling caches and compiling.
	WarmUp time.Duration `json:"warm_up"`
}

// Band is the range of utilisation that needs no action, as fractions of the
// container's own limit: 0.7 is 70 %.
type Band struct {
	// Above is the mean utilisation over which the service grows.
	Above float64 `json:"scale_out_above"`
	// Below is the mean utilisation under which it may shrink.
	Below float64 `json:"scale_in_below"`
}

// Pace says how fast one direction may go.
type Pace struct {
	// Window is the time over which utilisation is averaged.
	Window time.Duration `json:"window"`
	// Stabilization is how long the wish must have stood: the most cautious
	// wish of this long is the one that counts.
	Stabilization time.Duration `json:"stabilization"`
	// Cooldown is the least time since the last change of the count.
	Cooldown time.Duration `json:"cooldown"`
	// MaxStep bounds one change.
	MaxStep Step `json:"max_step"`
}

// Step bounds one change of the count. Where both are set the larger counts,
// and a step is never less than one instance.
type Step struct {
	Count    int     `json:"count,omitzero"`
	Fraction float64 `json:"fraction,omitzero"`
}
