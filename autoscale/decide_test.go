package autoscale

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// expectation is what a row of a table says of a decision.
type expectation struct {
	name   string
	in     Input
	to     int
	reason Reason
	wanted int
	limits []Limit
}

func (e expectation) check(t *testing.T) {
	t.Helper()
	t.Run(e.name, func(t *testing.T) {
		d := Decide(e.in)
		if d.From != e.in.Desired || d.To != e.to || d.Reason != e.reason || d.Wanted != e.wanted {
			t.Errorf("got %d → %d wanted %d, %s; expected → %d wanted %d, %s\n%s",
				d.From, d.To, d.Wanted, d.Reason, e.to, e.wanted, e.reason, d.Sentence("it"))
		}
		if diff := cmp.Diff(e.limits, d.Limits); diff != "" {
			t.Errorf("limits (-expected +got):\n%s", diff)
		}
	})
}

func TestInsideTheBandNothingChanges(t *testing.T) {
	for _, e := range []expectation{
		{name: "in the middle", in: steady(2, 0.5), to: 2, reason: ReasonWithinBand, wanted: 2},
		{name: "on the upper line", in: steady(3, 0.7), to: 3, reason: ReasonWithinBand, wanted: 3},
		{name: "on the lower line", in: steady(3, 0.3), to: 3, reason: ReasonWithinBand, wanted: 3},
		{name: "one high sample is no proof", in: steady(2, 0.3).with(newest(1, Frame{Counted: 2, CPU: 1})), to: 2, reason: ReasonWithinBand, wanted: 2},
		{name: "held back below the line is not saturated", in: steady(2, 0.6).with(newest(9, Frame{Counted: 2, CPU: 0.6, Throttled: 1})), to: 2, reason: ReasonWithinBand, wanted: 2},
		{name: "a metric without a band is not looked at", in: steady(2, 0.5).with(newest(9, Frame{Counted: 2, CPU: 0.5, Memory: 1})), to: 2, reason: ReasonWithinBand, wanted: 2},
		{name: "frames after now are not looked at", in: steady(2, 0.5).with(func(in *Input) {
			in.Frames = append(in.Frames, Frame{At: ago(-time.Second), Counted: 2, CPU: 1}, Frame{At: ago(-2 * time.Second), Counted: 2, CPU: 1})
		}), to: 2, reason: ReasonWithinBand, wanted: 2},
	} {
		e.check(t)
	}
}

func TestOneMetricAboveItsLineGrowsInProportion(t *testing.T) {
	both := memoryBand(Band{Above: 0.8, Below: 0.5})
	for _, e := range []expectation{
		{name: "just above", in: steady(2, 0.72), to: 3, reason: ReasonAboveThreshold, wanted: 3},
		{name: "twice the target doubles", in: steady(3, 0.85), to: 6, reason: ReasonAboveThreshold, wanted: 6},
		{name: "after two samples", in: steady(2, 0.3).with(newest(2, Frame{Counted: 2, CPU: 0.8})), to: 4, reason: ReasonAboveThreshold, wanted: 4},
		{name: "a late sample does not let an older one in", in: steady(2, 0).with(newest(2, Frame{Counted: 2, CPU: 0.8}), func(in *Input) {
			in.Frames[len(in.Frames)-3].At = ago(1900 * time.Millisecond)
		}), to: 4, reason: ReasonAboveThreshold, wanted: 4},
		{name: "nor does an early one push its neighbour out", in: steady(2, 0).with(newest(2, Frame{Counted: 2, CPU: 0.8}), func(in *Input) {
			in.Frames[len(in.Frames)-2].At = ago(1400 * time.Millisecond)
		}), to: 4, reason: ReasonAboveThreshold, wanted: 4},
		{name: "memory alone", in: steady(2, 0.1).with(both, newest(9, Frame{Counted: 2, CPU: 0.1, Memory: 0.9})), to: 3, reason: ReasonAboveThreshold, wanted: 3},
		{name: "the larger wish of two", in: steady(2, 0.1).with(both, newest(9, Frame{Counted: 2, CPU: 0.88, Memory: 0.81})), to: 4, reason: ReasonAboveThreshold, wanted: 4},
		{name: "full memory is not saturation", in: steady(4, 0.5).with(both, newest(9, Frame{Counted: 4, CPU: 0.5, Memory: 1})), to: 7, reason: ReasonAboveThreshold, wanted: 7},
	} {
		e.check(t)
	}
}

