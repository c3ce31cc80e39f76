package autoscale

import "time"

// Limits of a policy.
const (
	// MinSampleEvery and MaxSampleEvery bound Policy.SampleEvery.
	MinSampleEvery = 250 * time.Millisecond
	MaxSampleEvery = time.Minute
	// MaxFrames is how many frames a caller needs to keep at the most: no
	// valid policy looks back further.
	MaxFrames = 3600
)

// None is a stabilization, cooldown or warm-up that the operator has set to
// zero: there is none. A plain zero means "not set".
const None time.Duration = -1

// Policy is what the operator wants of one service. The zero value of a
// duration or step means "the default", which WithDefaults fills in.
type Policy struct {
	// Min and Max bound the number of instances, both inclusive. Min is at
	// least 1: without an instance there is no load that could wake one.
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
	// count as load: it is still filling caches and compiling. 5 s by default.
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

// target is the utilisation that a change of the count aims at: as far from
// one line as from the other.
func (b Band) target() float64 { return (b.Above + b.Below) / 2 }

// Pace says how fast one direction may go.
type Pace struct {
	// Window is the time over which utilisation is averaged; out by default
	// two samples and 500 ms at the least, in 30 s.
	Window time.Duration `json:"window"`
	// Stabilization is how long the wish must have stood: the most cautious
	// wish of this long is the one that counts. Out none, in 3 min.
	Stabilization time.Duration `json:"stabilization"`
	// Cooldown is the least time since the last change of the count: out
	// since the last growth, 10 s; in since any change, 60 s.
	Cooldown time.Duration `json:"cooldown"`
	// MaxStep bounds one change. Out by default 4 or the present count again,
	// in 1 or a quarter of it.
	MaxStep Step `json:"max_step"`
}

// Step bounds one change of the count. Where both are set the larger counts,
// and a step is never less than one instance.
type Step struct {
	// Count is in instances, Fraction a share of the present count, rounded
	// down: 0.25 of 10 instances is 2.
	Count    int     `json:"count,omitzero"`
	Fraction float64 `json:"fraction,omitzero"`
}

// from returns the largest change that is allowed from n instances.
func (s Step) from(n int) int {
	return max(1, s.Count, int(s.Fraction*float64(n)+epsilon))
}

// WithDefaults returns the policy with every duration and step that is not set
// at its default. None stays None.
func (p Policy) WithDefaults() Policy {
	p.SampleEvery = or(p.SampleEvery, time.Second)
	p.WarmUp = or(p.WarmUp, 5*time.Second)

	p.Out.Window = or(p.Out.Window, max(2*p.SampleEvery, 500*time.Millisecond))
	p.Out.Stabilization = or(p.Out.Stabilization, None)
	p.Out.Cooldown = or(p.Out.Cooldown, 10*time.Second)
	if p.Out.MaxStep == (Step{}) {
		p.Out.MaxStep = Step{Count: 4, Fraction: 1}
	}

	p.In.Window = or(p.In.Window, max(2*p.SampleEvery, 30*time.Second))
	p.In.Stabilization = or(p.In.Stabilization, 3*time.Minute)
	p.In.Cooldown = or(p.In.Cooldown, time.Minute)
	if p.In.MaxStep == (Step{}) {
		p.In.MaxStep = Step{Count: 1, Fraction: 0.25}
	}
	return p
}

// Span is how far back Decide looks, and so the history that Input.Frames
// should carry.
func (p Policy) Span() time.Duration {
	p = p.resolved()
	return max(p.Out.span(), p.In.span())
}

// resolved is the policy as it is computed with: defaults in, None as zero.
func (p Policy) resolved() Policy {
	p = p.WithDefaults()
	for _, d := range []*time.Duration{
		&p.WarmUp,
		&p.Out.Stabilization, &p.Out.Cooldown,
		&p.In.Stabilization, &p.In.Cooldown,
	} {
		*d = max(*d, 0)
	}
	return p
}

// span is the history that a wish of this pace rests on: the window of the
// oldest wish that counts began that long ago.
func (p Pace) span() time.Duration { return p.Window + p.Stabilization }

func or(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}
