package autoscale

import (
	"slices"
	"time"
)

// now is the moment of all decisions in the tests.
func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func ago(d time.Duration) time.Time { return now().Add(-d) }

// band is 30–70 %, with a target of 50 %.
func band() Band { return Band{Above: 0.7, Below: 0.3} }

func policy() Policy { return Policy{Min: 1, Max: 10, CPU: band()} }

// steady is an input of n warm instances that have used the same for ten
// minutes.
func steady(n int, use float64) Input {
	return Input{
		Now: now(), Policy: policy(),
		Desired: n, Ready: n,
		Frames: repeat(600, Frame{Counted: n, CPU: use}),
	}
}

// with returns the input after some changes.
func (in Input) with(changes ...func(*Input)) Input {
	in.Frames = slices.Clone(in.Frames)
	for _, change := range changes {
		change(&in)
	}
	return in
}

// repeat returns n frames like f, one a second, the last of them now.
func repeat(n int, f Frame) []Frame {
	frames := make([]Frame, n)
	for i := range frames {
		frames[i] = f
		frames[i].At = ago(time.Duration(n-1-i) * time.Second)
	}
	return frames
}

// newest replaces the n newest frames' figures.
func newest(n int, f Frame) func(*Input) { return between(n, 0, f) }

// between replaces the figures of the frames that are fewer than from, and at
// least to, seconds old.
func between(from, to int, f Frame) func(*Input) {
	return func(in *Input) {
		for i := len(in.Frames) - from; i < len(in.Frames)-to; i++ {
			at := in.Frames[i].At
			in.Frames[i] = f
			in.Frames[i].At = at
		}
	}
}

// without removes the same frames.
func without(from, to int) func(*Input) {
	return func(in *Input) {
		in.Frames = slices.Delete(in.Frames, len(in.Frames)-from, len(in.Frames)-to)
	}
}

func hold(n int) func(*Input) { return func(in *Input) { in.Hold = &n } }

func bounds(low, high int) func(*Input) {
	return func(in *Input) { in.Policy.Min, in.Policy.Max = low, high }
}

func counts(desired, ready, starting int) func(*Input) {
	return func(in *Input) { in.Desired, in.Ready, in.Starting = desired, ready, starting }
}

func lastOut(d time.Duration) func(*Input) { return func(in *Input) { in.LastOut = ago(d) } }
func lastIn(d time.Duration) func(*Input)  { return func(in *Input) { in.LastIn = ago(d) } }
func outStep(s Step) func(*Input)          { return func(in *Input) { in.Policy.Out.MaxStep = s } }
func inStep(s Step) func(*Input)           { return func(in *Input) { in.Policy.In.MaxStep = s } }
func cpuBand(b Band) func(*Input)          { return func(in *Input) { in.Policy.CPU = b } }
func memoryBand(b Band) func(*Input)       { return func(in *Input) { in.Policy.Memory = b } }
