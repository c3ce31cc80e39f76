package autoscale

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReplayDecidesOnEveryFrame(t *testing.T) {
	in := steady(2, 0.5).with(newest(100, Frame{Counted: 2, CPU: 0.9}))
	decisions := slices.Collect(Replay(in.Policy, slices.Values(in.Frames)))
	if len(decisions) != len(in.Frames) {
		t.Fatalf("%d decisions on %d frames", len(decisions), len(in.Frames))
	}
	var changes []Decision
	for i, d := range decisions {
		if !d.At.Equal(in.Frames[i].At) {
			t.Fatalf("decision %d is of %s, its frame of %s", i, d.At, in.Frames[i].At)
		}
		if d.Changes() {
			changes = append(changes, d)
		}
	}
	// 2 × 0.9 at 50 % are 4, which then carry 45 % each.
	if len(changes) != 1 || changes[0].From != 2 || changes[0].To != 4 || !changes[0].At.Equal(ago(98*time.Second)) {
		t.Errorf("changes: %+v", changes)
	}
}

func TestReplayEqualsWhatWasDecided(t *testing.T) {
	p := plant{policy: policy(), demand: func(d time.Duration) float64 {
		if d > 3*time.Minute && d < 6*time.Minute {
			return 2.5
		}
		return 0.6
	}}
	p.policy.WarmUp = None
	r, frames := p.run(2, 20*time.Minute), []Frame{}
	count, next := 2, 0
	for since := time.Duration(0); since < 20*time.Minute; since += time.Second {
		at := now().Add(since)
		frames = append(frames, Frame{At: at, Counted: count, CPU: min(1, p.demand(since)/float64(count)), Throttled: max(0, min(1, p.demand(since)/float64(count)-1))})
		if next < len(r.changes) && r.changes[next].At.Equal(at) {
			count = r.changes[next].To
			next++
		}
	}
	var changes []Decision
	for d := range Replay(p.policy, slices.Values(frames)) {
		if d.Changes() {
			changes = append(changes, d)
		}
	}
	if len(changes) < 3 {
		t.Errorf("only %d changes: nothing to compare", len(changes))
	}
	if diff := cmp.Diff(r.changes, changes); diff != "" {
		t.Errorf("(-decided +replayed):\n%s", diff)
	}
}

func TestReplayOfAnotherPolicySpreadsTheLoad(t *testing.T) {
	in := steady(4, 0.6)
	in.Policy.Max = 2
	var last Decision
	for d := range Replay(in.Policy, slices.Values(in.Frames)) {
		last = d
	}
	// 4 × 0.6 on 2 are more than both can use.
	if last.To != 2 || last.Reason != ReasonAtMax || last.CPU.Out != 1 {
		t.Errorf("%+v", last)
	}
}

func TestReplayStopsWhenAsked(t *testing.T) {
	taken := 0
	frames := func(yield func(Frame) bool) {
		for _, f := range steady(2, 0.5).Frames {
			taken++
			if !yield(f) {
				return
			}
		}
	}
	for range Replay(policy(), frames) {
		if taken == 3 {
			break
		}
	}
	if taken != 3 {
		t.Errorf("it took %d frames, expected 3", taken)
	}
}

func TestReplayBeginsWithNothing(t *testing.T) {
	p := policy()
	p.Min = 2
	for d := range Replay(p, slices.Values([]Frame{{At: now()}})) {
		if d.From != 0 || d.To != 2 || d.Reason != ReasonAtMin {
			t.Errorf("%+v", d)
		}
	}
}

func TestReplayForgetsWhatIsTooOld(t *testing.T) {
	m := model{policy: policy()}
	for i := range 10000 {
		m.step(Frame{At: now().Add(time.Duration(i) * time.Second), Counted: 2, CPU: 0.5})
	}
	if len(m.frames) > 500 {
		t.Errorf("it holds %d frames of a policy that looks back 210", len(m.frames))
	}
}

func TestSpread(t *testing.T) {
	at := now()
	for _, tc := range []struct {
		name     string
		f        Frame
		n        int
		expected Frame
	}{
		{"the same count", Frame{At: at, Counted: 2, Warming: 1, CPU: 0.5}, 3, Frame{At: at, Counted: 2, Warming: 1, CPU: 0.5}},
		{"more", Frame{At: at, Counted: 2, CPU: 0.5, Memory: 0.4, Throttled: 0.2}, 4, Frame{At: at, Counted: 4, CPU: 0.25, Memory: 0.2, Throttled: 0.1}},
		{"fewer, up to the limit", Frame{At: at, Counted: 4, CPU: 0.75, Memory: 0.25}, 2, Frame{At: at, Counted: 2, CPU: 1, Memory: 0.5}},
		{"beyond the limit as it was", Frame{At: at, Counted: 4, CPU: 1.25}, 2, Frame{At: at, Counted: 2, CPU: 1.25}},
		{"missing in proportion", Frame{At: at, Counted: 3, Missing: 1, CPU: 0.5}, 8, Frame{At: at, Counted: 6, Missing: 2, CPU: 0.25}},
		{"one is measured", Frame{At: at, Counted: 1, Missing: 9, CPU: 0.5}, 2, Frame{At: at, Counted: 1, Missing: 1, CPU: 0.5}},
		{"nothing known", Frame{At: at, Missing: 3}, 2, Frame{At: at, Missing: 3}},
		{"warming ones carry too", Frame{At: at, Counted: 2, Warming: 2, CPU: 0.5}, 2, Frame{At: at, Counted: 2, CPU: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.expected, spread(tc.f, tc.n)); diff != "" {
				t.Errorf("(-expected +got):\n%s", diff)
			}
		})
	}
}