func TestSaturatedCPUGrowsByDoublingAtLeast(t *testing.T) {
	high := cpuBand(Band{Above: 0.8, Below: 0.6})
	for _, e := range []expectation{
		{name: "the ratio is larger", in: steady(3, 1), to: 6, reason: ReasonSaturated, wanted: 6},
		{name: "the double is larger", in: steady(3, 0.95).with(high), to: 6, reason: ReasonSaturated, wanted: 6},
		{name: "from 90 % on", in: steady(3, 0.9).with(high), to: 6, reason: ReasonSaturated, wanted: 6},
		{name: "below 90 %", in: steady(3, 0.89).with(high), to: 4, reason: ReasonAboveThreshold, wanted: 4},
		{name: "throttled above the line", in: steady(3, 0.75).with(newest(9, Frame{Counted: 3, CPU: 0.75, Throttled: 0.6})), to: 6, reason: ReasonSaturated, wanted: 6},
		{name: "not throttled enough", in: steady(3, 0.75).with(newest(9, Frame{Counted: 3, CPU: 0.75, Throttled: 0.4})), to: 5, reason: ReasonAboveThreshold, wanted: 5},
		{name: "full below a higher line", in: steady(3, 0.93).with(cpuBand(Band{Above: 0.95, Below: 0.5})), to: 3, reason: ReasonWithinBand, wanted: 3},
		{name: "held back at a line that cannot be crossed", in: steady(3, 0.99).with(cpuBand(Band{Above: 1, Below: 0.5}), newest(9, Frame{Counted: 3, CPU: 0.99, Throttled: 0.9})), to: 6, reason: ReasonSaturated, wanted: 6},
	} {
		e.check(t)
	}
}

func TestStartingInstancesAreCapacityToCome(t *testing.T) {
	hot := func(counted, warming int) func(*Input) {
		return newest(9, Frame{Counted: counted, Warming: warming, CPU: 0.97})
	}
	for _, e := range []expectation{
		{name: "starting", in: steady(2, 0.97).with(counts(4, 2, 2)), to: 4, reason: ReasonWarmingUp, wanted: 4},
		{name: "warming", in: steady(2, 0.97).with(counts(4, 4, 0), hot(2, 2)), to: 4, reason: ReasonWarmingUp, wanted: 4},
		{name: "more is coming than wanted", in: steady(2, 0.72).with(counts(4, 2, 2)), to: 4, reason: ReasonWarmingUp, wanted: 3,
			limits: []Limit{{ReasonWarmingUp, 3, 4}}},
		{name: "less is coming than wanted", in: steady(2, 0.97).with(counts(3, 2, 1)), to: 4, reason: ReasonSaturated, wanted: 4},
		{name: "those beyond the count in force are leaving", in: steady(4, 0.8).with(counts(3, 4, 0)), to: 7, reason: ReasonAboveThreshold, wanted: 7},
		{name: "nothing is ready yet", in: steady(2, 0.9).with(counts(2, 0, 2), newest(600, Frame{})), to: 2, reason: ReasonWarmingUp, wanted: 2},
		{name: "all are warming", in: steady(2, 0).with(newest(600, Frame{Warming: 2})), to: 2, reason: ReasonWarmingUp, wanted: 2},
	} {
		e.check(t)
	}
}

