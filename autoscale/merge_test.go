package autoscale

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMergedPartsAreTheFramesOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		every := rapid.SampledFrom([]time.Duration{250 * time.Millisecond, time.Second}).Draw(t, "every")
		p := Policy{Min: 1, Max: 9, SampleEvery: every, WarmUp: time.Second, CPU: Band{Above: .7, Below: .3}}.WithDefaults()
		begin := time.Unix(1_800_000_000, 0).UTC()
		hosts := rapid.IntRange(1, 4).Draw(t, "hosts")
		members := make([][]Member, hosts)
		var all []Member
		for n := range rapid.IntRange(0, 12).Draw(t, "instances") {
			m := Member{ID: fmt.Sprint(n), ReadySince: begin.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "age")) * time.Second)}
			h := rapid.IntRange(0, hosts-1).Draw(t, "host")
			members[h], all = append(members[h], m), append(all, m)
		}
		parts := make([][]Frame, hosts)
		var want []Frame
		for n := range rapid.IntRange(1, 8).Draw(t, "frames") {
			at := begin.Add(time.Duration(n) * every)
			samples := map[string]Sample{}
			for _, m := range all {
				if rapid.IntRange(0, 9).Draw(t, "measured") > 0 {
					samples[m.ID] = Sample{Instance: m.ID, At: at, CPU: rapid.Float64Range(0, 2).Draw(t, "cpu"), Memory: rapid.Float64Range(0, 1).Draw(t, "memory")}
				}
			}
			for h := range hosts {
				parts[h] = append(parts[h], Gather(at, p, members[h], samples))
			}
			want = append(want, Gather(at, p, all, samples))
		}
		near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-8 })
		got := Merge(every, parts...)
		if diff := cmp.Diff(want, got, near); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		shuffled := rapid.Permutation(parts).Draw(t, "order")
		if diff := cmp.Diff(got, Merge(every, shuffled...)); diff != "" {
			t.Fatalf("the order of the parts matters:\n%s", diff)
		}
	})
}

func TestAHostThatIsLateIsStoodInForUntilItIsStale(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1_800_000_000+int64(s), 0) }
	quick := make([]Frame, 5)
	for n := range quick {
		quick[n] = Frame{At: at(n), Counted: 1, CPU: .2}
	}
	var got []int
	for _, f := range Merge(time.Second, quick, []Frame{{At: at(0), Counted: 3, CPU: .6}}) {
		got = append(got, f.Counted)
		if f.Counted == 4 && math.Abs(f.CPU-.5) > 1e-9 {
			t.Errorf("the mean is %v, want .5", f.CPU)
		}
	}
	if diff := cmp.Diff([]int{4, 4, 4, 1, 1}, got); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}
