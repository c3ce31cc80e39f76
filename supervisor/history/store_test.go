package history_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/history"
)

func samples(n int, cpu float64) []autoscale.Sample {
	s := make([]autoscale.Sample, n)
	for i := range s {
		s[i] = autoscale.Sample{Instance: fmt.Sprintf("web-%d.1", i+1), CPU: cpu, Memory: cpu / 2}
	}
	return s
}

func TestPointsAreKeptByInstance(t *testing.T) {
	s := history.New()
	s.Record(at(0), samples(2, .5))
	s.Record(at(1), samples(1, .7))
	for _, tc := range []struct {
		instance string
		want     []history.Point
	}{
		{"web-1.1", []history.Point{{at(0), .5, .25}, {at(1), .7, .35}}},
		{"web-2.1", []history.Point{{at(0), .5, .25}}},
		{"web-9.1", nil},
	} {
		if got := s.Points(tc.instance, at(0), at(1)); !equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.instance, got, tc.want)
		}
	}
}

func TestWhatIsForgottenIsGone(t *testing.T) {
	s := history.New()
	s.Record(at(0), samples(1, .5))
	s.Forget("web-1.1")
	s.Forget("web-1.1")
	if got := s.Points("web-1.1", at(0), at(1)); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestAnInstanceIsForgottenAnHourAfterItsLastSample(t *testing.T) {
	s := history.New()
	s.Record(at(0), samples(2, .5))
	s.RecordFrame("web", autoscale.Frame{At: at(0)})
	for i := 60.; i <= 3600; i += 60 {
		s.Record(at(i), samples(1, .5))
	}
	if got := s.Points("web-2.1", at(0), at(3600)); len(got) != 1 {
		t.Errorf("after an hour: got %v, want its one point", got)
	}
	s.Record(at(3660), samples(1, .5))
	if got := s.Points("web-2.1", at(0), at(9999)); got != nil {
		t.Errorf("after more than an hour: got %v", got)
	}
	if got := s.Frames("web"); got != nil {
		t.Errorf("frames of a service without news: got %v", got)
	}
	if got := s.Points("web-1.1", at(0), at(9999)); len(got) != 60 {
		t.Errorf("the living one has %d points, want 60: the first is out of the hour", len(got))
	}
}

func TestFramesOfAnUnknownServiceAreNone(t *testing.T) {
	if got := history.New().Frames("web"); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestAtMostMaxFramesAreGiven(t *testing.T) {
	s := history.New()
	for i := range 3 * autoscale.MaxFrames {
		s.RecordFrame("web", autoscale.Frame{At: at(float64(i)), Counted: i})
	}
	got := s.Frames("web")
	if len(got) != autoscale.MaxFrames || got[0].Counted != 2*autoscale.MaxFrames {
		t.Errorf("got %d frames from %d on", len(got), got[0].Counted)
	}
}

// Frames against a plain list, with every view ever handed out checked at the
// end: nobody may have written to it.
func TestFramesAreTheRecordedOnesAndViewsNeverChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := history.New()
		span := time.Duration(rapid.IntRange(0, 60).Draw(t, "span")) * time.Second
		if span > 0 {
			s.Keep("web", span)
		}
		type view struct{ got, was []autoscale.Frame }
		var views []view
		var model []autoscale.Frame
		now := at(0)
		for i := range rapid.IntRange(1, 200).Draw(t, "frames") {
			step := time.Second
			if rapid.IntRange(0, 20).Draw(t, "back") == 0 {
				step = -5 * time.Second
			}
			now = now.Add(step)
			f := autoscale.Frame{At: now, Counted: i}
			model = slices.DeleteFunc(model, func(m autoscale.Frame) bool { return m.At.After(now) })
			model = append(model, f)
			s.RecordFrame("web", f)

			got, want := s.Frames("web"), slices.Clone(model)
			if span > 0 {
				want = slices.DeleteFunc(want, func(m autoscale.Frame) bool { return m.At.Before(now.Add(-span)) })
			}
			if len(got) < len(want) && wentBack(model) {
				want = want[len(want)-len(got):]
			}
			if !slices.Equal(got, want) {
				t.Fatalf("got %v\nwant %v", got, want)
			}
			views = append(views, view{got, slices.Clone(got)})
		}
		for _, v := range views {
			if !slices.Equal(v.got, v.was) {
				t.Fatalf("a view changed from %v to %v", v.was, v.got)
			}
		}
	})
}

// wentBack: after the clock was set back, frames that had been dropped as too
// old would be asked for again; they are gone.
func wentBack(model []autoscale.Frame) bool {
	for i := 1; i < len(model); i++ {
		if model[i].Counted != model[i-1].Counted+1 {
			return true
		}
	}
	return false
}

func TestReadersAndAWriterDoNotDisturbEachOther(t *testing.T) {
	s := history.New()
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				frames := s.Frames("web")
				for i := 1; i < len(frames); i++ {
					if frames[i].Counted != frames[i-1].Counted+1 {
						t.Errorf("frame %d after %d", frames[i].Counted, frames[i-1].Counted)
						return
					}
				}
				s.Points("web-1.1", at(0), at(100))
				runtime.Gosched()
			}
		})
	}
	for i := range 5000 {
		s.RecordFrame("web", autoscale.Frame{At: at(float64(i)), Counted: i})
		s.Record(at(float64(i)), samples(2, .5))
	}
	close(done)
	readers.Wait()
}

func BenchmarkRecord40(b *testing.B) {
	s := history.New()
	round := samples(40, .5)
	i := 0
	for b.Loop() {
		i++
		s.Record(at(float64(i)/4), round)
	}
}

// BenchmarkMemory reports what 40 instances and a service take after an hour.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := history.New()
		round := samples(40, .5)
		for i := range 3600 {
			s.Record(at(float64(i)), round)
			s.RecordFrame("web", autoscale.Frame{At: at(float64(i))})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(s)
	}
}

func BenchmarkFrames720(b *testing.B) {
	s := history.New()
	for i := range 2 * autoscale.MaxFrames {
		s.RecordFrame("web", autoscale.Frame{At: at(float64(i))})
	}
	s.Keep("web", 719*time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if n := len(s.Frames("web")); n != 720 {
			b.Fatal(n)
		}
	}
}

func BenchmarkRecordFrame(b *testing.B) {
	s := history.New()
	i := 0
	for b.Loop() {
		i++
		s.RecordFrame("web", autoscale.Frame{At: at(float64(i))})
	}
}
