package autoscale

import (
	"math"
	"time"
)

// staleAfter is how many sampling intervals a figure stays good for. One may
// come late and one may be lost; after three something is wrong.
const staleAfter = 3

// Gather makes the frame of one service at a moment from the newest sample of
// each of its ready members, by id. A sample that is absent, older than three
// sampling intervals or not a measurement (negative, not a number) leaves its
// member missing. The order of the members does not matter.
func Gather(at time.Time, p Policy, members []Member, samples map[string]Sample) Frame {
	p = p.resolved()
	f := Frame{At: at}
	var cpu, memory, throttled fixed
	for _, m := range members {
		warm := m.ReadySince.Add(p.WarmUp)
		if at.Before(warm) {
			f.Warming++
			continue
		}
		s, ok := samples[m.ID]
		if !ok || at.Sub(s.At) > staleAfter*p.SampleEvery || !s.sane() {
			f.Missing++
			continue
		}
		if s.At.Before(warm) {
			// Its newest figures are still those of its start.
			f.Warming++
			continue
		}
		f.Counted++
		cpu.add(s.CPU)
		memory.add(s.Memory)
		throttled.add(s.Throttled)
	}
	f.CPU, f.Memory, f.Throttled = cpu.mean(f.Counted), memory.mean(f.Counted), throttled.mean(f.Counted)
	return f
}

// sane says whether the sample can be a measurement at all.
func (s Sample) sane() bool {
	for _, x := range [...]float64{s.CPU, s.Memory, s.Throttled} {
		if !(x >= 0 && x <= maxUtilisation) {
			return false
		}
	}
	return true
}

// maxUtilisation is far beyond any real share of a limit.
const maxUtilisation = 1e4

// fixed is a sum in units of 1e-9. Unlike a sum of floats it does not depend on
// the order of its terms.
type fixed int64

const fixedUnit = 1e9

func (s *fixed) add(x float64) { *s += fixed(math.Round(x * fixedUnit)) }

func (s fixed) mean(n int) float64 {
	if n == 0 {
		return 0
	}
	return float64(s) / fixedUnit / float64(n)
}
