package autoscale

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestSentences has one or more decisions of every reason; the golden file is
// what an operator reads.
func TestSentences(t *testing.T) {
	both := memoryBand(Band{Above: 0.8, Below: 0.5})
	idle := steady(4, 0.12)
	cases := []struct {
		name string
		in   Input
	}{
		{"within the band", steady(2, 0.41)},
		{"within the band, memory is nearer to its line", steady(2, 0.41).with(both, newest(9, Frame{Counted: 2, CPU: 0.41, Memory: 0.75}))},
		{"low now, not over the longer window", steady(2, 0.8).with(newest(5, Frame{Counted: 2, CPU: 0.1}))},
		{"just not above", steady(2, 0.6996)},
		{"above", steady(2, 0.74)},
		{"just above", steady(2, 0.7004)},
		{"memory above", steady(2, 0.1).with(both, newest(9, Frame{Counted: 2, CPU: 0.1, Memory: 0.9}))},
		{"above, with a step and a maximum", steady(8, 0.8).with(outStep(Step{Count: 1}))},
		{"an instance joined within the window", steady(2, 0.99).with(newest(1, Frame{Counted: 3, CPU: 0.75}), counts(3, 3, 0))},
		{"saturated", steady(2, 0.97)},
		{"saturated, doubled, cut", steady(7, 0.95).with(cpuBand(Band{Above: 0.8, Below: 0.6}))},
		{"below", idle},
		{"below in all", idle.with(both, newest(600, Frame{Counted: 4, CPU: 0.12, Memory: 0.3}))},
		{"below, by one", steady(2, 0.29)},
		{"below, without any load", steady(2, 0)},
		{"below, down to the minimum", steady(4, 0.05).with(bounds(3, 10))},
		{"below, after a busier time", steady(8, 0.05).with(inStep(Step{Count: 9}), between(150, 110, Frame{Counted: 8, CPU: 0.28}))},
		{"below, with peaks", steady(8, 0.1).with(inStep(Step{Count: 9}), between(100, 98, Frame{Counted: 8, CPU: 0.4}))},
		{"cooldown after growing", steady(3, 0.8).with(counts(4, 4, 0), newest(9, Frame{Counted: 3, Warming: 1, CPU: 0.8}), lastOut(4*time.Second))},
		{"cooldown before shrinking", idle.with(lastIn(17500 * time.Millisecond))},
		{"stabilizing", idle.with(between(100, 50, Frame{Counted: 4, CPU: 0.5}))},
		{"stabilizing before growing", steady(2, 0.5).with(newest(3, Frame{Counted: 2, CPU: 0.8}), func(in *Input) { in.Policy.Out.Stabilization = 10 * time.Second })},
		{"at the minimum", idle.with(bounds(4, 10))},
		{"below a raised minimum", idle.with(bounds(6, 10))},
		{"at the maximum", steady(10, 0.98)},
		{"above a lowered maximum", idle.with(bounds(1, 3))},
		{"starting", steady(2, 0.97).with(counts(4, 2, 2))},
		{"all warming", steady(2, 0).with(newest(600, Frame{Warming: 2}))},
		{"some missing", idle.with(newest(600, Frame{Counted: 3, Missing: 1, CPU: 0.12}))},
		{"all missing", idle.with(without(600, 0))},
		{"too little yet", idle.with(without(600, 1))},
		{"too little yet of one", steady(1, 0.5).with(without(600, 1))},
		{"nothing ready", idle.with(counts(4, 0, 0))},
		{"would overload", steady(2, 0.34).with(cpuBand(Band{Above: 0.7, Below: 0.4}))},
		{"would overload the only ready one", steady(1, 0.2).with(counts(2, 1, 1))},
		{"an operator's count", steady(2, 0.97).with(hold(6))},
		{"an operator's count is there", steady(2, 0.5).with(hold(2))},
	}
	seen := map[Reason]bool{}
	var b strings.Builder
	for _, tc := range cases {
		d := Decide(tc.in)
		seen[d.Reason] = true
		fmt.Fprintf(&b, "# %s\n%s: %s\n\n", tc.name, d.Reason, d.Sentence("backend"))
	}
	golden(t, "sentences.golden", b.String())
	for _, r := range reasons() {
		if !seen[r] {
			t.Errorf("no sentence of the reason %s", r)
		}
	}
}

func TestSentenceOfNoDecision(t *testing.T) {
	if got := (Decision{From: 2, To: 2}).Sentence("backend"); got != "backend stays at 2: nothing has been decided yet" {
		t.Error(got)
	}
}

// reasons are all that a decision can have.
func reasons() []Reason {
	return []Reason{
		ReasonAboveThreshold, ReasonSaturated, ReasonBelowThreshold, ReasonWithinBand,
		ReasonCooldown, ReasonStabilizing, ReasonAtMin, ReasonAtMax, ReasonWarmingUp,
		ReasonMetricsMissing, ReasonWouldOverload, ReasonOperator,
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expected, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(expected) {
		t.Errorf("%s differs (run with -update to accept):\n%s", file, got)
	}
}
