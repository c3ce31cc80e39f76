package autoscale

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaults(t *testing.T) {
	expected := Policy{
		Min: 1, Max: 10, CPU: band(),
		SampleEvery: time.Second,
		Out:         Pace{Window: 2 * time.Second, Stabilization: None, Cooldown: 10 * time.Second, MaxStep: Step{Count: 4, Fraction: 1}},
		In:          Pace{Window: 30 * time.Second, Stabilization: 3 * time.Minute, Cooldown: time.Minute, MaxStep: Step{Count: 1, Fraction: 0.25}},
		WarmUp:      5 * time.Second,
	}
	got := policy().WithDefaults()
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("(-expected +got):\n%s", diff)
	}
	if diff := cmp.Diff(got, got.WithDefaults()); diff != "" {
		t.Errorf("a second time changes something:\n%s", diff)
	}
}

func TestDefaultsFollowTheSamplingInterval(t *testing.T) {
	for _, tc := range []struct{ every, out, in time.Duration }{
		{250 * time.Millisecond, 500 * time.Millisecond, 30 * time.Second},
		{400 * time.Millisecond, 800 * time.Millisecond, 30 * time.Second},
		{20 * time.Second, 40 * time.Second, 40 * time.Second},
	} {
		p := Policy{SampleEvery: tc.every}.WithDefaults()
		if p.Out.Window != tc.out || p.In.Window != tc.in {
			t.Errorf("every %s: windows %s and %s, expected %s and %s", tc.every, p.Out.Window, p.In.Window, tc.out, tc.in)
		}
	}
}

func TestWhatIsSetStaysAndNoneIsZero(t *testing.T) {
	p := policy()
	p.WarmUp, p.In.Cooldown, p.In.Stabilization = None, None, time.Minute
	p.Out.MaxStep = Step{Fraction: 0.5}
	got := p.WithDefaults()
	if got.WarmUp != None || got.In.Cooldown != None || got.In.Stabilization != time.Minute || got.Out.MaxStep != (Step{Fraction: 0.5}) {
		t.Errorf("defaults replaced what was set: %+v", got)
	}
	if r := p.resolved(); r.WarmUp != 0 || r.In.Cooldown != 0 || r.Out.Stabilization != 0 {
		t.Errorf("None is computed with as %s, %s and %s", r.WarmUp, r.In.Cooldown, r.Out.Stabilization)
	}
}

func TestSpanIsTheLongestLookBack(t *testing.T) {
	p := policy()
	if got := p.Span(); got != 210*time.Second {
		t.Errorf("%s, expected a window of 30s before 3m", got)
	}
	p.Out.Stabilization = 10 * time.Minute
	if got := p.Span(); got != 10*time.Minute+2*time.Second {
		t.Errorf("%s, expected a window of 2s before 10m", got)
	}
}

func TestValidateNamesEveryProblemByItsKey(t *testing.T) {
	set := func(change func(*Policy)) Policy {
		p := policy()
		change(&p)
		return p
	}
	for _, tc := range []struct {
		name     string
		policy   Policy
		expected []string
	}{
		{"the least", policy(), nil},
		{"at the edges", Policy{Min: 1, Max: 1, Memory: Band{Above: 1, Below: 0.01}, SampleEvery: MinSampleEvery, WarmUp: None}, nil},
		{"nothing set", Policy{}, []string{
			"min 0 must be at least 1: a service at 0 has no load that could wake it",
			"max 0 must be at least min 1",
			"cpu is not set: cpu, memory or both need scale_out_above and scale_in_below",
		}},
		{"max below min", set(func(p *Policy) { p.Min, p.Max = 5, 4 }), []string{"max 4 must be at least min 5"}},
		{"no gap", set(func(p *Policy) { p.CPU = Band{Above: 0.7, Below: 0.7} }), []string{"cpu.scale_in_below 70% must be less than scale_out_above 70%"}},
		{"upside down", set(func(p *Policy) { p.Memory = Band{Above: 0.7, Below: 0.805} }), []string{"memory.scale_in_below 80.5% must be less than scale_out_above 70%"}},
		{"one line only", set(func(p *Policy) { p.CPU = Band{Above: 0.7} }), []string{"cpu.scale_in_below 0% must be more than 0% and at most 100%"}},
		{"no shares", set(func(p *Policy) { p.CPU = Band{Above: 70, Below: math.NaN()} }), []string{
			"cpu.scale_out_above 7000% must be more than 0% and at most 100%",
			"cpu.scale_in_below NaN% must be more than 0% and at most 100%",
		}},
		{"sampled too often, said once", set(func(p *Policy) { p.SampleEvery = time.Millisecond }), []string{"sample_every 1ms must be between 250ms and 1m0s"}},
		{"sampled too rarely", set(func(p *Policy) { p.SampleEvery = time.Hour }), []string{"sample_every 1h0m0s must be between 250ms and 1m0s"}},
		{"a window of one sample", set(func(p *Policy) { p.SampleEvery, p.Out.Window = 2*time.Second, 3*time.Second }), []string{
			"scale_out.window 3s must be at least two samples (4s): a single one is no proof",
		}},
		{"further back than is kept", set(func(p *Policy) { p.SampleEvery, p.In.Stabilization = MinSampleEvery, 15*time.Minute }), []string{
			"scale_in.stabilization 15m0s after a window of 30s looks back further than the 3600 samples that are kept (15m0s at sample_every 250ms)",
		}},
		{"so long that it overflows", set(func(p *Policy) { p.In.Stabilization, p.In.Window = math.MaxInt64, math.MaxInt64 }), []string{
			"scale_in.stabilization 2562047h47m16.854775807s after a window of 2562047h47m16.854775807s looks back further than the 3600 samples that are kept (1h0m0s at sample_every 1s)",
		}},
		{"negative times", set(func(p *Policy) {
			p.WarmUp, p.Out.Cooldown, p.In.Stabilization = -time.Second, -2*time.Second, -3*time.Second
		}), []string{
			"scale_out.cooldown -2s must not be negative",
			"scale_in.stabilization -3s must not be negative",
			"warm_up -1s must not be negative",
		}},
		{"steps", set(func(p *Policy) { p.Out.MaxStep, p.In.MaxStep = Step{Count: -1}, Step{Fraction: 1.5} }), []string{
			"scale_out.max_step -1 must be at least 1 instance",
			"scale_in.max_step 150% must be at most 100%",
		}},
		{"no step", set(func(p *Policy) { p.Out.MaxStep = Step{Fraction: math.Inf(1)} }), []string{
			"scale_out.max_step +Inf% must be more than 0% and at most 10000%",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.policy.Validate()
			var got []string
			for _, p := range PolicyErrors(err) {
				got = append(got, p.Key+" "+p.Problem)
			}
			if diff := cmp.Diff(tc.expected, got); diff != "" {
				t.Errorf("(-expected +got):\n%s", diff)
			}
			if (err == nil) != (tc.expected == nil) {
				t.Fatalf("error %v", err)
			}
			if err != nil && err.Error() != strings.Join(tc.expected, "\n") {
				t.Errorf("as one error: %q", err)
			}
		})
	}
}

func TestPolicyErrorsOfOtherErrors(t *testing.T) {
	for _, err := range []error{nil, errors.New("other"), errors.Join(errors.New("other"))} {
		if got := PolicyErrors(err); got != nil {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestPolicyKeepsItsFormInJSON(t *testing.T) {
	p := policy()
	p.WarmUp = None
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Policy
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, back); diff != "" {
		t.Errorf("%s became (-before +after):\n%s", text, diff)
	}
}
