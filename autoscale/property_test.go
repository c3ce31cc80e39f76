package autoscale

import (
	"math/rand"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func genBand(t *rapid.T) Band {
	below := rapid.Float64Range(0.05, 0.6).Draw(t, "below")
	return Band{Below: below, Above: below + rapid.Float64Range(0.02, 1-below).Draw(t, "gap")}
}

func genSteps(t *rapid.T) Step {
	return Step{Count: rapid.IntRange(0, 5).Draw(t, "step"), Fraction: rapid.Float64Range(0, 1).Draw(t, "fraction")}
}

func genSeconds(t *rapid.T, low, high int, name string) time.Duration {
	return time.Duration(rapid.IntRange(low, high).Draw(t, name)) * time.Second
}

// genPolicy makes a valid policy of short windows.
func genPolicy(t *rapid.T) Policy {
	p := Policy{
		Min:    rapid.IntRange(1, 4).Draw(t, "min"),
		Out:    Pace{Window: genSeconds(t, 2, 4, "out window"), Stabilization: None, Cooldown: genSeconds(t, 1, 20, "out cooldown"), MaxStep: genSteps(t)},
		In:     Pace{Window: genSeconds(t, 2, 10, "in window"), Stabilization: genSeconds(t, 1, 20, "in stabilization"), Cooldown: genSeconds(t, 1, 20, "in cooldown"), MaxStep: genSteps(t)},
		WarmUp: None,
	}
	p.Max = p.Min + rapid.IntRange(0, 12).Draw(t, "range")
	if rapid.IntRange(0, 3).Draw(t, "stabilize out") == 0 {
		p.Out.Stabilization = genSeconds(t, 1, 6, "out stabilization")
	}
	which := rapid.IntRange(1, 3).Draw(t, "metrics")
	if which&1 != 0 {
		p.CPU = genBand(t)
	}
	if which&2 != 0 {
		p.Memory = genBand(t)
	}
	return p
}

// genFrames makes a minute of a service whose use wanders in steps.
func genFrames(t *rapid.T, ready int) []Frame {
	var frames []Frame
	use := rapid.OneOf(rapid.Float64Range(0, 0.3), rapid.Float64Range(0, 1))
	length := rapid.IntRange(2, 70).Draw(t, "length")
	for len(frames) < length {
		f := Frame{CPU: use.Draw(t, "cpu"), Memory: use.Draw(t, "memory"), Throttled: use.Draw(t, "throttled")}
		if rapid.IntRange(0, 5).Draw(t, "odd") == 0 {
			f.Missing = rapid.IntRange(0, ready).Draw(t, "missing")
			f.Warming = rapid.IntRange(0, ready-f.Missing).Draw(t, "warming")
		}
		f.Counted = ready - f.Missing - f.Warming
		if f.Counted == 0 {
			f.CPU, f.Memory, f.Throttled = 0, 0, 0
		}
		for range rapid.IntRange(1, 40).Draw(t, "for") {
			frames = append(frames, f)
		}
	}
	for i := range frames {
		frames[i].At = ago(time.Duration(len(frames)-1-i) * time.Second)
	}
	if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
		from := rapid.IntRange(0, len(frames)-1).Draw(t, "gap from")
		frames = slices.Delete(frames, from, rapid.IntRange(from, len(frames)).Draw(t, "gap to"))
	}
	return frames
}

func genInput(t *rapid.T) Input {
	in := Input{Now: now(), Policy: genPolicy(t)}
	in.Desired = rapid.IntRange(in.Policy.Min, in.Policy.Max).Draw(t, "desired")
	in.Ready = in.Desired
	switch rapid.IntRange(0, 9).Draw(t, "odd count") {
	case 0:
		in.Desired = rapid.IntRange(0, 20).Draw(t, "any count")
	case 1, 2:
		in.Ready = rapid.IntRange(0, in.Desired).Draw(t, "ready")
		in.Starting = rapid.IntRange(0, in.Desired-in.Ready).Draw(t, "starting")
	}
	in.Frames = genFrames(t, max(1, in.Ready))
	for _, last := range []*time.Time{&in.LastOut, &in.LastIn} {
		if rapid.Bool().Draw(t, "has changed") {
			*last = now().Add(-genSeconds(t, 0, 60, "since"))
		}
	}
	return in
}