func TestCooldownHoldsCorrectionsAndNotEmergencies(t *testing.T) {
	warming := newest(9, Frame{Counted: 3, Warming: 1, CPU: 0.8})
	for _, e := range []expectation{
		{name: "the last growth is still warming up", in: steady(3, 0.8).with(counts(4, 4, 0), warming, lastOut(4*time.Second)), to: 4, reason: ReasonCooldown, wanted: 5,
			limits: []Limit{{ReasonCooldown, 5, 4}}},
		{name: "the same after the cooldown", in: steady(3, 0.8).with(counts(4, 4, 0), warming, lastOut(10*time.Second)), to: 5, reason: ReasonAboveThreshold, wanted: 5},
		{name: "everything is warm and not enough", in: steady(3, 0.8).with(lastOut(4 * time.Second)), to: 5, reason: ReasonAboveThreshold, wanted: 5},
		{name: "saturated meanwhile", in: steady(3, 0.95).with(counts(4, 4, 0), newest(9, Frame{Counted: 3, Warming: 1, CPU: 0.95}), lastOut(4*time.Second)), to: 6, reason: ReasonSaturated, wanted: 6},
		{name: "saturated meanwhile, though memory asks for more", in: steady(3, 0.95).with(counts(4, 4, 0), memoryBand(Band{Above: 0.3, Below: 0.1}),
			newest(9, Frame{Counted: 3, Warming: 1, CPU: 0.95, Memory: 0.5}), lastOut(4*time.Second)), to: 8, reason: ReasonAboveThreshold, wanted: 8},
		{name: "shrinking never delays growing", in: steady(3, 0.8).with(counts(4, 4, 0), warming, lastIn(time.Second)), to: 5, reason: ReasonAboveThreshold, wanted: 5},
		{name: "shrinking waits after growing", in: steady(4, 0.1).with(lastOut(59 * time.Second)), to: 4, reason: ReasonCooldown, wanted: 1,
			limits: []Limit{{ReasonCooldown, 1, 4}}},
		{name: "shrinking waits after shrinking", in: steady(4, 0.1).with(lastOut(time.Hour), lastIn(59*time.Second)), to: 4, reason: ReasonCooldown, wanted: 1,
			limits: []Limit{{ReasonCooldown, 1, 4}}},
		{name: "shrinking waits no longer", in: steady(4, 0.1).with(lastOut(time.Hour), lastIn(time.Minute)), to: 3, reason: ReasonBelowThreshold, wanted: 1,
			limits: []Limit{{ReasonMaxStep, 1, 3}}},
		{name: "none at all", in: steady(4, 0.1).with(lastIn(time.Second), func(in *Input) { in.Policy.In.Cooldown = None }), to: 3, reason: ReasonBelowThreshold, wanted: 1,
			limits: []Limit{{ReasonMaxStep, 1, 3}}},
	} {
		e.check(t)
	}
}

func TestCooldownSaysWhenItEnds(t *testing.T) {
	d := Decide(steady(4, 0.1).with(lastIn(40 * time.Second)))
	if expected := now().Add(20 * time.Second); !d.Until.Equal(expected) {
		t.Errorf("until %s, expected %s", d.Until, expected)
	}
}

func TestShrinkingNeedsAllMetricsBelowForLong(t *testing.T) {
	both := memoryBand(Band{Above: 0.8, Below: 0.5})
	for _, e := range []expectation{
		{name: "idle", in: steady(4, 0.1).with(inStep(Step{Count: 9})), to: 1, reason: ReasonBelowThreshold, wanted: 1},
		{name: "in proportion", in: steady(8, 0.2).with(inStep(Step{Count: 9})), to: 4, reason: ReasonBelowThreshold, wanted: 4},
		{name: "by a quarter", in: steady(8, 0.2), to: 6, reason: ReasonBelowThreshold, wanted: 4, limits: []Limit{{ReasonMaxStep, 4, 6}}},
		{name: "a warming one carries as much as the others", in: steady(4, 0.28).with(inStep(Step{Count: 9}), newest(600, Frame{Counted: 3, Warming: 1, CPU: 0.28})), to: 3, reason: ReasonBelowThreshold, wanted: 3},
		{name: "memory in its band", in: steady(4, 0.1).with(both, newest(600, Frame{Counted: 4, CPU: 0.1, Memory: 0.6})), to: 4, reason: ReasonWithinBand, wanted: 4},
		{name: "memory below too", in: steady(4, 0.1).with(both, newest(600, Frame{Counted: 4, CPU: 0.1, Memory: 0.4})), to: 3, reason: ReasonBelowThreshold, wanted: 3},
		{name: "below since less than a window", in: steady(4, 0.5).with(newest(10, Frame{Counted: 4, CPU: 0.01})), to: 4, reason: ReasonWithinBand, wanted: 4},
		{name: "below since less than the stabilization", in: steady(4, 0.5).with(newest(150, Frame{Counted: 4, CPU: 0.01})), to: 4, reason: ReasonStabilizing, wanted: 1,
			limits: []Limit{{ReasonStabilizing, 1, 4}}},
		{name: "below since just as long", in: steady(4, 0.5).with(newest(211, Frame{Counted: 4, CPU: 0.01})), to: 3, reason: ReasonBelowThreshold, wanted: 1,
			limits: []Limit{{ReasonMaxStep, 1, 3}}},
		{name: "the highest wish of that time counts", in: steady(8, 0.05).with(inStep(Step{Count: 9}), between(150, 110, Frame{Counted: 8, CPU: 0.28})), to: 5, reason: ReasonBelowThreshold, wanted: 1,
			limits: []Limit{{ReasonStabilizing, 1, 5}}},
		{name: "a spike in it that would have been in the band", in: steady(8, 0.05).with(between(150, 110, Frame{Counted: 8, CPU: 0.4})), to: 8, reason: ReasonStabilizing, wanted: 1,
			limits: []Limit{{ReasonStabilizing, 1, 8}}},
		{name: "one odd sample is averaged away", in: steady(8, 0.05).with(between(100, 99, Frame{Counted: 8, CPU: 0.5})), to: 6, reason: ReasonBelowThreshold, wanted: 1,
			limits: []Limit{{ReasonStabilizing, 1, 2}, {ReasonWouldOverload, 2, 4}, {ReasonMaxStep, 4, 6}}},
		{name: "the past is judged on today's count", in: steady(2, 0.6).with(counts(6, 6, 0), newest(100, Frame{Counted: 6, CPU: 0.2})), to: 5, reason: ReasonBelowThreshold, wanted: 3,
			limits: []Limit{{ReasonMaxStep, 3, 5}}},
	} {
		e.check(t)
	}
}

