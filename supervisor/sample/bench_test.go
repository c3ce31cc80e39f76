package sample

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkSample(b *testing.B) {
	for _, l := range []layout{layouts[0], layouts[4]} {
		for _, n := range []int{40, 1000} {
			b.Run(fmt.Sprintf("%s/%d", l.name, n), func(b *testing.B) {
				f := newFixture(b, l)
				s, now := f.sampler(Options{})
				targets := make([]Target, n)
				for i := range targets {
					f.set(i, counters{})
					targets[i] = target(i)
				}
				b.ReportAllocs()
				for b.Loop() {
					*now = now.Add(time.Second)
					if _, err := s.Sample(b.Context(), *now, targets); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/container")
			})
		}
	}
}

// BenchmarkRealContainers reads ten real control groups a round.
func BenchmarkRealContainers(b *testing.B) {
	e := kit.New(b)
	var targets []Target
	for range 10 {
		targets = append(targets, targetOf(e.Run(e.Launch(e.Container("serve", "80")))))
	}
	s, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if _, err := s.Sample(b.Context(), time.Now(), targets); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(targets)), "ns/container")
}

func BenchmarkHost(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if _, err := Host(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
	}
}