func genHeld(t *rapid.T) Input {
	in := genInput(t)
	if rapid.IntRange(0, 9).Draw(t, "held") == 0 {
		n := rapid.IntRange(0, 20).Draw(t, "hold")
		in.Hold = &n
	}
	return in
}

// The properties below are worth as much as their inputs are varied.
func TestGeneratedInputsReachEveryReason(t *testing.T) {
	seen := map[Reason]int{}
	gen := rapid.Custom(genHeld)
	for seed := range 3000 {
		in := gen.Example(seed)
		if err := in.Policy.Validate(); err != nil {
			t.Fatalf("a generated policy is not valid: %v", err)
		}
		seen[Decide(in).Reason]++
	}
	for _, r := range reasons() {
		if seen[r] < 3 {
			t.Errorf("%s: %d times", r, seen[r])
		}
	}
	t.Log(seen)
}

func TestTheCountStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genHeld(t)
		d := Decide(in)
		if in.Hold != nil {
			if d.To != *in.Hold || d.Reason != ReasonOperator {
				t.Fatalf("held at %d: %s", *in.Hold, d.Sentence("it"))
			}
			return
		}
		if d.To < in.Policy.Min || d.To > in.Policy.Max {
			t.Fatalf("outside of %d to %d: %s", in.Policy.Min, in.Policy.Max, d.Sentence("it"))
		}
	})
}

func TestEveryReasonSaysWhatItDid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genInput(t)
		d := Decide(in)
		step := d.To - d.From
		var ok bool
		switch d.Reason {
		case ReasonAboveThreshold, ReasonSaturated:
			ok = step > 0 && step <= in.Policy.Out.MaxStep.withDefault(4, 1).from(d.From)
		case ReasonBelowThreshold:
			ok = step < 0 && -step <= in.Policy.In.MaxStep.withDefault(1, 0.25).from(d.From)
		case ReasonAtMin:
			ok = d.To == in.Policy.Min
		case ReasonAtMax:
			ok = d.To == in.Policy.Max
		default:
			ok = step == 0
		}
		if !ok {
			t.Fatalf("%s: %s", d.Reason, d.Sentence("it"))
		}
	})
}

func (s Step) withDefault(count int, fraction float64) Step {
	if s == (Step{}) {
		return Step{Count: count, Fraction: fraction}
	}
	return s
}

func TestLimitsLeadFromWantedToTheCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Decide(genHeld(t))
		at := d.Wanted
		for _, l := range d.Limits {
			if l.From != at || l.To == l.From {
				t.Fatalf("%+v of %+v does not follow %d", l, d.Limits, at)
			}
			at = l.To
		}
		if at != d.To {
			t.Fatalf("limits %+v end at %d, the decision at %d", d.Limits, at, d.To)
		}
	})
}

func TestMissingSamplesNeverShrink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genInput(t)
		before := Decide(in)
		lost := in.with(func(in *Input) {
			for i := range in.Frames {
				f := &in.Frames[i]
				if n := rapid.IntRange(0, f.Counted).Draw(t, "lost"); rapid.Bool().Draw(t, "some") {
					f.Counted -= n
					f.Missing += n
				}
			}
		})
		after := Decide(lost)
		if after.To < min(before.To, before.From) {
			t.Fatalf("with all samples: %s\nwith fewer: %s", before.Sentence("it"), after.Sentence("it"))
		}
	})
}

func TestMoreLoadNeverGivesFewer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genInput(t)
		factor := rapid.SliceOfN(rapid.Float64Range(1, 2), len(in.Frames), len(in.Frames)).Draw(t, "factors")
		more := in.with(func(in *Input) {
			for i := range in.Frames {
				in.Frames[i].CPU *= factor[i]
				in.Frames[i].Memory *= factor[i]
			}
		})
		less, much := Decide(in), Decide(more)
		if much.To < less.To {
			t.Fatalf("with less load: %s\nwith more: %s", less.Sentence("it"), much.Sentence("it"))
		}
	})
}