func TestShrinkingNeedsHistory(t *testing.T) {
	stabilizing := []Limit{{ReasonStabilizing, 1, 4}}
	for _, e := range []expectation{
		{name: "too short", in: steady(4, 0.1).with(without(600, 200)), to: 4, reason: ReasonStabilizing, wanted: 1, limits: stabilizing},
		{name: "just long enough", in: steady(4, 0.1).with(without(600, 210)), to: 3, reason: ReasonBelowThreshold, wanted: 1, limits: []Limit{{ReasonMaxStep, 1, 3}}},
		{name: "a fifth is missing", in: steady(4, 0.1).with(without(100, 58)), to: 3, reason: ReasonBelowThreshold, wanted: 1, limits: []Limit{{ReasonMaxStep, 1, 3}}},
		{name: "more is missing", in: steady(4, 0.1).with(without(100, 57)), to: 4, reason: ReasonStabilizing, wanted: 1, limits: stabilizing},
		{name: "frames without a ready instance do not count", in: steady(4, 0.1).with(between(200, 100, Frame{Warming: 4})), to: 4, reason: ReasonStabilizing, wanted: 1, limits: stabilizing},
	} {
		e.check(t)
	}
}

func TestShrinkingNeverOverloadsTheRest(t *testing.T) {
	stay := func(n int) []Limit { return []Limit{{ReasonWouldOverload, n - 1, n}} }
	for _, e := range []expectation{
		{name: "one fewer fits", in: steady(2, 0.29), to: 1, reason: ReasonBelowThreshold, wanted: 1},
		{name: "one fewer does not", in: steady(2, 0.34).with(cpuBand(Band{Above: 0.7, Below: 0.4})), to: 2, reason: ReasonWouldOverload, wanted: 1, limits: stay(2)},
		{name: "the mean fits, a peak of two seconds does not", in: steady(4, 0.27).with(between(100, 98, Frame{Counted: 4, CPU: 0.6})), to: 4, reason: ReasonWouldOverload, wanted: 3, limits: stay(4)},
		{name: "fewer go than the mean allows", in: steady(8, 0.1).with(inStep(Step{Count: 9}), between(100, 98, Frame{Counted: 8, CPU: 0.4})), to: 6, reason: ReasonBelowThreshold, wanted: 2,
			limits: []Limit{{ReasonWouldOverload, 2, 6}}},
		{name: "instances that do not serve are no help", in: steady(2, 0.34).with(counts(4, 2, 2), cpuBand(Band{Above: 0.7, Below: 0.4})), to: 4, reason: ReasonWouldOverload, wanted: 2,
			limits: []Limit{{ReasonWouldOverload, 2, 4}}},
	} {
		e.check(t)
	}
}

