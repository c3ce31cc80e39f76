package autoscale

import (
	"iter"
	"math"
	"time"
)

// Replay answers what the policy would have decided on recorded frames, which
// are in ascending order of At. It yields one decision a frame, and holds no
// more frames than the policy looks back.
//
// Its model of the service is simple. It begins with the count of the first
// frame, carries each decision out, and new instances serve at once. Where its
// count differs from the recorded one it spreads the recorded load over its
// own, so a frame's utilisation rises or falls with it; an instance cannot use
// more than its limit. What a limit hid when the frames were recorded stays
// hidden.
func Replay(p Policy, frames iter.Seq[Frame]) iter.Seq[Decision] {
	return func(yield func(Decision) bool) {
		m := model{policy: p}
		for f := range frames {
			if !yield(m.step(f)) {
				return
			}
		}
	}
}

// model is the service that Replay imagines.
type model struct {
	policy          Policy
	desired         int
	begun           bool
	frames          []Frame
	lastOut, lastIn time.Time
}

func (m *model) step(f Frame) Decision {
	if !m.begun {
		m.begun = true
		m.desired = f.Counted + f.Missing + f.Warming
	}
	m.remember(spread(f, m.desired))
	d := Decide(Input{
		Now:     f.At,
		Policy:  m.policy,
		Desired: m.desired,
		Ready:   m.desired,
		Frames:  m.frames,
		LastOut: m.lastOut,
		LastIn:  m.lastIn,
	})
	switch {
	case d.To > d.From:
		m.lastOut = d.At
	case d.To < d.From:
		m.lastIn = d.At
	}
	m.desired = d.To
	return d
}

// remember keeps the frames that the policy looks back at, and moves them to
// the front only when half of what it holds has become too old.
func (m *model) remember(f Frame) {
	m.frames = append(m.frames, f)
	old := firstAfter(m.frames, f.At.Add(-m.policy.Span()-m.policy.WithDefaults().SampleEvery))
	if old > len(m.frames)/2 {
		m.frames = append(m.frames[:0], m.frames[old:]...)
	}
}

// spread is the frame as it would have been with n instances: the same load,
// and as large a part of them missing.
func spread(f Frame, n int) Frame {
	had := f.Counted + f.Missing + f.Warming
	if had == n || had == 0 || n == 0 || f.Counted == 0 {
		return f
	}
	missing := min(n-1, int(math.Round(float64(n*f.Missing)/float64(had))))
	counted := n - missing
	// Those that warmed up carried their share without being counted.
	factor := float64(f.Counted+f.Warming) / float64(counted)
	return Frame{
		At:        f.At,
		Counted:   counted,
		Missing:   missing,
		CPU:       min(f.CPU*factor, max(f.CPU, 1)),
		Memory:    min(f.Memory*factor, max(f.Memory, 1)),
		Throttled: min(f.Throttled*factor, 1),
	}
}