// naivePeak is the highest load that any out window of the looked-at time had,
// written down as plainly as possible.
func naivePeak(in Input, m metric) float64 {
	p := in.Policy.resolved()
	end := in.Frames[len(in.Frames)-1].At
	peak := 0.0
	for _, last := range in.Frames {
		if end.Sub(last.At) > p.In.span()-p.Out.Window {
			continue
		}
		load, n := 0.0, 0
		for i := range in.Frames {
			f := &in.Frames[i]
			if age := last.At.Sub(f.At); age >= 0 && age+p.SampleEvery/2 < p.Out.Window && f.Counted+f.Missing > 0 {
				use := m.of(f)
				if f.Counted == 0 {
					use = 1
				}
				load += use*float64(f.Counted+f.Warming) + float64(f.Missing)
				n++
			}
		}
		if n > 0 {
			peak = max(peak, load/float64(n))
		}
	}
	return peak
}

func TestShrinkingNeverGoesAboveTheUpperLine(t *testing.T) {
	shrunk := 0
	rapid.Check(t, func(t *rapid.T) {
		in := genInput(t)
		d := Decide(in)
		if d.Reason != ReasonBelowThreshold {
			return
		}
		shrunk++
		// Those that leave may all be serving ones.
		rest := min(d.To, in.Ready-(d.From-d.To))
		for m, b := range map[metric]Band{cpu: in.Policy.CPU, memory: in.Policy.Memory} {
			if b == (Band{}) {
				continue
			}
			if use := naivePeak(in, m) / float64(rest); rest < 1 || use > overloadHeadroom*b.Above+1e-6 {
				t.Fatalf("%s at %f on %d, above %f: %s", m, use, rest, b.Above, d.Sentence("it"))
			}
		}
	})
	if shrunk == 0 {
		t.Error("no input shrank")
	}
}

func TestTheSameInputGivesTheSameDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genHeld(t)
		frames := slices.Clone(in.Frames)
		first, second := Decide(in), Decide(in)
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("two decisions:\n%s", diff)
		}
		if !slices.Equal(frames, in.Frames) {
			t.Fatal("Decide has changed its frames")
		}
		in.Policy = in.Policy.WithDefaults()
		if diff := cmp.Diff(first, Decide(in)); diff != "" {
			t.Fatalf("defaults make a difference:\n%s", diff)
		}
	})
}

func TestNothingBeforeTheSpanMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genInput(t)
		if len(in.Frames) == 0 {
			return
		}
		p := in.Policy.WithDefaults()
		trimmed := in.with(func(in *Input) {
			oldest := in.Frames[len(in.Frames)-1].At.Add(-p.Span())
			in.Frames = slices.DeleteFunc(in.Frames, func(f Frame) bool { return f.At.Before(oldest) })
		})
		if diff := cmp.Diff(Decide(in), Decide(trimmed)); diff != "" {
			t.Fatalf("(-all +trimmed):\n%s", diff)
		}
	})
}

func TestTheOrderOfMembersDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := map[string]Sample{}
		var members []Member
		for i := range rapid.IntRange(0, 30).Draw(t, "members") {
			id := strconv.Itoa(i)
			members = append(members, Member{ID: id, ReadySince: now().Add(-genSeconds(t, 0, 12, "ready"))})
			if rapid.IntRange(0, 9).Draw(t, "has sample") > 0 {
				samples[id] = Sample{Instance: id, At: now().Add(-genSeconds(t, 0, 5, "age")), CPU: rapid.Float64Range(0, 1.1).Draw(t, "cpu"), Memory: rapid.Float64Range(0, 1).Draw(t, "memory")}
			}
		}
		first := Gather(now(), policy(), members, samples)
		if n := first.Counted + first.Missing + first.Warming; n != len(members) {
			t.Fatalf("%d of %d members are in the frame", n, len(members))
		}
		rand.New(rand.NewSource(rapid.Int64().Draw(t, "seed"))).Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		if second := Gather(now(), policy(), members, samples); first != second {
			t.Fatalf("%+v became %+v", first, second)
		}
	})
}