func TestMissingSamplesChangeNothing(t *testing.T) {
	for _, e := range []expectation{
		{name: "no frames", in: steady(3, 0).with(without(600, 0)), to: 3, reason: ReasonMetricsMissing, wanted: 3},
		{name: "one frame", in: steady(3, 1).with(without(600, 1)), to: 3, reason: ReasonMetricsMissing, wanted: 3},
		{name: "old frames", in: steady(3, 0.1).with(without(4, 0)), to: 3, reason: ReasonMetricsMissing, wanted: 3},
		{name: "a late frame", in: steady(3, 0.8).with(without(3, 0)), to: 5, reason: ReasonAboveThreshold, wanted: 5},
		{name: "no sample of any instance", in: steady(3, 0.1).with(newest(2, Frame{Missing: 3})), to: 3, reason: ReasonMetricsMissing, wanted: 3},
		{name: "a missing one may be busy", in: steady(4, 0.1).with(newest(600, Frame{Counted: 3, Missing: 1, CPU: 0.1})), to: 4, reason: ReasonMetricsMissing, wanted: 4},
		{name: "a missing one may be idle", in: steady(2, 0.9).with(newest(600, Frame{Counted: 1, Missing: 1, CPU: 0.9})), to: 2, reason: ReasonMetricsMissing, wanted: 2},
		{name: "the rest is proof enough", in: steady(5, 0.9).with(newest(600, Frame{Counted: 4, Missing: 1, CPU: 0.95})), to: 8, reason: ReasonAboveThreshold, wanted: 8},
		{name: "in the band all the same", in: steady(4, 0.5).with(newest(600, Frame{Counted: 3, Missing: 1, CPU: 0.5})), to: 4, reason: ReasonWithinBand, wanted: 4},
		{name: "nothing serves and nothing starts", in: steady(3, 0.1).with(counts(3, 0, 0)), to: 3, reason: ReasonMetricsMissing, wanted: 3},
		{name: "no metric to look at", in: steady(3, 0.1).with(cpuBand(Band{})), to: 3, reason: ReasonMetricsMissing, wanted: 3},
	} {
		e.check(t)
	}
}

func TestBoundsHoldTheCount(t *testing.T) {
	for _, e := range []expectation{
		{name: "max cuts", in: steady(6, 1), to: 10, reason: ReasonSaturated, wanted: 12, limits: []Limit{{ReasonAtMax, 12, 10}}},
		{name: "max holds", in: steady(10, 1), to: 10, reason: ReasonAtMax, wanted: 20, limits: []Limit{{ReasonAtMax, 20, 10}}},
		{name: "min cuts", in: steady(4, 0.01).with(bounds(3, 10), inStep(Step{Count: 9})), to: 3, reason: ReasonBelowThreshold, wanted: 1, limits: []Limit{{ReasonAtMin, 1, 3}}},
		{name: "min holds", in: steady(3, 0.01).with(bounds(3, 10)), to: 3, reason: ReasonAtMin, wanted: 1, limits: []Limit{{ReasonAtMin, 1, 3}}},
		{name: "the last one stays", in: steady(1, 0), to: 1, reason: ReasonAtMin, wanted: 1},
		{name: "an edit raises min", in: steady(2, 0.5).with(bounds(5, 10)), to: 5, reason: ReasonAtMin, wanted: 2, limits: []Limit{{ReasonAtMin, 2, 5}}},
		{name: "an edit lowers max", in: steady(9, 0.9).with(bounds(1, 4), lastIn(time.Second)), to: 4, reason: ReasonAtMax, wanted: 9, limits: []Limit{{ReasonAtMax, 9, 4}}},
		{name: "from nothing", in: steady(1, 0).with(counts(0, 0, 0), bounds(2, 4)), to: 2, reason: ReasonAtMin, wanted: 0, limits: []Limit{{ReasonAtMin, 0, 2}}},
		{name: "bounds without sense never end a service", in: steady(2, 0.5).with(bounds(0, 0)), to: 1, reason: ReasonAtMax, wanted: 2, limits: []Limit{{ReasonAtMax, 2, 1}}},
	} {
		e.check(t)
	}
}

