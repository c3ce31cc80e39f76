package history_test

import (
	"math"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/supervisor/history"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func TestSamplesOfOneSecondAreAveraged(t *testing.T) {
	var r history.Ring
	for i, cpu := range []float64{.2, .4, .6, .8} {
		r.Add(at(float64(i)/4), cpu, cpu/2)
	}
	r.Add(at(1), 1, 1)
	want := []history.Point{{At: at(0), CPU: .5, Memory: .25}, {At: at(1), CPU: 1, Memory: 1}}
	if got := r.Points(at(0), at(9)); !equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSecondsWithoutASampleAreLeftOut(t *testing.T) {
	var r history.Ring
	r.Add(at(0), .1, .1)
	// The slot of second 5 has an old value by then, 3600 s before.
	r.Add(at(5), .2, .2)
	r.Add(at(3599), .3, .3)
	r.Add(at(3603), .4, .4)
	r.Add(at(3607), .5, .5)
	want := []history.Point{{at(3599), .3, .3}, {at(3603), .4, .4}, {at(3607), .5, .5}}
	if got := r.Points(at(0), at(9999)); !equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAnEmptyRingHasNoPoints(t *testing.T) {
	var r history.Ring
	if got := r.Points(at(-99), at(99)); got != nil {
		t.Errorf("got %v", got)
	}
	if !r.Last().IsZero() {
		t.Errorf("last is %v", r.Last())
	}
}

// The ring against the plain definition of what it should hold, under gaps,
// bursts and clocks that go back.
func TestARingHoldsTheLastHour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r history.Ring
		type second struct {
			sum float64
			n   int
		}
		model := map[int64]second{}
		now, last := at(0), int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "samples") {
			step := rapid.OneOf(
				rapid.Float64Range(0, 2),
				rapid.Float64Range(0, 5000),
				rapid.Float64Range(-20, 0),
			).Draw(t, "step")
			now = now.Add(time.Duration(step * float64(time.Second)))
			cpu := float64(rapid.IntRange(0, 8).Draw(t, "cpu")) / 8
			r.Add(now, cpu, cpu/2)
			s := now.Unix()
			for k := range model {
				if k > s || k == s && s < last || k <= s-history.Seconds {
					delete(model, k)
				}
			}
			last = s
			m := model[s]
			model[s] = second{m.sum + cpu, m.n + 1}
		}
		from := now.Add(-time.Duration(rapid.IntRange(0, 5000).Draw(t, "from")) * time.Second)
		var want []history.Point
		for k, m := range model {
			if k >= from.Unix() {
				want = append(want, history.Point{At: time.Unix(k, 0).UTC(), CPU: m.sum / float64(m.n), Memory: m.sum / float64(m.n) / 2})
			}
		}
		slices.SortFunc(want, func(a, b history.Point) int { return a.At.Compare(b.At) })
		if got := r.Points(from, now); !equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	})
}

func equal(got, want []history.Point) bool {
	return slices.EqualFunc(got, want, func(a, b history.Point) bool {
		return a.At.Equal(b.At) && math.Abs(a.CPU-b.CPU) < 1e-6 && math.Abs(a.Memory-b.Memory) < 1e-6
	})
}

func TestFortyInstancesForAnHourTakeLessThanThreeMiB(t *testing.T) {
	if got := 40 * unsafe.Sizeof(history.Ring{}); got > 3<<20 {
		t.Errorf("40 rings take %d bytes", got)
	}
}
