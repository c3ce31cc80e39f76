package autoscale

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestGather(t *testing.T) {
	warm := ago(time.Hour)
	sample := func(age time.Duration, cpu float64) Sample {
		return Sample{At: ago(age), CPU: cpu, Memory: cpu / 2, Throttled: cpu / 4}
	}
	for _, tc := range []struct {
		name     string
		members  []Member
		samples  map[string]Sample
		expected Frame
	}{
		{"no members", nil, nil, Frame{}},
		{"means", []Member{{"a", warm}, {"b", warm}}, map[string]Sample{"a": sample(0, 0.4), "b": sample(0, 0.8)},
			Frame{Counted: 2, CPU: 0.6, Memory: 0.3, Throttled: 0.15}},
		{"samples of others", []Member{{"a", warm}}, map[string]Sample{"a": sample(0, 0.4), "z": sample(0, 1)},
			Frame{Counted: 1, CPU: 0.4, Memory: 0.2, Throttled: 0.1}},
		{"absent and stale ones are missing", []Member{{"a", warm}, {"b", warm}, {"c", warm}}, map[string]Sample{"a": sample(3*time.Second, 0.4), "b": sample(3*time.Second+1, 1)},
			Frame{Counted: 1, Missing: 2, CPU: 0.4, Memory: 0.2, Throttled: 0.1}},
		{"what is no measurement is missing", []Member{{"a", warm}, {"b", warm}, {"c", warm}, {"d", warm}},
			map[string]Sample{"a": sample(0, 0.4), "b": sample(0, math.NaN()), "c": sample(0, -1), "d": sample(0, math.Inf(1))},
			Frame{Counted: 1, Missing: 3, CPU: 0.4, Memory: 0.2, Throttled: 0.1}},
		{"start-up use does not count", []Member{{"a", warm}, {"b", ago(5*time.Second - 1)}, {"c", ago(5 * time.Second)}},
			map[string]Sample{"a": sample(0, 0.4), "b": sample(0, 1), "c": sample(0, 0.2)},
			Frame{Counted: 2, Warming: 1, CPU: 0.3, Memory: 0.15, Throttled: 0.075}},
		{"nor when its sample comes late", []Member{{"a", ago(6 * time.Second)}}, map[string]Sample{"a": sample(2*time.Second, 1)}, Frame{Warming: 1}},
		{"a young one without a sample is warming", []Member{{"a", ago(time.Second)}}, nil, Frame{Warming: 1}},
		{"at the start of a service", []Member{{"a", now()}, {"b", now()}}, map[string]Sample{"a": sample(0, 1), "b": sample(0, 1)}, Frame{Warming: 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.expected.At = now()
			got := Gather(now(), policy(), tc.members, tc.samples)
			if diff := cmp.Diff(tc.expected, got, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
				t.Errorf("(-expected +got):\n%s", diff)
			}
		})
	}
}

func TestGatherTakesThePolicysTimes(t *testing.T) {
	p := policy()
	p.SampleEvery, p.WarmUp = 250*time.Millisecond, None
	members := []Member{{"a", now()}, {"b", ago(time.Hour)}}
	samples := map[string]Sample{"a": {At: now(), CPU: 0.5}, "b": {At: ago(800 * time.Millisecond), CPU: 0.5}}
	got := Gather(now(), p, members, samples)
	if got.Counted != 1 || got.Missing != 1 || got.Warming != 0 {
		t.Errorf("%+v: expected a to count at once and b's sample to be stale", got)
	}
}