func TestStepsAreBounded(t *testing.T) {
	wide := bounds(1, 100)
	for _, e := range []expectation{
		{name: "by four of a few", in: steady(1, 1).with(wide, cpuBand(Band{Above: 0.2, Below: 0.1})), to: 5, reason: ReasonSaturated, wanted: 7, limits: []Limit{{ReasonMaxStep, 7, 5}}},
		{name: "by as many again", in: steady(10, 1).with(wide, cpuBand(Band{Above: 0.3, Below: 0.1})), to: 20, reason: ReasonSaturated, wanted: 50, limits: []Limit{{ReasonMaxStep, 50, 20}}},
		{name: "by a fraction alone, rounded down", in: steady(7, 1).with(wide, outStep(Step{Fraction: 0.5})), to: 10, reason: ReasonSaturated, wanted: 14, limits: []Limit{{ReasonMaxStep, 14, 10}}},
		{name: "one at the least", in: steady(2, 1).with(wide, outStep(Step{Fraction: 0.1})), to: 3, reason: ReasonSaturated, wanted: 4, limits: []Limit{{ReasonMaxStep, 4, 3}}},
		{name: "after max", in: steady(6, 1).with(bounds(1, 11), outStep(Step{Count: 2})), to: 8, reason: ReasonSaturated, wanted: 12,
			limits: []Limit{{ReasonAtMax, 12, 11}, {ReasonMaxStep, 11, 8}}},
	} {
		e.check(t)
	}
}

func TestGrowingCanBeStabilizedToo(t *testing.T) {
	tenSeconds := func(in *Input) { in.Policy.Out.Stabilization = 10 * time.Second }
	for _, e := range []expectation{
		{name: "not for long enough", in: steady(2, 0.65).with(tenSeconds, newest(9, Frame{Counted: 2, CPU: 0.8})), to: 2, reason: ReasonStabilizing, wanted: 4,
			limits: []Limit{{ReasonStabilizing, 4, 2}}},
		{name: "long enough", in: steady(2, 0.5).with(tenSeconds, newest(12, Frame{Counted: 2, CPU: 0.8})), to: 4, reason: ReasonAboveThreshold, wanted: 4},
		{name: "the lowest wish of that time counts", in: steady(2, 0.72).with(tenSeconds, newest(6, Frame{Counted: 2, CPU: 0.98})), to: 3, reason: ReasonSaturated, wanted: 4,
			limits: []Limit{{ReasonStabilizing, 4, 3}}},
		{name: "no history", in: steady(2, 0.8).with(tenSeconds, without(600, 8)), to: 2, reason: ReasonStabilizing, wanted: 4,
			limits: []Limit{{ReasonStabilizing, 4, 2}}},
		{name: "saturated at a line that cannot be crossed", in: steady(2, 0.5).with(tenSeconds, cpuBand(Band{Above: 1, Below: 0.6}), newest(12, Frame{Counted: 2, CPU: 0.98, Throttled: 1})), to: 3, reason: ReasonSaturated, wanted: 4,
			limits: []Limit{{ReasonStabilizing, 4, 3}}},
	} {
		e.check(t)
	}
}

func TestAnOperatorStandsAboveEverything(t *testing.T) {
	for _, e := range []expectation{
		{name: "up", in: steady(2, 0.5).with(hold(6)), to: 6, reason: ReasonOperator, wanted: 2, limits: []Limit{{ReasonOperator, 2, 6}}},
		{name: "where it is", in: steady(2, 0.5).with(hold(2)), to: 2, reason: ReasonOperator, wanted: 2},
		{name: "against the load", in: steady(2, 1).with(hold(2)), to: 2, reason: ReasonOperator, wanted: 4, limits: []Limit{{ReasonOperator, 4, 2}}},
		{name: "beyond the bounds", in: steady(2, 0.5).with(hold(20)), to: 20, reason: ReasonOperator, wanted: 2, limits: []Limit{{ReasonOperator, 2, 20}}},
		{name: "without a measurement", in: steady(2, 0.5).with(hold(1), without(600, 0)), to: 1, reason: ReasonOperator, wanted: 2, limits: []Limit{{ReasonOperator, 2, 1}}},
		{name: "to nothing", in: steady(2, 0.5).with(hold(0)), to: 0, reason: ReasonOperator, wanted: 2, limits: []Limit{{ReasonOperator, 2, 0}}},
	} {
		e.check(t)
	}
}
