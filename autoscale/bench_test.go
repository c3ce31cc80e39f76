package autoscale

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkDecide is one decision on three minutes at 250 ms, by its outcome.
func BenchmarkDecide(b *testing.B) {
	quick := func(in *Input) {
		in.Policy.SampleEvery = 250 * time.Millisecond
		in.Policy.In.Stabilization = 150 * time.Second
		f := in.Frames[0]
		in.Frames = make([]Frame, 720)
		for i := range in.Frames {
			in.Frames[i] = f
			in.Frames[i].At = ago(time.Duration(719-i) * 250 * time.Millisecond)
		}
	}
	for _, bc := range []struct {
		reason Reason
		in     Input
	}{
		{ReasonWithinBand, steady(4, 0.5).with(quick)},
		{ReasonAboveThreshold, steady(4, 0.8).with(quick)},
		{ReasonBelowThreshold, steady(4, 0.1).with(quick)},
		{ReasonAtMin, steady(4, 0.1).with(quick, bounds(4, 10))},
	} {
		b.Run(string(bc.reason), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := Decide(bc.in); d.Reason != bc.reason {
					b.Fatal(d.Sentence("it"))
				}
			}
		})
	}
}

// BenchmarkRound is a decision for each of 2000 services, one in ten of which
// could shrink and one in a hundred of which grows.
func BenchmarkRound(b *testing.B) {
	inputs := slices.Repeat([]Input{steady(4, 0.5)}, 2000)
	for i := range inputs {
		switch {
		case i%100 == 0:
			inputs[i] = steady(4, 0.8)
		case i%10 == 1:
			inputs[i] = steady(4, 0.1)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		changes := 0
		for i := range inputs {
			if Decide(inputs[i]).Changes() {
				changes++
			}
		}
		if changes != 220 {
			b.Fatalf("%d changes", changes)
		}
	}
}

// BenchmarkGather is the frame of a service of 1000 instances.
func BenchmarkGather(b *testing.B) {
	samples := map[string]Sample{}
	var members []Member
	for i := range 1000 {
		id := fmt.Sprint("backend-", i)
		members = append(members, Member{ID: id, ReadySince: ago(time.Hour)})
		samples[id] = Sample{Instance: id, At: now(), CPU: 0.5, Memory: 0.25}
	}
	p := policy()
	b.ReportAllocs()
	for b.Loop() {
		if f := Gather(now(), p, members, samples); f.Counted != 1000 {
			b.Fatalf("%+v", f)
		}
	}
}

// BenchmarkReplay is a day of frames, one a second.
func BenchmarkReplay(b *testing.B) {
	frames := make([]Frame, 24*60*60)
	for i := range frames {
		frames[i] = Frame{At: now().Add(time.Duration(i) * time.Second), Counted: 4, CPU: 0.25 + 0.25*float64(i%3600)/3600}
	}
	for b.Loop() {
		n := 0
		for range Replay(policy(), slices.Values(frames)) {
			n++
		}
		if n != len(frames) {
			b.Fatal(n)
		}
	}
}
