package autoscale

import (
	"math"
	"time"
)

// epsilon absorbs the rounding of sums of fractions: 0.7 summed up and divided
// again is still not above a line of 0.7.
const epsilon = 1e-9

// metric is one of the two that have a band.
type metric int

const (
	cpu metric = iota
	memory
	metrics // their number
)

func (m metric) String() string { return [...]string{"cpu", "memory"}[m] }

func (m metric) of(f *Frame) float64 {
	if m == cpu {
		return f.CPU
	}
	return f.Memory
}

// direction is growing or shrinking. They differ in what they take an
// instance to use of which nothing is known.
type direction int

const (
	out direction = iota
	in
)

// members is how many instances a frame speaks of; none makes it useless.
func (dir direction) members(f *Frame) int {
	switch {
	case f.Counted+f.Missing == 0:
		return 0
	case dir == out:
		return f.Counted + f.Missing
	default:
		return f.Counted + f.Missing + f.Warming
	}
}

// load is what a frame's members carry, in instances' worth.
func (dir direction) load(f *Frame, m metric) float64 {
	use := m.of(f)
	if dir == out {
		return float64(f.Counted) * use
	}
	if f.Counted == 0 {
		use = 1
	}
	return float64(f.Counted+f.Warming)*use + float64(f.Missing)*max(1, use)
}

// sums of some frames.
type sums struct {
	frames  int
	members int
	load    [metrics]float64
}

func (s *sums) add(dir direction, f *Frame) {
	n := dir.members(f)
	if n == 0 {
		return
	}
	s.frames++
	s.members += n
	for m := range metrics {
		s.load[m] += dir.load(f, m)
	}
}

func (s *sums) remove(dir direction, f *Frame) {
	n := dir.members(f)
	if n == 0 {
		return
	}
	s.frames--
	s.members -= n
	for m := range metrics {
		s.load[m] -= dir.load(f, m)
	}
	if s.frames == 0 {
		*s = sums{}
	}
}

// meanLoad needs a frame at least, as meanMembers does.
func (s *sums) meanLoad(m metric) float64 {
	return s.load[m] / float64(s.frames)
}

func (s *sums) meanMembers() float64 {
	return float64(s.members) / float64(s.frames)
}

// utilisation is 0 without frames.
func (s *sums) utilisation(m metric) float64 {
	if s.members == 0 {
		return 0
	}
	return s.load[m] / float64(s.members)
}

// history is the frames up to now, oldest first.
type history struct {
	frames []Frame
	every  time.Duration
}

// historyUntil cuts off what comes after now.
func historyUntil(now time.Time, frames []Frame, every time.Duration) history {
	return history{frames: frames[:firstAfter(frames, now)], every: every}
}

// firstAfter returns the index of the first frame after t.
func firstAfter(frames []Frame, t time.Time) int {
	lo, hi := 0, len(frames)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if frames[mid].At.After(t) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

func (h history) newest() *Frame { return &h.frames[len(h.frames)-1] }

// cut is the time after which a frame is in a window that ends at end: the
// middle of the interval it stands for must be in it.
func (h history) cut(end time.Time, window time.Duration) time.Time {
	return end.Add(h.every/2 - window)
}

// last returns the frames of the window that ends at the newest one.
func (h history) last(window time.Duration) []Frame {
	return h.frames[firstAfter(h.frames, h.cut(h.newest().At, window)):]
}

// sum adds the window that ends at the newest frame.
func (h history) sum(dir direction, window time.Duration) sums {
	var s sums
	frames := h.last(window)
	for i := range frames {
		s.add(dir, &frames[i])
	}
	return s
}

// covers says whether enough is known of a span: it reaches back to the
// span's begin, up to a late frame, and four in five of its frames are usable.
func (h history) covers(dir direction, span time.Duration) bool {
	frames := h.last(span)
	if begin := h.newest().At.Add(-span); frames[0].At.After(begin.Add(staleAfter * h.every)) {
		return false
	}
	usable := 0
	for i := range frames {
		if dir.members(&frames[i]) > 0 {
			usable++
		}
	}
	return float64(usable) >= 0.8*float64(span)/float64(h.every)
}

// extremes are the lowest and the highest mean load of some windows.
type extremes struct{ low, high [metrics]float64 }

// sweep slides a window over all its ends in the last period and returns the
// extremes of its mean load. It looks at each frame twice.
func (h history) sweep(dir direction, window, period time.Duration) extremes {
	var e extremes
	for m := range metrics {
		e.low[m] = math.Inf(1)
	}
	frames := h.last(window + period)
	firstEnd := h.newest().At.Add(-period)
	var s sums
	begin := 0
	for i := range frames {
		s.add(dir, &frames[i])
		cut := h.cut(frames[i].At, window)
		for ; begin < i && !frames[begin].At.After(cut); begin++ {
			s.remove(dir, &frames[begin])
		}
		if s.frames == 0 || frames[i].At.Before(firstEnd) {
			continue
		}
		for m := range metrics {
			load := s.meanLoad(m)
			e.low[m] = min(e.low[m], load)
			e.high[m] = max(e.high[m], load)
		}
	}
	return e
}

// instances is the least count that carries a load at a utilisation.
func instances(load, utilisation float64) int {
	const most = 1 << 30
	n := math.Ceil(load/utilisation - epsilon)
	if !(n > 0) {
		return 0
	}
	return int(min(n, most))
}
